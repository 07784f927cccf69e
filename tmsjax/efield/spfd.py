"""Scalar-potential finite differences: potentials at voxel corners, currents along voxel edges.

Induced currents close: div sigma (grad phi + dA/dt) = 0. On a grid of corners (nodes) joined by voxel edges, an edge's
conductivity is the mean of its four voxels (Dawson & Stuchly 1996, Appl. Comput. Electromagn. Soc. J. 11:63), and
sum over the edges of a node of c (phi_node - phi_other) = the current that -dA/dt drives into the node.
Arrays: a quantity of nodes is (i+1, j+1, k+1), of voxels (i, j, k), of edges along x (i, j+1, k+1), and so on.
"""

from __future__ import annotations

import operator
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Edges = tuple[Array, ...]
"""A quantity of the edges along x, y and z."""


def conductances(sigma: Float[Array, "i j k"], spacing: tuple[float, ...]) -> Edges:
    """Edge conductances (S/m x mm) from voxel conductivities: mean of four voxels x face / length; air outside."""
    out = []
    for axis in range(3):
        mean = sigma
        for other in range(3):
            if other != axis:
                mean = 0.5 * (_pad(mean, other, 1, 0) + _pad(mean, other, 0, 1))
        face = spacing[0] * spacing[1] * spacing[2] / spacing[axis]
        out.append(mean * (face / spacing[axis]))
    return tuple(out)


def apply(c: Edges, phi: Float[Array, "i j k"]) -> Float[Array, "i j k"]:
    """The operator: net current that leaves each node, sum of c (phi_node - phi_other)."""
    return _divergence(tuple(c[axis] * _difference(phi, axis) for axis in range(3)))


def diagonal(c: Edges) -> Float[Array, "i j k"]:
    """Diagonal of the operator: the sum of the conductances at each node, zero outside the conductor."""
    return reduce(operator.add, (_pad(c[axis], axis, 1, 0) + _pad(c[axis], axis, 0, 1) for axis in range(3)))


def drive(c: Edges, primary: Float[Array, "i j k 3"], spacing: tuple[float, ...]) -> Float[Array, "i j k"]:
    """Right-hand side (V/m x mm ...) from the primary field -dA/dt at the nodes, in voxel axes.

    The field along an edge is the mean of its ends'; so is that in ``total``, and the two cancel as they must.
    """
    return -_divergence(tuple(c[axis] * spacing[axis] * _edge_mean(primary[..., axis], axis) for axis in range(3)))


def total(
    phi: Float[Array, "i j k"], primary: Float[Array, "i j k 3"], spacing: tuple[float, ...]
) -> Float[Array, "_ _ _ 3"]:
    """E = -dA/dt - grad phi at voxel centres (voxel axes): the mean of the voxel's four edges along each axis."""
    out = []
    for axis in range(3):
        field = _difference(phi, axis) / spacing[axis] + _edge_mean(primary[..., axis], axis)
        for other in range(3):
            if other != axis:
                field = _edge_mean(field, other)
        out.append(field)
    return jnp.stack(out, axis=-1)


def _slice(a: Array, axis: int, start: int, stop: int) -> Array:
    return jax.lax.slice_in_dim(a, start, stop, axis=axis)


def _pad(a: Array, axis: int, before: int, after: int) -> Array:
    width = [(0, 0)] * a.ndim
    width[axis] = (before, after)
    return jnp.pad(a, width)


def _difference(phi: Array, axis: int) -> Array:
    n = phi.shape[axis]
    return _slice(phi, axis, 0, n - 1) - _slice(phi, axis, 1, n)


def _edge_mean(a: Array, axis: int) -> Array:
    n = a.shape[axis]
    return 0.5 * (_slice(a, axis, 0, n - 1) + _slice(a, axis, 1, n))


def _divergence(flow: Edges) -> Array:
    """Net flow out of each node of flows along +x, +y, +z edges."""
    return reduce(operator.add, (_pad(flow[axis], axis, 0, 1) - _pad(flow[axis], axis, 1, 0) for axis in range(3)))
