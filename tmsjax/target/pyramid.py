"""A volume at several resolutions in one flat array, and samples of it at any places of any level.

All levels lie in one array one after the other, so that one compiled function serves every level: what differs between
them is an offset, a side and a voxel size. Voxels are uint8: 0 is air, ``ONE`` the 95th percentile of the image.

Places are in mm of the finest grid (1 mm): its voxel i is at i. Voxel j of level l is the mean over 2^l of these a
side, so that its centre is at (j + 1/2) 2^l - 1/2.
"""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from tmsjax.core.errors import InputError

ONE = 127.0
"""What the 95th percentile of an image is stored as; twice that is the largest value."""


CORNERS = np.array(list(np.ndindex(2, 2, 2)), np.int32)
"""Of a cell, from its lowest (8, 3)."""

Places = Float[Array | np.ndarray, "*p 3"]


def sides(side: int, levels: int) -> np.ndarray:
    """Voxels a side of every level, finest first (levels,); InputError where they do not halve evenly."""
    if levels < 1 or side < 2 ** (levels - 1) or side % 2 ** (levels - 1):
        raise InputError(
            "a volume cannot be halved so often", got=f"{side} voxels, {levels} levels", expected="a multiple of 2^l"
        )
    return np.array([side // 2**level for level in range(levels)])


def offsets(side: int, levels: int) -> np.ndarray:
    """Where each level begins in the flat array, and its length at the end (levels + 1,)."""
    return np.concatenate([[0], np.cumsum(sides(side, levels) ** 3)])


def build(volume: Float[np.ndarray, "n n n"], levels: int) -> UInt8[np.ndarray, " t"]:
    """Average pooling by two, ``levels - 1`` times (section 2.2), of a volume whose 95th percentile is 1."""
    sides(len(volume), levels)
    parts, level = [], np.asarray(volume, np.float32)
    for i in range(levels):
        if i:
            half = len(level) // 2
            level = level.reshape(half, 2, half, 2, half, 2).mean((1, 3, 5))
        parts.append(np.clip(np.rint(ONE * level), 0, 255).astype(np.uint8).reshape(-1))
    return np.concatenate(parts)


def to_level(places: Places, voxel: Float[Array, ""] | float) -> Places:
    """Places in mm of the finest grid -> in voxels of a level whose voxels are ``voxel`` mm."""
    return (places + 0.5) / voxel - 0.5


def to_finest(places: Places, voxel: Float[Array, ""] | float) -> Places:
    """The way back from ``to_level``."""
    return (places + 0.5) * voxel - 0.5


def sample(
    flat: UInt8[Array | np.ndarray, " t"], offset: Int[Array, ""], side: Int[Array, ""], places: Places
) -> Float[Array, "*p"]:
    """Trilinear interpolation of a level at places in its own voxels; zero (air) beyond it."""
    low = jnp.floor(places)
    part = (places - low)[..., None, :]
    weights = jnp.where(CORNERS > 0, part, 1 - part).prod(-1)
    found = _voxels(flat, offset, side, low.astype(jnp.int32)[..., None, :] + CORNERS)
    return (weights * found).sum(-1) / ONE


def crop(
    flat: UInt8[Array | np.ndarray, " t"],
    offset: Int[Array, ""],
    side: Int[Array, ""],
    start: Int[Array, 3],
    field: int,
) -> Float[Array, "f f f"]:
    """The ``field``^3 voxels of a level from voxel ``start`` on; zero (air) where they lie beyond it."""
    return _voxels(flat, offset, side, start + indices(field)) / ONE


def indices(field: int) -> np.ndarray:
    """Indices of the voxels of a crop (f, f, f, 3), int32."""
    return np.moveaxis(np.indices((field,) * 3, dtype=np.int32), 0, -1)


def _voxels(
    flat: UInt8[Array | np.ndarray, " t"], offset: Int[Array, ""], side: Int[Array, ""], index: Int[Array, "*p 3"]
) -> Float[Array, "*p"]:
    inside = ((index >= 0) & (index < side)).all(-1)
    i, j, k = jnp.moveaxis(jnp.clip(index, 0, side - 1), -1, 0)
    found = flat[offset + (i * side + j) * side + k]
    return jnp.where(inside, found, 0).astype(jnp.float32)


def shape_of(flat: UInt8[np.ndarray, "*b t"], levels: int) -> int:
    """Voxels a side of the finest level of flat pyramids; InputError where their length fits no volume."""
    size = flat.shape[-1]
    side = round((size / sum(8.0**-level for level in range(levels))) ** (1 / 3))
    if side < 1 or side % 2 ** (levels - 1) or offsets(side, levels)[-1] != size:
        raise InputError("this is no pyramid", got=f"{size} voxels", expected=f"{levels} levels of a cube")
    return side
