"""Recipes of training data: which neurons of which head under which coil poses, drawn from a seed.

A dataset keeps thresholds and the recipe; the fields are computed again from the recipe when they are needed, so that
10,000 thresholds take kilobytes and every number can be traced to a pose, a site and an azimuth.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tmsjax import coil as coils
from tmsjax import efield, head
from tmsjax.coil import CoilPose
from tmsjax.core.errors import InputError
from tmsjax.cortex import Population, Roi, compartment_fields, patches, place
from tmsjax.efield import EField

MARGIN_MM = 4.0
"""Kept round the region's neurons when a field is cropped: axons reach this far."""

FIELD_DRIFT = 2e-3
"""Largest relative change of |E| at a soma between simulation and training: the solver's own tolerance."""


RANGES = {
    "thresholds": 1,
    "poses": 1,
    "fixed_poses": 0,
    "spread_mm": 0,
    "gap_mm": 0,
    "sites": 1,
    "rotations": 1,
    "radius_mm": 1,
    "tolerance": 1e-6,
    "seed": 0,
}
"""The smallest value of every number of a recipe."""


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a dataset is made of. Read it from TOML with ``Recipe.read``.

    Attributes:
        cell: name of the cell. pulse: name of the pulse. layer: where its somata lie.
        head, coil, landmark: as ``tmsjax demo`` takes them.
        thresholds: how many to simulate.
        poses: how many coil poses. The first ``fixed_poses`` (2 at most) have the handle at 45 and 90 degrees over the
            landmark; the others lie up to ``spread_mm`` from it with any angle, another set for every seed. Every field
            is used in both directions of the current.
        sites, rotations, radius_mm: the population drawn from (a ball of cortex round the landmark).
        tolerance: of the threshold search, relative. initiation: whether to look for the compartment that fires first.
        engine: what simulates, "neuron" or "cable"; membrane: of the cable engine, "full" or "reduced".
        seed: of everything drawn.
    """

    cell: str
    layer: str
    pulse: str = "monophasic"
    head: str = "S1"
    coil: str = "MagVenture_MC_B70"
    landmark: str = "hand_knob_left"
    thresholds: int = 4000
    poses: int = 10
    fixed_poses: int = 2
    spread_mm: float = 25.0
    gap_mm: float = 2.0
    sites: int = 2000
    rotations: int = 12
    radius_mm: float = 35.0
    tolerance: float = 0.005
    initiation: bool = False
    engine: str = "neuron"
    membrane: str = "full"
    seed: int = 0

    @classmethod
    def read(cls, path: Path | str) -> Recipe:
        """Read a recipe from a TOML file; InputError names a key that is missing, unknown or of the wrong kind."""
        try:
            table = tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise InputError("the recipe cannot be read", got=f"{path}: {error}", expected="a TOML file") from error
        return cls.from_dict(table)

    @classmethod
    def from_dict(cls, table: dict) -> Recipe:
        """Check a table of values against the recipe's keys."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(table) - set(fields))
        missing = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in table]
        if unknown or missing:
            raise InputError(
                "the recipe's keys", got=f"unknown {unknown}, missing {missing}", expected=f"keys {', '.join(fields)}"
            )
        for name, value in table.items():
            kind = {"str": str, "int": int, "float": (int, float), "bool": bool}[str(fields[name].type)]
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise InputError(f"the recipe's {name}", got=repr(value), expected=fields[name].type)
        recipe = cls(**table)
        for name, least in RANGES.items():
            value = getattr(recipe, name)
            if not least <= value < float("inf"):
                raise InputError(f"the recipe's {name}", got=value, expected=f"a number from {least:g}")
        for name, known in (("engine", ("neuron", "cable")), ("membrane", ("full", "reduced"))):
            if getattr(recipe, name) not in known:
                raise InputError(f"the recipe's {name}", got=repr(getattr(recipe, name)), expected=f"one of {known}")
        if recipe.engine == "neuron" and recipe.membrane != "full":
            raise InputError("the recipe's membrane", got=repr(recipe.membrane), expected='engine = "cable" for it')
        if recipe.fixed_poses > 2:
            raise InputError("the recipe's fixed_poses", got=recipe.fixed_poses, expected="0, 1 or 2")
        return recipe

    def as_dict(self) -> dict:
        """The recipe as plain values."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True)
class Draw:
    """Which threshold is which: pose, direction of the current (+1, -1) and neuron of the population, (k,) each."""

    pose: Int[np.ndarray, " k"]
    sign: Int[np.ndarray, " k"]
    neuron: Int[np.ndarray, " k"]


def draw(recipe: Recipe) -> Draw:
    """Draw pose, direction and neuron of every threshold; the first n of a longer draw are those of a shorter one."""
    rng = np.random.default_rng([recipe.seed, 2])
    columns = rng.random((recipe.thresholds, 3))
    return Draw(
        pose=(columns[:, 0] * recipe.poses).astype(np.int64),
        sign=np.where(columns[:, 1] < 0.5, -1, 1).astype(np.int64),
        neuron=(columns[:, 2] * recipe.sites * recipe.rotations).astype(np.int64),
    )


def poses(recipe: Recipe, model: head.HeadModel) -> list[CoilPose]:
    """The recipe's coil poses on its head."""
    coil = coils.load(recipe.coil)
    target = head.landmark(model, recipe.landmark)
    rng = np.random.default_rng([recipe.seed, 1])
    first = coils.pose_on_scalp(model, target, handle_deg=45.0, gap_mm=recipe.gap_mm, coil=coil)
    out = [first] if recipe.fixed_poses else []
    while len(out) < recipe.poses:
        radius, direction = recipe.spread_mm * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        angle = rng.uniform(-180.0, 180.0)
        if len(out) == 1 and recipe.fixed_poses == 2:
            radius, angle = 0.0, 90.0
        aside = radius * np.array([np.cos(direction), np.sin(direction), 0.0])
        aim = np.asarray(first.centre, np.float64) + np.asarray(first.rotation, np.float64) @ aside
        where = aim if radius else target
        out.append(coils.pose_on_scalp(model, where, handle_deg=angle, gap_mm=recipe.gap_mm, coil=coil))
    return out


class Source:
    """The fields of a recipe, solved once and cropped to the neurons' surroundings."""

    def __init__(self, recipe: Recipe, say: Callable[[str], None] = lambda text: None) -> None:
        self.recipe = recipe
        self.draw = draw(recipe)
        model = head.load(recipe.head)
        target = head.landmark(model, recipe.landmark)
        roi = Roi.ball(target, recipe.radius_mm)
        self.population: Population = place(
            model, recipe.layer, n=recipe.sites, roi=roi, rotations=recipe.rotations, seed=recipe.seed
        )
        coil = coils.load(recipe.coil)
        self.fields: list[EField] = []
        for k, pose in enumerate(poses(recipe, model)):
            field = efield.solve(model, coil, pose)
            self.fields.append(_crop(field, np.asarray(target), recipe.radius_mm + MARGIN_MM))
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
            rows = [_patches(field, some[i : i + 256], side_mm, z_shift_mm, n) for i in range(0, len(some), 256)]
            return np.concatenate([np.asarray(row) for row in rows])

        return self._gather(indices, sample, (n, n, n, 3)).astype(np.float32)

    def _gather(self, indices, sample: Callable[[EField, Population], np.ndarray], shape: tuple) -> np.ndarray:
        indices = np.asarray(indices)
        out = np.empty((len(indices), *shape))
        for k in np.unique(self.draw.pose[indices]):
            rows = np.flatnonzero(self.draw.pose[indices] == k)
            values = sample(self.fields[k], self.population[self.draw.neuron[indices[rows]]])
            sign = self.draw.sign[indices[rows]]
            out[rows] = values * sign.reshape(-1, *[1] * len(shape))
        return out


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
        v_per_m: threshold, V/m at the centre of the patch. site: index of the site, which a split keeps whole.
    """

    rows: Int[np.ndarray, " e"]
    patches: Float[np.ndarray, "e n n n 3"]
    v_per_m: Float[np.ndarray, " e"]
    site: Int[np.ndarray, " e"]


def examples(source: Source, results: dict[str, np.ndarray], side_mm: float, z_shift_mm: float, n: int = 9) -> Examples:
    """Patches and thresholds of a dataset's rows that have a threshold and whose grid stays within the tissue.

    ``results`` is ``Dataset.results()``. Raises InputError if the fields have changed since they were simulated.
    """
    rows = np.flatnonzero(results["status"] == 0)
    if not len(rows):
        raise InputError("the dataset has no thresholds", got="no row with one", expected="some: simulate it first")
    patches = source.patches(rows, side_mm, z_shift_mm, n)
    whole = np.isfinite(patches).all(axis=(1, 2, 3, 4))
    rows, patches = rows[whole], patches[whole]
    check_fields(patches, results["v_per_m"][rows] / results["factor"][rows], z_shift_mm)
    centre = np.linalg.norm(patches[:, n // 2, n // 2, n // 2], axis=-1)
    return Examples(rows, patches, results["factor"][rows] * centre, source.site[rows])


def check_fields(patches: Float[np.ndarray, "i n n n 3"], at_soma: Float[np.ndarray, " i"], z_shift_mm: float) -> None:
    """Raise InputError unless recomputed patches have the field at the soma that the thresholds were simulated with.

    Args:
        patches: unshifted or shifted samples, V/m per A/us.
        at_soma: |E| at the soma that the dataset implies: its V/m over its A/us.
        z_shift_mm: where the grid is shifted, its centre is not the soma and nothing is compared.
    """
    if z_shift_mm:
        return
    middle = patches.shape[1] // 2
    now = np.linalg.norm(patches[:, middle, middle, middle], axis=-1)
    off = np.abs(now / at_soma - 1)
    if np.quantile(off, 0.99) > FIELD_DRIFT:
        raise InputError(
            "the fields have changed since the dataset was simulated",
            got=f"|E| at the soma differs by up to {100 * off.max():.1f} %, median {100 * np.median(off):.2f} %",
            expected=f"the same within {100 * FIELD_DRIFT:g} %",
            mend="simulate the dataset again with this version of head, coil and field solver",
        )


def check_same(recipe: Recipe, stored: dict) -> None:
    """Raise InputError unless a dataset was made by this recipe."""
    other = Recipe.from_dict(stored).as_dict()
    differ = {key: (value, other[key]) for key, value in recipe.as_dict().items() if value != other[key]}
    if differ:
        raise InputError(
            "the dataset was made by another recipe",
            got=", ".join(f"{key} = {a!r}" for key, (a, _) in differ.items()),
            expected=", ".join(f"{key} = {b!r}" for key, (_, b) in differ.items()),
            mend="give a new --out, or the recipe that made the dataset",
        )
