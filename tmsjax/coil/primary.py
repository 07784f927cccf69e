"""The primary field of a coil: dA/dt of magnetic dipoles, as matrix products, with its own reverse mode."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.coil.types import Coil, CoilPose
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.points import vectors
from tmsjax.core.units import DIPOLE_A

CHUNK = 1024
"""Points evaluated at once: a chunk's point-by-dipole table stays in cache."""


def to_coil_frame(pose: CoilPose, points_mm: ArrayLike) -> Float[Array, "p 3"]:
    """World points (p, 3) mm in the frame of a coil at ``pose``, so that float32 coordinates are small."""
    here = jax.lax.stop_gradient(pose.centre)
    # The second term is zero. It carries the centre's gradient past a sum of products, which crashes jaxlib 0.10.1 on
    # CPUs when there are hundreds of thousands of points.
    return (jnp.asarray(points_mm, float) - here) @ pose.rotation - (pose.centre - here) @ pose.rotation


def place(coil: Coil, pose: CoilPose) -> tuple[Float[Array, "d 3"], Float[Array, "d 3"]]:
    """Positions (d, 3) mm and moments (d, 3) A.m2 per A of the coil's dipoles in the world."""
    return coil.positions @ pose.rotation.T + pose.centre, coil.moments @ pose.rotation.T


def primary_field(
    coil: Coil, pose: CoilPose, points_mm: ArrayLike, didt: float | Float[Array, ""] = 1.0
) -> Float[Array, "p 3"]:
    """Primary electric field -dA/dt of a coil in V/m, world axes (p, 3), at world points (p, 3) mm.

    -dA/dt = -(mu0/4pi) dI/dt sum_q m_q x (r - q) / |r - q|^3 with dI/dt in A/us. Linear in ``didt``. Points on a
    dipole give infinities: a head is always outside the coil (``check_outside``). InputError for points that are no
    (p, 3) numbers.
    """
    points_mm = vectors(points_mm, "points of the primary field")
    local = vector_potential(coil.positions, coil.moments, to_coil_frame(pose, points_mm))
    return (-DIPOLE_A * didt) * (local @ pose.rotation.T)


@jax.custom_vjp
def vector_potential(
    positions: Float[Array, "d 3"], moments: Float[Array, "d 3"], points: Float[Array, "p 3"]
) -> Float[Array, "p 3"]:
    """Sum of m x (r - q) / |r - q|^3 over dipoles (d) at points (p), all in one frame with its origin near the dipoles.

    Written as (sum w m) x r - sum w (m x q) with w = |r - q|^-3: one table of distances, one matrix product. Reverse
    mode costs about two forward evaluations (tables are recomputed, never stored).
    """
    table = jnp.concatenate([moments, jnp.cross(moments, positions)], axis=1)
    return chunked(partial(_forward_chunk, positions, table), points)


def _inverse_distance(positions, points):
    square = jnp.sum(points * points, axis=1)[:, None] + jnp.sum(positions * positions, axis=1)[None]
    return jax.lax.rsqrt(square - 2 * jnp.dot(points, positions.T, precision="highest"))


def _forward_chunk(positions, table, points):
    sums = jnp.dot(_inverse_distance(positions, points) ** 3, table, precision="highest")
    return jnp.cross(sums[:, :3], points) - sums[:, 3:]


def chunked(function, points, *others):
    """Map ``function`` over chunks of rows (p, 3) of all arguments; its (p, 3) outputs come back joined."""
    n = points.shape[0]
    if n <= CHUNK:
        return function(points, *others)
    pad = -n % CHUNK
    # Padding repeats the last row, which is as regular as the points themselves.
    split = [jnp.pad(a, ((0, pad), (0, 0)), mode="edge").reshape(-1, CHUNK, 3) for a in (points, *others)]
    return jax.lax.map(lambda a: function(*a), tuple(split)).reshape(-1, 3)[:n]


def _forward(positions, moments, points):
    return vector_potential(positions, moments, points), (positions, moments, points)


def _backward(saved, g):
    positions, moments, points = saved
    n, pad = points.shape[0], -points.shape[0] % CHUNK
    # Rows of padding carry a zero cotangent, so they add nothing to the dipoles' gradients.
    points_ = jnp.pad(points, ((0, pad), (0, 0)), mode="edge").reshape(-1, CHUNK, 3)
    g_ = jnp.pad(g, ((0, pad), (0, 0))).reshape(-1, CHUNK, 3)
    table = jnp.concatenate([moments, jnp.cross(moments, positions)], axis=1)
    dot = partial(jnp.dot, precision="highest")

    def with_one(a):
        return jnp.concatenate([a, jnp.ones_like(a[:, :1])], axis=1)

    def step(carry, rows):
        r, gr = rows
        inverse = _inverse_distance(positions, r)
        w = inverse**3
        rg = jnp.concatenate([jnp.cross(r, gr), -gr], axis=1)  # s = m . (d x g), d = r - q
        sw5 = 3 * w * inverse**2 * dot(rg, table.T)
        # Every sum is a matrix product: jaxlib 0.10.2 miscompiles a product followed by a reduction (jax#39103).
        pushed = dot(sw5, with_one(positions))
        at_points = jnp.cross(gr, dot(w, moments)) - (r * pushed[:, 3:] - pushed[:, :3])
        weighted = dot(w.T, rg)  # sum_p w (r x g), -sum_p w g
        pulled = dot(sw5.T, with_one(r))
        pulled = pulled[:, :3] - positions * pulled[:, 3:]
        return (carry[0] + weighted, carry[1] + pulled), at_points

    zeros = (jnp.zeros((len(positions), 6), points.dtype), jnp.zeros_like(positions))
    (weighted, pulled), at_points = jax.lax.scan(step, zeros, (points_, g_))
    rg, minus_g = weighted[:, :3], weighted[:, 3:]
    at_moments = rg + jnp.cross(positions, minus_g)
    at_positions = jnp.cross(minus_g, moments) + pulled
    return at_positions, at_moments, at_points.reshape(-1, 3)[:n]


vector_potential.defvjp(_forward, _backward)
