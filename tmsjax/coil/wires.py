"""Coils from wire: any closed path as a sheet of magnetic dipoles, held against its exact field.

A closed wire has the vector potential of a sheet of dipoles over any surface that it bounds (Ampere; Stokes' theorem
makes it exact). A flat wire is spanned by its own plane, cut into cells as in ``geometry``; a wire that is bent in
space by the fan of triangles between its segments and an apex. What is left is the error of lumping the sheet into
dipoles, which is measured against the closed form of the straight segment and stated in ``Coil.fit``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from tmsjax.coil.fit import BRAIN_MM, GAP_MM, HEAD_MM, POOR, brain_points, dipole_potential, fit_error
from tmsjax.coil.geometry import planar_dipoles
from tmsjax.coil.library import from_dipoles
from tmsjax.coil.types import Coil
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError, check_number
from tmsjax.core.transforms import check_finite

CLOSED_MM = 1e-3
"""A wire ends where it begins if the two points are no further apart than this."""

TOUCH = 1e-6
"""A wire crosses itself if two of its parts come nearer than this share of its size."""

CANCELLED = 1e-9
"""Wires have no field if what is left of it is below this share of what they have one by one."""

FLAT = 1e-6
"""A wire is flat if no point is further from a plane than this share of its size."""

CLEAR_MM = 4.0
"""The error is stated in the brain of a round head; wire and sheet are no nearer to it than this."""


def from_wires(
    paths: ArrayLike | Sequence[ArrayLike],
    turns: ArrayLike = 1.0,
    *,
    cell_mm: float = 3.0,
    apex_mm: ArrayLike | None = None,
    name: str = "wires",
) -> Coil:
    """A coil from closed wires of your own, in the coil's frame (z = 0 the casing's face, +z into the head).

    Its ``.fit`` states the error against the exact (Biot-Savart) field of the wires in the brain of a round head below
    the casing. It falls with the square of ``cell_mm``. A current that runs round the path, seen from +z
    counter-clockwise, has a moment along +z. The wires are the coil's ``windings``.

    Args:
        paths: one wire (n, 3) mm or several, each with its last point equal to its first. A spiral of several turns
            comes back over or under them, not through them.
        turns: how often the coil's current runs along each wire, negative for backwards; one number for all, or one
            each. A wire of 0.5 carries half the current (two filaments of one conductor).
        cell_mm: side of the cell of sheet that one dipole stands for.
        apex_mm: (3,) apex of the fan that spans a bent wire; the mean of its points if not given. A wire that goes
            round the head needs one behind it (at negative z), so that no dipole lies in the head.
        name: what to call the coil.

    Raises:
        InputError: fewer than 3 points, NaN, a wire that is open, crosses or touches itself, doubles back on itself or
            has segments of no length, another number of turns than wires, dipoles in the head, currents that cancel, or
            cells so large that the field is missed by more than ``fit.POOR``.
    """
    wires = [_checked(path, number) for number, path in enumerate(_as_list(paths))]
    try:
        current = np.asarray(turns, float)
    except (TypeError, ValueError):
        current = np.array(np.nan)
    current = np.full(len(wires), current) if current.ndim == 0 else current
    if current.shape != (len(wires),) or not np.isfinite(current).all() or not current.any():
        raise InputError(
            "turns of the wires", got=repr(turns)[:80], expected=f"one finite number, or {len(wires)}; not all 0"
        )
    cell_mm = check_number(cell_mm, "size of a cell", above=0, unit="mm")
    return span(
        wires, current, cell_mm, None if apex_mm is None else check_finite(apex_mm, (3,), "apex of the fan"), name
    )


def span(
    wires: Sequence[Float[np.ndarray, "_ 3"]],
    current: Float[np.ndarray, "w"],  # noqa: UP037
    cell_mm: float,
    apex: Float[np.ndarray, 3] | list[float] | None,
    name: str,
) -> Coil:
    """The coil of closed wires (each (n, 3) mm without its first point again) with currents, crossing or not.

    Raises InputError if they reach into the head, cancel, or if their dipoles miss their field by more than ``POOR``.
    """
    points = brain_points(2000, 1)
    each = [c * wire_potential(wire, points) * 1e-6 for c, wire in zip(current, wires, strict=True)]
    exact = np.sum(each, axis=0)
    sheets = [_sheet(wire, cell_mm, None if apex is None else np.asarray(apex, float)) for wire in wires]
    positions = np.concatenate([q for q, _ in sheets])
    moments = np.concatenate([c * m for c, (_, m) in zip(current, sheets, strict=True)])
    if len(positions) and (len(wires) > 1 or len(positions) > 4000):
        positions, moments = merge(positions, moments, cell_mm)
    if not len(positions) or np.linalg.norm(exact) <= CANCELLED * np.linalg.norm(each):
        raise InputError(
            "the wires have no field",
            got="currents that cancel, or wires that enclose nothing",
            expected="a net current round an area",
            mend="check the signs of turns, and that no wire is given twice",
        )
    solid = np.concatenate([*wires, positions])
    inside = np.linalg.norm(solid - [0, 0, GAP_MM + HEAD_MM], axis=1) < BRAIN_MM + CLEAR_MM
    if inside.any():
        raise InputError(
            "the coil reaches into the head",
            got=f"wire or sheet at {solid[inside][0].round(1).tolist()} mm, in a round head below z = {GAP_MM:g} mm",
            expected="wires behind z = 0 of the coil's frame, or round the head with an apex_mm behind them",
            mend="z points into the head; give apex_mm=(0, 0, -100) or so for wires that go round the head",
        )
    rounded = dipole_potential(positions.astype(np.float32).astype(float), moments * 1e-6, points)
    fit = fit_error(rounded, exact, of=f"wires of {name}")
    if fit.error > POOR:
        raise InputError(
            f"dipoles do not stand for the wires of {name}",
            got=f"a field missed by {100 * fit.error:.0f} % with cells of {cell_mm:g} mm",
            expected=f"at most {100 * POOR:g} %",
            mend="a smaller cell_mm; wires that nearly cancel each other need cells as small as what keeps them apart",
        )
    coil = from_dipoles(positions, moments * 1e-6, windings=np.concatenate(wires))
    return Coil(coil.positions, coil.moments, coil.windings, name, fit=fit)


def wire_potential(wire: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
    """Integral of dl / |d| along a closed wire (n, 3) mm at points (p, 3) mm: exact, in closed form.

    A straight segment of length L and direction u, with ends at distances a and b: u log((a + b + L)/(a + b - L)).
    In units of mm2 per A of ``fit.dipole_potential``: both are A over mu0/4pi.
    """
    following = np.roll(wire, -1, axis=0)
    length = np.linalg.norm(following - wire, axis=1)
    total = np.zeros((len(points), 3))
    size = max(1, 2_000_000 // len(wire))
    for start in range(0, len(points), size):
        away = cdist(points[start : start + size], wire)
        ends = away + np.roll(away, -1, axis=1)
        total[start : start + size] = np.log((ends + length) / (ends - length)) @ ((following - wire) / length[:, None])
    return total


def merge(
    positions: Float[np.ndarray, "d 3"], moments: Float[np.ndarray, "d 3"], cell_mm: float
) -> tuple[Float[np.ndarray, "m 3"], Float[np.ndarray, "m 3"]]:
    """One dipole for all of a cubic cell: the sum of their moments, at their mean weighted by size."""
    cell = np.floor(positions / cell_mm + 1e-9).astype(int)
    _, member = np.unique(cell, axis=0, return_inverse=True)
    member = member.ravel()
    size = np.linalg.norm(moments, axis=1)
    total = np.stack([np.bincount(member, moments[:, n]) for n in range(3)], 1)
    weight = np.bincount(member, size)
    centre = np.stack([np.bincount(member, size * positions[:, n]) for n in range(3)], 1)
    keep = np.linalg.norm(total, axis=1) > 1e-9 * weight.max()
    return centre[keep] / weight[keep, None], total[keep]


def _as_list(paths: Any) -> list[Any]:
    """One wire or several as a list: one has two dimensions."""
    try:
        dimensions = np.ndim(paths)
    except ValueError:  # wires of different lengths
        dimensions = 3
    if dimensions == 2:
        return [paths]
    wires = list(paths) if isinstance(paths, list | tuple | np.ndarray) and dimensions else []
    if not wires:
        raise InputError("no wire", got=repr(paths)[:80], expected="a closed wire (n, 3) mm, or a list of them")
    return wires


def _checked(path: ArrayLike, number: int) -> Float[np.ndarray, "n 3"]:
    """A wire (n, 3) mm without its closing point, or the error that says what is wrong with it."""
    try:
        points = np.array(path, float)
    except (TypeError, ValueError) as error:
        raise InputError(f"wire {number} is not made of numbers", got=repr(path)[:80], expected="(n, 3) mm") from error
    if points.ndim != 2 or points.shape[1] != 3:
        raise InputError(f"wire {number} has the wrong shape", got=points.shape, expected="(n, 3) mm")
    if not np.isfinite(points).all():
        bad = points[~np.isfinite(points).all(1)][0].tolist()
        raise InputError(f"wire {number} has NaN or infinite points", got=bad, expected="finite mm")
    ends = float(np.linalg.norm(points[0] - points[-1])) if len(points) else 0.0
    if len(points) < 4 and (len(points) < 3 or ends <= CLOSED_MM):
        raise InputError(
            f"wire {number} has too few points", got=len(points), expected="3 or more, and the first one again"
        )
    if ends > CLOSED_MM:
        raise InputError(
            f"wire {number} is open",
            got=f"{ends:.3g} mm between its last point and its first",
            expected="a closed wire: the last point equal to the first",
            mend="repeat the first point at the end; a coil's leads run side by side and cancel, so leave them out",
        )
    points = points[:-1]
    lengths = np.linalg.norm(np.roll(points, -1, axis=0) - points, axis=1)
    if lengths.min() <= 1e-9:
        raise InputError(
            f"wire {number} has a segment of no length",
            got=f"points {int(lengths.argmin())} and {int(lengths.argmin()) + 1} are the same",
            expected="points that differ from the ones before",
        )
    _check_crossing(points, lengths, number)
    return points


def _check_crossing(points: Float[np.ndarray, "n 3"], lengths: Float[np.ndarray, "n"], number: int) -> None:  # noqa: UP037
    start, along = points, np.roll(points, -1, axis=0) - points
    tolerance = TOUCH * float(np.ptp(points, axis=0).max())
    unit = along / lengths[:, None]
    back = np.flatnonzero((unit * np.roll(unit, -1, axis=0)).sum(1) < -1 + 1e-9)
    hit = (int(back[0]), int((back[0] + 1) % len(points))) if len(back) else None
    middle, half = start + along / 2, lengths / 2
    reach = KDTree(middle)
    for first in range(0, len(points), 256) if hit is None else ():
        # Only segments whose middles are within both half lengths can touch; neighbours share a point.
        block = np.arange(first, min(first + 256, len(points)))
        found = reach.query_ball_point(middle[block], half[block] + half.max() + tolerance)
        i, j = np.repeat(block, [len(f) for f in found]), np.concatenate(found).astype(int)
        far = np.linalg.norm(middle[i] - middle[j], axis=1) > half[i] + half[j] + tolerance
        keep = (j > i + 1) & ~((i == 0) & (j == len(points) - 1)) & ~far
        i, j = i[keep], j[keep]
        touching = np.flatnonzero(_segment_gaps(start[i], along[i], start[j], along[j]) <= tolerance)
        if len(touching):
            hit = (int(i[touching[0]]), int(j[touching[0]]))
            break
    if hit is not None:
        raise InputError(
            f"wire {number} crosses or touches itself",
            got=f"segments {hit[0]} and {hit[1]}, near {np.round(points[hit[0]], 2).tolist()} mm",
            expected="a wire whose parts stay apart",
            mend="lift one part over the other by the wire's thickness, as a spiral's return lead is",
        )


def _segment_gaps(p: np.ndarray, u: np.ndarray, q: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Smallest distances (n,) between segments from p along u and others from q along v, each (n, 3)."""

    def point_gap(point, origin, way):  # of points to segments, broadcast
        t = np.clip(((point - origin) * way).sum(-1) / (way * way).sum(-1), 0, 1)
        return np.linalg.norm(point - origin - t[..., None] * way, axis=-1)

    gaps = np.minimum.reduce([point_gap(p, q, v), point_gap(p + u, q, v), point_gap(q, p, u), point_gap(q + v, p, u)])
    a, b, c = (u * u).sum(1), (u * v).sum(1), (v * v).sum(1)
    d, e = ((q - p) * u).sum(1), ((q - p) * v).sum(1)
    denominator = a * c - b * b
    with np.errstate(divide="ignore", invalid="ignore"):
        s, t = (c * d - b * e) / denominator, (b * d - a * e) / denominator
    inside = (denominator > 1e-12 * a * c) & (s >= 0) & (s <= 1) & (t >= 0) & (t <= 1)
    s, t = np.where(inside, s, 0), np.where(inside, t, 0)
    lines = np.linalg.norm(p + s[:, None] * u - q - t[:, None] * v, axis=1)
    return np.where(inside, np.minimum(gaps, lines), gaps)


def _sheet(
    wire: Float[np.ndarray, "n 3"], cell_mm: float, apex: Float[np.ndarray, 3] | None
) -> tuple[Float[np.ndarray, "d 3"], Float[np.ndarray, "d 3"]]:
    """Positions (d, 3) mm and moments (d, 3) mm2 per A of a sheet that a closed wire bounds."""
    middle = wire.mean(0)
    _, singular, axes = np.linalg.svd(wire - middle, full_matrices=False)
    if apex is None and singular[2] <= FLAT * singular[0]:
        # The plane's own axes follow the coil's, so that cells lie as its wings do, however the wire was drawn.
        normal = np.cross(axes[0], axes[1])
        first = np.eye(3)[0 if abs(normal[0]) < 0.9 else 1]
        first = first - (first @ normal) * normal
        first /= np.linalg.norm(first)
        axes = np.stack([first, np.cross(normal, first)])
        flat = (wire - middle) @ axes.T
        found, strength = planar_dipoles([flat], cell_mm)
        return middle + found @ axes, strength[:, None] * normal
    return _fan(wire, cell_mm, middle if apex is None else apex)


def _fan(wire: np.ndarray, cell_mm: float, apex: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every triangle (apex, point, next point) cut along and across into pieces of a cell's size at most."""
    ends = np.stack([wire, np.roll(wire, -1, axis=0)], axis=1) - apex  # segments, their ends, xyz
    rows = np.ceil(np.linalg.norm(ends, axis=2).max(1) / cell_mm).astype(int)
    columns = np.ceil(np.linalg.norm(ends[:, 1] - ends[:, 0], axis=1) / cell_mm).astype(int)
    cuts, kind = np.unique(np.maximum(np.stack([rows, columns], 1), 1), axis=0, return_inverse=True)
    positions, moments = [], []
    for number, (n, m) in enumerate(cuts):
        a, b = np.moveaxis(ends[kind.ravel() == number], 1, 0)
        s = np.linspace(0, 1, n + 1)
        share = (s[1:] ** 2 - s[:-1] ** 2) / 2 / m  # of the parallelogram a x b
        radius = (2 / 3) * (s[1:] ** 3 - s[:-1] ** 3) / (s[1:] ** 2 - s[:-1] ** 2)
        t = ((np.arange(m) + 0.5) / m)[:, None]
        edge = (1 - t) * a[:, None] + t * b[:, None]
        positions.append((apex + radius[:, None, None] * edge[:, None]).reshape(-1, 3))
        moments.append((np.repeat(share, m)[:, None] * np.cross(a, b)[:, None]).reshape(-1, 3))
    return np.concatenate(positions), np.concatenate(moments)
