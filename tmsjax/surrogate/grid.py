"""Where the field round a neuron is sampled: grids that do well for a layer's cells."""

from __future__ import annotations

from typing import NamedTuple

from tmsjax.core.errors import InputError


class Grid(NamedTuple):
    """``n`` samples a side over ``side_mm`` along each axis of the cell, the centre ``z_shift_mm`` above the soma.

    One grid for all cells of a layer: the samples of a position, most of the work, then serve all of its clones.
    """

    side_mm: float
    z_shift_mm: float
    n: int


PAPER = {"L23": Grid(2.0, -0.49, 9), "L4": Grid(1.5, 0.0, 9), "L5": Grid(1.5, 0.0, 9)}
"""Aberra et al. (2023), section 2.2.1 and figure S1."""

FEWER = {"L23": 6, "L4": 5, "L5": 5}
"""Samples a side of support functions, which read the field between them: 125 or 216 instead of 729."""

FEWEST = 4
"""The same where speed is what counts: 64 samples are twice to three times as fast, and half as wrong again."""


def recommended(layer: str, family: str = "support") -> Grid:
    """The paper's cube of a layer (``"L2/3"`` and ``"L23"`` are the same), for support functions with fewer samples."""
    name = layer.replace("/", "").upper()
    if name not in PAPER:
        raise InputError(
            "there is no grid of this layer",
            got=layer,
            expected=" or ".join(PAPER),
            mend="say what it is: side, shift and number of samples",
        )
    grid = PAPER[name]
    samples = {"support": FEWER[name], "median": FEWER[name], "fast": FEWEST}
    return grid._replace(n=samples.get(family, grid.n))
