"""Sweeps: thresholds of populations over coil positions, handle angles, current directions, pulses and intensities.

One zarr group that xarray opens. At its root, for every target (a population with a cell's model for a pulse) and
pose: the share that is active at each intensity, the dI/dt that activates a given share, how many have no threshold;
and within, a group a target with every neuron's threshold at every pose. What a killed run has finished is not done
again: neurons are worked on in blocks, each written when it is done, and the same call goes on with the same bytes.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from tmsjax.coil import Coil, CoilPose, ScalpChart
from tmsjax.core.arrays import numbers
from tmsjax.core.errors import InputError
from tmsjax.cortex import Population
from tmsjax.efield.checks import check_coil
from tmsjax.efield.posemodel_type import PoseModel
from tmsjax.response import sweep_store
from tmsjax.response.recruitment import checked_intensities
from tmsjax.response.sweep_modes import sweep_modes, thresholds_of_block
from tmsjax.simulate.layout import alone, writing
from tmsjax.surrogate import Surrogate

SHARES = (0.1, 0.5)
"""Of a population, whose dI/dt a sweep gives."""

INTENSITIES = tuple(np.arange(10.0, 301.0, 10.0).tolist())
"""A/us: what a device can do, and twice as much."""

BLOCK, BLOCK_BYTES = 128, 2**28
"""Neurons of a block at most, and what its modes on the neurons' grids may take."""

Progress = Callable[[str, int, int], None]


@dataclasses.dataclass(frozen=True, eq=False)
class SweepGrid:
    """The poses of a sweep: every place with every handle angle and direction of the current.

    Attributes:
        places_mm: (n, 2) on the chart (``coil.scalp_chart``): u to the right of v, v forwards.
        handle_deg: (a,) as in ``pose_on_scalp``. gap_mm: between scalp and casing.
        current: signs of dI/dt, 1 and -1.
        intensities: (i,) A/us at which shares are counted. shares: (s,) whose dI/dt is wanted.
    """

    places_mm: Any
    handle_deg: Any
    gap_mm: float = 2.0
    current: tuple[int, ...] = (1, -1)
    intensities: Any = INTENSITIES
    shares: tuple[float, ...] = SHARES

    def __post_init__(self) -> None:
        places, angles = numbers(self.places_mm, "places of a sweep"), numbers(self.handle_deg, "angles of a sweep")
        if places.ndim != 2 or places.shape[1] != 2 or not len(places) or not np.isfinite(places).all():
            raise InputError("places of a sweep", got=places.shape, expected="(n, 2) finite mm on the chart")
        if angles.ndim != 1 or not len(angles) or not np.isfinite(angles).all():
            raise InputError("angles of a sweep", got=angles.shape, expected="(a,) finite degrees")
        if len(np.unique(places, axis=0)) < len(places) or len(np.unique(np.mod(angles, 360))) < len(angles):
            raise InputError("a pose twice in a sweep", got="equal places or angles", expected="each once")
        if not self.current or not set(self.current) <= {1, -1} or len(set(self.current)) < len(self.current):
            raise InputError("directions of the current", got=self.current, expected="1, -1, or both")
        if not self.shares or any(not 0 < share <= 1 for share in self.shares):
            raise InputError("shares of a population", got=self.shares, expected="above 0, at most 1")
        for name, value in (("places_mm", places), ("handle_deg", angles)):
            object.__setattr__(self, name, value)
        object.__setattr__(self, "intensities", checked_intensities(self.intensities))

    @property
    def shape(self) -> tuple[int, int, int]:
        """Places, angles, directions."""
        return len(self.places_mm), len(self.handle_deg), len(self.current)

    def poses(self, chart: ScalpChart) -> CoilPose:
        """All places x angles as one stacked pose (n a, ...); InputError for places off the chart."""
        off = ~np.asarray(chart.inside(self.places_mm))
        if off.any():
            raise InputError(
                "places of a sweep are off the chart",
                got=f"{off.sum()} of {len(off)}",
                expected=f"within {chart.radius_mm:g} mm of its centre",
                mend="a chart of a larger radius_mm, or places nearer to its centre",
            )
        at = jnp.asarray(np.repeat(self.places_mm, len(self.handle_deg), 0), jnp.float32)
        angles = jnp.asarray(np.tile(self.handle_deg, len(self.places_mm)), jnp.float32)
        return _poses(chart, at, angles, jnp.float32(self.gap_mm))


@jax.jit
def _poses(chart: ScalpChart, places: Array, angles: Array, gap: Array) -> CoilPose:
    return jax.vmap(lambda place, angle: chart.pose(place, angle, gap))(places, angles)


@dataclasses.dataclass(frozen=True, eq=False)
class SweepTarget:
    """A population, and the model of one cell and pulse whose thresholds it gets."""

    population: Population
    model: Surrogate

    @property
    def name(self) -> str:
        """Name of its group in the file: layer, cell and pulse."""
        return f"{self.population.layer}-{self.model.spec.cell.replace('/', '_')}-{self.model.spec.pulse}"


def square(reach_mm: float, step_mm: float) -> np.ndarray:
    """Places (n, 2) of a square grid round the chart's centre, up to ``reach_mm`` along each axis; 0 is one place."""
    if not (np.isfinite([reach_mm, step_mm]).all() and reach_mm >= 0 and step_mm > 0):
        raise InputError("grid of places", got=f"reach {reach_mm}, step {step_mm}", expected="mm, step above 0")
    count = int(np.floor(reach_mm / step_mm + 1e-9))
    ticks = step_mm * np.arange(-count, count + 1)
    return np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)


def sweep(
    path: str | Path,
    targets: Sequence[SweepTarget],
    pose_model: PoseModel,
    coil: Coil,
    chart: ScalpChart,
    grid: SweepGrid,
    *,
    progress: Progress | None = None,
) -> Path:
    """Thresholds of every target at every pose of a grid, to the zarr group ``path``; resumable.

    Called again with the same arguments after a kill, it goes on where it was; a finished one is left as it is.
    Memory is bounded: a block of neurons at all poses, and the pose model.

    Args:
        path: the folder, new or of the same sweep.
        targets: populations with their models; each layer, cell and pulse once.
        pose_model: of a region that holds the populations, made from the head that they are in
            (``posemodel.load(folder, head)`` sees to that).
        coil: any. chart: where on the scalp the places are.
        grid: the poses.
        progress: called with (what, blocks done, blocks in all).

    Returns:
        ``path``: ``xarray.open_zarr(path, consolidated=False)``, and with ``group=target.name`` for every neuron.

    Raises:
        InputError: no targets, a pose model without a grid, no pose that it covers, a target without a neuron in its
            region; a folder of another sweep, or that is no sweep's; a disk that is full (what was written stays).
    """
    path, targets = Path(path), _checked(targets, pose_model)
    poses = grid.poses(chart)
    check_coil(coil, CoilPose(poses.rotation[0], poses.centre[0]))
    modes = sweep_modes(pose_model, coil, poses)
    if not modes.covered.any():
        pose_model(coil, CoilPose(poses.rotation[0], poses.centre[0]))  # its error says how far off the pose is
    sizes = [_block(target, modes.amplitudes.shape[1]) for target in targets]
    identity = sweep_store.identity(coil, poses, pose_model, targets, grid)
    if not path.exists():
        sweep_store.create(path, targets, coil, poses, grid, sizes, identity, modes)
    with _alone(path):
        store = sweep_store.open_sweep(path, identity)
        if store.attrs["finished"]:
            return path
        blocks = [(t, row) for t, n in enumerate(sizes) for row in range(0, len(targets[t].population), n)]
        pending = [b for b in blocks if not sweep_store.is_done(store, targets[b[0]].name, b[1], sizes[b[0]])]
        for done, (t, row) in enumerate(pending, len(blocks) - len(pending)):
            if progress is not None:
                progress(targets[t].name, done, len(blocks))
            size, population = sizes[t], targets[t].population
            rows = np.minimum(np.arange(row, row + size), len(population) - 1)  # the last block repeats its last neuron
            found, status = thresholds_of_block(
                modes,
                np.asarray(grid.current),
                targets[t].model,
                population.positions[rows],
                population.rotations[rows],
            )
            keep = min(size, len(population) - row)
            with writing(path):
                sweep_store.write_block(store, targets[t].name, row, found[..., :keep], status[..., :keep], grid.shape)
        with writing(path):
            sweep_store.finish(store, targets, grid, progress)
    return path


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """One run at a time. The lock's file goes away again: readers of zarr groups wonder at files that are no arrays."""
    with alone(path):
        try:
            yield
        finally:
            (path / ".lock").unlink(missing_ok=True)


def _block(target: SweepTarget, rank: int) -> int:
    """Neurons of a block: few enough that the modes on their grids fit ``BLOCK_BYTES``."""
    each = 4 * 3 * target.model.spec.n**3 * rank
    return int(np.clip(BLOCK_BYTES // each, 1, min(BLOCK, len(target.population))))


def _checked(targets: Sequence[SweepTarget], pose_model: PoseModel) -> list[SweepTarget]:
    found = list(targets)
    if not found or any(not len(target.population) for target in found):
        raise InputError("the population is empty", got=f"{len(found)} targets", expected="targets with neurons")
    names = [target.name for target in found]
    if len(set(names)) < len(names):
        raise InputError("a target twice", got=names, expected="each layer, cell and pulse once")
    for target in found:
        if not bool(pose_model.inside(target.population.positions).any()):
            raise InputError(
                f"no neuron of {target.name} is in the pose model's region",
                got=f"{len(target.population)} somata outside it",
                expected="a population in the region's tissue",
                mend="a pose model of this place: posemodel.precompute_region(head, centre_mm, radius_mm)",
            )
    return found
