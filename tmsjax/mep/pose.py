"""Where the coil was, from the muscles' responses: a posterior over poses on the scalp, through the computed field.

What Akbar et al. 2024 name as future work: the field that is found belongs to a coil, so that it can be made again.
The intensity is known, as it is recorded. All poses of a grid are scored; the best are followed by gradient through
the pose model, and the grid's posterior gives intervals, and the mean field.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Bool, Float
from scipy.spatial import KDTree

from tmsjax.coil import ChartCoordinates, Coil, CoilPose, ScalpChart
from tmsjax.core.errors import InputError
from tmsjax.efield.posemodel import PoseModel
from tmsjax.mep.files import held, matrices_of, modes_at, stacked
from tmsjax.mep.muscle_model import MuscleModel, Parcels
from tmsjax.mep.types import Subject

STEP_MM, TURNS_DEG = 4.0, (-16.0, -8.0, 0.0, 8.0, 16.0)
"""Of the grid: places, and handles about the usual one."""

STARTS, STEPS, RATE = 4, 60, 0.5
"""Poses of the grid that are followed, steps of Adam, and its rate in mm (degrees count as ``DEGREE_MM``)."""

DEGREE_MM = 0.5
LEVEL = 0.9


class Prior(NamedTuple):
    """Where the operator holds the coil: normal in place (mean (2,), covariance (2, 2) mm) and handle (mean, s.d.)."""

    place_mm: Any
    covariance: Any
    handle_deg: float
    handle_sd: float
    gap_mm: float

    def log_density(self, place: Float[Any, "... 2"], handle: Float[Any, "..."]) -> Float[Array, "..."]:  # noqa: UP037
        """Log-density, up to a constant."""
        away = jnp.asarray(place) - jnp.asarray(self.place_mm)
        precision = jnp.asarray(np.linalg.inv(self.covariance), jnp.float32)
        turned = (jnp.asarray(handle) - self.handle_deg) / self.handle_sd
        return -0.5 * jnp.einsum("...i,ij,...j->...", away, precision, away) - 0.5 * turned**2


class PoseGrid(NamedTuple):
    """Poses that are scored: places (q, 2), handles (q,), their field's modes, and |E| of parcels (q, p) a A/us."""

    place_mm: Any
    handle_deg: Any
    parcel_fields: Any
    fields: Any
    """(q, v) |E| at the mask's voxels, V/m per A/us."""


class Recovered(NamedTuple):
    """Poses found for n stimulations.

    place_mm, handle_deg: (n, 2), (n,) the posterior's mean. best_mm, best_deg: its maximum, followed by gradient.
    inside: (n, q) the grid's poses in the smallest set of ``LEVEL``. fields: (n, v) V/m, the posterior's mean field.
    best_fields: (n, v) V/m of that pose, which a coil makes. covered: whether the pose model holds there.
    """

    place_mm: Any
    handle_deg: Any
    best_mm: Any
    best_deg: Any
    inside: Bool[np.ndarray, "n q"]
    fields: Any
    best_fields: Any
    covered: Any


def coordinates(chart: ScalpChart, matrices: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Places (n, 2) mm, handles (n,) degrees and gaps (n,) mm of coil matrices (n, 4, 4) on a chart."""
    poses = stacked(np.asarray(matrices))
    each = [_coordinates(chart, r, c) for r, c in zip(poses.rotation, poses.centre, strict=True)]
    found = jax.tree.map(lambda *parts: np.stack(parts), *each)
    if not np.asarray(found.inside).all():
        raise InputError(
            "poses off the chart", got=f"{int((~np.asarray(found.inside)).sum())} of {len(found.inside)}",
            expected=f"within {chart.radius_mm:g} mm of its centre", mend="a chart of a larger radius_mm",
        )  # fmt: skip
    return np.asarray(found.place_mm), np.asarray(found.handle_deg), np.asarray(found.gap_mm)


@jax.jit
def _coordinates(chart: ScalpChart, rotation: Array, centre: Array) -> ChartCoordinates:
    return chart.coordinates(CoilPose(rotation, centre))


def prior_of(chart: ScalpChart, subject: Subject) -> Prior:
    """The operator's prior from the poses of stimulations; InputError where these have none."""
    if subject.poses is None:
        raise InputError("stimulations without poses", got=subject.name, expected="coil poses of each")
    place, handle, gap = coordinates(chart, subject.poses)
    cover = np.cov(place.T) + np.eye(2)
    return Prior(place.mean(0), cover, float(handle.mean()), float(max(handle.std(), 2.0)), float(np.median(gap)))


def pose_grid(
    model: PoseModel, coil: Coil, chart: ScalpChart, prior: Prior, parcels: Parcels, voxels_mm: Any,
    step_mm: float = STEP_MM,
) -> PoseGrid:  # fmt: skip
    """All places within three standard deviations of the prior's mean (and on the chart), at each of ``TURNS_DEG``."""
    reach = 3 * np.sqrt(np.diag(prior.covariance)).max()
    ticks = np.arange(-np.floor(reach / step_mm), np.floor(reach / step_mm) + 1) * step_mm
    place = prior.place_mm + np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    away = place - prior.place_mm
    near = np.einsum("ni,ij,nj->n", away, np.linalg.inv(prior.covariance), away) <= 9
    place = place[near & np.asarray(chart.inside(place))]
    turns = prior.handle_deg + np.asarray(TURNS_DEG)
    place, handle = np.repeat(place, len(turns), 0), np.tile(turns, len(place))
    poses = _held(chart, place, handle, prior.gap_mm)
    modes = modes_at(model, coil, matrices_of(poses), np.asarray(voxels_mm), strict=False)
    on = modes.covered
    place, handle = place[on], handle[on]
    fields = np.linalg.norm(np.einsum("vcr,nr->nvc", modes.fields, modes.amplitudes[on], optimize=True), axis=2)
    return PoseGrid(place, handle, parcels.of(fields), fields.astype(np.float32))


def _held(chart: ScalpChart, place: Any, handle: Any, gap: float) -> CoilPose:
    return held(chart, *(jnp.asarray(a, jnp.float32) for a in (place, handle, gap)))


def recover(
    subject: Subject, model: PoseModel, coil: Coil, chart: ScalpChart, prior: Prior,
    muscles: MuscleModel | None, grid: PoseGrid, *, log_likelihood: Any = None,
) -> Recovered:  # fmt: skip
    """Poses of a subject's stimulations from their responses and dI/dt; their own poses and fields are not looked at.

    ``log_likelihood`` (n, q) of all grid poses in place of the muscles' own, for comparisons; nothing is followed by
    gradient then. Raises InputError for stimulations without dI/dt.
    """
    if subject.didt_a_per_us is None:
        raise InputError("stimulations without intensity", got="no didt_a_per_us", expected="dI/dt of each pulse")
    y, didt = jnp.asarray(subject.responses, jnp.float32), jnp.abs(jnp.asarray(subject.didt_a_per_us, jnp.float32))
    prior_q = prior.log_density(grid.place_mm, grid.handle_deg)
    followed = muscles if log_likelihood is None else None
    if log_likelihood is None:
        if muscles is None:
            raise InputError(
                "responses have no likelihood", got="no muscles", expected="fit_muscles, or log_likelihood"
            )
        log_likelihood = _scored(muscles, jnp.asarray(grid.parcel_fields, jnp.float32), didt, y)
    log_p = jnp.asarray(log_likelihood) + prior_q
    p = np.asarray(jax.nn.softmax(log_p, axis=1), float)
    order = np.argsort(-p, axis=1)
    before = np.cumsum(np.take_along_axis(p, order, 1), 1) - np.take_along_axis(p, order, 1)
    inside = np.zeros_like(p, bool)
    np.put_along_axis(inside, order, before < LEVEL, 1)
    starts = order[:, :STARTS]
    rate = np.asarray(didt)
    if followed is not None:
        best, turned, fields, covered = _followed(subject, model, coil, chart, prior, followed, grid, starts, y, didt)
    else:
        best, turned = np.asarray(grid.place_mm)[order[:, 0]], np.asarray(grid.handle_deg)[order[:, 0]]
        fields, covered = grid.fields[order[:, 0]] * rate[:, None], np.ones(len(p), bool)
    return Recovered(
        p @ grid.place_mm, p @ grid.handle_deg, best, turned, inside, (p @ grid.fields) * rate[:, None], fields, covered
    )


def _scored(
    muscles: MuscleModel, fields: Float[Array, "q p"], didt: Float[Array, " n"], y: Float[Array, "n m"]
) -> Array:
    """Log-likelihood (n, q) of every stimulation at every pose."""

    def one(given: tuple[Array, Array]) -> Array:
        rate, own = given
        return muscles.log_likelihood(rate * fields, jnp.broadcast_to(own, (len(fields), len(own))))

    return jax.jit(lambda pairs: jax.lax.map(one, pairs))((didt, y))


def _followed(subject, model, coil, chart, prior, muscles, grid, starts, y, didt):
    """The best of ``STARTS`` poses of each stimulation after Adam; their fields, and whether the model covers them."""
    points = subject.voxels_mm[muscles.parcels.voxels.ravel()]
    near = _resampled(model, points)
    unit = jnp.array([1.0, 1.0, 1.0 / DEGREE_MM])

    def log_posterior(x: Float[Array, 3], rate: Array, own: Array) -> Array:
        place, handle = x[:2], x[2] * unit[2]
        e = near(coil, chart.pose(place, handle, prior.gap_mm), rate)
        parcels = jnp.linalg.norm(e, axis=1).reshape(muscles.parcels.voxels.shape).mean(1)
        return muscles.log_likelihood(parcels[None], own[None])[0] + prior.log_density(place, handle)

    optimiser = optax.adam(RATE)

    def follow(x: Array, rate: Array, own: Array) -> tuple[Array, Array]:
        def step(carry, _):
            x, state, best, top = carry
            value, slope = jax.value_and_grad(log_posterior)(x, rate, own)
            better = value > top
            best, top = jnp.where(better, x, best), jnp.where(better, value, top)
            # Off the chart or too near the scalp the field is NaN: the pose stays where it was best.
            slope = jnp.where(jnp.isfinite(slope), slope, 0.0)
            update, state = optimiser.update(-slope, state)
            return (jnp.where(jnp.isfinite(value), x + update, best), state, best, top), None

        start = (x, optimiser.init(x), x, -jnp.inf)
        (_, _, best, top), _ = jax.lax.scan(step, start, None, length=STEPS)
        return best, jnp.asarray(top)

    where = jnp.asarray(np.concatenate([grid.place_mm, grid.handle_deg[:, None] * DEGREE_MM], 1), jnp.float32)

    @jax.jit
    def all_of(first: Array, rate: Array, own: Array) -> tuple[Array, Array]:
        return jax.lax.map(lambda g: jax.vmap(lambda x: follow(x, g[1], g[2]))(g[0]), (first, rate, own))

    found, top = all_of(where[jnp.asarray(starts)], didt, y)
    best = np.asarray(found)[np.arange(len(found)), np.argmax(np.asarray(top), 1)]
    place, handle = best[:, :2], best[:, 2] / DEGREE_MM
    matrices = matrices_of(_held(chart, place, handle, prior.gap_mm))
    modes = modes_at(model, coil, matrices, subject.voxels_mm)
    fields = np.linalg.norm(np.einsum("vcr,nr->nvc", modes.fields, modes.amplitudes, optimize=True), axis=2)
    return place, handle, fields * np.asarray(didt)[:, None], modes.covered


def _resampled(model: PoseModel, points: np.ndarray) -> PoseModel:
    """The model at points, those outside its tissue moved to the nearest voxel inside."""
    inside = np.asarray(model.inside(points))
    at = np.asarray(points, np.float32).copy()
    if not inside.all():
        known = np.asarray(model.points_mm)
        at[~inside] = known[KDTree(known).query(at[~inside])[1]]
    return model.resampled(at)
