"""Synthetic subjects: real heads and computed fields, muscles and responses that are made up.

Every stimulation's field comes from a pose model, every neuron's threshold from a surrogate; a muscle's drive is a
soft maximum of 1/threshold over its neurons along the motor strip, and ``recruitment`` makes responses of it. What is
learned from such a subject says how methods compare, not how well they would do in a person.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tmsjax.coil import Coil, CoilPose, ScalpChart
from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.cortex import Population, Roi, place
from tmsjax.efield.posemodel import PoseModel
from tmsjax.head import HeadModel
from tmsjax.mep import recruitment
from tmsjax.mep.files import fields_at, held, matrices_of
from tmsjax.mep.strip import TUBE_MM, Strip
from tmsjax.mep.types import Subject
from tmsjax.nn.runs import check_identity, digest
from tmsjax.response.sweep_modes import sweep_modes, thresholds_of_block
from tmsjax.surrogate import Surrogate

NOTE = "synthetic: fields computed, muscles and responses made up (tmsjax.mep.synthetic)"

SHARPNESS = 6.0
"""Of the soft maximum over neurons: the norm's exponent."""

DEPTH_MM, DEEP = 9.0, 0.2
"""A neuron counts by DEEP + exp(-(depth/DEPTH_MM)^2), depth below the strip's crown; chosen."""

BLOCK = 64
"""Neurons whose thresholds are computed and kept together."""


@dataclasses.dataclass(frozen=True)
class Protocol:
    """How a subject is mapped (Akbar et al. 2024, section II-A).

    intensities: per cent of the FDI's motor threshold. grid: side of the square grid, every point once an intensity;
    spacing_mm. free: further stimulations an intensity round the hotspot, s.d. ``spread_mm``, handles ``turn_deg``.
    responsive: the operator stays where a response is predicted with this probability; 0 takes any place.
    handle_deg, gap_mm: as in ``ScalpChart.pose``. didt_sign: of the current; None takes the one whose field at the
    hand points forwards.
    """

    intensities: tuple[float, ...] = (110.0, 120.0, 130.0, 140.0)
    grid: int = 7
    spacing_mm: float = 10.0
    free: int = 251
    spread_mm: float = 11.0
    turn_deg: float = 8.0
    responsive: float = 0.0
    handle_deg: float = 45.0
    gap_mm: float = 4.0
    didt_sign: int | None = None


class Drives(NamedTuple):
    """Drive (q, m) of every muscle at q poses, 1/(A/us); and the largest (m,) over the grid: at its hotspot."""

    values: Any
    best: Any


class Ground(NamedTuple):
    """What a synthetic subject was made of: the truth that an estimate is compared with."""

    muscles: recruitment.Muscles
    drive_percent: Any
    """(n, m) per cent of each muscle's threshold."""
    threshold_a_per_us: float
    """dI/dt of the FDI's motor threshold at its hotspot."""
    place_mm: Any
    """(n, 2) on the chart."""
    handle_deg: Any
    hotspot_mm: Any
    """(2,) on the chart: the grid's place of the FDI's largest drive."""


def generate(
    head: HeadModel, model: PoseModel, coil: Coil, chart: ScalpChart, surrogate: Surrogate, strip: Strip,
    mask: np.ndarray, affine: np.ndarray, *, protocol: Protocol | None = None, seed: int = 0, sites: int = 240,
    azimuths: int = 4, work: str | Path | None = None, progress: Callable[[str, int, int], None] | None = None,
) -> tuple[Subject, Ground]:  # fmt: skip
    """A synthetic subject of a head: fields at the voxels of ``mask``, responses of fifteen muscles.

    Args:
        head: with surfaces. model: pose model of a region that holds mask and strip. coil, chart: what is held where.
        surrogate: of the neurons' thresholds. strip: the line along which muscles lie. mask, affine: ``strip_mask``.
        protocol: the mapping. seed: of all that is drawn. sites, azimuths: neurons.
        work: folder that keeps the neurons' thresholds, so that a killed run goes on. progress: (what, done, of).

    Raises InputError for a strip without neurons in the model's region, and a protocol that no pose can meet.
    """
    protocol, rng = protocol or Protocol(), np.random.default_rng([seed, 3])
    neurons = _neurons(head, model, strip, sites, azimuths, seed)
    people = recruitment.muscles(seed)
    ticks = protocol.spacing_mm * (np.arange(protocol.grid) - (protocol.grid - 1) / 2)
    places = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    pool = len(protocol.intensities) * protocol.free
    reach = ticks[-1]
    free = np.clip(rng.normal(0, protocol.spread_mm, (round(1.5 * pool), 2)), -reach, reach)
    at = np.concatenate([places, free])
    handle = protocol.handle_deg + np.r_[np.zeros(len(places)), rng.normal(0, protocol.turn_deg, len(free))]
    poses = held(chart, *(jnp.asarray(a, jnp.float32) for a in (at, handle, protocol.gap_mm)))
    modes = sweep_modes(model, coil, poses)
    if modes.covered.mean() < 0.8:
        raise InputError(
            "the pose model does not cover the mapping", got=f"{modes.covered.mean():.0%} of the poses",
            expected="80 % or more", mend="a larger gap_mm in the protocol, or a pose model of a smaller clearance_mm",
        )  # fmt: skip
    middle = CoilPose(poses.rotation[len(places) // 2], poses.centre[len(places) // 2])
    sign = protocol.didt_sign or _forwards(model, coil, middle, strip)
    found = _thresholds(modes, sign, surrogate, neurons, work, progress)
    drives = _drives(found, neurons, strip, model, people, len(places))
    on = modes.covered & np.isfinite(drives.values).all(1)
    percent = 100 * drives.values / drives.best / people.threshold
    unit = 1 / float(drives.best[0])
    rows, level = _chosen(percent, on, len(places), protocol, people, rng)
    matrices = matrices_of(poses)[rows]
    drive = percent[rows] * level[:, None] / 100
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    kept, where = np.unique(rows, return_inverse=True)
    fields = fields_at(model, coil, matrices_of(poses)[kept], points)[where] * (unit * level / 100)[:, None]
    subject = Subject(
        fields, mask, affine, recruitment.responses(drive, people.plateau_mv, rng), level, people.names, matrices,
        sign * unit * level / 100, head.name, True, NOTE,
    )  # fmt: skip
    hotspot = at[int(np.argmax(np.where(on, percent[:, 0], 0)[: len(places)]))]
    return subject, Ground(people, drive, unit, at[rows], handle[rows], hotspot)


def drives_at(
    head: HeadModel, model: PoseModel, coil: Coil, surrogate: Surrogate, strip: Strip, poses: CoilPose,
    people: recruitment.Muscles, sign: int, *, seed: int = 0, sites: int = 240, azimuths: int = 4,
) -> Float[np.ndarray, "q m"]:  # fmt: skip
    """Drives (q, m), 1/(A/us), of the muscles of the subject that ``generate`` makes of these arguments, at any poses.

    It is the truth that an estimate of a synthetic subject is compared with. NaN where the model does not cover a pose.
    """
    neurons, modes = _neurons(head, model, strip, sites, azimuths, seed), sweep_modes(model, coil, poses)
    found = _drives(_thresholds(modes, sign, surrogate, neurons, None, None), neurons, strip, model, people, 1).values
    return np.where(modes.covered[:, None], found, np.nan)


def _chosen(percent, on, grid: int, protocol: Protocol, people, rng) -> tuple[np.ndarray, np.ndarray]:
    """Rows of poses and intensity (%) of every stimulation: the grid, then places of the pool, none twice."""
    rows, level, used = [], [], np.zeros(len(percent), bool)
    for intensity in protocol.intensities:
        free = on & ~used
        free[:grid] = False
        if protocol.responsive:
            draws = [recruitment.responses(percent * intensity / 100, people.plateau_mv, rng).any(1) for _ in range(12)]
            free &= np.mean(draws, axis=0) >= protocol.responsive
        some = np.flatnonzero(free)[: protocol.free]
        used[some] = True
        both = np.concatenate([np.flatnonzero(on[:grid]), some])
        rows.append(both)
        level.append(np.full(len(both), intensity))
    return np.concatenate(rows), np.concatenate(level)


def _neurons(head: HeadModel, model: PoseModel, strip: Strip, sites: int, azimuths: int, seed: int) -> Population:
    """Neurons of L5 in the strip whose somata are in the model's region."""
    centre = np.asarray(strip.points_mm)[strip.hand]
    reach = float(np.linalg.norm(np.asarray(model.points_mm) - centre, axis=1).max())
    side = "lh" if centre[0] < 0 else "rh"
    sides = {name.split("_")[0] for name in (head.surfaces or {})}
    everyone = place(head, "L5", 4 * sites, Roi.ball(centre, reach, side if side in sides else None), azimuths, seed)
    at = np.asarray(everyone.positions, float)
    near = (strip.nearest(at)[1] <= TUBE_MM) & np.asarray(model.inside(everyone.positions))
    kept = np.unique(np.asarray(everyone.site)[near])[
        :: max(1, len(np.unique(np.asarray(everyone.site)[near])) // sites)
    ]
    rows = np.flatnonzero(np.isin(np.asarray(everyone.site), kept))
    if not len(rows):
        raise InputError("the strip has no neurons", got=f"none within {TUBE_MM:g} mm in the pose model's region",
                         expected="a strip over the cortex of that region")  # fmt: skip
    return everyone[rows]


def _forwards(model: PoseModel, coil: Coil, pose: CoilPose, strip: Strip) -> int:
    """The sign of dI/dt whose field under the coil points forwards."""
    centre = np.asarray(strip.points_mm)[strip.hand]
    near = np.linalg.norm(np.asarray(model.points_mm) - centre, axis=1) < 10
    return 1 if float(np.asarray(model(coil, pose))[near, 1].mean()) >= 0 else -1


def _thresholds(modes, sign, surrogate, neurons, work, progress) -> Float[np.ndarray, "q p"]:
    """Thresholds in A/us of all neurons at all poses, infinite where there is none; by blocks that are kept."""
    folder = None if work is None else Path(work)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        about = digest((modes.fields, modes.amplitudes, neurons.positions, neurons.rotations, surrogate.variables))
        check_identity(folder / "run.json", {"thresholds": about, "sign": sign})
    found = []
    for first in range(0, len(neurons), BLOCK):
        if progress is not None:
            progress("neurons", first, len(neurons))
        file = None if folder is None else folder / f"block_{first}.npy"
        if file is not None and file.is_file():
            found.append(np.load(file))
            continue
        rows = np.minimum(np.arange(first, first + BLOCK), len(neurons) - 1)
        some, _ = thresholds_of_block(
            modes, np.array([sign]), surrogate, neurons.positions[rows], neurons.rotations[rows]
        )
        some = some[:, 0, : len(neurons) - first]
        if file is not None:
            with staged_file(file) as stage, stage.open("wb") as handle:
                np.save(handle, some)
        found.append(some)
    thresholds = np.concatenate(found, 1)
    return np.where(np.isfinite(thresholds), thresholds, np.inf)


def _drives(found: np.ndarray, neurons: Population, strip: Strip, model: PoseModel, people, grid: int) -> Drives:
    """Soft maximum of 1/threshold over each muscle's neurons."""
    at = np.asarray(neurons.positions, float)
    along, _ = strip.nearest(at)
    below = -np.asarray(model.distance.at(neurons.positions), float)
    depth = np.maximum(below - np.percentile(below, 2), 0)
    weight = np.exp(-0.5 * ((along[:, None] - people.lateral_mm) / recruitment.WIDTH_MM) ** 2)
    weight = weight * (DEEP + np.exp(-((depth / DEPTH_MM) ** 2)))[:, None]
    weight /= weight.sum(0)
    values = ((1 / found) ** SHARPNESS @ weight) ** (1 / SHARPNESS)
    return Drives(values, np.nanmax(values[:grid], axis=0))
