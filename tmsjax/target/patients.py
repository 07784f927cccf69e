"""A folder of patients: T1s with the points that raters have marked in them."""

from __future__ import annotations

import dataclasses
import warnings
from pathlib import Path

from tmsjax.core.errors import InputError
from tmsjax.io.reading import checked_path
from tmsjax.target.cohort import LEVELS, Cohort, of_patients
from tmsjax.target.consensus import consensus_marks
from tmsjax.target.marks import Mark, read_marks
from tmsjax.target.volume import SIDE, VOXEL_MM, Volume, read


@dataclasses.dataclass(frozen=True, eq=False)
class Patient:
    """One T1, all marks in it, and their consensus, by which it is trained and judged."""

    name: str
    volume: Volume
    marks: list[Mark]
    consensus: list[Mark]


def read_patients(folder: str | Path, side: int = SIDE, voxel_mm: float = VOXEL_MM) -> list[Patient]:
    """Every NAME.nii.gz (or .nii) of a folder with its NAME.csv, NAME.fcsv, and NAME_RATER.fcsv of several raters.

    What has no consensus is left out with a warning. ``side`` and ``voxel_mm`` are of the cube that a network takes.

    Raises:
        InputError: no such folder, no images in it, an image without points, points without an image, or whatever
            ``volume.read`` and ``read_marks`` refuse.
    """
    folder = checked_path(folder, "a folder of patients")
    images = sorted([*folder.glob("*.nii.gz"), *folder.glob("*.nii")]) if folder.is_dir() else []
    names = [path.name.removesuffix(".gz").removesuffix(".nii") for path in images]
    if not images or len(set(names)) < len(names):
        raise InputError(
            "there are no patients here",
            got=f"{folder}: {', '.join(names) or 'no images'}",
            expected="NAME.nii.gz with NAME.csv or NAME_RATER.fcsv, each name once",
        )
    points = sorted([*folder.glob("*.csv"), *folder.glob("*.fcsv")])
    # The longest name that fits: of sub-1 and sub-10, sub-10_a.fcsv is the second's.
    owner = {path: max((n for n in names if _is_of(path, n)), key=len, default=None) for path in points}
    lost = [path.name for path in points if owner[path] is None]
    bare = [name for name in names if name not in owner.values()]
    if lost or bare:
        raise InputError(
            "images and points do not pair up",
            got=f"points without an image: {lost}; images without points: {bare}",
            expected="NAME.nii.gz with NAME.csv, NAME.fcsv or NAME_RATER.fcsv",
        )
    found = []
    for name, image in zip(names, images, strict=True):
        marks, agreed = _marks(name, [path for path in points if owner[path] == name])
        found.append(Patient(name, read(image, side, voxel_mm), marks, agreed))
    return found


def _is_of(path: Path, name: str) -> bool:
    return path.stem == name or path.stem.startswith(f"{name}_")


def _marks(name: str, files: list[Path]) -> tuple[list[Mark], list[Mark]]:
    """All marks of a patient, and their consensus."""
    marks = []
    for path in files:
        found = read_marks(path)
        if path.suffix.lower() == ".fcsv":
            # One without a rater in its name is of somebody.
            found = [mark._replace(rater=path.stem.removeprefix(name).removeprefix("_")) for mark in found]
        marks += found
    agreed, notes = consensus_marks(marks)
    for note in notes:
        warnings.warn(f"{name}: {note}", stacklevel=3)
    if not agreed:
        raise InputError("no point of this patient has a consensus", got=name, expected="one or more")
    return marks, agreed


def cohort_of(patients: list[Patient], levels: int = LEVELS) -> Cohort:
    """Their images and consensus points, each patient a base of its own."""
    return of_patients([(p.name, p.volume, p.consensus) for p in patients], levels)
