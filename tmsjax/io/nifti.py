"""NIfTI volumes: vector fields, scalar maps, diffusion tensors; every voxel keeps its place in the world.

Volumes are turned to the closest RAS+ axes on reading (``nibabel.as_closest_canonical``), as ``tmsjax.head.load`` turns
label maps, so that their grids are right-handed; nothing is resampled. Vectors and tensors are in world axes (scanner
RAS+) whatever the voxels' axes are.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from jaxtyping import Float
from nibabel.nifti1 import Nifti1Extension
from nibabel.orientations import OrientationError
from scipy.ndimage import map_coordinates

from tmsjax.core.arrays import ArrayLike, numbers
from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.core.transforms import apply_affine, check_finite
from tmsjax.io.reading import checked_path, reading

COMMENT = 6
"""NIfTI's code of an extension of plain text."""

MARK = "tmsjax "
"""How a text extension of ours begins; JSON follows."""

Volume = Float[np.ndarray, "i j k"]
Affine = Float[np.ndarray, "4 4"]

ROWS: dict[str, tuple[int, ...]] = {
    "fsl": (0, 1, 2, 3, 4, 5),
    "voxel": (0, 1, 2, 3, 4, 5),
    "mrtrix": (0, 3, 4, 1, 5, 2),
}
"""Where xx, xy, xz, yy, yz, zz stand among the six volumes."""

MATRIX = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
"""Where the entries of a symmetric 3x3 matrix stand among xx, xy, xz, yy, yz, zz."""


def write_vector(
    path: str | Path,
    values: ArrayLike,
    affine: ArrayLike,
    *,
    description: str = "",
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a vector field (i, j, k, 3), components along the world's axes, as float32 with NIfTI's vector intent.

    The vector is the fourth dimension, as SimNIBS and FSL have it (the NIfTI standard would have it as the fifth).
    ``notes`` go into the header as a text extension of JSON, which other programs pass over.

    Raises InputError for another shape, a singular affine, notes that JSON cannot hold, or another name than .nii(.gz).
    """
    values = numbers(values, "values", np.float32)
    if values.ndim != 4 or values.shape[3] != 3:
        raise InputError("this is no vector field", got=f"shape {values.shape}", expected="(i, j, k, 3)")
    return _write(path, values, affine, "vector", description, notes)


def write_scalar(
    path: str | Path,
    values: ArrayLike,
    affine: ArrayLike,
    *,
    description: str = "",
    notes: Mapping[str, Any] | None = None,
) -> Path:
    """Write a scalar map (i, j, k), such as |E| or a conductivity, as float32."""
    values = numbers(values, "values", np.float32)
    if values.ndim != 3:
        raise InputError("this is no scalar map", got=f"shape {values.shape}", expected="(i, j, k)")
    return _write(path, values, affine, "none", description, notes)


def read_vector(path: str | Path) -> tuple[Float[np.ndarray, "i j k 3"], Affine, dict[str, Any]]:
    """Values (i, j, k, 3) float32, affine and notes of a vector field, 4-D or (as the standard has it) 5-D.

    Raises InputError for a file that is missing or unreadable, or of another shape, or with a singular affine.
    """
    image = _read(path, "a vector field: (i, j, k, 3) or (i, j, k, 1, 3)", lambda s: s[3:] in ((3,), (1, 3)))
    values = np.asarray(image.dataobj, np.float32)
    return values.reshape(*values.shape[:3], 3), np.asarray(image.affine, np.float64), _notes(image)


def read_scalar(path: str | Path) -> tuple[Volume, Affine]:
    """Values (i, j, k) float32 and affine of a scalar map, such as a conductivity in S/m."""
    image = _read(path, "a scalar map: (i, j, k) or (i, j, k, 1)", lambda s: s[3:] in ((), (1,)))
    values = np.asarray(image.dataobj, np.float32)
    return values.reshape(values.shape[:3]), np.asarray(image.affine, np.float64)


def read_tensor(path: str | Path, convention: str = "fsl") -> tuple[Float[np.ndarray, "i j k 6"], Affine]:
    """Diffusion or conductivity tensors (i, j, k, 6): xx, xy, xz, yy, yz, zz along the world's axes, and the affine.

    Args:
        path: a NIfTI of six volumes.
        convention: whose axes and order the file has. "fsl": ``dtifit --save_tensor`` and SimNIBS's ``dwi2cond``, in
            order xx, xy, xz, yy, yz, zz, in FSL's image axes, which are the voxels' with x reversed where the voxels
            are right-handed (positive determinant of the affine). "voxel": that order, in the voxels' own axes.
            "mrtrix": ``dwi2tensor``, in order xx, yy, zz, xy, xz, yz, along the world's axes.

    Raises:
        InputError: a missing or unreadable file, another shape, NaN, or no tensor that is not zero.
    """
    if convention not in ROWS:
        raise InputError("unknown convention of tensors", got=convention, expected=", ".join(map(repr, ROWS)))
    image = _load(path, "a tensor map: (i, j, k, 6)", lambda s: s[3:] in ((6,), (1, 6)))
    data = np.asarray(image.dataobj, np.float32)
    data = data.reshape(*data.shape[:3], 6)[..., ROWS[convention]]
    if not np.isfinite(data).all():
        raise InputError("tensors are not finite", got=f"NaN or inf in {path}", expected="finite numbers, 0 outside")
    if not data.any():
        raise InputError("all tensors are zero", got=path, expected="tensors in the brain")
    if convention != "mrtrix":
        axes = np.asarray(image.affine, np.float64)[:3, :3]
        axes = axes / np.linalg.norm(axes, axis=0)
        if convention == "fsl" and np.linalg.det(axes) > 0:
            axes = axes * np.array([-1.0, 1.0, 1.0])
        data = rotate_tensor(data, axes)
    turned = _closest_canonical(nibabel.Nifti1Image(data, image.affine), path)
    return np.asarray(turned.dataobj, np.float32), np.asarray(turned.affine, np.float64)


def resample(
    values: Float[np.ndarray, "i j k c"], affine: Affine, points_mm: Float[np.ndarray, "p 3"]
) -> Float[np.ndarray, "p c"]:
    """Values (p, c) at points (p, 3) mm of a volume (i, j, k, c): trilinear, falling to 0 within a voxel beyond it."""
    place = apply_affine(np.linalg.inv(affine), points_mm).T
    columns = [map_coordinates(values[..., c], place, order=1, mode="grid-constant") for c in range(values.shape[-1])]
    return np.stack(columns, axis=1).astype(values.dtype)


def onto(
    values: Float[np.ndarray, "i j k c"], affine: Affine, grid: Affine, shape: tuple[int, int, int]
) -> Float[np.ndarray, "_ _ _ c"]:
    """A volume (i, j, k, c) on another grid: as it is where the grids are the same, else by ``resample``."""
    if values.shape[:3] == tuple(shape) and np.allclose(affine, grid, atol=1e-4):
        return values
    centres = apply_affine(grid, np.indices(shape).reshape(3, -1).T)
    return resample(values, affine, centres).reshape(*shape, values.shape[-1])


def rotate_tensor(tensor: Float[np.ndarray, "*n 6"], axes: Float[np.ndarray, "3 3"]) -> Float[np.ndarray, "*n 6"]:
    """R T R' of tensors (..., 6) xx, xy, xz, yy, yz, zz: from axes along the columns of ``axes`` to the world's."""
    # One 6x6 matrix turns them all: a full 3x3 tensor a voxel would double the memory.
    basis = np.zeros((6, 3, 3))
    basis[MATRIX, np.arange(3)[:, None], np.arange(3)] = 1
    turned = axes @ basis @ axes.T
    linear = turned[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    return (tensor @ linear.astype(tensor.dtype)).astype(tensor.dtype)


def _write(path, values: np.ndarray, affine, intent: str, description: str, notes) -> Path:
    path = checked_path(path, "a volume")
    if not path.name.endswith((".nii", ".nii.gz")):
        raise InputError("the name of a NIfTI file", got=path.name, expected="NAME.nii.gz or NAME.nii")
    image = nibabel.Nifti1Image(values, _check_affine(affine, "affine"))
    image.header.set_xyzt_units("mm")
    image.header.set_intent(intent)
    image.header["descrip"] = description.encode("ascii", "replace")[:79]
    image.set_sform(image.affine, "scanner")
    image.set_qform(image.affine, "scanner")
    if notes:
        image.header.extensions.append(Nifti1Extension(COMMENT, (MARK + _as_json(notes)).encode()))
    with staged_file(path) as stage:
        nibabel.save(image, stage)
    return path


def _read(path: str | Path, expected: str, fits) -> Any:
    return _closest_canonical(_load(path, expected, fits), path)


def _closest_canonical(image, path: str | Path) -> Any:
    try:
        return nibabel.as_closest_canonical(image)
    except OrientationError as error:
        raise InputError(
            "the affine of a volume cannot be used", got=f"{path}: {error}", expected="three independent voxel axes"
        ) from error


def _load(path: str | Path, expected: str, fits) -> Any:
    """The image as it lies in the file, its data read, its shape and affine checked."""
    path = checked_path(path, "a volume")
    if not path.is_file():
        raise InputError("there is no such volume", got=str(path), expected="a NIfTI file")
    with reading(path, "the volume cannot be read", "a NIfTI file"):
        image: Any = nibabel.load(path)
        shape, kind = image.shape, np.asanyarray(image.dataobj).dtype.kind
        affine = np.asarray(image.affine, np.float64)
    if kind not in "iuf":
        raise InputError("the volume holds no numbers", got=f"{path}: kind {kind!r}", expected="integers or floats")
    if len(shape) < 3 or not fits(shape):
        raise InputError("the volume has the wrong shape", got=f"{shape} in {path}", expected=expected)
    _check_affine(affine, f"the affine of {path.name}")
    return image


def _check_affine(affine: ArrayLike, what: str) -> np.ndarray:
    found = check_finite(affine, (4, 4), what)
    if abs(np.linalg.det(found)) < 1e-9:
        raise InputError(f"{what} is singular", got=found.tolist(), expected="voxels with a volume")
    return found


def _as_json(notes: Mapping[str, Any]) -> str:
    """Numbers and arrays of NumPy and JAX go as plain ones."""
    try:
        return json.dumps(dict(notes), default=lambda value: np.asarray(value, float).tolist())
    except (TypeError, ValueError) as error:
        raise InputError("notes that cannot be written", got=repr(notes)[:80], expected="what JSON holds") from error


def _notes(image) -> dict[str, Any]:
    """What we wrote into the header, or nothing."""
    for extension in getattr(image.header, "extensions", ()):
        content = extension.get_content()
        text = content.decode("utf-8", "replace") if isinstance(content, bytes) else str(content)
        if text.startswith(MARK):
            try:
                return json.loads(text.removeprefix(MARK).rstrip("\0"))
            except ValueError:
                return {}
    return {}
