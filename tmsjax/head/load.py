"""Load a head: the bundled one, or a label map with or without cortical surfaces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.head.model import HeadModel, Surface, from_labels
from tmsjax.head.surfaces import load_surfaces, read_packed_surfaces

BUNDLED = ("S1",)
"""Names of the heads that come with the package."""

LABEL_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr")


def load(
    source: str | Path,
    *,
    surfaces: str | Path | None = None,
    conductivity: Mapping[int, ArrayLike] | None = None,
    mni_to_head: ArrayLike | str | Path | None = None,
    landmarks: Mapping[str, ArrayLike] | None = None,
    name: str | None = None,
) -> HeadModel:
    """Load the bundled head "S1", or a label map from a file or folder.

    The label map is turned to the closest RAS+ axes (``nibabel.as_closest_canonical``): its array may be flipped or
    transposed, and its affine with it, so that every voxel keeps its world position. Nothing is resampled.

    Args:
        source: "S1", whatever the working directory holds (a folder of this name is "./S1"); or a label map that
            nibabel reads (.nii, .nii.gz, .mgz), with the labels of ``TISSUES``; or a folder with ``labels.nii.gz`` in
            it. The folder may be laid out as the bundled head's: ``surfaces.npz``, and ``head.json`` with
            "mni_to_head", "landmarks" and "name", or some of them.
        surfaces: a folder of cortical surfaces (see ``load_surfaces``) in the label map's world frame. Left out, the
            label map's own folder is searched, and an incomplete set there is ignored with a warning; a head without
            surfaces has ``surfaces=None``.
        conductivity: label -> S/m; replaces or extends ``PAPER_CONDUCTIVITY``.
        mni_to_head: (4, 4) affine MNI152 mm -> scanner RAS+ mm of the label map, or a file of it: text (also a .mat of
            text) or .npy. A matrix of FSL's FLIRT is in FSL's own coordinates and must be converted first.
        landmarks: name -> (3,) MNI152 mm; added to those of ``head.json``.
        name: what to call the head; the name in ``head.json``, or the file's or folder's, if left out.

    Raises:
        InputError: a missing or unreadable file, or whatever ``from_labels`` refuses.
    """
    given = _Given(surfaces, conductivity, mni_to_head, landmarks, name)
    if str(source) in BUNDLED:
        with resources.as_file(resources.files("tmsjax") / "data" / "heads" / str(source)) as folder:
            return _load_folder(folder, given)
    path = Path(source)
    return _load_folder(path, given) if path.is_dir() else _assemble(path, {}, None, given)


class _Given(NamedTuple):
    """What the caller of ``load`` gave, which goes before what lies in a folder."""

    surfaces: str | Path | None
    conductivity: Mapping[int, ArrayLike] | None
    mni_to_head: ArrayLike | str | Path | None
    landmarks: Mapping[str, ArrayLike] | None
    name: str | None


def _load_folder(folder: Path, given: _Given) -> HeadModel:
    found = [folder / f"labels{suffix}" for suffix in LABEL_SUFFIXES if (folder / f"labels{suffix}").is_file()]
    if not found:
        raise InputError(
            "this folder has no label map",
            got=f"{folder} with {sorted(p.name for p in folder.iterdir())[:12]}",
            expected="labels.nii.gz in it (0 air, 1 white, 2 grey, 3 CSF, 4 skull, 5 scalp)",
            mend="give the label map itself, and its surfaces by surfaces=FOLDER",
        )
    packed = folder / "surfaces.npz"
    surfaces = read_packed_surfaces(packed) if given.surfaces is None and packed.is_file() else None
    return _assemble(found[0], {"name": folder.resolve().name} | _facts(folder / "head.json"), surfaces, given)


def _assemble(path: Path, facts: dict[str, Any], surfaces: dict[str, Surface] | None, given: _Given) -> HeadModel:
    labels, affine = _read_labels(path)
    if surfaces is None:
        folder = path.parent if given.surfaces is None else given.surfaces
        surfaces = load_surfaces(folder, required=given.surfaces is not None)
    registration = given.mni_to_head if given.mni_to_head is not None else facts.get("mni_to_head")
    return from_labels(
        labels,
        affine,
        given.conductivity,
        surfaces=surfaces,
        mni_to_head=_read_matrix(Path(registration)) if isinstance(registration, str | Path) else registration,
        landmarks=facts.get("landmarks", {}) | dict(given.landmarks or {}),
        name=given.name or facts.get("name") or path.name.removesuffix(".gz").rsplit(".", 1)[0],
    )


def _facts(path: Path) -> dict[str, Any]:
    """What ``head.json`` says, or nothing if there is none."""
    if not path.is_file():
        return {}
    expected = 'an object with "mni_to_head" (4x4), "landmarks" {name: [x, y, z]}, "name", or some of them'
    try:
        facts = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("head.json cannot be read", got=f"{path}: {error}", expected=expected) from error
    kinds = {"mni_to_head": (list, type(None)), "landmarks": dict, "name": str}
    if not isinstance(facts, dict) or any(key in facts and not isinstance(facts[key], kinds[key]) for key in kinds):
        raise InputError("head.json cannot be used", got=path, expected=expected)
    return facts


def _read_matrix(path: Path) -> np.ndarray:
    """A 4x4 matrix from text or .npy."""
    try:
        if path.suffix == ".npy":
            matrix = np.load(path, allow_pickle=False)
        else:
            lines = [line.split("#")[0].replace(",", " ") for line in path.read_text(encoding="utf-8").splitlines()]
            matrix = np.array([line.split() for line in lines if line.strip()], float)
    except (OSError, EOFError, ValueError) as error:
        matrix, reason = None, f": {error}"
    else:
        reason = f" with shape {matrix.shape}"
    if matrix is None or matrix.shape != (4, 4):
        raise InputError(
            "the registration mni_to_head cannot be read",
            got=f"{path}{reason}",
            expected="4 rows of 4 numbers in a text or .npy file",
            mend="write it with numpy.savetxt or numpy.save; MATLAB's binary .mat is not read",
        )
    return matrix


def _read_labels(path: Path) -> tuple[np.ndarray, np.ndarray]:
    kinds = (
        f"{', '.join(LABEL_SUFFIXES)}, a folder with labels.nii.gz, or one of the bundled heads: {', '.join(BUNDLED)}"
    )
    if path.suffix == ".msh":
        raise InputError(
            "SimNIBS meshes cannot be loaded as a head",
            got=path,
            expected=kinds,
            mend="give the label map of the same m2m folder, e.g. final_tissues.nii.gz or tissue_labeling.nii.gz",
        )
    if not path.is_file():
        raise InputError("there is no such head", got=path, expected=kinds)
    try:
        image: Any = nibabel.load(path)
        raw_affine, shape = np.asarray(image.affine, np.float64), image.shape
        if raw_affine.shape != (4, 4) or not np.isfinite(raw_affine).all() or abs(np.linalg.det(raw_affine)) < 1e-9:
            raise InputError(
                f"the affine of {path.name} is singular",
                got=raw_affine.tolist(),
                expected="an invertible voxel -> RAS+ mm affine",
                mend="write the sform or qform of the image it was made from into the header",
            )
        if len(shape) == 4 and shape[-1] == 1:
            image = image.slicer[..., 0]
        if len(image.shape) != 3:
            raise InputError("the label map is not a volume", got=f"shape {shape} in {path}", expected="a 3-D image")
        image = nibabel.as_closest_canonical(image)
        data = np.asanyarray(image.dataobj)
    except InputError:
        raise
    except (ImageFileError, OSError, EOFError, ValueError, KeyError) as error:
        raise InputError(
            "the label map cannot be read", got=f"{path}: {type(error).__name__}: {error}", expected=kinds
        ) from error
    return data, np.asarray(image.affine, np.float64)
