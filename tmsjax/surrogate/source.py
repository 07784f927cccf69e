"""The fields of a recipe, and what they are for: simulating its neurons, and training and judging surrogates."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from scipy.spatial.transform import Rotation

from tmsjax import coil as coils
from tmsjax import efield, head
from tmsjax.core.errors import InputError
from tmsjax.cortex import Population, Roi, compartment_fields, pack, patches, place
from tmsjax.efield import EField
from tmsjax.head.load import BUNDLED, FROM_LABELS
from tmsjax.surrogate.recipe import Recipe, draw, poses, target

MARGIN_MM = 4.0
"""Kept round the region's neurons when a field is cropped: axons reach this far."""

FIELD_DRIFT = 2e-3
"""Largest relative change of |E| at a soma between simulation and training: the solver's own tolerance."""


def head_of(
    recipe: Recipe, head_file: str | Path | None = None, say: Callable[[str], None] = lambda text: None
) -> head.HeadModel:
    """The recipe's head: bundled, or from ``head_file``, with cortical surfaces made of its labels.

    Raises:
        InputError: no file for a head that is not bundled, one for a head that is, or labels of another sha256.
    """
    check_head(recipe, head_file)
    if head_file is None:
        return head.load(recipe.head)
    say("cortical surfaces from labels")
    return _from_labels(Path(head_file), recipe.head, recipe.head_sha256)


def check_head(recipe: Recipe, head_file: str | Path | None = None) -> None:
    """Raise InputError unless the head can be had: ``head_of`` without the work."""
    if recipe.head in BUNDLED:
        if head_file is not None:
            raise InputError(f"a file for head {recipe.head}", got=head_file, expected="none: it is bundled")
        return
    path = None if head_file is None else Path(head_file)
    if path is None or not path.is_file():
        raise InputError(
            f"head {recipe.head!r} is not bundled",
            got="no file of its labels" if path is None else f"no file {path}",
            expected=f"its label file (sha256 {recipe.head_sha256})",
            mend="give it: --head FILE, or head_file=FILE",
        )
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != recipe.head_sha256:
        raise InputError(
            f"{path} is not the label file of head {recipe.head!r}",
            got=f"sha256 {digest}",
            expected=f"sha256 {recipe.head_sha256}",
        )


@functools.lru_cache(maxsize=1)
def _from_labels(path: Path, name: str, sha256: str) -> head.HeadModel:
    """Kept, as recipes come in groups of one head; ``sha256`` is there to tell files apart."""
    return head.load(path, surfaces=FROM_LABELS, name=name)


class Source:
    """The fields of a recipe, solved once and cropped to the neurons' surroundings; they are the same for all cells.

    ``head_file``: labels of a head that is not bundled (see ``head_of``). ``say`` is told what is going on.
    """

    def __init__(
        self, recipe: Recipe, say: Callable[[str], None] = lambda text: None, head_file: str | Path | None = None
    ) -> None:
        self.recipe = recipe
        self.draw = draw(recipe)
        model = head_of(recipe, head_file, say)
        centre = target(recipe, model)
        roi = Roi.ball(centre, recipe.radius_mm)
        self.population: Population = place(
            model, recipe.layer, n=recipe.sites, roi=roi, rotations=recipe.rotations, seed=recipe.seed
        )
        if recipe.tilted:
            self.population = tilted(self.population, recipe.seed)
        coil = coils.load(recipe.coil)
        self.fields: list[EField] = []
        for k, pose in enumerate(poses(recipe, model)):
            field = efield.solve(model, coil, pose)
            self.fields.append(_crop(field, centre, recipe.radius_mm + MARGIN_MM))
            say(f"field {k + 1} of {recipe.poses}: residual {float(field.residual):.1e}")

    @property
    def site(self) -> Int[np.ndarray, " k"]:
        """The site of every threshold: what a fair split into training and test keeps together."""
        return np.asarray(self.population.site)[self.draw.neuron]

    def compartments(
        self, indices: Sequence[int] | np.ndarray, xyz_um: Float[np.ndarray, "c 3"]
    ) -> Float[np.ndarray, "i c 3"]:
        """Field at every compartment of the neurons ``indices``, V/m per A/us, cell frame: what a simulation needs."""
        return self._gather(indices, lambda field, some: compartment_fields(field, some, xyz_um), (len(xyz_um), 3))

    def patches(
        self, indices: Sequence[int] | np.ndarray, side_mm: float, z_shift_mm: float = 0.0, n: int = 9
    ) -> Float[np.ndarray, "i n n n 3"]:
        """Samples round the neurons ``indices``, V/m per A/us, cell frame: a surrogate's input. NaN off the tissue."""

        def sample(field: EField, some: Population) -> np.ndarray:
            voxels = pack(field)
            rows = [_patches(voxels, some[i : i + 256], side_mm, z_shift_mm, n) for i in range(0, len(some), 256)]
            return np.concatenate([np.asarray(row) for row in rows])

        return self._gather(indices, sample, (n, n, n, 3)).astype(np.float32)

    def at_soma(self, indices: Sequence[int] | np.ndarray) -> Float[np.ndarray, " i"]:
        """|E| at the somata of the neurons ``indices``, V/m per A/us."""
        somata = self._gather(indices, lambda field, some: np.asarray(field.at(some.positions)), (3,))
        return np.linalg.norm(somata, axis=-1)

    def _gather(self, indices, sample: Callable[[EField, Population], np.ndarray], shape: tuple) -> np.ndarray:
        indices = np.asarray(indices)
        out = np.empty((len(indices), *shape))
        for k in np.unique(self.draw.pose[indices]):
            rows = np.flatnonzero(self.draw.pose[indices] == k)
            values = sample(self.fields[k], self.population[self.draw.neuron[indices[rows]]])
            sign = self.draw.sign[indices[rows]]
            out[rows] = values * sign.reshape(-1, *[1] * len(shape))
        return out


def tilted(population: Population, seed: int) -> Population:
    """The same neurons at any angle to the cortex: rotations drawn evenly from all there are."""
    quaternions = np.random.default_rng([seed, 4]).normal(size=(len(population), 4))
    rotations = Rotation.from_quat(quaternions).as_matrix()
    return dataclasses.replace(population, rotations=jnp.asarray(rotations, jnp.float32))


_patches: Callable[..., Array] = jax.jit(patches, static_argnames=("side_mm", "z_shift_mm", "n"))


def _crop(field: EField, centre_mm: np.ndarray, radius_mm: float) -> EField:
    """The part of a field within a cube of half side ``radius_mm``."""
    affine = np.asarray(field.affine, np.float64)
    shape = np.array(field.mask.shape)
    middle = np.linalg.solve(affine[:3, :3], centre_mm - affine[:3, 3])
    reach = radius_mm / np.linalg.norm(affine[:3, :3], axis=0)
    low = np.clip(np.floor(middle - reach), 0, shape - 2).astype(int)
    high = np.clip(np.ceil(middle + reach) + 1, low + 2, shape).astype(int)
    box = tuple(slice(a, b) for a, b in zip(low, high, strict=True))
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ low
    return dataclasses.replace(
        field,
        values=jnp.asarray(np.asarray(field.values)[box]),
        mask=jnp.asarray(np.asarray(field.mask)[box]),
        affine=jnp.asarray(moved, jnp.float32),
    )


@dataclasses.dataclass(frozen=True)
class Examples:
    """What a surrogate is trained on and judged by, e of each.

    Attributes:
        rows: of the dataset. patches: (e, n, n, n, 3) samples, V/m per A/us, cell frame.
        v_per_m: threshold, V/m at the centre of the patch. site: index of the site, which a split keeps whole; -1 in
            datasets that train and never judge (``joined``).
        initiation: compartment that fires first, -1 where that was not simulated.
    """

    rows: Int[np.ndarray, " e"]
    patches: Float[np.ndarray, "e n n n 3"]
    v_per_m: Float[np.ndarray, " e"]
    site: Int[np.ndarray, " e"]
    initiation: Int[np.ndarray, " e"]


def examples(source: Source, results: dict[str, np.ndarray], side_mm: float, z_shift_mm: float, n: int = 9) -> Examples:
    """Patches and thresholds of a dataset's rows that have a threshold and whose grid stays within the tissue.

    ``results`` is ``Dataset.results()``. Raises InputError if the fields have changed since they were simulated.
    """
    rows = np.flatnonzero(results["status"] == 0)
    if not len(rows):
        raise InputError("the dataset has no thresholds", got="no row with one", expected="some: simulate it first")
    check_fields(source.at_soma(rows), results["v_per_m"][rows] / results["factor"][rows])
    patches = source.patches(rows, side_mm, z_shift_mm, n)
    whole = np.isfinite(patches).all(axis=(1, 2, 3, 4))
    rows, patches = rows[whole], patches[whole]
    middle = slice((n - 1) // 2, n // 2 + 1)
    centre = np.linalg.norm(patches[:, middle, middle, middle].mean((1, 2, 3)), axis=-1)
    at = results["factor"][rows] * centre
    return Examples(rows, patches, at, source.site[rows], np.asarray(results["initiation"], int)[rows])


def joined(first: Examples, *further: Examples) -> Examples:
    """All of them; those of ``further`` datasets train and never judge (``split``). ``rows`` are of each dataset."""
    only_train = [dataclasses.replace(each, site=np.full(len(each.rows), -1)) for each in further]
    names = [field.name for field in dataclasses.fields(Examples)]
    return Examples(**{name: np.concatenate([getattr(e, name) for e in (first, *only_train)]) for name in names})


def check_fields(now: Float[np.ndarray, " i"], at_soma: Float[np.ndarray, " i"]) -> None:
    """Raise InputError unless recomputed fields are those that the thresholds were simulated with.

    Args:
        now: |E| at the soma, V/m per A/us, of the recomputed field.
        at_soma: the same as the dataset implies it: its V/m over its A/us.
    """
    off = np.abs(now / at_soma - 1)
    if np.quantile(off, 0.99) > FIELD_DRIFT:
        raise InputError(
            "the fields have changed since the dataset was simulated",
            got=f"|E| at the soma differs by up to {100 * off.max():.1f} %, median {100 * np.median(off):.2f} %",
            expected=f"the same within {100 * FIELD_DRIFT:g} %",
            mend="simulate the dataset again with this version of head, coil and field solver",
        )
