"""Rigid and affine transforms in millimetres, checked where they enter the library."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError

ROTATION_TOLERANCE = 1e-3
"""Largest entry of R'R - 1 that still counts as a rotation (float32 and text files round)."""


def check_finite(matrix: ArrayLike, shape: tuple[int, ...], what: str) -> np.ndarray:
    """Return ``matrix`` as float64, or raise InputError unless it has this shape and is finite."""
    try:
        m = np.asarray(matrix, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is not made of numbers", got=repr(matrix), expected=f"an array of {shape}") from error
    if m.shape != shape:
        raise InputError(f"{what} has the wrong shape", got=m.shape, expected=shape)
    if not np.isfinite(m).all():
        raise InputError(f"{what} has entries that are not finite", got=m.tolist(), expected="finite numbers")
    return m


def check_rigid(matrix: ArrayLike, what: str = "pose matrix") -> Float[np.ndarray, "4 4"]:
    """Return a 4x4 rigid transform (rotation and translation, mm), or raise InputError saying what is wrong."""
    m = check_finite(matrix, (4, 4), what)
    _check_last_row(m, what)
    r = m[:3, :3]
    gram = r.T @ r
    if np.abs(gram - np.eye(3)).max() > ROTATION_TOLERANCE:
        kind = "scaled" if np.allclose(gram, np.diag(np.diag(gram)), atol=ROTATION_TOLERANCE) else "sheared"
        raise InputError(
            f"{what} is {kind}: its columns are not orthonormal",
            got=np.array2string(r, precision=4),
            expected="a rotation: orthonormal columns x, y, z",
            mend="give unit vectors at right angles; lengths in mm belong in the last column only",
        )
    if np.linalg.det(r) < 0:
        raise InputError(
            f"{what} is reflected (determinant -1)",
            got=np.array2string(r, precision=4),
            expected="a right-handed rotation (determinant +1)",
            mend="flip the sign of one axis, or convert from the left-handed convention it was written in",
        )
    return m


def check_voxel_affine(affine: ArrayLike, what: str = "affine") -> tuple[Float[np.ndarray, "4 4"], np.ndarray]:
    """Return (affine, voxel sizes in mm) of a grid in RAS+ mm; InputError if it is sheared, singular or reflected."""
    m = check_finite(affine, (4, 4), what)
    _check_last_row(m, what)
    a = m[:3, :3]
    sizes = np.linalg.norm(a, axis=0)
    if (sizes < 1e-6).any():
        raise InputError(f"{what} is singular", got=a.tolist(), expected="three independent voxel axes")
    r = a / sizes
    if np.abs(r.T @ r - np.eye(3)).max() > ROTATION_TOLERANCE:
        raise InputError(
            f"{what} is sheared: its voxel axes are not at right angles",
            got=np.array2string(a, precision=4),
            expected="voxel axes at right angles",
            mend="resample the image to an unsheared grid, e.g. nibabel.processing.resample_to_output",
        )
    if np.linalg.det(r) < 0:
        raise InputError(
            f"{what} is reflected (negative determinant): its voxel axes are left-handed",
            got=np.array2string(a, precision=4),
            expected="a right-handed voxel grid in RAS+ mm (positive determinant)",
            mend="reorder the array with nibabel.as_closest_canonical(image), or let tmsjax.head.load read the file",
        )
    return m, sizes


def apply_affine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Map points (..., 3) through a 4x4 affine."""
    return points @ matrix[:3, :3].T + matrix[:3, 3]


def _check_last_row(m: np.ndarray, what: str) -> None:
    if not np.allclose(m[3], [0, 0, 0, 1], atol=1e-6):
        raise InputError(f"{what} is not affine: its last row", got=m[3].tolist(), expected="[0, 0, 0, 1]")
