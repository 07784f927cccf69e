"""Load a head: the bundled one, a label map with or without cortical surfaces, or a SimNIBS mesh made voxels."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import nibabel
import numpy as np

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError, check_number
from tmsjax.head.cortical import surfaces_from_labels
from tmsjax.head.locate import grid_round, rasterise
from tmsjax.head.mesh import SIMNIBS_CONDUCTIVITY, mesh_from_msh
from tmsjax.head.model import HeadModel, Surface, from_labels
from tmsjax.head.surfaces import load_surfaces, read_packed_surfaces
from tmsjax.io import read_msh
from tmsjax.io.reading import checked_path, reading

BUNDLED = ("S1",)
"""Names of the heads that come with the package."""

LABEL_SUFFIXES = (".nii", ".nii.gz", ".mgz", ".mgh", ".img", ".hdr")

SIMNIBS_LABELS = "final_tissues"
"""What SimNIBS calls the label map in a head's m2m folder."""

FROM_LABELS = "from labels"
"""What ``load`` takes as ``surfaces`` to make them of the label map itself (a folder of this name: "./from labels")."""

VOXEL_MM = 1.0
"""Voxels that a mesh is turned into, if not said otherwise."""


def load(
    source: str | Path,
    *,
    surfaces: str | Path | None = None,
    conductivity: Mapping[int, ArrayLike] | None = None,
    mni_to_head: ArrayLike | str | Path | None = None,
    landmarks: Mapping[str, ArrayLike] | None = None,
    name: str | None = None,
    voxel_mm: float | None = None,
    tissues: Mapping[int, int] | None = None,
    reorder: bool = False,
) -> HeadModel:
    """Load the bundled head "S1", a label map from a file or folder, or a SimNIBS mesh.

    The label map is turned to the closest RAS+ axes (``nibabel.as_closest_canonical``): its array may be flipped or
    transposed, and its affine with it, so that every voxel keeps its world position. Nothing is resampled.

    A mesh (.msh) becomes a label map: each voxel takes the tag of the tetrahedron that holds its centre. SimNIBS's tags
    1 to 5 are this library's labels; 6 to 10 (``SIMNIBS_TAGS``: eyes, compact and spongy bone, blood, muscle) keep
    their numbers, with SimNIBS's conductivities. To solve on the tetrahedra themselves: ``load_mesh``.

    Args:
        source: "S1", whatever the working directory holds (a folder of this name is "./S1"); or a label map that
            nibabel reads (.nii, .nii.gz, .mgz), with the labels of ``TISSUES``; or a .msh; or a folder with
            ``labels.nii.gz`` in it. The folder may be laid out as the bundled head's: ``surfaces.npz``, and
            ``head.json`` with "mni_to_head", "landmarks" and "name", or some of them. SimNIBS's m2m folder is taken
            by its ``final_tissues.nii.gz``, whose labels are its tags.
        surfaces: a folder of cortical surfaces (see ``load_surfaces``) in the label map's world frame. Left out, the
            label map's own folder is searched, and an incomplete set there is ignored with a warning; a head without
            surfaces has ``surfaces=None``. "from labels" makes them of the labels (``surfaces_from_labels``, 20 s
            for a whole head), whatever surfaces lie beside these.
        conductivity: label -> S/m; replaces or extends ``PAPER_CONDUCTIVITY``.
        mni_to_head: (4, 4) affine MNI152 mm -> scanner RAS+ mm of the label map, or a file of it: text (also a .mat of
            text) or .npy. A matrix of FSL's FLIRT is in FSL's own coordinates and must be converted first.
        landmarks: name -> (3,) MNI152 mm; added to those of ``head.json``.
        name: what to call the head; the name in ``head.json``, or the file's or folder's, if left out.
        voxel_mm: side of the voxels that a mesh is turned into, 1 mm if left out.
        tissues: tag of a mesh -> label, for tags that mean something else than SimNIBS's.
        reorder: turn a mesh's inverted tetrahedra round instead of refusing them (``load_mesh``).

    Raises:
        InputError: a missing or unreadable file, or whatever ``from_labels`` refuses.
    """
    given = _Given(surfaces, conductivity, mni_to_head, landmarks, name, voxel_mm, tissues, reorder)
    if str(source) in BUNDLED:
        with resources.as_file(resources.files("tmsjax") / "data" / "heads" / str(source)) as folder:
            return _load_folder(folder, given)
    path = checked_path(source, "a head")
    return _load_folder(path, given) if path.is_dir() else _assemble(path, {}, None, given)


class _Given(NamedTuple):
    """What the caller of ``load`` gave, which goes before what lies in a folder."""

    surfaces: str | Path | None
    conductivity: Mapping[int, ArrayLike] | None
    mni_to_head: ArrayLike | str | Path | None
    landmarks: Mapping[str, ArrayLike] | None
    name: str | None
    voxel_mm: float | None
    tissues: Mapping[int, int] | None
    reorder: bool


def _load_folder(folder: Path, given: _Given) -> HeadModel:
    stems = ("labels", SIMNIBS_LABELS)
    found = [path for stem in stems for end in LABEL_SUFFIXES if (path := folder / f"{stem}{end}").is_file()]
    if not found and (folder / "surf").is_dir() and (folder / "mri").is_dir():
        raise InputError(
            "a FreeSurfer folder alone is no head: it has the brain, but no skull and no scalp",
            got=folder,
            expected="a label map of the whole head beside it (0 air, 1 white, 2 grey, 3 CSF, 4 skull, 5 scalp)",
            mend="segment the same MRI with SimNIBS's charm, and load its final_tissues.nii.gz with "
            f"surfaces={str(folder / 'surf')!r}",
        )
    if not found:
        raise InputError(
            "this folder has no label map",
            got=f"{folder} with {sorted(p.name for p in folder.iterdir())[:12]}",
            expected="labels.nii.gz in it (0 air, 1 white, 2 grey, 3 CSF, 4 skull, 5 scalp)",
            mend="give the label map itself, or a .msh, and its surfaces by surfaces=FOLDER",
        )
    packed = folder / "surfaces.npz"
    surfaces = read_packed_surfaces(packed) if given.surfaces is None and packed.is_file() else None
    return _assemble(found[0], {"name": folder.resolve().name} | _facts(folder / "head.json"), surfaces, given)


def _assemble(path: Path, facts: dict[str, Any], surfaces: dict[str, Surface] | None, given: _Given) -> HeadModel:
    conductivity = given.conductivity
    if path.suffix == ".msh":
        labels, affine, conductivity = _labels_of_mesh(path, given)
    elif given.voxel_mm is not None or given.tissues is not None:
        raise InputError("voxel_mm and tissues are for meshes", got=path, expected="a .msh", mend="leave them out")
    else:
        labels, affine = _read_labels(path)
        if path.name.split(".")[0] == SIMNIBS_LABELS:
            conductivity = _with_simnibs(labels, conductivity)
    if surfaces is None and given.surfaces != FROM_LABELS:
        folder = path.parent if given.surfaces is None else given.surfaces
        surfaces = load_surfaces(folder, required=given.surfaces is not None)
    registration = given.mni_to_head if given.mni_to_head is not None else facts.get("mni_to_head")
    head = from_labels(
        labels,
        affine,
        conductivity,
        surfaces=surfaces,
        mni_to_head=_read_matrix(Path(registration)) if isinstance(registration, str | Path) else registration,
        landmarks=facts.get("landmarks", {}) | dict(given.landmarks or {}),
        name=given.name or facts.get("name") or path.name.removesuffix(".gz").rsplit(".", 1)[0],
    )
    return head if given.surfaces != FROM_LABELS else dataclasses.replace(head, surfaces=surfaces_from_labels(head))


def _labels_of_mesh(path: Path, given: _Given) -> tuple[np.ndarray, np.ndarray, dict[int, Any]]:
    """Labels, affine and conductivities of a mesh on a grid along the world's axes."""
    size = check_number(
        VOXEL_MM if given.voxel_mm is None else given.voxel_mm, "voxel_mm", above=0, high=100, unit="mm"
    )
    tissues = dict(given.tissues or {})
    whole = (int, np.integer)
    bad = {tag: label for tag, label in tissues.items() if not isinstance(label, whole) or not 1 <= label <= 255}
    if bad:
        raise InputError("tissues", got=bad, expected="tag -> label from 1 to 255 (0 is air)")
    found = read_msh(path)
    tags, which = np.unique(found.tetrahedron_tags, return_inverse=True)
    mapped = np.array([tissues.get(tag, tag) for tag in tags.tolist()], np.int32)[which]
    conductivity = _with_simnibs(mapped, given.conductivity)
    mesh = mesh_from_msh(
        dataclasses.replace(found, tetrahedron_tags=mapped), conductivity, reorder=given.reorder, name=path.stem
    )
    affine, shape = grid_round(mesh, size)
    label = np.append(mapped, 0).astype(np.uint8)  # the last for voxels outside, whose index is -1
    return label[rasterise(mesh, affine, shape)], affine, conductivity


def _with_simnibs(labels: np.ndarray, conductivity: Mapping[int, ArrayLike] | None) -> dict[int, Any]:
    """Conductivities given, and SimNIBS's for those of its tissues that this library has no label for."""
    here = set(np.unique(labels).tolist())
    return {n: s for n, s in SIMNIBS_CONDUCTIVITY.items() if n > 5 and n in here} | dict(conductivity or {})


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
    kinds = f"{', '.join(LABEL_SUFFIXES)}, .msh, a folder with labels.nii.gz, or a bundled head: {', '.join(BUNDLED)}"
    if not path.is_file():
        raise InputError("there is no such head", got=path, expected=kinds)
    with reading(path, "the label map cannot be read", kinds):
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
        return data, np.asarray(image.affine, np.float64)
