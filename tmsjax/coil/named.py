"""What a neuronavigation file says of a pose, and what all its readers need."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tmsjax.coil.types import CoilPose
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import check_rigid

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's patient axes to RAS+, and back."""


@dataclasses.dataclass(frozen=True)
class NamedPose:
    """A pose with what its file says of it.

    name: as in the file. pose: in the head's world. kind: "target", "sample" (Brainsight), "trigger", "instrument"
    (Localite) or "matrix" (SimNIBS). time: as in the file, with its date where it has one; "" if not given.
    didt: A/us of the pulse, and intensity_percent: of the stimulator's maximum, where the file has them.
    """

    name: str
    pose: CoilPose
    kind: str = "matrix"
    time: str = ""
    didt: float | None = None
    intensity_percent: float | None = None


def rounded_pose(matrix: Float[np.ndarray, "4 4"], what: str) -> CoilPose:
    """A pose from a matrix that text has rounded: the rotation nearest to it, if it is one but for that."""
    m = check_rigid(matrix, what).copy()
    u, _, vt = np.linalg.svd(m[:3, :3])
    m[:3, :3] = u @ vt
    return CoilPose.from_matrix(m)


def finite_numbers(cells: Sequence[str], where: str) -> Float[np.ndarray, "n"] | None:  # noqa: UP037
    """Numbers of a row, or None if it has "(null)" or nothing in place of them."""
    if all(cell in ("", "(null)", "NaN", "nan") for cell in cells):
        return None
    try:
        values = np.array(cells, float)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        raise InputError("a pose is malformed", got=f"{where}: {list(cells)}", expected=f"{len(cells)} finite numbers")
    return values
