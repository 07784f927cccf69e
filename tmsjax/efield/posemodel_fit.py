"""Harmonic sources that stand in for the field of currents in the head: the coil's view of each mode."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.units import DIPOLE_A

REGULARISATION = 1e-4
"""Of the least squares, relative to its largest singular value: the fit is no worse for it, its weights are smaller."""

NODES = 4096
"""Nodes whose currents are summed at once."""


@jax.jit
def magnetic_field(
    points_mm: Float[Array, "n 3"], nodes_mm: Float[Array, "p 3"], currents: Float[Array, "k p 3"]
) -> Float[Array, "n 3 k"]:
    """What a dipole of unit moment at each point drives through each of k current patterns (k, p, 3) at the nodes.

    A moment m at x has the primary field -DIPOLE_A m x (r - x) / |r - x|^3; its inner product with a pattern a is
    m . b(x) with b(x) = -DIPOLE_A sum_r (r - x) x a(r) / |r - x|^3: the magnetic field of the pattern (reciprocity).
    """
    k, p = currents.shape[:2]
    pad = -p % NODES
    # Padding repeats a node with no current.
    nodes = jnp.pad(nodes_mm, ((0, pad), (0, 0)), mode="edge").reshape(-1, NODES, 3)
    blocks = jnp.pad(jnp.moveaxis(currents, 0, 1), ((0, pad), (0, 0), (0, 0))).reshape(-1, NODES, k, 3)

    def step(total, block):
        r, a = block
        square = sum((r[:, None, n] - points_mm[None, :, n]) ** 2 for n in range(3))
        table = jnp.concatenate([jnp.cross(r[:, None], a).reshape(NODES, -1), a.reshape(NODES, -1)], axis=1)
        return total + jnp.dot((jax.lax.rsqrt(square) ** 3).T, table, precision="highest"), None

    sums, _ = jax.lax.scan(step, jnp.zeros((len(points_mm), 6 * k), currents.dtype), (nodes, blocks))
    around, along = sums[:, : 3 * k].reshape(-1, k, 3), sums[:, 3 * k :].reshape(-1, k, 3)
    return -DIPOLE_A * jnp.swapaxes(around - jnp.cross(points_mm[:, None], along), 1, 2)


def source_fields(
    points_mm: Float[np.ndarray, "n 3"], sources_mm: Float[np.ndarray, "s 3"]
) -> Float[np.ndarray, "n 3 s"]:
    """Gradient of 1 / |x - y| of every source y at every point x, in mm^-2, float64."""
    away = np.asarray(points_mm, float)[:, None] - np.asarray(sources_mm, float)[None]
    return -np.swapaxes(away / np.linalg.norm(away, axis=2, keepdims=True) ** 3, 1, 2)


def harmonic_weights(
    field: Float[np.ndarray, "n 3 k"],
    points_mm: Float[np.ndarray, "n 3"],
    spacing_mm: Float[np.ndarray, " n"],
    sources_mm: Float[np.ndarray, "s 3"],
) -> Float[np.ndarray, "s k"]:
    """Weights (s, k) whose sources have the fields (n, 3, k) at the points: regularised least squares in float64.

    Outside the head the field of closed currents is a harmonic gradient, so what fits on a surface round the head
    holds everywhere outside it (the method of fundamental solutions). Points weigh by the area they stand for.
    """
    weight = np.repeat(spacing_mm, 3)[:, None]
    columns = source_fields(points_mm, sources_mm).reshape(-1, len(sources_mm)) * weight
    size = np.linalg.norm(columns, axis=0)
    u, s, vt = np.linalg.svd(columns / size, full_matrices=False)
    damped = s / (s**2 + (REGULARISATION * s[0]) ** 2)
    right = u.T @ (np.asarray(field, float).reshape(len(columns), -1) * weight)
    return (vt.T * damped) @ right / size[:, None]


@partial(jax.jit, static_argnames="count")
def noise_fields(
    dipoles_mm: Float[Array, "d 3"],
    spacing_mm: Float[Array, " d"],
    nodes_mm: Float[Array, "p 3"],
    key: Array,
    count: int,
) -> Float[Array, "{count} p 3"]:
    """Primary fields at the nodes of ``count`` sets of dipoles with random moments, white per area of their surface."""
    moments = jax.random.normal(key, (count, *dipoles_mm.shape), nodes_mm.dtype) * spacing_mm[:, None]
    table = jnp.concatenate([moments, jnp.cross(moments, dipoles_mm)], axis=2)
    table = jnp.moveaxis(table, 0, 1).reshape(len(dipoles_mm), -1)
    pad = -len(nodes_mm) % NODES
    blocks = jnp.pad(nodes_mm, ((0, pad), (0, 0)), mode="edge").reshape(-1, NODES, 3)

    def block(r):
        square = sum((r[:, None, n] - dipoles_mm[None, :, n]) ** 2 for n in range(3))
        sums = jnp.dot(jax.lax.rsqrt(square) ** 3, table, precision="highest").reshape(NODES, count, 6)
        return -DIPOLE_A * (jnp.cross(sums[..., :3], r[:, None]) - sums[..., 3:])

    fields = jax.lax.map(block, blocks).reshape(-1, count, 3)[: len(nodes_mm)]
    return jnp.moveaxis(fields, 1, 0)
