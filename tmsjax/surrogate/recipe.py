"""Recipes of training data: which neurons of which head under which coil poses, drawn from a seed.

A dataset keeps thresholds and the recipe; the fields are computed again from the recipe when they are needed, so that
10,000 thresholds take kilobytes and every number can be traced to a pose, a site and an azimuth.
"""

from __future__ import annotations

import dataclasses
import re
import tomllib
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from tmsjax import cells, head
from tmsjax import coil as coils
from tmsjax.coil import CoilPose
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import check_finite
from tmsjax.cortex.layers import normalised_depth
from tmsjax.head.load import BUNDLED

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

CHOICES = {"design": ("random", "every"), "engine": ("neuron", "cable"), "membrane": ("full", "reduced")}


@dataclasses.dataclass(frozen=True)
class Recipe:
    """What a dataset is made of. Read it from TOML with ``Recipe.read``.

    Attributes:
        cell: name of the cell. pulse: name of the pulse. layer: where its somata lie.
        head, coil, landmark: as ``tmsjax demo`` takes them; a head that is not bundled is only named, and its label
            file handed over beside the recipe (``source.head_of``).
        head_sha256: of the label file of a head that is not bundled.
        target_mm: (3,) in the head's mm instead of the landmark; a head that is not bundled needs it.
        design: "random": every threshold draws its pose, direction of the current and neuron; "every": each pose x
            direction x neuron once, shuffled, so that the first rows of an unfinished dataset are a fair sample.
        thresholds: how many to simulate; with "every" as many as there are: poses x 2 x sites x rotations.
        poses: how many coil poses. The first ``fixed_poses`` (2 at most) have the handle at 45 and 90 degrees over the
            landmark; the others lie up to ``spread_mm`` from it with any angle, another set for every seed. Every field
            is used in both directions of the current.
        sites, rotations, radius_mm: the population drawn from (a ball of cortex round the landmark).
        tilted: cells stand at any angle to the cortex instead of upright. What fires them are fields that upright cells
            of this head meet seldom or never, in which ends of the axon begin that are rare otherwise.
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
    head_sha256: str = ""
    target_mm: tuple[float, float, float] | None = None
    design: str = "random"
    thresholds: int = 4000
    poses: int = 10
    fixed_poses: int = 2
    spread_mm: float = 25.0
    gap_mm: float = 2.0
    sites: int = 2000
    rotations: int = 12
    radius_mm: float = 35.0
    tilted: bool = False
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
        """Check a table of values against the recipe's keys, and what they name but the cell and the pulse."""
        fields = {field.name: field for field in dataclasses.fields(cls)}
        unknown = sorted(set(table) - set(fields))
        missing = [n for n, f in fields.items() if f.default is dataclasses.MISSING and n not in table]
        if unknown or missing:
            raise InputError(
                "the recipe's keys", got=f"unknown {unknown}, missing {missing}", expected=f"keys {', '.join(fields)}"
            )
        table = dict(table)
        target = table.pop("target_mm", None)
        if target is not None:
            x, y, z = check_finite(target, (3,), "the recipe's target_mm")
            target = (float(x), float(y), float(z))
            table.setdefault("landmark", "")
        for name, value in table.items():
            kind = {"str": str, "int": int, "float": (int, float), "bool": bool}[str(fields[name].type)]
            if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
                raise InputError(f"the recipe's {name}", got=repr(value), expected=fields[name].type)
        recipe = cls(**table, target_mm=target)
        for name, least in RANGES.items():
            value = getattr(recipe, name)
            if not least <= value < float("inf"):
                raise InputError(f"the recipe's {name}", got=value, expected=f"a number from {least:g}")
        for name, known in CHOICES.items():
            if getattr(recipe, name) not in known:
                raise InputError(f"the recipe's {name}", got=repr(getattr(recipe, name)), expected=f"one of {known}")
        if recipe.engine == "neuron" and recipe.membrane != "full":
            raise InputError("the recipe's membrane", got=repr(recipe.membrane), expected='engine = "cable" for it')
        if recipe.fixed_poses > 2:
            raise InputError("the recipe's fixed_poses", got=recipe.fixed_poses, expected="0, 1 or 2")
        if recipe.design == "every":
            if table.get("thresholds", recipe.every) != recipe.every:
                raise InputError(
                    "the recipe's thresholds",
                    got=recipe.thresholds,
                    expected=f'{recipe.every} (poses x 2 x sites x rotations), or none with design = "every"',
                )
            recipe = dataclasses.replace(recipe, thresholds=recipe.every)
        _check_place(recipe)
        return recipe

    @property
    def every(self) -> int:
        """How many thresholds there are: poses x directions of the current x sites x rotations."""
        return self.poses * 2 * self.sites * self.rotations

    def of_cell(self, cell: str) -> Recipe:
        """The same recipe for another cell, such as another clone; InputError for a known one of another layer."""
        layer = self.layer.replace("/", "").upper()
        if cell in cells.names() and not cell.partition("/")[2].startswith(f"{layer}_"):
            raise InputError("another cell for the recipe", got=cell, expected=f"a cell of layer {layer}")
        return dataclasses.replace(self, cell=cell)

    def as_dict(self) -> dict:
        """The recipe as plain values."""
        return dataclasses.asdict(self)


def _check_place(recipe: Recipe) -> None:
    """Refuse a layer, coil, head or target that there is not."""
    normalised_depth(recipe.layer)
    if recipe.coil not in coils.BUNDLED:
        coils.load(recipe.coil)
    if (recipe.target_mm is None) == (not recipe.landmark):
        raise InputError(
            "the recipe's target",
            got=f"landmark = {recipe.landmark!r} and target_mm = {recipe.target_mm}",
            expected="one of the two",
        )
    if recipe.landmark and recipe.landmark not in head.LANDMARKS:
        raise InputError(
            "the recipe's landmark", got=repr(recipe.landmark), expected=f"one of {', '.join(sorted(head.LANDMARKS))}"
        )
    if recipe.head in BUNDLED:
        if recipe.head_sha256:
            raise InputError("the recipe's head_sha256", got=f"one for {recipe.head}", expected="none: it is bundled")
        return
    if not re.fullmatch("[0-9a-f]{64}", recipe.head_sha256):
        raise InputError(
            "the recipe's head",
            got=f"{recipe.head!r} with head_sha256 = {recipe.head_sha256!r}",
            expected=f"a bundled head ({', '.join(BUNDLED)}), or the sha256 (64 hexadecimal digits) of its label file",
        )
    if recipe.target_mm is None:
        raise InputError(
            f"the recipe's target: head {recipe.head!r} is not registered to MNI152",
            got=f"landmark = {recipe.landmark!r}",
            expected="target_mm = [x, y, z]",
        )


@dataclasses.dataclass(frozen=True)
class Draw:
    """Which threshold is which: pose, direction of the current (+1, -1) and neuron of the population, (k,) each."""

    pose: Int[np.ndarray, " k"]
    sign: Int[np.ndarray, " k"]
    neuron: Int[np.ndarray, " k"]


def draw(recipe: Recipe) -> Draw:
    """Pose, direction and neuron of every threshold, by the recipe's design.

    The first n of a longer random draw are those of a shorter one.
    """
    if recipe.design == "every":
        order = np.random.default_rng([recipe.seed, 3]).permutation(recipe.every)
        pose, sign, neuron = np.unravel_index(order, (recipe.poses, 2, recipe.sites * recipe.rotations))
        return Draw(pose=pose, sign=2 * sign - 1, neuron=neuron)
    rng = np.random.default_rng([recipe.seed, 2])
    columns = rng.random((recipe.thresholds, 3))
    return Draw(
        pose=(columns[:, 0] * recipe.poses).astype(np.int64),
        sign=np.where(columns[:, 1] < 0.5, -1, 1).astype(np.int64),
        neuron=(columns[:, 2] * recipe.sites * recipe.rotations).astype(np.int64),
    )


def target(recipe: Recipe, model: head.HeadModel) -> Float[np.ndarray, 3]:
    """Where the recipe's coil points and its neurons lie round, mm of the head."""
    return head.target(model, recipe.landmark if recipe.target_mm is None else recipe.target_mm)


def poses(recipe: Recipe, model: head.HeadModel) -> list[CoilPose]:
    """The recipe's coil poses on its head."""
    coil = coils.load(recipe.coil)
    aimed = target(recipe, model)
    rng = np.random.default_rng([recipe.seed, 1])
    first = coils.pose_on_scalp(model, aimed, handle_deg=45.0, gap_mm=recipe.gap_mm, coil=coil)
    out = [first] if recipe.fixed_poses else []
    while len(out) < recipe.poses:
        radius, direction = recipe.spread_mm * np.sqrt(rng.random()), rng.uniform(0, 2 * np.pi)
        angle = rng.uniform(-180.0, 180.0)
        if len(out) == 1 and recipe.fixed_poses == 2:
            radius, angle = 0.0, 90.0
        aside = radius * np.array([np.cos(direction), np.sin(direction), 0.0])
        aim = np.asarray(first.centre, np.float64) + np.asarray(first.rotation, np.float64) @ aside
        where = aim if radius else aimed
        out.append(coils.pose_on_scalp(model, where, handle_deg=angle, gap_mm=recipe.gap_mm, coil=coil))
    return out


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
