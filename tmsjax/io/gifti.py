"""GIFTI surfaces and values on them, as Connectome Workbench and FreeSurfer open them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.gifti.gifti import GiftiCoordSystem, GiftiDataArray, GiftiImage, GiftiMetaData

from tmsjax.core.arrays import ArrayLike, numbers, whole_numbers
from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.io.reading import checked_path

SCANNER = 1
"""NIfTI's code of scanner coordinates (NIFTI_XFORM_SCANNER_ANAT)."""

STRUCTURES = {"lh": "CortexLeft", "rh": "CortexRight", "head": "Other"}
"""Workbench's name of the structure that a file belongs to; it opens no surface without one."""

SECONDARY = {"white": "GrayWhite", "pial": "Pial", "central": "MidThickness"}

INTENTS = {".func.gii": "NIFTI_INTENT_NONE", ".shape.gii": "NIFTI_INTENT_SHAPE"}
"""Intent of the values, by the file's ending."""


def write_surface(path: str | Path, vertices: ArrayLike, faces: ArrayLike, *, structure: str) -> Path:
    """Write a surface in scanner RAS+ mm as ``NAME.surf.gii``.

    ``structure`` is "lh", "rh" or "head"; of cortical surfaces with "_white", "_pial" or "_central" after it.

    Raises InputError for vertices that are not finite, faces beyond them, an unknown structure, or another name.
    """
    path, (side, kind) = _named(path, (".surf.gii",)), _parts(structure)
    vertices, faces = numbers(vertices, "vertices", np.float32), whole_numbers(faces, "faces")
    if vertices.ndim != 2 or faces.ndim != 2 or vertices.shape[1] != 3 or faces.shape[1] != 3:
        raise InputError("this is no surface", got=(vertices.shape, faces.shape), expected="(v, 3) and (f, 3)")
    if not np.isfinite(vertices).all():
        raise InputError("the surface has vertices that are not finite", got="NaN or inf", expected="finite mm")
    if faces.size and (faces.min() < 0 or faces.max() >= len(vertices)):
        got = f"{int(faces.min())} to {int(faces.max())}"
        raise InputError("faces of vertices that are not there", got=got, expected=f"0 to {len(vertices) - 1}")
    meta = {"AnatomicalStructurePrimary": STRUCTURES[side], "GeometricType": "Anatomical"}
    if kind:
        meta["AnatomicalStructureSecondary"] = SECONDARY[kind]
    points = GiftiDataArray(
        vertices,
        "NIFTI_INTENT_POINTSET",
        coordsys=GiftiCoordSystem(SCANNER, SCANNER, np.eye(4)),
        meta=GiftiMetaData(meta),
    )
    triangles = GiftiDataArray(
        faces, "NIFTI_INTENT_TRIANGLE", meta=GiftiMetaData({"TopologicalType": _topology(faces)})
    )
    return _save(path, [points, triangles], {"AnatomicalStructurePrimary": STRUCTURES[side]})


def write_metric(path: str | Path, values: Mapping[str, ArrayLike], *, structure: str) -> Path:
    """Write maps (v,) on a surface's vertices, by name, as ``NAME.func.gii`` or ``NAME.shape.gii``.

    A vector has three maps, one a component, as Workbench has no vectors. ``structure`` as in ``write_surface``.
    """
    path, (side, _) = _named(path, tuple(INTENTS)), _parts(structure)
    ending = next(ending for ending in INTENTS if path.name.endswith(ending))
    if not isinstance(values, Mapping):
        raise InputError("maps on a surface", got=type(values).__name__, expected="a mapping: name -> (v,)")
    lengths = {name: np.shape(value) for name, value in values.items()}
    if not lengths or any(len(shape) != 1 for shape in lengths.values()) or len(set(lengths.values())) != 1:
        raise InputError("maps on a surface", got=lengths, expected="one value a vertex, (v,), the same v in each")
    arrays = [
        GiftiDataArray(
            numbers(value, f"values of {name!r}", np.float32), INTENTS[ending], meta=GiftiMetaData({"Name": name})
        )
        for name, value in values.items()
    ]
    return _save(path, arrays, {"AnatomicalStructurePrimary": STRUCTURES[side]})


def _named(path: str | Path, endings: tuple[str, ...]) -> Path:
    path = checked_path(path, "a GIFTI file")
    if not path.name.endswith(endings):
        raise InputError("the name of a GIFTI file", got=path.name, expected=" or ".join(f"NAME{e}" for e in endings))
    return path


def _parts(structure: str) -> tuple[str, str]:
    """Side, and kind of surface or ""."""
    sides, kinds = [*STRUCTURES], [f"{side}_{kind}" for side in ("lh", "rh") for kind in SECONDARY]
    if structure not in sides + kinds:
        raise InputError("unknown structure", got=repr(structure), expected=", ".join(sides + kinds))
    side, _, kind = structure.partition("_")
    return side, kind


def _topology(faces: np.ndarray) -> str:
    """GIFTI's word for whether every edge belongs to two faces."""
    edges = np.sort(faces[:, [[0, 1], [1, 2], [2, 0]]].reshape(-1, 2), axis=1)
    counts = np.unique(edges, axis=0, return_counts=True)[1]
    return "Closed" if (counts == 2).all() else "Open"


def _save(path: Path, arrays: list, meta: dict[str, str]) -> Path:
    image: Any = GiftiImage(darrays=arrays, meta=GiftiMetaData(meta))
    with staged_file(path) as stage:
        nibabel.save(image, stage)
    return path
