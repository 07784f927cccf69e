"""What a head is: tissue labels on a voxel grid, their conductivities, cortical surfaces, landmarks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.core.transforms import check_voxel_affine

TISSUES: dict[int, str] = {
    0: "air",
    1: "white matter",
    2: "grey matter",
    3: "cerebrospinal fluid",
    4: "skull",
    5: "scalp and other soft tissue",
}
"""The label of each tissue."""

WHITE, GREY, CSF, SKULL, SCALP = 1, 2, 3, 4, 5

PAPER_CONDUCTIVITY: dict[int, float] = {WHITE: 0.126, GREY: 0.275, CSF: 1.654, SKULL: 0.01, SCALP: 0.25}
"""Conductivity of each label in S/m: Aberra et al. 2023 (NeuroImage 275:120184), methods, after SimNIBS 3."""

SURFACES = ("lh_white", "lh_pial", "rh_white", "rh_pial")
"""Names of the cortical surfaces; white and pial of a hemisphere share their faces, vertex by vertex."""


@pytree()
class Surface:
    """A triangle mesh in the head's world frame.

    Attributes:
        vertices: (v, 3) float32, scanner RAS+ mm.
        faces: (f, 3) int32 vertex indices, counter-clockwise seen from outside.
    """

    vertices: Any
    faces: Any


@pytree("name")
class HeadModel:
    """A volume conductor with its anatomy, in scanner RAS+ mm.

    Attributes:
        labels: (i, j, k) uint8 tissue of each voxel (see ``TISSUES``; 0 is air). Read-only, as results are kept for
            it; for other labels make another head.
        affine: (4, 4) float64, voxel index -> RAS+ mm of the voxel's centre; right-handed and unsheared.
        conductivity: label -> S/m for every label but air; its values are leaves, so they can be differentiated.
        surfaces: "lh_white", "lh_pial", "rh_white", "rh_pial" -> Surface, or None. White and pial of a hemisphere
            are in vertex correspondence.
        mni_to_head: (4, 4) affine, MNI152 mm -> head RAS+ mm, or None if the head is not registered.
        landmarks: name -> (3,) MNI152 mm of landmarks that this head has beyond the named ones of
            ``tmsjax.head.LANDMARKS``, or in place of them.
        name: what the head is called in reports.
    """

    labels: Any
    affine: Any
    conductivity: dict[int, Any]
    surfaces: dict[str, Any] | None
    mni_to_head: Any
    landmarks: dict[str, Any]
    name: str

    @property
    def voxel_mm(self) -> np.ndarray:
        """(3,) voxel sizes in mm."""
        return np.linalg.norm(np.asarray(self.affine)[:3, :3], axis=0)


def from_labels(
    labels: ArrayLike,
    affine: ArrayLike,
    conductivity: Mapping[int, ArrayLike] | None = None,
    *,
    surfaces: dict[str, Surface] | None = None,
    mni_to_head: ArrayLike | None = None,
    landmarks: Mapping[str, ArrayLike] | None = None,
    name: str = "unnamed",
) -> HeadModel:
    """Make a head from copies of tissue labels and their affine, as they are: nothing is reoriented or resampled.

    Args:
        labels: (i, j, k) integers, 0 air, 1 white matter, 2 grey matter, 3 CSF, 4 skull, 5 scalp and other soft
            tissue; further labels need an entry in ``conductivity``.
        affine: (4, 4) voxel index -> scanner RAS+ mm of the voxel's centre.
        conductivity: label -> S/m; replaces or extends ``PAPER_CONDUCTIVITY``.
        surfaces: cortical surfaces in the same world frame, if there are any.
        mni_to_head: (4, 4) affine MNI152 mm -> RAS+ mm.
        landmarks: name -> (3,) MNI152 mm.
        name: what to call the head.

    Raises:
        InputError: labels that are not 3-D, not integers, of unknown value or without brain; an affine that is
            sheared, singular or reflected; a conductivity that is not a positive finite number; a registration that
            is reflected; a landmark that is no point.
    """
    table = check_conductivity(conductivity)
    grid, _ = check_voxel_affine(_matrix(affine, "affine of the label map"), "affine of the label map")
    return HeadModel(
        labels=_check_labels(labels, table),
        affine=grid,
        conductivity=table,
        surfaces=surfaces,
        mni_to_head=None if mni_to_head is None else _check_registration(mni_to_head),
        landmarks={key: _check_point(key, value) for key, value in (landmarks or {}).items()},
        name=name,
    )


def check_conductivity(
    conductivity: Mapping[int, ArrayLike] | None,
    defaults: Mapping[int, float] = PAPER_CONDUCTIVITY,
    highest: int = 255,
) -> dict[int, float]:
    """The defaults with those given (label -> S/m) in their place; InputError unless all are positive and finite."""
    table = dict(defaults)
    for label, value in (conductivity or {}).items():
        if not isinstance(label, int | np.integer) or not 1 <= label <= highest:
            expected = f"labels 1 to {highest} (0 is air)"
            raise InputError("conductivity of an impossible label", got=label, expected=expected)
        number = np.asarray(value)
        if number.ndim or number.dtype.kind not in "iuf" or not np.isfinite(number) or not number > 0:
            raise InputError(
                f"conductivity of label {label} ({TISSUES.get(int(label), 'tissue of your own')}) cannot be used",
                got=value,
                expected="a positive finite number in S/m",
            )
        table[int(label)] = float(number)
    return dict(sorted(table.items()))


def _matrix(value: ArrayLike, what: str) -> np.ndarray:
    """A copy in float64."""
    try:
        return np.array(value, np.float64)
    except (TypeError, ValueError) as error:
        raise InputError(f"{what} is not made of numbers", got=repr(value)[:80], expected="finite numbers") from error


def _check_registration(mni_to_head: ArrayLike) -> np.ndarray:
    matrix = _matrix(mni_to_head, "mni_to_head")
    usable = matrix.shape == (4, 4) and np.isfinite(matrix).all() and np.allclose(matrix[3], [0, 0, 0, 1], atol=1e-6)
    if not usable or np.linalg.det(matrix) <= 0:
        raise InputError(
            "mni_to_head cannot be used",
            got=matrix.tolist(),
            expected="a 4x4 affine with positive determinant and last row 0 0 0 1, MNI152 mm -> RAS+ mm",
        )
    return matrix


def _check_point(name: str, value: ArrayLike) -> np.ndarray:
    point = _matrix(value, f"landmark {name!r}")
    if point.shape != (3,) or not np.isfinite(point).all():
        raise InputError(f"landmark {name!r} is no point", got=point.tolist(), expected="x, y, z in MNI152 mm")
    return point


def _check_labels(labels: ArrayLike, table: dict[int, float]) -> np.ndarray:
    data = np.asarray(labels)
    if data.ndim == 4 and data.shape[-1] == 1:
        data = data[..., 0]
    if data.ndim != 3 or 0 in data.shape:
        raise InputError("the label map is not a volume", got=f"shape {data.shape}", expected="a 3-D array (i, j, k)")
    if data.dtype.kind == "f":
        if not np.isfinite(data).all():
            raise InputError("the label map has NaN or infinite voxels", got=f"{(~np.isfinite(data)).sum()} of them",
                             expected="integers")  # fmt: skip
        fractional = data != np.rint(data)
        if fractional.any():
            raise InputError(
                "the label map is not made of integers",
                got=f"{fractional.sum()} voxels such as {data[fractional].flat[0]:g}",
                expected="one integer label a voxel",
                mend="resample label maps with nearest neighbour (order 0); a probability map is not a label map",
            )
    elif data.dtype.kind not in "iub":
        raise InputError("the label map has no numbers", got=data.dtype, expected="integers")
    values, counts = np.unique(data, return_counts=True)
    unknown = [(int(v), int(c)) for v, c in zip(values, counts, strict=True) if v != 0 and int(v) not in table]
    if unknown:
        shown = ", ".join(f"{v} ({c} voxels)" for v, c in unknown[:12]) + (", ..." if len(unknown) > 12 else "")
        raise InputError(
            "the label map has unknown labels",
            got=shown,
            expected="0 air, " + ", ".join(f"{k} {TISSUES.get(k, 'your own')}" for k in table),
            mend="relabel them, or give their conductivity in S/m: conductivity={%d: 0.3, ...}" % unknown[0][0],  # noqa: UP031
        )
    if not np.isin([WHITE, GREY], values).any():
        raise InputError(
            "there is no brain in the label map",
            got=f"labels {values.tolist()}",
            expected="voxels of white matter (1) or grey matter (2)",
        )
    own = np.array(data, dtype=np.uint8, order="C")
    own.flags.writeable = False
    return own
