"""Sampling grids read in blocks of voxels: trilinear interpolation as small matrix products.

The samples round one neuron lie within a few voxels of each other. A grid is parted into pieces that lie between
4 x 4 x 4 voxels however they are turned; each reads its block in 16 contiguous lines. The weight of voxel v at a sample
x is a product of hats, max(0, 1 - |x - v|) along each axis: two axes are one matrix product, the third a sum. The
numbers are those of ``efield.interpolate.trilinear``, which reads 8 voxels for every sample, in a third of the time.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from itertools import product
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tmsjax.core.pytree import pytree
from tmsjax.efield import EField
from tmsjax.efield.sample import to_voxels
from tmsjax.efield.stage import stage

BLOCK = 4
"""Voxels a side. A piece that is not wider than BLOCK - 2 voxels in any direction lies between them."""

SAMPLES = {"cpu": 2**12, "gpu": 2**20, "tpu": 2**20}
"""Samples at once: on a CPU few enough for what they need to stay in the cache."""

OVERHEAD, FEWEST = 8, 3
"""A piece costs as much as so many samples; with fewer samples in it, points had better be read one by one."""

STEP = 24
"""Parts of a field have sizes in steps of so many voxels, so that few shapes are ever compiled."""

BAD = 1e9
"""Tissue of a voxel whose field is not finite: no sum of proper weights comes near it."""


@pytree("widest_mm")
class Voxels:
    """A field made ready for many neurons: for ``patches`` in place of an ``EField``, from ``pack``.

    Attributes:
        packed: (i, j, k, 4) the field in V/m and its weight: 1 in tissue, 0 in air, BAD where it is not finite.
        affine: (4, 4) voxel index -> RAS+ mm of the voxel's centre.
        widest_mm: the length that spans at most BLOCK - 2 voxels however it lies; 0 where a transformation hides it.
    """

    packed: Float[Array, "i j k 4"]
    affine: Float[Array, "4 4"]
    widest_mm: float


def pack(field: EField) -> Voxels:
    """Field and tissue side by side, 16 bytes a voxel, which is what blocks are read from; linear in the field."""
    hidden = isinstance(field.affine, jax.core.Tracer)
    width = 0.0 if hidden else float(widest(np.asarray(field.affine, np.float64), np))
    return Voxels(_side_by_side(field.values, field.mask), field.affine, width)


@jax.jit
def _side_by_side(values: Float[Array, "i j k 3"], mask: Bool[Array, "i j k"]) -> Float[Array, "_ _ _ 4"]:
    finite = jnp.isfinite(values[..., 0]) & jnp.isfinite(values[..., 1]) & jnp.isfinite(values[..., 2])
    weight = jnp.where(mask, jnp.where(finite, 1, BAD), 0).astype(values.dtype)
    packed = jnp.concatenate([jnp.where((mask & finite)[..., None], values, 0), weight[..., None]], -1)
    return jnp.pad(packed, [*((0, max(0, BLOCK - size)) for size in mask.shape), (0, 0)])


def around(field: EField, positions: Float[np.ndarray, "p 3"], reach_mm: float) -> EField:
    """The part of a field within ``reach_mm`` of some positions, and more: sizes are multiples of STEP."""
    shape = np.array(field.mask.shape)
    affine = np.asarray(field.affine, np.float64)
    inverse = np.linalg.inv(affine[:3, :3])
    at = (positions[np.isfinite(positions).all(1)] - affine[:3, 3]) @ inverse.T
    if not len(at):
        return field
    margin = reach_mm * np.linalg.norm(inverse, axis=1) + 2
    low = np.clip(np.floor(at.min(0) - margin), 0, shape - 1).astype(int)
    high = np.clip(np.ceil(at.max(0) + margin) + 1, low + 1, shape).astype(int)
    size = np.minimum(-(-(high - low) // STEP) * STEP, shape)
    low = np.minimum(low, shape - size)
    box = tuple(slice(a, a + b) for a, b in zip(low, size, strict=True))
    moved = affine.copy()
    moved[:3, 3] += affine[:3, :3] @ low
    return dataclasses.replace(
        field, values=field.values[box], mask=field.mask[box], affine=jnp.asarray(moved, jnp.float32)
    )


def unpack(voxels: Voxels) -> EField:
    """The field that was packed; of its solver nothing is known any more."""
    weight = voxels.packed[..., 3:]
    values = jnp.where(weight > 1, jnp.nan, voxels.packed[..., :3])
    return EField(values, weight[..., 0] > 0, voxels.affine, jnp.float32(jnp.nan), jnp.asarray(0), 0.0)


def widest(affine: Float[Any, "4 4"], xp: Any = jnp) -> Any:
    """The length, mm, that spans at most BLOCK - 2 voxels along each axis of the grid, however it lies."""
    return (BLOCK - 2) / xp.linalg.norm(xp.linalg.inv(affine[:3, :3]), axis=1).max()


class Pieces(NamedTuple):
    """Equal boxes of samples that cover a grid, and may reach beyond it: ``counts`` along x, y, z."""

    offsets: Float[np.ndarray, "l 3"]
    """Of a piece's samples from its centre, in ticks of the grid."""
    centres: Float[np.ndarray, "q 3"]
    """Of the pieces from the grid's centre, in ticks."""
    counts: tuple[int, ...]
    lengths: tuple[int, ...]


@lru_cache
def parted(n: int, reach: float) -> Pieces | None:
    """The cheapest pieces of an n-grid with diagonals up to ``reach`` ticks; None if they are too small to pay."""
    best, least = None, np.inf
    for lengths in product(range(1, n + 1), repeat=3):
        if np.sqrt(sum((length - 1) ** 2 for length in lengths)) > reach:
            continue
        counts = [-(-n // length) for length in lengths]
        cost = np.prod(counts) * (np.prod(lengths) + OVERHEAD)
        if cost < least:
            best, least = lengths, cost
    if best is None or np.prod(best) < FEWEST:
        return None
    counts = tuple(-(-n // length) for length in best)
    offsets = _box([np.arange(length) - (length - 1) / 2 for length in best])
    starts = [length * np.arange(count) for length, count in zip(best, counts, strict=True)]
    centres = _box([s + (length - 1) / 2 - (n - 1) / 2 for s, length in zip(starts, best, strict=True)])
    return Pieces(offsets, centres, counts, best)


def _box(ticks: list[np.ndarray]) -> np.ndarray:
    return np.stack(np.meshgrid(*ticks, indexing="ij"), -1).reshape(-1, 3).astype(np.float32)


def sample(
    field: Voxels,
    positions: Float[Array, "p 3"],
    rotations: Float[Array, "p 3 3"],
    side_mm: float,
    z_shift_mm: float,
    n: int,
    pieces: Pieces,
) -> Float[Array, "p n n n 3"]:
    """The field on every neuron's grid, in its own frame; NaN off the tissue.

    ``pieces`` are of this grid, and each lies between BLOCK voxels of this field however it is turned (``parted``).
    """
    inverse = jnp.linalg.inv(field.affine[:3, :3])
    origin = to_voxels(field.affine, positions + z_shift_mm * rotations[:, :, 2])
    ticks = jnp.matmul(inverse, rotations, precision=jax.lax.Precision.HIGHEST) * (side_mm / (n - 1))

    @partial(jax.checkpoint, prevent_cse=False)
    def read(packed: Array, origin: Array, ticks: Array, rotations: Array) -> Array:
        return _samples(packed, origin, ticks, rotations, pieces)[:, :n, :n, :n]

    def part(some: tuple[Array, Array, Array]) -> Array:
        # What comes after would otherwise work out each sample again for each of its uses.
        return stage(~(some[0][0, 0] < -1e30), read, field.packed, *some)

    return in_parts(part, (origin, ticks, rotations), at_once(n))


def in_parts(function: Callable[[Any], Any], rows: tuple[Array, ...], size: int) -> Any:
    """``function`` of a tuple of arrays whose rows belong together, ``size`` rows at a time, the last part padded."""
    count = len(rows[0])
    size = min(count, size)
    padded = [jnp.pad(x, [(0, -count % size), *[(0, 0)] * (x.ndim - 1)], mode="edge") for x in rows]
    if len(padded[0]) == size:
        return function(tuple(padded))
    found = jax.lax.map(function, tuple(x.reshape(-1, size, *x.shape[1:]) for x in padded))
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:])[:count], found)


def at_once(n: int) -> int:
    """Neurons whose samples stay in a CPU's cache, or fill a GPU."""
    return max(8, SAMPLES[jax.default_backend()] // n**3)


def _samples(
    packed: Float[Array, "i j k 4"],
    origin: Float[Array, "p 3"],
    ticks: Float[Array, "p 3 3"],
    rotations: Float[Array, "p 3 3"],
    pieces: Pieces,
) -> Float[Array, "p a b c 3"]:
    """Samples of whole pieces; ``origin`` and ``ticks``, columns, are in voxels."""
    p, q, length = len(origin), len(pieces.centres), len(pieces.offsets)
    steps = _steps(ticks, pieces.centres)
    centres = jnp.stack([(origin[:, i, None] + steps[i]).reshape(-1) for i in range(3)], -1)
    low = jnp.floor(jax.lax.stop_gradient(centres)).astype(jnp.int32) - (BLOCK // 2 - 1)
    low = jnp.clip(low, 0, jnp.asarray(packed.shape[:3]) - BLOCK)
    cubes = _cubes(packed, low)
    at = (centres - low).reshape(p, q, 3)[..., None] + jnp.stack(_steps(ticks, pieces.offsets), 1)[:, None]
    # Axis by axis: XLA for CPUs makes one slow loop of what is stacked.
    x, y, z = (_hats(at[:, :, axis].reshape(p * q, length)).astype(packed.dtype) for axis in range(3))
    columns = (x[..., :, None] * y[..., None, :]).reshape(p * q, length, -1)
    lines = jnp.matmul(columns, cubes.reshape(p * q, BLOCK**2, -1), precision=jax.lax.Precision.HIGHEST)
    total = jnp.sum(lines.reshape(p * q, length, BLOCK, 4) * z[..., None], axis=2)
    found = _nearest(cubes[..., 3].reshape(p * q, -1) > 0, low.reshape(p, q, 3), at) & (total[..., 3] < 2)
    weight = jnp.maximum(total[..., 3:], 1 / 16)  # where found, it is 1/8 or more
    world = jnp.where(found[..., None], total[..., :3] / weight, jnp.nan).reshape(p, q * length, 3)
    own = jnp.stack([sum(world[..., i] * rotations[:, i, None, j] for i in range(3)) for j in range(3)], -1)
    boxes = own.reshape(p, *pieces.counts, *pieces.lengths, 3).transpose(0, 1, 4, 2, 5, 3, 6, 7)
    return boxes.reshape(p, *(a * b for a, b in zip(pieces.counts, pieces.lengths, strict=True)), 3)


def _steps(ticks: Float[Array, "p 3 3"], offsets: Float[np.ndarray, "l 3"]) -> list[Float[Array, "p l"]]:
    """Offsets along each axis of the voxels: written out, which XLA for CPUs makes three times as fast."""
    return [sum(ticks[:, i, j, None] * offsets[:, j] for j in range(3)) for i in range(3)]  # type: ignore[misc]


def _cubes(packed: Float[Array, "i j k c"], low: Int[Array, "b 3"]) -> Float[Array, "b x y z c"]:
    """Blocks of voxels from their first ones on, which must be in bounds, read in lines."""
    channels = packed.shape[3]
    layout = jax.lax.GatherDimensionNumbers((1, 2, 3), collapsed_slice_dims=(), start_index_map=(0, 1, 2))
    lines = packed.reshape(*packed.shape[:2], -1)
    start = low * jnp.asarray([1, 1, channels])
    read = jax.lax.gather(lines, start, layout, (BLOCK, BLOCK, BLOCK * channels), mode="promise_in_bounds")
    return read.reshape(len(low), BLOCK, BLOCK, BLOCK, channels)


def _hats(at: Float[Array, "b l"]) -> Float[Array, "b l v"]:
    """Weights along one axis of the BLOCK voxels of a block."""
    return jnp.maximum(0, 1 - jnp.abs(at[..., None] - np.arange(BLOCK, dtype=np.float32)))


def _nearest(tissue: Bool[Array, "b v"], low: Int[Array, "p q 3"], at: Float[Array, "p q 3 l"]) -> Bool[Array, "b l"]:
    """Whether the voxel nearest to a sample is tissue: a bit of two words a block, which needs no reading."""
    odd = (low & 1)[..., None]  # halves go to the even voxel of the whole grid
    index = jnp.round(at + odd).astype(jnp.int32) - odd
    within = ((index >= 0) & (index < BLOCK)).all(2).reshape(len(tissue), -1)
    flat = ((index[:, :, 0] * BLOCK + index[:, :, 1]) * BLOCK + index[:, :, 2]).reshape(len(tissue), -1)
    bits = jnp.uint32(1) << np.arange(32, dtype=np.uint32)
    words = jnp.sum(jnp.where(tissue.reshape(-1, 2, 32), bits, jnp.uint32(0)), axis=-1, dtype=jnp.uint32)
    word = jnp.where(flat >= 32, words[:, 1, None], words[:, 0, None])
    return within & (((word >> (flat.astype(jnp.uint32) & 31)) & 1) > 0)
