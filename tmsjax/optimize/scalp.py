"""From the variables of a search to a pose that clears the scalp: smooth, and valid by construction.

A coil over a bulge, or tilted, would touch the head with a wing: it is lifted along its own axis by a smooth function
of how much it lacks. So there is no constraint left for a search to run against, only the limits of
``Variables``, and a pose is lifted by next to nothing where the coil is clear anyway.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.coil import Coil, CoilPose, ScalpChart, face_points, scalp_chart
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.efield.posemodel import PoseModel
from tmsjax.head import HeadModel, ScalpDistance, scalp_surface
from tmsjax.optimize.variables import GAP, HANDLE, PLACE, TILT, Variables, batches

CELL_MM = 8.0
"""Of the casing's face one point is kept in each cell of this size: the scalp is smoother than that."""

SOFT_MM = 0.3
"""Softness of the least slack and of the lift."""

SPARE_MM = 0.5
"""Kept on top of what is asked for: what thinning the face, and a soft minimum, may miss."""

ROUNDS = 2
"""Lifts one after the other: a wing over a slope gains less distance than the coil is lifted."""


class Held(NamedTuple):
    """A coil held against the scalp.

    lift_mm: () by how much it is lifted beyond the gap that was asked for. slack_mm: () how much further from the scalp
    it is than it must be, least over its points.
    """

    pose: CoilPose
    lift_mm: Any
    slack_mm: Any


@pytree("radius_mm")
class Scalp:
    """Part of a head's scalp with a coil to be held against it.

    chart: of the scalp. distance: from the whole head's. points: (f, 3) mm of the coil in its own frame, with the
    distance from the scalp that each must keep, needed: (f,) mm. radius_mm: of the search.
    """

    chart: ScalpChart
    distance: ScalpDistance
    points: Any
    needed: Any
    radius_mm: float

    def slack(self, pose: CoilPose, soft_mm: float = 0.0) -> Float[Array, ""]:
        """How much further from the scalp the coil is than it must be, mm: least over its points, softly if asked."""
        each = self.distance.at(self.points @ pose.rotation.T + pose.centre) - self.needed
        if soft_mm == 0.0:
            return jnp.min(each)
        return -soft_mm * jax.nn.logsumexp(-each / soft_mm)

    def held(self, x: Float[Array, 6]) -> Held:
        """What variables (6,) make of the coil: its pose, lifted clear of the scalp; differentiable."""
        asked = self.chart.pose(_within(x[PLACE], self.radius_mm), x[HANDLE], x[GAP], x[TILT])
        outwards = -asked.rotation[:, 2]

        def lift(centre: Array, _: None) -> tuple[Array, None]:
            lack = SPARE_MM - self.slack(CoilPose(asked.rotation, centre), SOFT_MM)
            return centre + SOFT_MM * jax.nn.softplus(lack / SOFT_MM) * outwards, None

        pose = CoilPose(asked.rotation, jax.lax.scan(lift, asked.centre, None, length=ROUNDS)[0])
        return Held(pose, jnp.dot(pose.centre - asked.centre, outwards), self.slack(pose))

    def pose(self, x: Float[Array, 6]) -> CoilPose:
        """The pose of variables (6,)."""
        return self.held(x).pose


def hold(
    head: HeadModel, coil: Coil, target_mm: ArrayLike, variables: Variables, model: PoseModel, dipoles: Coil
) -> Scalp:
    """The scalp over a target, for a search within some limits.

    Args:
        head: the head. coil: with all its windings. target_mm: (3,) mm; the search is round the scalp nearest to it.
        variables: limits. model: pose model, which must reach all of it. dipoles: those used with the model.

    Raises:
        InputError: a target outside the head, a scalp that does not cover the search, a search beyond the model.
    """
    scalp = scalp_surface(head)
    chart = scalp_chart(head, target_mm, radius_mm=variables.radius_mm + 1.0, hair_mm=variables.hair_mm, scalp=scalp)
    # How well the chart fits is a static number of each: with it every chart would be compiled for anew.
    chart = dataclasses.replace(chart, fit_rms_mm=0.0, fit_max_mm=0.0)
    face = _thinned(face_points(coil))
    near = float(model.clearance_mm)
    sources = _thinned(np.asarray(dipoles.positions, float))
    points = np.concatenate([face, sources])
    needed = np.concatenate([np.full(len(face), variables.clear_mm), np.full(len(sources), near)])
    held = Scalp(
        chart, model.distance, jnp.asarray(points, jnp.float32), jnp.asarray(needed, jnp.float32), variables.radius_mm
    )
    _check_reach(held, model, variables)
    return held


def poses(scalp: Scalp, x: Float[np.ndarray, "m 6"]) -> CoilPose:
    """Poses of variables (m, 6), with a leading axis."""
    return held_at(scalp, x).pose


def held_at(scalp: Scalp, x: Float[np.ndarray, "m 6"]) -> Held:
    """The coil at variables (m, 6), with a leading axis; compiled once, whatever m is."""
    parts = [jax.tree.map(lambda a, n=n: np.asarray(a)[:n], _held(scalp, rows)) for rows, _, n in batches(x, 1)]
    return jax.tree.map(lambda *each: jnp.asarray(np.concatenate(each)), *parts)


def one_held(scalp: Scalp, x: Float[np.ndarray, 6]) -> Held:
    """The coil at one set of variables (6,)."""
    return jax.tree.map(lambda each: each[0], held_at(scalp, x[None]))


@jax.jit
def _held(scalp: Scalp, x: Float[Array, "b 6"]) -> Held:
    return jax.vmap(scalp.held)(x)


def batch_of_poses(scalp: Scalp, x: Float[Array, "b 6"]) -> CoilPose:
    """Poses of one batch of variables (b, 6)."""
    return _held(scalp, x).pose


@jax.jit
def batch_of_tangents(scalp: Scalp, x: Float[Array, "b 6"]) -> tuple[CoilPose, CoilPose]:
    """Poses of one batch of variables (b, 6), and how each moves with each of the six: axes b, 6."""

    def one(row: Array) -> tuple[CoilPose, CoilPose]:
        along = jax.vmap(lambda tangent: jax.jvp(scalp.pose, (row,), (tangent,)), out_axes=(None, 0))
        return along(jnp.eye(6, dtype=row.dtype))

    return jax.vmap(one)(x)


def _check_reach(held: Scalp, model: PoseModel, variables: Variables) -> None:
    """InputError unless the pose model holds at the rim and in the middle of the search."""
    angle = np.linspace(0, 2 * np.pi, 17)[:-1]
    rim = np.concatenate([np.zeros((1, 2)), variables.radius_mm * np.stack([np.cos(angle), np.sin(angle)], 1)])
    centres = np.asarray(poses(held, variables.start(rim, np.zeros(len(rim)))).centre)
    away = np.linalg.norm(centres - np.asarray(model.centre_mm), axis=1)
    if not away.max() <= float(model.reach_mm):
        raise InputError(
            "the search leaves the pose model's domain",
            got=f"poses {away.min():.0f} to {away.max():.0f} mm from the centre of its region",
            expected=f"at most {float(model.reach_mm):.0f} mm",
            mend="a smaller radius_mm, or a pose model of a region nearer to the target",
        )


def _within(place: Float[Array, 2], radius_mm: float) -> Float[Array, 2]:
    """The place itself within the search, the nearest on its rim beyond."""
    square = jnp.sum(place**2)
    beyond = square > radius_mm**2
    length = jnp.sqrt(jnp.where(beyond, square, 1.0))
    return place * jnp.where(beyond, radius_mm / length, 1.0)


def _thinned(points: np.ndarray) -> np.ndarray:
    """One of the points in each cell of ``CELL_MM``: the one furthest towards the head."""
    order = np.argsort(-points[:, 2])
    cells = np.floor(points[order, :2] / CELL_MM)
    return points[order[np.unique(cells, axis=0, return_index=True)[1]]]
