"""How well a sampling grid knows the field where the action potential begins (Aberra 2023, equations 2 and 3)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tmsjax.core.errors import InputError


def interpolated(
    patches: Any, side_mm: float, z_shift_mm: float, points_mm: Float[ndarray, "b 3"]
) -> Float[ndarray, "b 3"]:
    """Field at one point of each patch (b, n, n, n, 3), linear between the samples; NaN outside the cube.

    Args:
        points_mm: (b, 3) in the cell's frame, from the soma.
    """
    patches, points = np.asarray(patches), np.asarray(points_mm, np.float64)
    n = patches.shape[1]
    if points.shape != (len(patches), 3):
        raise InputError("one point for every patch", got=points.shape, expected=(len(patches), 3))
    at = ((points - [0, 0, z_shift_mm]) / side_mm + 0.5) * (n - 1)
    inside = (at >= -1e-9).all(axis=1) & (at <= n - 1 + 1e-9).all(axis=1)
    low = np.clip(np.floor(np.where(inside[:, None], at, 0)), 0, n - 2).astype(int)
    share = np.clip(at - low, 0, 1)
    rows, found = np.arange(len(patches)), np.zeros((len(patches), 3))
    for corner in np.ndindex(2, 2, 2):
        weight = np.prod(np.where(corner, share, 1 - share), axis=1)
        i, j, k = (low + corner).T
        found += weight[:, None] * patches[rows, i, j, k]
    return np.where(inside[:, None], found, np.nan)


def initiation_errors(
    interpolated_field: Float[ndarray, "b 3"], actual: Float[ndarray, "b 3"]
) -> tuple[Float[ndarray, " b"], Float[ndarray, " b"]]:
    """Absolute percent error of |E| (equation 2) and angle in degrees (equation 3); NaN where either is unknown."""
    one, other = np.asarray(interpolated_field, np.float64), np.asarray(actual, np.float64)
    size, true = np.linalg.norm(one, axis=1), np.linalg.norm(other, axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        magnitude = 100 * np.abs(size - true) / true
        # atan2 of |a x b| and a.b: the arccosine of equation 3 loses small angles to rounding.
        across = np.linalg.norm(np.cross(one, other), axis=1)
        angle = np.rad2deg(np.arctan2(across, np.einsum("bi,bi->b", one, other)))
    known = (size > 0) & (true > 0)
    return np.where(known, magnitude, np.nan), np.where(known, angle, np.nan)
