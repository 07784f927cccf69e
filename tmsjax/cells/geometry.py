"""How NEURON divides a section with 3-D points into segments: area, mean diameter, axial resistance, centre."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tmsjax.cells.types import Section


class Segments(NamedTuple):
    """Segments of one section: area (um2), mean diameter (um), resistance of their left and right halves (Mohm)."""

    area_um2: Float[np.ndarray, " nseg"]
    diam_um: Float[np.ndarray, " nseg"]
    left_mohm: Float[np.ndarray, " nseg"]
    right_mohm: Float[np.ndarray, " nseg"]
    centre_um: Float[np.ndarray, "nseg 3"]


def segment_section(section: Section, ra_ohm_cm: float) -> Segments:
    """Integrate the frusta of a section over its segments, as NEURON does.

    Between points the diameter is linear in the arc length. Over every half segment, area = sum of the lateral areas
    of frusta, resistance = sum of Ra dx / (pi r1 r2) (Carnevale & Hines, The NEURON Book, ch. 5); the diameter is
    the mean over the segment. The centre lies on the line through the points at the middle of the segment.
    """
    arc = section.arc_um
    diam = section.diam_um.astype(np.float64)
    n = section.nseg
    halves = np.linspace(0.0, arc[-1], 2 * n + 1)
    x1, y1, x2, y2, half = _frusta(arc, diam, halves)
    dx, total = x2 - x1, y1 + y2
    area = np.bincount(half, np.pi / 2 * total * np.sqrt(dx**2 + ((y2 - y1) / 2) ** 2), 2 * n)
    mean = np.bincount(half, total * dx / 2, 2 * n)
    resistance = np.bincount(half, 4e-2 * ra_ohm_cm / np.pi * dx / (y1 * y2), 2 * n)
    centres = halves[1::2]
    points = section.points_um.astype(np.float64)
    return Segments(
        area_um2=area[0::2] + area[1::2],
        diam_um=(mean[0::2] + mean[1::2]) * n / arc[-1],
        left_mohm=resistance[0::2],
        right_mohm=resistance[1::2],
        centre_um=np.stack([np.interp(centres, arc, points[:, k]) for k in range(3)], axis=1),
    )


def _frusta(arc: np.ndarray, diam: np.ndarray, halves: np.ndarray):
    """Pieces (x1, y1, x2, y2) between points and half-segment borders, and the half that each lies in.

    A jump of diameter at one place is a piece of no length; it counts in the half that begins there or around it.
    """
    x, y, half = [], [], []
    cuts = np.setdiff1d(halves[1:-1], arc)
    where = np.searchsorted(arc, cuts, side="left")
    x = np.insert(arc, where, cuts)
    y = np.insert(diam, where, np.interp(cuts, arc, diam))
    x1, x2 = x[:-1], x[1:]
    half = np.clip(np.searchsorted(halves, (x1 + x2) / 2, side="right") - 1, 0, len(halves) - 2)
    return x1, y[:-1], x2, y[1:], half
