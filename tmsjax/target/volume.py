"""A T1 as the network takes it: RAS+ axes, 1 mm, a cube round the head, 5th and 95th percentile at 0 and 1.

The paper's images have "a common RAI orientation" on 256^3 voxels of 1 mm (section 2.1). Here the axes run to the
right, forwards and up, as everywhere in this library. World places are those of the file: an oblique image is resampled
on axes along the world's, and what is found in it is in the original world.
"""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

import nibabel
import numpy as np
from jaxtyping import Float
from scipy.ndimage import affine_transform

from tmsjax.core.arrays import ArrayLike, numbers
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine, check_finite
from tmsjax.io import read_scalar
from tmsjax.io.reading import checked_path, reading

SIDE, VOXEL_MM = 256, 1.0

LOW, HIGH = 5.0, 95.0
"""Percentiles of the image that become 0 and 1."""

HEAD = 0.3
"""Voxels above this, after normalisation, are taken for the head when it is centred."""

BELOW, NEAR = 100 / 256, 120 / 256
"""The middle lies so far below the top of the head, in sides of the cube, amid what is as near to it as the second."""

LOOKED_AT, PASSED_OVER = 64, 5e-4
"""For that about 64 voxels are looked at along an axis, and this share of the head's, the highest, is passed over."""

LEAST_FIELD_MM, USUAL_FIELD_MM = 100.0, 150.0
"""A smaller field of view is refused; a smaller one than usual is warned of."""

LARGEST_VOXEL_MM, COARSE = 5.0, 1.5
"""Larger voxels are refused; those more than this many times larger than the cube's, or unequal so, are warned of."""


@dataclasses.dataclass(frozen=True, eq=False)
class Volume:
    """A normalised image on a cube.

    Attributes:
        values: (n, n, n) float32, 0 at the 5th percentile of the image and 1 at the 95th; 0 beyond the image.
        affine: (4, 4) place in voxels -> world RAS+ mm of the file.
        notes: what had to be assumed, in words.
    """

    values: Float[np.ndarray, "n n n"]
    affine: Float[np.ndarray, "4 4"]
    notes: tuple[str, ...] = ()

    def to_world(self, places: Float[np.ndarray, "*p 3"]) -> Float[np.ndarray, "*p 3"]:
        """Places in mm of the cube -> world RAS+ mm."""
        return apply_affine(self.affine, np.asarray(places, np.float64))

    def from_world(self, places_mm: Float[np.ndarray, "*p 3"]) -> Float[np.ndarray, "*p 3"]:
        """The way back from ``to_world``."""
        return apply_affine(np.linalg.inv(self.affine), np.asarray(places_mm, np.float64))


def read(path: str | Path, side: int = SIDE, voxel_mm: float = VOXEL_MM) -> Volume:
    """A T1 from a NIfTI file; what it assumes is warned of and kept in ``notes``.

    Raises:
        InputError: a file that is missing or damaged, of more than three dimensions, without an orientation (qform and
            sform codes 0), or what ``prepare`` refuses.
    """
    path = checked_path(path, "a T1")
    values, affine = read_scalar(path)
    with reading(path, "the volume cannot be read", "a NIfTI file"):
        notes = _orientation(nibabel.load(path), path)
    found = prepare(values, affine, side, voxel_mm)
    for note in notes:
        warnings.warn(f"{path.name}: {note}", stacklevel=2)
    return dataclasses.replace(found, notes=(*notes, *found.notes))


def _orientation(image, path: Path) -> list[str]:
    """What is to be said of a NIfTI's two affines; InputError where both are missing."""
    if not hasattr(image.header, "get_sform"):
        return []
    (sform, s_code), (qform, q_code) = image.get_sform(coded=True), image.get_qform(coded=True)
    if not s_code and not q_code:
        raise InputError(
            "this image has no orientation",
            got=f"{path}: qform and sform codes are 0",
            expected="an affine to the scanner's axes: left and right cannot be told without one",
            mend="convert the scan again from DICOM, e.g. with dcm2niix",
        )
    if s_code and q_code and not np.allclose(sform, qform, atol=1e-2):
        return ["its sform and qform differ; the sform is taken"]
    return []


def prepare(values: ArrayLike, affine: ArrayLike, side: int = SIDE, voxel_mm: float = VOXEL_MM) -> Volume:
    """Normalise an image (i, j, k) with its affine to RAS+ mm, and put it on a cube of ``side`` voxels round the head.

    An image of such voxels along the world's axes is only cropped and padded, by whole voxels; others are interpolated
    linearly. The cube's middle is 100 mm (of 256) below the top of the head.

    Raises:
        InputError: no three dimensions, NaN, nothing but one value, voxels above ``LARGEST_VOXEL_MM``, a field of view
            below ``LEAST_FIELD_MM``, an affine that is singular.
    """
    image, matrix = numbers(values, "the image", np.float32), check_finite(affine, (4, 4), "affine of the image")
    _check_image(image, matrix)
    turn = nibabel.orientations.io_orientation(matrix)
    back = nibabel.orientations.inv_ornt_aff(turn, image.shape)
    image, matrix = nibabel.orientations.apply_orientation(image, turn), matrix @ back
    sizes = np.linalg.norm(matrix[:3, :3], axis=0)
    notes = _field_notes(sizes, np.array(image.shape) * sizes, voxel_mm)
    low, high = np.percentile(image[::2, ::2, ::2], [LOW, HIGH])
    if not high > low:
        raise InputError(
            "this image is almost constant", got=f"5th and 95th percentile {low:g}", expected="a head and air round it"
        )
    image = np.maximum((image - low) / (high - low), 0).astype(np.float32)
    cube = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    centre = apply_affine(matrix, _middle(image, sizes, side * voxel_mm))
    cube[:3, 3] = centre - voxel_mm * (side - 1) / 2
    whole = np.allclose(matrix[:3, :3], voxel_mm * np.eye(3), atol=1e-3)
    if whole:
        first = np.rint(np.linalg.solve(matrix, cube[:, 3])[:3]).astype(int)
        cube[:3, 3] = apply_affine(matrix, first)
        moved = _cut(image, first, side)
    else:
        m = np.linalg.inv(matrix) @ cube
        moved = affine_transform(image, m[:3, :3], m[:3, 3], (side,) * 3, order=1, mode="constant", cval=0.0)
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return Volume(moved.astype(np.float32), cube, tuple(notes))


def _check_image(image: np.ndarray, matrix: np.ndarray) -> None:
    if image.ndim != 3 or min(image.shape) < 2:
        raise InputError(
            "this is no volume",
            got=f"shape {image.shape}",
            expected="(i, j, k)",
            mend="take one volume of a series, e.g. its first or its mean",
        )
    wrong = int((~np.isfinite(image)).sum())
    if wrong:
        raise InputError(
            "the image has values that are not finite",
            got=f"{wrong} voxels of NaN or inf",
            expected="finite numbers",
            mend="put 0 where there is no image",
        )
    if abs(np.linalg.det(matrix[:3, :3])) < 1e-9:
        raise InputError("affine of the image is singular", got=matrix.tolist(), expected="voxels with a volume")


def _field_notes(sizes: np.ndarray, extent: np.ndarray, voxel_mm: float) -> list[str]:
    """What is to be said of voxels (mm) and field of view (mm); InputError where nothing can be done with them."""
    told = " x ".join(f"{v:.3g}" for v in sizes)
    if sizes.max() > LARGEST_VOXEL_MM:
        raise InputError("the voxels are too large", got=f"{told} mm", expected=f"at most {LARGEST_VOXEL_MM:g} mm")
    if extent.min() < LEAST_FIELD_MM:
        raise InputError(
            "the field of view is too small",
            got=" x ".join(f"{v:.0f}" for v in extent) + " mm",
            expected=f"a head: {LEAST_FIELD_MM:g} mm or more along every axis",
        )
    notes = []
    if sizes.max() > COARSE * voxel_mm or sizes.max() > COARSE * sizes.min():
        notes.append(f"voxels of {told} mm are interpolated to {voxel_mm:g} mm, which networks are trained on")
    if extent.min() < USUAL_FIELD_MM:
        notes.append(f"a field of view of {extent.min():.0f} mm may cut the head: what is beyond it is taken for air")
    return notes


def _middle(image: np.ndarray, sizes: np.ndarray, extent_mm: float) -> np.ndarray:
    """Where the cube's middle goes (3,), in voxels: below the top of the head, amid what is near to it.

    Not the centroid of all: images with a neck would lie 40 mm higher in the cube than images without.
    """
    step = max(1, min(image.shape) // LOOKED_AT)
    found = step * np.argwhere(image[::step, ::step, ::step] > HEAD).astype(float)
    if not len(found):
        return (np.array(image.shape) - 1) / 2
    top = np.quantile(found[:, 2], 1 - PASSED_OVER)  # a few bright voxels of noise are no head
    near = found[found[:, 2] > top - NEAR * extent_mm / sizes[2]]
    return np.append(near[:, :2].mean(0), top - BELOW * extent_mm / sizes[2])


def _cut(image: np.ndarray, first: np.ndarray, side: int) -> np.ndarray:
    """The cube from voxel ``first`` on, zero beyond the image."""
    out = np.zeros((side,) * 3, np.float32)
    low, high = np.maximum(first, 0), np.minimum(first + side, image.shape)
    if (high > low).all():
        into = tuple(slice(a - f, b - f) for a, b, f in zip(low, high, first, strict=True))
        out[into] = image[tuple(map(slice, low, high))]
    return out
