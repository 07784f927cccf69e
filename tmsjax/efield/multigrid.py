"""Conjugate gradients, preconditioned by a geometric multigrid V-cycle with Chebyshev smoothing.

Coarse levels are rediscretised from conductivities averaged over 2x2x2 voxels; interpolation is trilinear between nodes
and restriction its transpose, so that the V-cycle is symmetric. Chebyshev smoothing of D^-1 A (Adams et al. 2003,
J. Comput. Phys. 188:593) aims at eigenvalues in [2/RANGE, 2]; 2 bounds the spectrum (Gershgorin).
"""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.core.pytree import pytree
from tmsjax.efield import spfd

DEGREE = 2
RANGE = 5.0
COARSEST_DEGREE = 24
COARSEST_RANGE = 100.0
MAX_RESTARTS = 4


@pytree()
class Level:
    """One grid: edge conductances and the inverse of the operator's diagonal (0 outside the conductor)."""

    c: spfd.Edges
    inverse: Array


def hierarchy(sigma: Float[Array, "i j k"], spacing: tuple[float, ...], levels: int) -> list[Level]:
    """Levels from fine to coarse for voxel conductivities whose sides are divisible by 2^(levels - 1)."""
    out = []
    for n in range(levels):
        if n:
            sigma = coarsen(sigma)
            spacing = tuple(2 * h for h in spacing)
        c = spfd.conductances(sigma, spacing)
        diagonal = spfd.diagonal(c)
        out.append(Level(c, jnp.where(diagonal > 0, 1 / jnp.where(diagonal > 0, diagonal, 1), 0)))
    return out


def coarsen(sigma: Float[Array, "i j k"]) -> Float[Array, "_ _ _"]:
    """Mean over blocks of 2x2x2 voxels."""
    i, j, k = (n // 2 for n in sigma.shape)
    return sigma.reshape(i, 2, j, 2, k, 2).mean((1, 3, 5))


def v_cycle(levels: list[Level], b: Float[Array, "i j k"]) -> Float[Array, "i j k"]:
    """An approximate, symmetric inverse of the operator applied to ``b``."""
    level = levels[0]
    if len(levels) == 1:
        return _chebyshev_loop(level, b, COARSEST_DEGREE, COARSEST_RANGE)
    x, r = _chebyshev(level, b)
    x = x + _interpolate(v_cycle(levels[1:], _restrict(r)))
    return x + _chebyshev(level, b - spfd.apply(level.c, x), need_residual=False)[0]


def _coefficients(spread: float) -> tuple[float, float]:
    upper, lower = 2.0, 2.0 / spread
    return (upper + lower) / 2, (upper - lower) / 2


def _chebyshev(level: Level, r: Array, need_residual: bool = True) -> tuple[Array, Array]:
    """Chebyshev steps from zero; returns the correction and what is left of ``r``."""
    theta, delta = _coefficients(RANGE)
    rho = delta / theta
    step = x = level.inverse * r / theta
    for n in range(DEGREE):
        last = n == DEGREE - 1
        if last and not need_residual:
            break
        r = r - spfd.apply(level.c, step)
        if not last:
            following = 1 / (2 * theta / delta - rho)
            step = following * rho * step + (2 * following / delta) * level.inverse * r
            x, rho = x + step, following
    return x, r


def _chebyshev_loop(level: Level, r: Array, degree: int, spread: float) -> Array:
    theta, delta = _coefficients(spread)

    def body(_, state):
        x, step, r, rho = state
        r = r - spfd.apply(level.c, step)
        following = 1 / (2 * theta / delta - rho)
        step = following * rho * step + (2 * following / delta) * level.inverse * r
        return x + step, step, r, following

    first = level.inverse * r / theta
    start = (first, first, r, jnp.asarray(delta / theta, r.dtype))
    return jax.lax.fori_loop(0, degree - 1, body, start)[0]


def _interpolate(x: Array) -> Array:
    """Trilinear interpolation from n to 2n - 1 nodes along each axis."""
    for axis in range(3):
        n, zero = x.shape[axis], jnp.zeros((), x.dtype)
        even = [(0, 0, 0)] * 3
        odd = [(0, 0, 0)] * 3
        even[axis], odd[axis] = (0, 0, 1), (1, 1, 1)
        between = 0.5 * (jax.lax.slice_in_dim(x, 0, n - 1, axis=axis) + jax.lax.slice_in_dim(x, 1, n, axis=axis))
        x = jax.lax.pad(x, zero, even) + jax.lax.pad(between, zero, odd)
    return x


def _restrict(x: Array) -> Array:
    """The transpose of ``_interpolate``."""
    for axis in range(3):
        n = x.shape[axis]
        even = jax.lax.slice_in_dim(x, 0, n, 2, axis)
        odd = 0.5 * jax.lax.slice_in_dim(x, 1, n, 2, axis)
        left, right = [(0, 0)] * 3, [(0, 0)] * 3
        left[axis], right[axis] = (0, 1), (1, 0)
        x = even + jnp.pad(odd, left) + jnp.pad(odd, right)
    return x


def pcg(
    operator: Callable[[Array], Array],
    preconditioner: Callable[[Array], Array],
    b: Float[Array, "i j k"],
    tolerance: float,
    max_iterations: int,
) -> tuple[Float[Array, "i j k"], Array]:
    """Preconditioned conjugate gradients until |b - A x| <= tolerance |b|; returns x and the iterations.

    Convergence is decided on the true residual: once the recurrence says so, b - A x is recomputed and the search
    goes on from there (float32 recurrences drift).
    """
    target = tolerance * norm(b)

    def unfinished(state):
        _, r, _, _, n = state
        return (norm(r) > target) & (n < max_iterations)

    def iterate(state):
        x, r, p, rz, n = state
        z = preconditioner(r)
        rz_new = dot(r, z)
        # rz = 0 marks the first step after a restart, which goes along z alone.
        p = z + jnp.where(rz > 0, rz_new / _positive(rz), 0) * p
        ap = operator(p)
        alpha = rz_new / _positive(dot(p, ap))
        return x + alpha * p, r - alpha * ap, p, rz_new, n + 1

    def not_there(state):
        _, r, n, restarts = state
        return (norm(r) > target) & (n < max_iterations) & (restarts < MAX_RESTARTS)

    def restart(state):
        x, r, n, restarts = state
        x, _, _, _, n = jax.lax.while_loop(unfinished, iterate, (x, r, jnp.zeros_like(b), jnp.zeros((), b.dtype), n))
        return x, b - operator(x), n, restarts + 1

    start = (jnp.zeros_like(b), b, jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
    x, _, n, _ = jax.lax.while_loop(not_there, restart, start)
    return x, n


def dot(a: Array, b: Array) -> Array:
    """Inner product, summed in two stages so that float32 keeps its digits over millions of nodes."""
    return jnp.sum(jax.lax.optimization_barrier(jnp.sum(a * b, axis=-1)))


def norm(a: Array) -> Array:
    """Euclidean norm."""
    return jnp.sqrt(dot(a, a))


def _positive(value: Array) -> Array:
    """Keep 0/0 from turning a field of zeros into NaN."""
    return jnp.where(value > 0, value, 1)
