"""The distance from the scalp as a smooth function of place, for gradients and for many points."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import ndimage
from scipy.spatial import KDTree

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.bspline import cubic_weights
from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.core.transforms import apply_affine
from tmsjax.head.model import HeadModel, Surface
from tmsjax.head.scalp import scalp_surface, signed_distance

SPACING_MM = 3.0
"""Spacing of the grid that distances are interpolated from."""

MARGIN_MM = 30.0
"""How far the grid reaches beyond the head."""

EXACT_MM = 8.0
"""Nearer to the scalp than this, distances are to its triangles; further away to its vertices, 2 mm apart."""

FAR_MM = 28.0
"""Further out than this (and deeper in than ``EXACT_MM``) they are to a voxel of the grid: good to one."""


@pytree("spacing_mm")
class ScalpDistance:
    """Signed distance from the scalp of a whole head; made by ``scalp_distance``.

    coefficients: (i, j, k) mm of a cubic B-spline. origin: (3,) mm of its first knot, axes those of the world.
    """

    coefficients: Any
    origin: Any
    spacing_mm: float

    def at(self, points_mm: ArrayLike) -> Float[Array, "..."]:  # noqa: UP037
        """Distance (...) in mm of world points (..., 3) mm: positive outside, twice continuously differentiable.

        Off the grid, ``MARGIN_MM`` and more from the head, the distance to the grid is added to that at its border.
        """
        points = jnp.asarray(points_mm, self.coefficients.dtype)
        size = jnp.array(self.coefficients.shape)
        t = (points - self.origin) / self.spacing_mm
        held = jnp.clip(t, 1.0, size - 2.001)
        beyond = t - held
        square = jnp.sum(beyond * beyond, axis=-1)
        off = square > 0
        beyond_mm = self.spacing_mm * jnp.where(off, jnp.sqrt(jnp.where(off, square, 1.0)), 0.0)
        whole = jax.lax.stop_gradient(jnp.floor(held))
        weights = cubic_weights(held - whole)  # (..., 3, 4)
        corner = whole.astype(jnp.int32)[..., None, :] - 1 + _OFFSETS
        value = self.coefficients[corner[..., 0], corner[..., 1], corner[..., 2]]
        product = jnp.prod(weights[..., jnp.arange(3), _OFFSETS], axis=-1)
        return jnp.sum(value * product, axis=-1) + beyond_mm


_OFFSETS = np.stack(np.meshgrid(*3 * [np.arange(4)], indexing="ij"), -1).reshape(-1, 3)


def scalp_distance(head: HeadModel, *, scalp: Surface | None = None) -> ScalpDistance:
    """The signed distance from the scalp of a head as a smooth function, good to about 0.2 mm within 15 mm of it.

    The cut of the neck counts as scalp: no coil may be there either. It takes seconds: keep it.

    Args:
        head: the head.
        scalp: ``scalp_surface(head)``, if you have it already.

    Raises InputError if the scalp is empty.
    """
    scalp = scalp_surface(head) if scalp is None else scalp
    vertices = np.asarray(scalp.vertices, np.float64)
    if not len(vertices):
        raise InputError("the head has no scalp", got="no vertices", expected="a surface round all tissue")
    low, high = vertices.min(0) - MARGIN_MM, vertices.max(0) + MARGIN_MM
    shape = np.ceil((high - low) / SPACING_MM).astype(int) + 1
    grid = np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1) * SPACING_MM + low
    tissue = ndimage.binary_fill_holes(np.asarray(head.labels) > 0)
    index = np.rint(apply_affine(np.linalg.inv(np.asarray(head.affine, float)), grid)).astype(int)
    in_grid = ((index >= 0) & (index < np.asarray(head.labels).shape)).all(-1)
    inside = np.zeros(shape, bool)
    inside[in_grid] = np.asarray(tissue)[tuple(index[in_grid].T)]
    rough: Any = ndimage.distance_transform_edt(~inside), ndimage.distance_transform_edt(inside)
    distance = SPACING_MM * (rough[0] - rough[1] - np.where(inside, -0.5, 0.5))  # the border is between voxels
    wanted = (distance > -EXACT_MM - SPACING_MM) & (distance < FAR_MM)
    found: Any = KDTree(vertices).query(grid[wanted])
    distance[wanted] = np.where(inside[wanted], -found[0], found[0])
    near = wanted & (np.abs(distance) < EXACT_MM)
    distance[near] = signed_distance(scalp, grid[near])
    coefficients = ndimage.spline_filter(distance, order=3, mode="nearest")
    return ScalpDistance(jnp.asarray(coefficients, jnp.float32), jnp.asarray(low, jnp.float32), SPACING_MM)
