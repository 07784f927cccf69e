"""Conjugate gradients, preconditioned by a geometric multigrid cycle with Chebyshev smoothing.

Coarse levels have edges of twice the length: two in series along the edge, by the mean of their conductances, and side
by side those nearer than half their distance (the edges of the Galerkin product, its diagonals left out).
Interpolation is trilinear between nodes and restriction its transpose, so that the cycle is symmetric. Chebyshev
smoothing of D^-1 A (Adams et al. 2003, J. Comput. Phys. 188:593) aims at eigenvalues in [2/range, 2]; 2 bounds the
spectrum (Gershgorin). Work on coarse levels is cheap: the finest is smoothed once (damped Jacobi), the others twice,
and the third level is visited twice. Time is that of reading and writing memory, so each step is a ``stage``.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.core.pytree import pytree
from tmsjax.efield import spfd
from tmsjax.efield.stage import always, stage

FINEST = (1, 4.0)
COARSER = (2, 5.0)
COARSEST = (24, 100.0)
"""Degree and range of the smoother on the finest level, on those below it, and in place of a solver on the last."""

VISITS = (1, 2)
"""How often a cycle visits the level below the finest, and from there the next; once further down."""

PASS_TOLERANCE = 1e-4
"""What one pass of float32 conjugate gradients is asked for at most; more takes another pass on the true residual."""

MAX_PASSES = 8


@pytree()
class Level:
    """One grid: edge conductances and the inverse of the operator's diagonal (0 outside the conductor)."""

    c: spfd.Edges
    inverse: Array


def hierarchy(c: spfd.Edges, levels: int) -> list[Level]:
    """Levels from fine to coarse for edge conductances on a grid whose voxels are divisible by 2^(levels - 1)."""
    out = []
    for n in range(levels):
        c = coarsen(c) if n else c[:3]
        diagonal = spfd.diagonal(c)
        out.append(Level(c, jnp.where(diagonal > 0, 1 / jnp.where(diagonal > 0, diagonal, 1), 0)))
    return out


def coarsen(c: spfd.Edges) -> spfd.Edges:
    """Edge conductances of the grid of every other node."""
    out = []
    for axis in range(3):
        n = c[axis].shape[axis]
        edges = 0.25 * (_every_other(c[axis], axis, 0, n) + _every_other(c[axis], axis, 1, n))
        for other in range(3):
            if other != axis:
                edges = _restrict(edges, other)
        out.append(edges)
    return tuple(out)


def cycle(levels: list[Level], b: Float[Array, "i j k"], depth: int = 0) -> Float[Array, "i j k"]:
    """An approximate, symmetric inverse of the operator applied to ``b``."""
    level = levels[0]
    if len(levels) == 1:
        return _chebyshev_loop(level, b, *COARSEST)
    step = partial(stage, always(level.inverse))
    smoother = COARSER if depth else FINEST
    x, r = _smooth_from_zero(level, b, *smoother)
    for visit in range(VISITS[depth] if depth < len(VISITS) else 1):
        if visit:
            r = step(_residual, level.c, x, b)
        for axis in (0, 1, 2):  # the last axis is slow to thin out: last, when little is left
            r = step(partial(_restrict, axis=axis), r)
        e = cycle(levels[1:], r, depth + 1)
        for axis in (2, 1):
            e = step(partial(_interpolate, axis=axis), e)
        x = step(lambda x, e: x + _interpolate(e, 0), x, e)
    return _smooth(level, x, b, *smoother)


def _coefficients(degree: int, spread: float) -> tuple[float, list[tuple[float, float]]]:
    """Of the first Chebyshev step on D^-1 r, and of the others on the step before and on D^-1 r."""
    upper, lower = 2.0, 2.0 / spread
    theta, delta = (upper + lower) / 2, (upper - lower) / 2
    rho, rest = delta / theta, []
    for _ in range(degree - 1):
        following = 1 / (2 * theta / delta - rho)
        rest.append((following * rho, 2 * following / delta))
        rho = following
    return 1 / theta, rest


def _smooth_from_zero(level: Level, b: Array, degree: int, spread: float) -> tuple[Array, Array]:
    """Chebyshev steps from zero; returns the correction and what is left of ``b``."""
    first, rest = _coefficients(degree, spread)
    run = partial(stage, always(level.inverse))
    step = x = run(lambda inverse, b: first * inverse * b, level.inverse, b)
    r = run(_residual, level.c, step, b)
    for old, new in rest:
        step = run(lambda i, step, r: old * step + new * i * r, level.inverse, step, r)  # noqa: B023 - traced at once
        x = run(jnp.add, x, step)
        r = run(_residual, level.c, step, r)
    return x, r


def _smooth(level: Level, x: Array, b: Array, degree: int, spread: float) -> Array:
    """Chebyshev steps from ``x``."""
    first, rest = _coefficients(degree, spread)
    run = partial(stage, always(level.inverse))
    if not rest:
        return run(lambda c, i, x, b: x + first * i * _residual(c, x, b), level.c, level.inverse, x, b)
    r = run(_residual, level.c, x, b)
    step = run(lambda inverse, r: first * inverse * r, level.inverse, r)
    for old, new in rest[:-1]:
        x = run(jnp.add, x, step)
        r = run(_residual, level.c, step, r)
        step = run(lambda i, step, r: old * step + new * i * r, level.inverse, step, r)  # noqa: B023 - traced at once
    old, new = rest[-1]

    def last(c, inverse, x, step, r):
        return x + (1 + old) * step + new * inverse * _residual(c, step, r)

    return run(last, level.c, level.inverse, x, step, r)


def _chebyshev_loop(level: Level, b: Array, degree: int, spread: float) -> Array:
    first, rest = _coefficients(degree, spread)

    def body(state, factors):
        x, step, r = state
        r = _residual(level.c, step, r)
        step = factors[0] * step + factors[1] * level.inverse * r
        return (x + step, step, r), None

    step = first * level.inverse * b
    return jax.lax.scan(body, (step, step, b), jnp.asarray(rest, b.dtype))[0][0]


def _residual(c: spfd.Edges, x: Array, b: Array) -> Array:
    return b - spfd.apply(c, x)


def _every_other(a: Array, axis: int, start: int, stop: int) -> Array:
    return jax.lax.slice_in_dim(a, start, stop, 2, axis)


def _interpolate(x: Array, axis: int) -> Array:
    """Linear interpolation from n to 2n - 1 nodes along an axis."""
    n, twice = x.shape[axis], jnp.repeat(x, 2, axis)
    return 0.5 * (
        jax.lax.slice_in_dim(twice, 0, 2 * n - 1, axis=axis) + jax.lax.slice_in_dim(twice, 1, 2 * n, axis=axis)
    )


def _restrict(x: Array, axis: int) -> Array:
    """The transpose of ``_interpolate``."""
    n = x.shape[axis]
    odd = 0.5 * _every_other(x, axis, 1, n)
    left, right = [(0, 0)] * 3, [(0, 0)] * 3
    left[axis], right[axis] = (0, 1), (1, 0)
    return _every_other(x, axis, 0, n) + jnp.pad(odd, left) + jnp.pad(odd, right)


def solve(
    operator: Callable[[Array], Array],
    levels: list[Level],
    b: Float[Array, "i j k"],
    tolerance: float,
    max_iterations: int,
    single: spfd.Edges,
) -> tuple[Float[Array, "i j k"], Array]:
    """Find x, with |b - operator(x)| <= tolerance |b|, and the iterations it took; b and x sum to zero.

    Passes of conjugate gradients in float32, with the operator of conductances ``single``, on the residual in the
    precision of ``b``: b - operator(x) is recomputed after each (float32 recurrences drift), and decides. With float64
    b and operator this is iterative refinement, which reaches what float64 can.
    """
    node = levels[0].inverse > 0
    count = jnp.maximum(jnp.sum(node.astype(b.dtype)), 1)
    b = _centred(b, node, count)
    target = tolerance * norm(b)
    go = always(levels[0].inverse)

    def unfinished(state):
        _, _, left, n, passes = state
        return (left > target) & (n < max_iterations) & (passes < MAX_PASSES)

    def one_pass(state):
        x, r, left, n, passes = state
        goal = jnp.maximum(target / left, PASS_TOLERANCE if b.dtype == jnp.float64 else 0)
        step, taken = _pcg(single, levels, _centred(r / left, node, count), goal, max_iterations - n)
        x = x + left * _centred(step, node, count)
        r = stage(go, lambda b, x: b - operator(x), b, x)
        return x, r, norm(r), n + taken, passes + 1

    start = (jnp.zeros_like(b), b, norm(b), jnp.zeros((), jnp.int32), jnp.zeros((), jnp.int32))
    x, _, _, n, _ = jax.lax.while_loop(unfinished, one_pass, start)
    return x, n


def _pcg(c: spfd.Edges, levels: list[Level], b: Array, goal: Array, max_iterations: Array) -> tuple[Array, Array]:
    """Preconditioned conjugate gradients in float32 until |r| <= goal, for |b| = 1."""
    run = partial(stage, always(levels[0].inverse))
    b, goal = b.astype(jnp.float32), goal.astype(jnp.float32)
    node = levels[0].inverse > 0
    count = jnp.maximum(jnp.sum(node.astype(jnp.float32)), 1)

    def iterate(state):
        x, r, p, rz, _, n = state
        # A constant costs the operator nothing, so rounding would let it grow from step to step until it blows up.
        z = _centred(cycle(levels, r), node, count)
        rz_new = dot(r, z)
        p = run(lambda z, p, beta: z + beta * p, z, p, jnp.where(n > 0, rz_new / _positive(rz), 0))
        ap = run(spfd.apply, c, p)
        alpha = rz_new / _positive(dot(p, ap))
        r = run(lambda r, ap, alpha: r - alpha * ap, r, ap, alpha)
        return x + alpha * p, r, p, rz_new, jnp.sqrt(dot(r, r)), n + 1

    zero, none = jnp.zeros_like(b), jnp.zeros((), jnp.int32)
    start = (zero, b, zero, jnp.zeros((), b.dtype), jnp.sqrt(dot(b, b)), none)
    x, *_, n = jax.lax.while_loop(lambda state: (state[4] > goal) & (state[5] < max_iterations), iterate, start)
    return x, n


def _centred(a: Array, node: Array, count: Array) -> Array:
    """``a`` on the conductor's nodes less its mean there: potentials are known up to a constant only."""
    mean = jnp.sum(jnp.sum(jnp.where(node, a, 0), axis=-1)) / count
    return jnp.where(node, a - mean.astype(a.dtype), 0)


def dot(a: Array, b: Array) -> Array:
    """Inner product, summed in two stages so that float32 keeps its digits over millions of nodes."""
    return jnp.sum(jax.lax.optimization_barrier(jnp.sum(a * b, axis=-1)))


def norm(a: Array) -> Array:
    """Euclidean norm, also where float32 cannot hold the squares: a power of two is taken out, which is exact."""
    _, exponent = jnp.frexp(jnp.max(jnp.abs(a)))
    small = jnp.ldexp(jnp.ones_like(a, shape=()), jnp.clip(-exponent, -126, 126))
    scaled = a * small
    return jnp.sqrt(dot(scaled, scaled)) / small


def _positive(value: Array) -> Array:
    """Keep 0/0 from turning a field of zeros into NaN."""
    return jnp.where(value > 0, value, 1)
