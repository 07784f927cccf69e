"""Load a head: the bundled one, or a label map with or without cortical surfaces."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.filebasedimages import ImageFileError

from tmsjax.core.errors import InputError
from tmsjax.head.model import SURFACES, HeadModel, Surface, from_labels
from tmsjax.head.surfaces import load_surfaces

BUNDLED = ("S1",)
"""Names of the heads that come with the package."""

LABEL_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr")


def load(
    source: str | Path,
    *,
    surfaces: str | Path | None = None,
    conductivity: Mapping[int, float] | None = None,
    name: str | None = None,
) -> HeadModel:
    """Load the bundled head "S1", or a label map from a file or folder.

    The label map is turned to the closest RAS+ axes (``nibabel.as_closest_canonical``): its array may be flipped or
    transposed, and its affine with it, so that every voxel keeps its world position. Nothing is resampled.

    Args:
        source: "S1"; or a label map that nibabel reads (.nii, .nii.gz, .mgz), with the labels of ``TISSUES``; or a
            folder with ``labels.nii.gz`` in it.
        surfaces: a folder of cortical surfaces (see ``load_surfaces``) in the label map's world frame. Left out, the
            label map's own folder is searched; a head without surfaces has ``surfaces=None``.
        conductivity: label -> S/m; replaces or extends ``PAPER_CONDUCTIVITY``.
        name: what to call the head; the file's name if left out.

    Raises:
        InputError: a missing or unreadable file, or whatever ``from_labels`` refuses.
    """
    if str(source) in BUNDLED and not Path(source).exists():
        return _bundled(str(source), conductivity, name)
    path = Path(source)
    if path.is_dir():
        surfaces = surfaces if surfaces is not None else path
        found = [path / f"labels{suffix}" for suffix in LABEL_SUFFIXES if (path / f"labels{suffix}").is_file()]
        if not found:
            raise InputError(
                "this folder has no label map",
                got=f"{path} with {sorted(p.name for p in path.iterdir())[:12]}",
                expected="labels.nii.gz in it (0 air, 1 white, 2 grey, 3 CSF, 4 skull, 5 scalp)",
                mend="give the label map itself, and its surfaces by surfaces=FOLDER",
            )
        path = found[0]
    labels, affine = _read_labels(path)
    folder = path.parent if surfaces is None else Path(surfaces)
    return from_labels(
        labels,
        affine,
        conductivity,
        surfaces=load_surfaces(folder, required=surfaces is not None and Path(surfaces) != path.parent),
        name=name or path.name.removesuffix(".gz").rsplit(".", 1)[0],
    )


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


def _bundled(which: str, conductivity: Mapping[int, float] | None, name: str | None) -> HeadModel:
    with resources.as_file(resources.files("tmsjax") / "data" / "heads" / which) as folder:
        labels, affine = _read_labels(folder / "labels.nii.gz")
        facts = json.loads((folder / "head.json").read_text())
        with np.load(folder / "surfaces.npz") as stored:
            quantum = float(stored["quantum_mm"])
            surfaces = {
                key: Surface(
                    vertices=(stored[key] * quantum).astype(np.float32),
                    faces=stored[key[:2] + "_faces"].astype(np.int32),
                )
                for key in SURFACES
            }
    return from_labels(
        labels, affine, conductivity, surfaces=surfaces, mni_to_head=facts["mni_to_head"], name=name or which
    )
