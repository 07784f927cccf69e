"""The tables of all layers of the networks for one mask: decoder, encoder, and the mapper's convolutions."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Bool, Int

from tmsjax.core.errors import InputError
from tmsjax.mep.cone import Table, by_parity, coarse_reads, distinct, everywhere, lookup, neighbours, table

MARGIN = 8
"""Voxels round the box in which the encoder's layers are worked out."""

START = 2
"""Side of the grid that the convolutional mapper starts from."""


class Tables(NamedTuple):
    """What a mask makes of the networks; ``side`` is the box's, ``latent`` that of the z-grid (a quarter of it).

    decoder: from all of the z-grid in C order to the mask's voxels, three layers, then ``order`` to C order.
    encoder: from the mask's voxels, three layers; ``pools`` (children of each pooled voxel) and, last, where the values
    of the z-grid are. An index beyond the values is the background, which is one value a channel: the box is taken to
    go on beyond its border.
    mapper: from a grid of START^3 to the z-grid, three layers, then ``mapper_order``; the first ones up-sample only
    where the z-grid is large enough.
    """

    side: int
    latent: int
    voxels: int
    decoder: tuple[Table, Table, Table]
    order: Table
    encoder: tuple[Table, ...]
    pools: tuple[Table, ...]
    mapper: tuple[Table, Table, Table]
    mapper_up: tuple[bool, bool, bool]
    mapper_order: Table


def tables(mask: Bool[np.ndarray, "k k k"], last: int = 3) -> Tables:
    """Tables for a mask in a cubic box of 16, 32, 64, ... voxels; ``last`` is the width of the last kernel, 1 or 3.

    Raises InputError for another box, and an empty mask.
    """
    side = mask.shape[0]
    if mask.shape != (side,) * 3 or side < 16 or side & (side - 1) or not mask.any():
        raise InputError(
            "the networks' box", got=f"a mask of shape {mask.shape} with {int(mask.sum())} voxels",
            expected="a cube of 16, 32 or 64 voxels a side with a mask in it",
            mend="tmsjax.mep.in_box, tmsjax.mep.coarser",
        )  # fmt: skip
    at = np.argwhere(mask)
    decoder, order = _decoder(at, side, last)
    encoder, pools = _encoder(at, side)
    mapper, up, mapper_order = _mapper(side // 4)
    return Tables(side, side // 4, len(at), decoder, order, encoder, pools, mapper, up, mapper_order)


def _up(out: np.ndarray, given: np.ndarray, side: int) -> tuple[Table, np.ndarray]:
    """A layer that up-samples, from voxels of a grid of ``side``; its outputs are sorted by parity."""
    out, parts = by_parity(out)
    taps = lookup(coarse_reads(out), given, side)
    return table(taps, len(given), parts), out


def _same(out: np.ndarray, given: np.ndarray, side: int) -> Table:
    return table(lookup(neighbours(out, side), given, side), len(given))


def _decoder(at: np.ndarray, side: int, last: int) -> tuple[tuple[Table, Table, Table], Table]:
    if last == 1:
        final, middle = at, distinct(at // 2, side // 2)
    else:
        final, middle = by_parity(at)[0], distinct(coarse_reads(at), side // 2)
    middle = by_parity(middle)[0]
    coarse = distinct(coarse_reads(middle), side // 4)
    first = _same(coarse, everywhere(side // 4), side // 4)
    second, middle = _up(middle, coarse, side // 4)
    third = (
        table(lookup((at // 2)[:, None], middle, side // 2), len(middle))
        if last == 1
        else _up(at, middle, side // 2)[0]
    )
    return (first, second, third), _reorder(final, at, side)


def _reorder(given: np.ndarray, wanted: np.ndarray, side: int) -> Table:
    return table(lookup(wanted[:, None], given, side), len(given))


def _encoder(at: np.ndarray, side: int) -> tuple[tuple[Table, ...], tuple[Table, ...]]:
    children = np.stack(np.meshgrid(*3 * [[0, 1]], indexing="ij"), -1).reshape(-1, 3)
    # With a margin: a mask at the border is seen beyond it too.
    layers, pools, given, size = [], [], at + MARGIN, side + 2 * MARGIN
    for level in range(3):
        out = distinct(neighbours(given, size), size)
        taps = lookup(neighbours(out, size), given, size)
        # The input is zero beyond the mask; later layers have a background there, one row after the values.
        layers.append(table(taps, len(given)) if level == 0 else table(np.minimum(taps, len(given)), len(given) + 1))
        if level < 2:
            given = distinct(out // 2, size // 2)
            taps = lookup(2 * given[:, None] + children, out, size)
            size //= 2
        else:
            taps = lookup(everywhere(side // 4)[:, None] + MARGIN // 4, out, size)
        pools.append(table(taps, len(out) + 1))
    return tuple(layers), tuple(pools)


def _mapper(latent: int) -> tuple[tuple[Table, Table, Table], tuple[bool, bool, bool], Table]:
    ups = round(np.log2(latent / START))
    up = (ups >= 3, ups >= 2, True)
    layers, given, size = [], everywhere(START), START
    for doubles in up:
        if doubles:
            layer, out = _up(everywhere(2 * size), given, size)
            size *= 2
        else:
            layer, out = _same(given, given, size), given
        layers.append(layer)
        given = out
    if size != latent:
        raise InputError("the networks' box", got=f"a z-grid of {latent} a side", expected="4, 8 or 16")
    order: Int[np.ndarray, "n 1"] = everywhere(latent)
    return tuple(layers), up, _reorder(given, order, latent)
