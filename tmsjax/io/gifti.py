"""GIFTI surfaces and values on them, as Connectome Workbench and FreeSurfer open them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
from nibabel.gifti.gifti import GiftiCoordSystem, GiftiDataArray, GiftiImage, GiftiMetaData

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file

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
    """
    path = _named(path, (".surf.gii",))
    vertices, faces = np.asarray(vertices, np.float32), np.asarray(faces, np.int32)
    if vertices.ndim != 2 or faces.ndim != 2 or vertices.shape[1] != 3 or faces.shape[1] != 3:
        raise InputError("this is no surface", got=(vertices.shape, faces.shape), expected="(v, 3) and (f, 3)")
    side, _, kind = structure.partition("_")
    meta = {"AnatomicalStructurePrimary": _structure(side), "GeometricType": "Anatomical"}
    if kind in SECONDARY:
        meta["AnatomicalStructureSecondary"] = SECONDARY[kind]
    points = GiftiDataArray(
        vertices,
        "NIFTI_INTENT_POINTSET",
        coordsys=GiftiCoordSystem(SCANNER, SCANNER, np.eye(4)),
        meta=GiftiMetaData(meta),
    )
    triangles = GiftiDataArray(faces, "NIFTI_INTENT_TRIANGLE", meta=GiftiMetaData({"TopologicalType": "Closed"}))
    return _save(path, [points, triangles], {"AnatomicalStructurePrimary": _structure(side)})


def write_metric(path: str | Path, values: Mapping[str, ArrayLike], *, structure: str) -> Path:
    """Write maps (v,) on a surface's vertices, by name, as ``NAME.func.gii`` or ``NAME.shape.gii``.

    A vector has three maps, one a component, as Workbench has no vectors. ``structure`` as in ``write_surface``.
    """
    path = _named(path, tuple(INTENTS))
    ending = next(ending for ending in INTENTS if path.name.endswith(ending))
    lengths = {name: np.shape(value) for name, value in values.items()}
    if not lengths or any(len(shape) != 1 for shape in lengths.values()) or len(set(lengths.values())) != 1:
        raise InputError("maps on a surface", got=lengths, expected="one value a vertex, (v,), the same v in each")
    arrays = [
        GiftiDataArray(np.asarray(value, np.float32), INTENTS[ending], meta=GiftiMetaData({"Name": name}))
        for name, value in values.items()
    ]
    return _save(path, arrays, {"AnatomicalStructurePrimary": _structure(structure.partition("_")[0])})


def _named(path: str | Path, endings: tuple[str, ...]) -> Path:
    path = Path(path)
    if not path.name.endswith(endings):
        raise InputError("the name of a GIFTI file", got=path.name, expected=" or ".join(f"NAME{e}" for e in endings))
    return path


def _structure(side: str) -> str:
    if side not in STRUCTURES:
        raise InputError("unknown structure", got=side, expected=", ".join(STRUCTURES))
    return STRUCTURES[side]


def _save(path: Path, arrays: list, meta: dict[str, str]) -> Path:
    image: Any = GiftiImage(darrays=arrays, meta=GiftiMetaData(meta))
    with staged_file(path) as stage:
        nibabel.save(image, stage)
    return path
