"""Dipoles fitted to a vector potential, and how well they stand for it.

Outside a coil its vector potential is that of any set of dipoles with the same field, so a few well-placed dipoles with
moments from least squares replace many. All in float64, in the coil's frame, with the potential as the bare sum
``sum m x d / |d|^3`` in A.m2 per A and mm (times ``core.units.DIPOLE_A`` and dI/dt: V/m).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.linalg import lstsq, qr
from scipy.spatial import KDTree
from scipy.spatial.distance import cdist

from tmsjax.coil.types import Fit
from tmsjax.core.errors import InputError

HEAD_MM, BRAIN_MM, DEEP_MM = 92.0, 78.0, 60.0
"""The round head that errors are stated in: scalp, and the shell of brain from ``DEEP_MM`` to ``BRAIN_MM``."""

GAP_MM = 4.0
"""How far below the casing's face that head touches."""

NEAREST_MM = 8.0
"""Dipoles are fitted at points no nearer than this to the coil: its own dipoles are lumps that no head feels."""

POOR = 0.05
"""A coil whose dipoles miss its field by more than this is refused."""

RANK_CUT = 1e-7
"""Singular values below this share of the largest are left out, which keeps moments from growing and cancelling."""


def dipole_potential(
    positions: Float[np.ndarray, "d 3"], moments: Float[np.ndarray, "d 3"], points: Float[np.ndarray, "p 3"]
) -> Float[np.ndarray, "p 3"]:
    """Sum of m x d / |d|^3 with d = point - position (p, 3), as (sum w m) x r - sum w (m x q) with w = |d|^-3."""
    total = np.empty((len(points), 6))
    for start, weight in _weights(positions, points):
        total[start : start + len(weight)] = weight @ np.concatenate([moments, np.cross(moments, positions)], axis=1)
    return np.cross(total[:, :3], points) - total[:, 3:]


def unit_columns(sites: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p3 n3"]:
    """Potentials (3 p, 3 n) at points of unit moments along x, y, z at every site."""
    away = points[:, None] - sites
    away /= (away * away).sum(2)[..., None] ** 1.5
    table = np.zeros((len(points), 3, len(sites), 3))
    for a, b, c in ((0, 1, 2), (1, 2, 0), (2, 0, 1)):  # (m x d)_a = m_b d_c - m_c d_b
        table[:, a, :, b], table[:, a, :, c] = away[..., c], -away[..., b]
    return table.reshape(3 * len(points), 3 * len(sites))


def brain_points(n: int, seed: int, gap_mm: float = GAP_MM) -> Float[np.ndarray, "n 3"]:
    """Points (n, 3) in the near half of the brain of a round head that touches the plane z = ``gap_mm``."""
    rng = np.random.default_rng(seed)
    out = rng.normal(size=(n, 3))
    out[:, 2] = -np.abs(out[:, 2])
    out *= rng.uniform(DEEP_MM, BRAIN_MM, (n, 1)) / np.linalg.norm(out, axis=1, keepdims=True)
    return out + np.array([0, 0, gap_mm + HEAD_MM])


def points_in_front(
    coil: Float[np.ndarray, "c 3"], n: int, seed: int, nearest_mm: float = NEAREST_MM
) -> Float[np.ndarray, "n 3"]:
    """Points (n, 3) where a head may be: beyond z = 0, ``nearest_mm`` or more from the coil, denser near it."""
    rng, tree = np.random.default_rng(seed), KDTree(coil)
    low, high = coil[:, :2].min(0) - 20, coil[:, :2].max(0) + 20
    found: list[np.ndarray] = []
    for _ in range(20):
        share = rng.uniform(size=(4 * n, 3))
        depth = nearest_mm - 25 * np.log1p(-share[:, 2] * (1 - np.exp(-80 / 25)))
        trial = np.column_stack([low + (high - low) * share[:, :2], depth])
        found.append(trial[tree.query(trial)[0] >= nearest_mm])
        if sum(map(len, found)) >= n:
            return np.concatenate(found)[:n]
    raise InputError(
        "the coil leaves no room for a head", got=f"{sum(map(len, found))} points", expected="a head beyond z = 0"
    )


def moments_at(
    sites: Float[np.ndarray, "n 3"], points: Float[np.ndarray, "p 3"], potential: Float[np.ndarray, "p 3"]
) -> Float[np.ndarray, "n 3"]:
    """Moments (n, 3) A.m2 per A at the sites that give the potential (p, 3) at the points best, by least squares."""
    columns, wanted = unit_columns(sites, points), potential.ravel()
    solution: Any = lstsq(columns, wanted, cond=RANK_CUT, check_finite=False, lapack_driver="gelsy")
    return solution[0].reshape(-1, 3)


def choose_sites(
    positions: Float[np.ndarray, "d 3"], moments: Float[np.ndarray, "d 3"], points: Float[np.ndarray, "p 3"], n: int
) -> np.ndarray:
    """Indices (n,) of the dipoles whose fields at the points span the others' best: pivoted QR of a random sketch.

    Duersch & Gu 2017 (SIAM J. Sci. Comput. 39:C263): the columns that pivoting takes from a Gaussian sketch of n + 20
    rows are as good as those it takes from the whole table, at a hundredth of the cost. The seed is fixed.
    """
    rng, sketch = np.random.default_rng(0), np.zeros((n + 20, len(positions)))
    for start, weight in _weights(positions, points):
        here = points[start : start + len(weight)]
        row = rng.normal(size=(n + 20, len(here), 3))
        # row . (m x d) w summed over points = m . sum (r x row) w - (m x q) . sum row w
        for factor, part in ((moments, np.cross(here, row)), (-np.cross(moments, positions), row)):
            for axis in range(3):
                sketch += (part[..., axis] @ weight) * factor[:, axis]
    pivoted = qr(sketch, mode="r", pivoting=True, check_finite=False)
    return np.sort(pivoted[-1][:n])


def _weights(positions: np.ndarray, points: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """|point - position|^-3 of chunks of points: (first point, (chunk, d))."""
    size = max(1, 2_000_000 // max(len(positions), 1))
    for start in range(0, len(points), size):
        yield start, cdist(points[start : start + size], positions) ** -3.0


def fit_error(found: Float[np.ndarray, "p 3"], true: Float[np.ndarray, "p 3"], of: str) -> Fit:
    """The ``Fit`` of potentials (p, 3) at held-out points against those (p, 3) they stand for."""
    away = np.linalg.norm(found - true, axis=1)
    return Fit(
        of=of,
        error=float(np.linalg.norm(away) / np.linalg.norm(true)),
        worst=float(away.max() / np.linalg.norm(true, axis=1).max()),
        points=len(true),
    )
