"""The smooth surface that a chart of the scalp is made of, and the frames of coils on it.

A radius over directions from a point ``DEPTH_MM`` below the chart's centre, as a bicubic B-spline over their
stereographic map (``chart`` fits it). A surface is ``coefficients`` (n, n) mm of the spline, knots ``KNOT_MM`` apart;
``origin`` (3,) mm, where directions start; ``axes`` (3, 3), columns u, v and outwards at the centre.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.core.bspline import cubic_weights

DEPTH_MM = 80.0
"""How far below the chart's centre its directions start: about the radius of a head."""

KNOT_MM = 6.0
"""Spacing of the spline's knots."""

NEWTON_STEPS = 8
"""Of ``find_place``: it converges quadratically, to rounding in 3 or 4."""


def _spline(coefficients: Float[Array, "n n"], place: Float[Array, 2]) -> Float[Array, ""]:
    count = coefficients.shape[0]
    t = jnp.clip(place / KNOT_MM + (count - 1) / 2, 1.0, count - 3 + 0.999)
    whole = jax.lax.stop_gradient(jnp.floor(t))
    weights = cubic_weights(t - whole)
    first = whole.astype(jnp.int32) - 1
    around = jax.lax.dynamic_slice(coefficients, (first[0], first[1]), (4, 4))
    return weights[0] @ around @ weights[1]


def _point(
    coefficients: Float[Array, "n n"], origin: Float[Array, 3], axes: Float[Array, "3 3"], place: Float[Array, 2]
) -> Float[Array, 3]:
    w = place / DEPTH_MM
    s = jnp.sum(w * w) / 4
    way = (axes[:, :2] @ w + (1 - s) * axes[:, 2]) / (1 + s)
    return origin + _spline(coefficients, place) * way


@jax.jit
def surface(
    coefficients: Float[Array, "n n"], origin: Float[Array, 3], axes: Float[Array, "3 3"], place: Float[Array, 2]
) -> tuple[Float[Array, 3], Float[Array, 3]]:
    """The point of the surface and its outward unit normal."""
    tangents = jax.jacfwd(_point, argnums=3)(coefficients, origin, axes, place)
    normal = jnp.cross(tangents[:, 0], tangents[:, 1])
    return _point(coefficients, origin, axes, place), normal / jnp.linalg.norm(normal)


@jax.jit
def find_place(
    coefficients: Float[Array, "n n"], origin: Float[Array, 3], axes: Float[Array, "3 3"], centre: Float[Array, 3]
) -> Float[Array, 2]:
    """The place whose normal leads to ``centre``: Newton's method from the centre's own direction."""
    way = (centre - origin) @ axes
    start = 2 * DEPTH_MM * way[:2] / (jnp.linalg.norm(way) + way[2])

    def miss(place):
        tangents = jax.jacfwd(_point, argnums=3)(coefficients, origin, axes, place)
        return tangents.T @ (centre - _point(coefficients, origin, axes, place))

    def step(place, _):
        return place - jnp.linalg.solve(jax.jacfwd(miss)(place), miss(place)), None

    return jax.lax.scan(step, start, None, length=NEWTON_STEPS)[0]


def frame(reference: Float[Array, 3], normal: Float[Array, 3]) -> Float[Array, "3 3"]:
    """Columns x, y, z of an untilted coil at handle angle 0."""
    y = reference - (reference @ normal) * normal
    y = y / jnp.linalg.norm(y)
    return jnp.stack([jnp.cross(y, -normal), y, -normal], axis=1)


def turned(turn: Float[Array, ""], pitch: Float[Array, ""], roll: Float[Array, ""]) -> Float[Array, "3 3"]:
    """Rz(turn) Rx(pitch) Ry(roll)."""
    (cz, cx, cy), (sz, sx, sy) = (jnp.stack([f(a) for a in (turn, pitch, roll)]) for f in (jnp.cos, jnp.sin))
    return jnp.array(
        [
            [cz * cy - sz * sx * sy, -sz * cx, cz * sy + sz * sx * cy],
            [sz * cy + cz * sx * sy, cz * cx, sz * sy - cz * sx * cy],
            [-cx * sy, sx, cx * cy],
        ]
    )
