"""Scalar-potential finite differences: potentials at voxel corners, currents along voxel edges.

Induced currents close: div sigma (grad phi + dA/dt) = 0. On a grid of corners (nodes) joined by voxel edges, an edge's
conductivity is the mean of its four voxels (Dawson & Stuchly 1996, Appl. Comput. Electromagn. Soc. J. 11:63), and
sum over the edges of a node of c (phi_node - phi_other) = the current that -dA/dt drives into the node.

A voxel of tensor conductivity S dissipates V/8 sum over its corners of g'S g, where g is made of the three edges that
meet in the corner (a corner scheme of the kind of Edwards & Rogers 1998, Comput. Geosci. 2:259). That is symmetric,
positive definite but for constants (no hourglass modes) and exact for linear potentials. The diagonal of S gives the
operator above, its other entries couple the two directions of a face: (sum of its edges along a) x (sum along b), which
are the two diagonals of the face, one with a positive and one with a negative conductance.

Arrays: a quantity of nodes is (i+1, j+1, k+1), of voxels (i, j, k), of edges along x (i, j+1, k+1), of faces normal to
x (i+1, j, k), and so on.
"""

from __future__ import annotations

import operator
from functools import reduce

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Edges = tuple[Array, ...]
"""A quantity of the edges along x, y and z. Of a tensor's operator also one of the faces normal to x, y and z."""

DIAGONAL = (0, 3, 5)
"""Where xx, yy and zz are in a tensor's six entries xx, xy, xz, yy, yz, zz."""

FACES = ((1, 2, 4), (0, 2, 2), (0, 1, 1))
"""Of the faces normal to x, y and z: their two axes, and where the tensor's entry of these two is."""


def conductances(sigma: Float[Array, "i j k *o"], spacing: tuple[float, ...]) -> Edges:
    """Conductances (S/m x mm) from conductivities of voxels, with nothing outside.

    Of an edge: mean of four voxels x face / length. ``sigma`` is a scalar (i, j, k); a scalar of each of a voxel's
    octants (i, j, k, 8), in the order of ``np.ndindex(2, 2, 2)``, of which the eight that touch the edge count; or a
    tensor (i, j, k, 6) in voxel axes, which gives three more arrays: for a face, the mean of its two voxels x the
    length of the edges across it.
    """
    edges = []
    for axis in range(3):
        mean = _along(sigma, axis)
        for other in (a for a in range(3) if a != axis):
            low, high = (mean, mean) if mean.ndim == 3 else (mean[:, :, :, 0], mean[:, :, :, 1])
            mean = 0.5 * (_pad(high, other, 1, 0) + _pad(low, other, 0, 1))
        face = spacing[0] * spacing[1] * spacing[2] / spacing[axis]
        edges.append(mean * (face / spacing[axis]))
    faces = (_spread(sigma[..., FACES[n][2]], n) * spacing[n] for n in range(3)) if is_tensor(sigma) else ()
    return (*edges, *faces)


def is_tensor(sigma: Array) -> bool:
    """Whether ``sigma`` is (i, j, k, 6)."""
    return sigma.ndim == 4 and sigma.shape[-1] == 6


def voxels(sigma: Float[Array, "i j k *o"]) -> Float[Array, "i j k"]:
    """A number for each voxel: itself, the mean of its octants, or of its tensor's diagonal."""
    if sigma.ndim == 3:
        return sigma
    return sigma[..., jnp.asarray(DIAGONAL)].mean(-1) if is_tensor(sigma) else sigma.mean(-1)


def apply(c: Edges, phi: Float[Array, "i j k"]) -> Float[Array, "i j k"]:
    """The operator: net current that leaves each node, sum of c (phi_node - phi_other)."""
    out = _divergence(tuple(c[axis] * _difference(phi, axis) for axis in range(3)))
    for (a, b, _), coupling in zip(FACES, c[3:], strict=False):
        low_a, high_a = _ends(phi, a)
        (low_low, low_high), (high_low, high_high) = _ends(low_a, b), _ends(high_a, b)
        rising = 0.5 * coupling * (low_low - high_high)
        falling = 0.5 * coupling * (high_low - low_high)
        low = _pad(rising, b, 0, 1) + _pad(falling, b, 1, 0)
        high = _pad(rising, b, 1, 0) + _pad(falling, b, 0, 1)
        out = out + _pad(low, a, 0, 1) - _pad(high, a, 1, 0)
    return out


def diagonal(c: Edges) -> Float[Array, "i j k"]:
    """Sum of the conductances of each node's edges, zero outside the conductor."""
    return reduce(operator.add, (_pad(c[axis], axis, 1, 0) + _pad(c[axis], axis, 0, 1) for axis in range(3)))


def drive(c: Edges, primary: Float[Array, "i j k 3"], spacing: tuple[float, ...]) -> Float[Array, "i j k"]:
    """Right-hand side (V/m x mm ...) from the primary field -dA/dt at the nodes, in voxel axes.

    The field along an edge is the mean of its ends'; so is that in ``total``, and the two cancel as they must.
    """
    along = [spacing[axis] * _edge_mean(primary[..., axis], axis) for axis in range(3)]
    flow = [c[axis] * along[axis] for axis in range(3)]
    for (a, b, _), coupling in zip(FACES, c[3:], strict=False):
        flow[a] = flow[a] + _spread(coupling * _edge_mean(along[b], a), b)
        flow[b] = flow[b] + _spread(coupling * _edge_mean(along[a], b), a)
    return -_divergence(tuple(flow))


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


def _along(sigma: Array, axis: int) -> Array:
    """Conductivity of voxels for currents along ``axis``: (i, j, k), or of their quarters (i, j, k, 2, 2)."""
    if sigma.ndim == 3:
        return sigma
    if is_tensor(sigma):
        return sigma[..., DIAGONAL[axis]]
    return sigma.reshape(*sigma.shape[:3], 2, 2, 2).mean(3 + axis)


def _slice(a: Array, axis: int, start: int, stop: int) -> Array:
    return jax.lax.slice_in_dim(a, start, stop, axis=axis)


def _pad(a: Array, axis: int, before: int, after: int) -> Array:
    width = [(0, 0)] * a.ndim
    width[axis] = (before, after)
    return jnp.pad(a, width)


def _ends(a: Array, axis: int) -> tuple[Array, Array]:
    """All but the last, and all but the first."""
    n = a.shape[axis]
    return _slice(a, axis, 0, n - 1), _slice(a, axis, 1, n)


def _difference(phi: Array, axis: int) -> Array:
    low, high = _ends(phi, axis)
    return low - high


def _edge_mean(a: Array, axis: int) -> Array:
    return 0.5 * operator.add(*_ends(a, axis))


def _spread(a: Array, axis: int) -> Array:
    """Half to either end: the transpose of ``_edge_mean``, and the mean of two neighbours with nothing outside."""
    return 0.5 * (_pad(a, axis, 1, 0) + _pad(a, axis, 0, 1))


def _divergence(flow: Edges) -> Array:
    """Net flow out of each node of flows along +x, +y, +z edges."""
    return reduce(operator.add, (_pad(flow[axis], axis, 0, 1) - _pad(flow[axis], axis, 1, 0) for axis in range(3)))
