"""Interpolation on a voxel grid whose air carries nothing: trilinear, and cubic convolution with a smooth gradient."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jaxtyping import Array, Bool, Float, Int, Shaped

REACH = 2
"""Voxels from a point's nearest voxel that the cubic stencil reaches."""

CHUNK, CUBIC_CHUNK = 2**17, 2**15
"""Points interpolated at once: some 25 MB, however many points there are."""


def chunked(function: Callable[[Array], Array], voxel: Float[Array, "p 3"], size: int) -> Float[Array, "p 3"]:
    """``function`` of grid indices, over chunks of at most ``size`` rows."""
    if len(voxel) <= size:
        return function(voxel)
    rows_ = jnp.pad(voxel, ((0, -len(voxel) % size), (0, 0)), mode="edge").reshape(-1, size, 3)
    return jax.lax.map(function, rows_).reshape(-1, 3)[: len(voxel)]


def rows(flat: Shaped[Array, " n"], start: Int[Array, " p"], length: int) -> Shaped[Array, "p {length}"]:
    """``flat[start : start + length]`` for every start, which must be in bounds: one contiguous read a row."""
    layout = jax.lax.GatherDimensionNumbers(offset_dims=(1,), collapsed_slice_dims=(), start_index_map=(0,))
    return jax.lax.gather(flat, start[:, None], layout, (length,), mode="promise_in_bounds")


def nearest(mask: Bool[Array, "i j k"], voxel: Float[Array, "p 3"]) -> Bool[Array, " p"]:
    """Whether the voxel nearest to each point (grid indices) holds tissue; never for NaN, which has no integer."""
    shape = jnp.asarray(mask.shape)
    index = jnp.round(jnp.nan_to_num(voxel, nan=-1.0)).astype(jnp.int32)
    in_grid = jnp.all((index >= 0) & (index < shape), axis=1)
    clipped = jnp.clip(index, 0, shape - 1)
    return in_grid & mask.reshape(-1)[(clipped[:, 0] * mask.shape[1] + clipped[:, 1]) * mask.shape[2] + clipped[:, 2]]


@jax.custom_jvp
def trilinear(
    values: Float[Array, "i j k 3"], mask: Bool[Array, "i j k"], voxel: Float[Array, "p 3"]
) -> Float[Array, "p 3"]:
    """Field (p, 3) at grid indices (p, 3): trilinear over the tissue voxels among the 8 neighbours, weights normalised.

    Continuous where the set of those voxels does not change, with kinks where a coordinate is whole. Meant for points
    whose nearest voxel holds tissue; 0 where no neighbour does. The two neighbours along the last axis lie side by
    side in memory and are read together.
    """
    total, weight = _eight(values, mask, voxel, 1)[0]
    return total / jnp.where(weight > 0, weight, 1)[:, None]


def _trilinear_jvp(primals, tangents):
    """As ``_keys_jvp``: linear in both tangents, all slopes in one pass."""
    values, mask, voxel = primals
    with_field = jnp.zeros(voxel.shape, values.dtype) if _still(tangents[0]) else trilinear(tangents[0], mask, voxel)
    if _still(tangents[2]):
        return trilinear(*primals), with_field
    (total, weight), *slopes = _eight(values, mask, voxel, 4)
    weight = jnp.where(weight > 0, weight, 1)[:, None]
    at = total / weight
    # Over the outer half voxel of the grid nothing changes across its border.
    free = (voxel >= 0) & (voxel <= jnp.asarray(mask.shape) - 1)
    moved = jnp.zeros_like(at)
    for axis, (slope, change) in enumerate(slopes):
        step = jnp.where(free[:, axis], tangents[2][:, axis], 0)
        moved = moved + (slope - at * change[:, None]) / weight * step[:, None]
    return at, moved + with_field


trilinear.defjvp(_trilinear_jvp, symbolic_zeros=True)


def _still(tangent) -> bool:
    """Whether nobody asks for the derivative in this argument, so that it need not be worked out."""
    return isinstance(tangent, SymbolicZero)


def _eight(values: Array, mask: Array, voxel: Array, kinds: int) -> list[tuple[Array, Array]]:
    """Sums over the neighbours in tissue: of weight x value (p, 3) and of weights (p,).

    With ``kinds`` 4 they are followed by the same of the weights' slopes along each axis.
    """
    thin = [(0, int(n == 1)) for n in mask.shape]
    values, mask = jnp.pad(values, [*thin, (0, 0)]), jnp.pad(mask, thin)
    # Over the outer half voxel of the grid all weight is on the outermost voxel.
    inner = jnp.clip(jnp.nan_to_num(voxel), 0, jnp.asarray(mask.shape) - 1)
    base, f = _split(inner, 0, [n - 2 for n in mask.shape])
    flat, tissue = values.reshape(-1), mask.reshape(-1)
    x, y, z = ((1 - f[:, n], f[:, n]) for n in range(3))
    sums = [(jnp.zeros(voxel.shape, values.dtype), jnp.zeros(len(voxel), values.dtype)) for _ in range(kinds)]
    for a, b in product((0, 1), repeat=2):
        start = _flat(base, (a, b, 0), mask.shape)
        pair, there = rows(flat, 3 * start, 6), rows(tissue, start, 2)
        for c in (0, 1):
            at = pair[:, 3 * c : 3 * c + 3]
            weights = (x[a] * y[b] * z[c], _sign(a) * y[b] * z[c], _sign(b) * x[a] * z[c], _sign(c) * x[a] * y[b])
            for n in range(kinds):
                w = jnp.where(there[:, c], weights[n], 0).astype(values.dtype)
                sums[n] = (sums[n][0] + w[:, None] * at, sums[n][1] + w)
    return sums


def _sign(end: int) -> int:
    return 2 * end - 1


def cubic(
    values: Float[Array, "i j k 3"], mask: Bool[Array, "i j k"], voxel: Float[Array, "p 3"]
) -> Float[Array, "p 3"]:
    """Field (p, 3) at grid indices (p, 3): cubic convolution of 4 x 4 x 4 voxels, once continuously differentiable.

    Air in a stencil takes the mean of the tissue next to it (``extended``), a value of the voxel and not of the point,
    so the interpolant is C1 up to the conductor's border; within two voxels of it its error is of first order, as
    the trilinear one's is, and of third order elsewhere (Keys 1981).
    """
    shape = jnp.asarray(mask.shape)

    def near_air(_):
        full = extended(values, mask)
        inner = jnp.clip(jnp.nan_to_num(voxel), -0.5, shape - 0.5)
        return chunked(partial(_keys, full), inner + REACH, CUBIC_CHUNK)

    if min(mask.shape) < 4:
        return near_air(None)

    def within(_):
        return chunked(partial(_keys, values), voxel, CUBIC_CHUNK)

    all_tissue = jnp.all(_stencil_in_tissue(mask, voxel) | ~nearest(mask, voxel))
    return jax.lax.cond(all_tissue, within, near_air, None)


def extended(values: Float[Array, "i j k 3"], mask: Bool[Array, "i j k"]) -> Float[Array, "_ _ _ 3"]:
    """The field on a grid ``REACH`` voxels larger on every side, its air filled ``REACH`` voxels deep.

    Each voxel of a layer of air is the mean of those among its 26 neighbours that are tissue or of the layer before.
    """
    tissue = jnp.pad(mask, REACH)
    values = jnp.where(tissue[..., None], jnp.pad(values, [(REACH, REACH)] * 3 + [(0, 0)]), 0)
    filled = tissue[..., None].astype(values.dtype)
    for _ in range(REACH):
        total, count = values, filled
        for axis in range(3):
            total, count = _three(total, axis), _three(count, axis)
        values = jnp.where(filled > 0, values, total / jnp.maximum(count, 1))
        filled = (count > 0).astype(values.dtype)
    return values


@jax.custom_jvp
def _keys(values: Float[Array, "i j k 3"], voxel: Float[Array, "p 3"]) -> Float[Array, "p 3"]:
    """Cubic convolution (Keys 1981, IEEE Trans. Acoust. 29:1153, a = -1/2) at grid indices in [1, n - 2] (clipped)."""
    corner, (wx, wy, wz), _ = _stencil(values.shape[:3], voxel)
    return _along_x(_along_y(_along_z(_cubes(values, corner), wz), wy), wx)


def _keys_jvp(primals, tangents):
    """The rule is linear in both tangents, so that JAX transposes it: one pass gives the value and all slopes.

    Reverse mode then keeps 9 numbers a point for the points' gradient, and adds weights into the field's.
    """
    values, voxel = primals
    with_field = jnp.zeros(voxel.shape, values.dtype) if _still(tangents[0]) else _keys(tangents[0], voxel)
    if _still(tangents[1]):
        return _keys(*primals), with_field
    corner, (wx, wy, wz), (sx, sy, sz) = _stencil(values.shape[:3], voxel)
    cubes = _cubes(values, corner)
    planes, sloped = _along_z(cubes, wz), _along_z(cubes, sz)
    lines = _along_y(planes, wy)
    slopes = (_along_x(lines, sx), _along_x(_along_y(planes, sy), wx), _along_x(_along_y(sloped, wy), wx))
    moved = jnp.zeros_like(slopes[0])
    for axis, slope in enumerate(slopes):
        moved = moved + slope * tangents[1][:, axis : axis + 1]
    return _along_x(lines, wx), moved + with_field


_keys.defjvp(_keys_jvp, symbolic_zeros=True)


def _cubes(values: Float[Array, "i j k 3"], corner: Int[Array, "p 3"]) -> Float[Array, "p 4 4 4 3"]:
    """The 4 x 4 x 4 voxels from each corner on, which must be in bounds."""
    layout = jax.lax.GatherDimensionNumbers((1, 2, 3, 4), collapsed_slice_dims=(), start_index_map=(0, 1, 2))
    return jax.lax.gather(values, corner, layout, (4, 4, 4, 3), mode="promise_in_bounds")


def _along_z(cubes: Array, weights: Array) -> Array:
    return jnp.sum(cubes * weights[:, None, None, :, None], axis=3)


def _along_y(planes: Array, weights: Array) -> Array:
    return jnp.sum(planes * weights[:, None, :, None], axis=2)


def _along_x(lines: Array, weights: Array) -> Array:
    return jnp.sum(lines * weights[:, :, None], axis=1)


def _stencil(shape: tuple[int, ...], voxel: Array) -> tuple[Array, list[Array], list[Array]]:
    """First voxel of each point's stencil, and the 4 weights and their slopes along each axis."""
    base, fraction = _split(jnp.nan_to_num(voxel), 1, [n - 3 for n in shape])
    weights, slopes = [], []
    for axis in range(3):
        f = fraction[:, axis, None]
        weights.append(
            0.5
            * jnp.concatenate([-f + f**2 * (2 - f), 2 + f**2 * (3 * f - 5), f + f**2 * (4 - 3 * f), f**2 * (f - 1)], 1)
        )
        slopes.append(
            0.5 * jnp.concatenate([-1 + f * (4 - 3 * f), f * (9 * f - 10), 1 + f * (8 - 9 * f), f * (3 * f - 2)], 1)
        )
    return base - 1, weights, slopes


def _stencil_in_tissue(mask: Array, voxel: Array) -> Array:
    """(p,) whether a point's 4 x 4 x 4 voxels are all in the grid and tissue."""
    low = jnp.floor(jnp.nan_to_num(voxel, nan=-1.0)).astype(jnp.int32) - 1
    whole = jnp.all((low >= 0) & (low <= jnp.asarray(mask.shape) - 4), axis=1)
    low, flat = jnp.clip(low, 0, jnp.asarray(mask.shape) - 4), mask.reshape(-1)
    for a, b in product(range(4), repeat=2):
        whole &= rows(flat, _flat(low, (a, b, 0), mask.shape), 4).all(axis=1)
    return whole


def _split(voxel: Array, low: int, high: list[int]) -> tuple[Array, Array]:
    """Grid indices as a whole part, kept in [low, high] so that stencils stay in the grid, and the rest."""
    base = jnp.clip(jnp.floor(jax.lax.stop_gradient(voxel)), low, jnp.asarray(high))
    return base.astype(jnp.int32), voxel - base


def _flat(base: Array, offset: tuple[int, int, int], shape: tuple[int, ...]) -> Array:
    a, b, c = offset
    return ((base[:, 0] + a) * shape[1] + base[:, 1] + b) * shape[2] + base[:, 2] + c


def _three(a: Array, axis: int) -> Array:
    """Sum of each entry and its two neighbours along an axis."""
    n = a.shape[axis]
    width = [(1, 1) if other == axis else (0, 0) for other in range(a.ndim)]
    part = partial(jax.lax.slice_in_dim, jnp.pad(a, width), axis=axis)
    return part(0, n) + part(1, n + 1) + part(2, n + 2)
