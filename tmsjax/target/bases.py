"""The real heads that synthetic cohorts are made of, with the points that an atlas gives them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8
from scipy.ndimage import affine_transform

from tmsjax import head as heads
from tmsjax.head.model import HeadModel
from tmsjax.io import read_scalar
from tmsjax.target import contrast
from tmsjax.target.marks import as_arrays, check_marks, read_marks
from tmsjax.target.points import POINTS, landmark_name, mni_mm
from tmsjax.target.volume import SIDE, VOXEL_MM, Volume, prepare, read

Labels = UInt8[np.ndarray, "n n n"]


@dataclasses.dataclass(frozen=True, eq=False)
class Base:
    """A head to be warped.

    Attributes:
        name: what it is called: splits part by it.
        volume: its T1; of a head of labels only, a T1 that was made of these.
        places: (p, 3) mm of the cube, NaN where a point is absent.
        labels: (n, n, n) tissues on the cube, or None.
        only_labels: whether the T1 was made of the labels.
        source: where its image and points come from, in words.
    """

    name: str
    volume: Volume
    places: Float[np.ndarray, "p 3"]
    labels: UInt8[np.ndarray, "n n n"] | None
    only_labels: bool
    source: str


def from_files(
    name: str,
    image: str | Path,
    points: str | Path,
    labels: str | Path | None = None,
    side: int = SIDE,
    voxel_mm: float = VOXEL_MM,
) -> Base:
    """A base of a T1 and a file of points (world mm), and if there is one, its label map (``tmsjax.head.TISSUES``)."""
    volume = read(image, side, voxel_mm)
    marks = read_marks(points)
    check_marks(marks, volume)
    world, _ = as_arrays(marks)
    tissues = None
    if labels is not None:
        values, affine = read_scalar(labels)
        tissues = onto(np.rint(values).astype(np.uint8), affine, volume)
    return Base(name, volume, volume.from_world(world), tissues, False, f"T1 {Path(image).name}, {Path(points).name}")


def from_head(head: HeadModel, image: str | Path | None = None, side: int = SIDE, voxel_mm: float = VOXEL_MM) -> Base:
    """A base of a head's label map, and its T1 if there is one, with the points that its landmarks are.

    The points are ``tmsjax.head.landmark``'s: carried from MNI152 by the head's affine registration and moved to the
    nearest grey matter. They are an atlas's, not an expert's.
    """
    labels, affine = np.asarray(head.labels), np.asarray(head.affine)
    if image is None:
        plain = dataclasses.replace(contrast.ScannerSpec(), texture=0.0)
        made = contrast.from_labels(labels, np.random.default_rng(0), plain)
        volume = prepare(made, affine, side, voxel_mm)
    else:
        volume = read(image, side, voxel_mm)
    world = np.array([heads.landmark(head, landmark_name(point)) for point in POINTS])
    source = f"{'labels' if image is None else 'T1 and labels'} of {head.name}, landmarks carried from MNI152"
    return Base(
        head.name,
        volume,
        volume.from_world(world),
        onto(labels.astype(np.uint8), affine, volume),
        image is None,
        source,
    )


def from_template(image: str | Path, name: str = "MNI152") -> Base:
    """A base of a T1 that is in MNI152 space, whose points are the landmarks' own places."""
    volume = read(image)
    world = np.array([mni_mm(point) for point in POINTS])
    return Base(name, volume, volume.from_world(world), None, False, f"{Path(image).name}, landmarks in MNI152 mm")


def onto(labels: UInt8[np.ndarray, "i j k"], affine: Float[np.ndarray, "4 4"], volume: Volume) -> Labels:
    """A label map (i, j, k) and its affine on a volume's cube: the nearest voxel, 0 beyond it."""
    m = np.linalg.inv(affine) @ volume.affine
    shape = volume.values.shape
    offset: Any = m[:3, 3]
    return affine_transform(labels, m[:3, :3], offset, shape, order=0, mode="constant", cval=0)
