"""Closed wire paths as magnetic dipoles.

A closed turn carrying current I is a sheet of dipoles over any surface it bounds (Ampere): moment = I x area x normal.
The plane of a winding is cut into square cells. A cell's dipole carries (winding number of all paths, averaged over
the cell) x (cell area) and sits at the centroid of that average, so sums of moments equal turn areas x normal, and
cells that a wire crosses carry the right share. Bent coils are bent afterwards, as a sheet is folded: lengths
and areas in the sheet stay, normals turn (Thielscher & Kammer 2004, Clin. Neurophysiol. 115:1697, used dipoles on
discs for the same coils).
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Shaped

from tmsjax.core.errors import InputError

SUBSAMPLES = 12
"""Samples along a cell's side for the average of its winding number."""


@dataclasses.dataclass(frozen=True)
class Wing:
    """One wing of a coil, as published: concentric turns in one plane, folded along a line parallel to y.

    x_mm: centre of the turns. radii_mm: of the turns' centre lines. layers_mm: z of the filaments that share the
    current of a tall conductor. sign: +1 if the moment of a positive current points to +z (into the head).
    fold_mm, fold_deg: beyond x = fold_mm (away from the other wing) the wing is turned by fold_deg towards +z.
    """

    x_mm: float
    radii_mm: tuple[float, ...]
    layers_mm: tuple[float, ...]
    sign: int
    fold_mm: float | None = None
    fold_deg: float = 0.0


def circle(centre_xy: tuple[float, float], radius_mm: float, n: int = 180) -> Float[np.ndarray, "n 2"]:
    """A closed counter-clockwise turn as a polygon (n, 2) mm of the circle's own area."""
    angle = 2 * np.pi * np.arange(n) / n
    radius = radius_mm * np.sqrt(2 * np.pi / n / np.sin(2 * np.pi / n))
    return np.asarray(centre_xy) + radius * np.stack([np.cos(angle), np.sin(angle)], 1)


def winding_number(
    path: Float[np.ndarray, "n 2"],
    x: Float[np.ndarray, "i"],  # noqa: UP037
    y: Float[np.ndarray, "j"],  # noqa: UP037
) -> Shaped[np.ndarray, "i j"]:
    """How often a closed polygon (n, 2) runs round each point (x, y) of a grid of rising axes: counter-clockwise > 0.

    Every segment that crosses the line of a row of points runs once round those on its left.
    """
    start, end = path, np.roll(path, -1, axis=0)
    low, high = np.minimum(start[:, 1], end[:, 1]), np.maximum(start[:, 1], end[:, 1])
    first, last = np.searchsorted(y, low), np.searchsorted(y, high)  # rows with low <= y < high
    count = last - first
    segment = np.repeat(np.arange(len(path)), count)
    row = np.arange(count.sum()) - np.repeat(np.cumsum(count) - count, count) + first[segment]
    a, b = start[segment], end[segment]
    crossing = a[:, 0] + (y[row] - a[:, 1]) * (b[:, 0] - a[:, 0]) / (b[:, 1] - a[:, 1])
    steps = np.zeros((len(x) + 1, len(y)), int)
    np.add.at(steps, (np.searchsorted(x, crossing), row), np.where(b[:, 1] > a[:, 1], 1, -1))
    return np.cumsum(steps[:0:-1], axis=0)[::-1]


def planar_dipoles(
    paths: list[Float[np.ndarray, "_ 2"]], cell_mm: float, edge_mm: float | None = None
) -> tuple[Float[np.ndarray, "d 2"], Float[np.ndarray, "d"]]:  # noqa: UP037
    """Positions (d, 2) mm and moments (d,) mm2 per A along the plane's normal of closed paths in one plane.

    A path may cross itself: where it runs round clockwise, moments are negative, and a cell with parts of both signs
    has a dipole for each. d is 0 if the paths enclose nothing. ``edge_mm`` is an x that no cell may straddle (a fold
    line).
    """
    if not paths or any(len(p) < 3 for p in paths):
        raise InputError("a wire path needs at least 3 points", got=[len(p) for p in paths], expected=">= 3 each")
    low = np.min([p.min(0) for p in paths], axis=0)
    high = np.max([p.max(0) for p in paths], axis=0)
    count = np.ceil((high - low) / cell_mm).astype(int)
    origin = (low + high) / 2 - count * cell_mm / 2
    if edge_mm is not None:
        origin[0] = edge_mm - np.ceil((edge_mm - low[0]) / cell_mm) * cell_mm
        count[0] = np.ceil((high[0] - origin[0]) / cell_mm)
    axes = [o + cell_mm / SUBSAMPLES * (np.arange(n * SUBSAMPLES) + 0.5) for o, n in zip(origin, count, strict=True)]
    turns = np.sum([winding_number(path, *axes) for path in paths], axis=0).astype(float)
    # Cells, subsamples: sums over the subsamples of a cell.
    shape = (count[0], SUBSAMPLES, count[1], SUBSAMPLES)
    positions, moments = [], []
    for part in (np.maximum(turns, 0), np.minimum(turns, 0)):
        weight = part.reshape(shape).sum((1, 3))
        keep = weight != 0
        places = (part * axes[0][:, None], part * axes[1])
        positions.append(np.stack([p.reshape(shape).sum((1, 3))[keep] / weight[keep] for p in places], 1))
        moments.append(weight[keep] * (cell_mm / SUBSAMPLES) ** 2)
    strength = np.concatenate(moments)
    # Sampling misses both signs alike, so what the net area lacks is shared by size. All of one sign: a common factor.
    missing = sum(_area(path) for path in paths) - strength.sum()
    return np.concatenate(positions), strength + np.abs(strength) * (missing / max(np.abs(strength).sum(), 1e-300))


def _area(path: np.ndarray) -> float:
    following = np.roll(path, -1, axis=0)
    return float(0.5 * np.sum(path[:, 0] * following[:, 1] - following[:, 0] * path[:, 1]))


def _fold(wing: Wing, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Fold sheet points (n, 3) about the wing's line; returns points and unit normals of the sheet (n, 3)."""
    normals = np.tile([0.0, 0.0, 1.0], (len(points), 1))
    if wing.fold_mm is None:
        return points, normals
    outward = np.sign(wing.x_mm)
    beyond = outward * (points[:, 0] - wing.fold_mm)
    turned, angle = beyond > 0, np.radians(wing.fold_deg)
    folded = points.copy()
    folded[turned, 0] = wing.fold_mm + outward * beyond[turned] * np.cos(angle)
    folded[turned, 2] += beyond[turned] * np.sin(angle)
    normals[turned] = [-outward * np.sin(angle), 0, np.cos(angle)]
    return folded, normals


def coil_dipoles(
    wings: list[Wing], cell_mm: float
) -> tuple[Float[np.ndarray, "d 3"], Float[np.ndarray, "d 3"], Float[np.ndarray, "w 3"]]:
    """Positions (d, 3) mm, moments (d, 3) A.m2 per A and winding points (w, 3) mm of the wings of a coil."""
    positions, moments, windings = [], [], []
    for wing in wings:
        paths = [circle((wing.x_mm, 0.0), radius) for radius in wing.radii_mm]
        flat, strength = planar_dipoles(paths, cell_mm, wing.fold_mm)
        for z in wing.layers_mm:
            points, normals = _fold(wing, np.column_stack([flat, np.full(len(flat), z)]))
            positions.append(points)
            moments.append(wing.sign * 1e-6 * (strength / len(wing.layers_mm))[:, None] * normals)
            outline = np.concatenate([path[::4] for path in paths])
            windings.append(_fold(wing, np.column_stack([outline, np.full(len(outline), z)]))[0])
    return np.concatenate(positions), np.concatenate(moments), np.concatenate(windings)
