"""Cortical surfaces from GIFTI or FreeSurfer files, in the world frame of the label map."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import nibabel
import numpy as np
from nibabel.freesurfer.io import read_geometry

from tmsjax.core.errors import InputError
from tmsjax.head.model import SURFACES, Surface
from tmsjax.io.reading import checked_path, reading

SUBFOLDERS = ("surf", "surfaces")
"""Where FreeSurfer's subject folder and SimNIBS's m2m folder keep their surfaces."""

VOLUMES = ("orig.mgz", "T1.mgz", "brain.mgz", "aseg.mgz")
"""Volumes of FreeSurfer's subject folder, all in the frame of its surfaces."""

NAMES = "lh.white, lh.pial, rh.white, rh.pial (FreeSurfer), or lh_white.gii(.gz), lh.white.surf.gii and so on (GIFTI)"


def load_surfaces(folder: str | Path, *, required: bool = True) -> dict[str, Surface] | None:
    """Read lh and rh, white and pial, from a folder: FreeSurfer geometry (``lh.white``) or GIFTI (``lh_white.gii``).

    A folder that has none itself is taken for FreeSurfer's subject folder or SimNIBS's m2m folder: the surfaces are
    then looked for in ``surf`` and ``surfaces``.

    FreeSurfer geometry is in its own "tkr" frame; the c_ras of the file's volume information, or if it has none of the
    subject's volumes in ../mri, moves it to scanner RAS+ mm; where neither is there, a warning says so. GIFTI is taken
    as scanner RAS+ mm, with the c_ras that FreeSurfer's ``mris_convert`` leaves in its metadata (VolGeomC_R, _A, _S)
    added unless its coordinate system is already the scanner's.

    Returns:
        The four surfaces by name, or None if they are not ``required`` and the folder has none of them or, with a
        warning, not all.

    Raises:
        InputError: some are missing, unreadable or empty, or white and pial do not correspond vertex by vertex.
    """
    folder = checked_path(folder, "a folder of surfaces")
    if not folder.is_dir():
        raise InputError("there is no such folder of surfaces", got=folder, expected=f"a folder with {NAMES}")
    places = [folder, *(folder / name for name in SUBFOLDERS)]
    paths = next(filter(None, map(_all_in, places)), {})
    if not paths and not required:
        return None
    missing = [name for name in SURFACES if name not in paths]
    if missing and not required:
        warnings.warn(
            f"cortical surfaces ignored: {folder} has {', '.join(path.name for path in paths.values())} but no "
            f"{', '.join(missing)}; the head is loaded without surfaces (give a whole set by surfaces=FOLDER)",
            stacklevel=2,
        )
        return None
    if missing:
        raise InputError(
            "surfaces are missing",
            got=f"no {missing} in {folder}",
            expected=NAMES,
        )
    return _corresponding({name: read_surface(path) for name, path in paths.items()})


def read_packed_surfaces(path: Path) -> dict[str, Surface]:
    """The four surfaces of ``surfaces.npz``, as the bundled head has it; InputError if it cannot be used.

    Integer coordinates ``lh_white`` .. (v, 3) times ``quantum_mm`` are RAS+ mm; ``lh_faces`` and ``rh_faces`` (f, 3)
    are shared by white and pial.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            quantum = float(stored["quantum_mm"])
            meshes = {name: ((stored[name] * quantum), stored[f"{name[:2]}_faces"]) for name in SURFACES}
    except (OSError, EOFError, ValueError, KeyError, TypeError, BadZipFile) as error:
        raise InputError(
            "the packed surfaces cannot be read",
            got=f"{path}: {error}",
            expected=f"arrays quantum_mm, lh_faces, rh_faces, {', '.join(SURFACES)}",
        ) from error
    return _corresponding({name: _checked(*mesh, path) for name, mesh in meshes.items()})


def _corresponding(surfaces: dict[str, Surface]) -> dict[str, Surface]:
    """The surfaces, if the faces of white and pial are the same."""
    for side in ("lh", "rh"):
        white, pial = surfaces[f"{side}_white"], surfaces[f"{side}_pial"]
        if white.faces.shape != pial.faces.shape or (white.faces != pial.faces).any():
            raise InputError(
                f"{side} white and pial do not correspond vertex by vertex",
                got=f"{len(white.vertices)} and {len(pial.vertices)} vertices, or faces that differ",
                expected="the same faces in both, as FreeSurfer writes them",
                mend="decimate or resample white and pial together, or use the files as recon-all wrote them",
            )
    return surfaces


def read_surface(path: str | Path) -> Surface:
    """Read one surface (GIFTI or FreeSurfer geometry) to scanner RAS+ mm; InputError if it cannot be used."""
    path = checked_path(path, "a surface")
    with reading(path, "a surface cannot be read", "GIFTI or FreeSurfer geometry"):
        vertices, faces = _read_gifti(path) if ".gii" in path.suffixes else _read_freesurfer(path)
    return _checked(vertices, faces, path)


def _checked(vertices: np.ndarray, faces: np.ndarray, path: Path) -> Surface:
    vertices, faces = np.asarray(vertices, np.float32), np.asarray(faces, np.int32)
    if any(a.ndim != 2 or a.shape[1] != 3 or not len(a) for a in (vertices, faces)):
        raise InputError(
            "a surface is empty or not made of triangles",
            got=f"{path}: vertices {vertices.shape}, faces {faces.shape}",
            expected="(v, 3) and (f, 3)",
        )
    if not np.isfinite(vertices).all() or faces.min() < 0 or faces.max() >= len(vertices):
        raise InputError(
            "a surface is damaged",
            got=f"{path}: NaN vertices or faces beyond them",
            expected="finite vertices, valid faces",
        )
    return Surface(vertices=vertices, faces=faces)


def _all_in(folder: Path) -> dict[str, Path]:
    """Those of the four surfaces that a folder has."""
    return {name: path for name in SURFACES if (path := _find(folder, name))}


def _find(folder: Path, name: str) -> Path | None:
    side, kind = name.split("_")
    hemi = {"lh": "L", "rh": "R"}[side]
    stems = [f"{side}.{kind}", f"{side}_{kind}", f"{side}.{kind}.surf", f"{side}_{kind}.surf", f"{hemi}.{kind}.surf"]
    names = [stem + end for stem in stems for end in (".gii", ".gii.gz")]
    names.append(f"{side}.{kind}")
    return next((folder / n for n in names if (folder / n).is_file()), None)


def _read_freesurfer(path: Path) -> tuple[np.ndarray, np.ndarray]:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "No volume information|Unknown extension code")  # said below
        warnings.filterwarnings("ignore", "overflow encountered")  # of damaged counts, which are then refused
        geometry: Any = read_geometry(path, read_metadata=True)
    vertices, faces, info = geometry
    if len(info) and "cras" in info and str(info.get("valid", "1")).split("#")[0].strip().startswith("1"):
        return vertices + np.asarray(info["cras"], np.float64), faces
    # Without the footer that says where its volume lies, the subject's own volumes say it.
    for name in VOLUMES:
        volume = path.parent.parent / "mri" / name
        if volume.is_file():
            image: Any = nibabel.load(volume)
            return vertices + np.asarray(image.header["Pxyz_c"], np.float64), faces
    warnings.warn(
        f"{path} does not say where its volume lies (no valid volume information, and no ../mri/{VOLUMES[0]}): "
        "its coordinates are taken as scanner RAS+ mm, and may be off by the volume's c_ras",
        stacklevel=2,
    )
    return vertices, faces


def _read_gifti(path: Path) -> tuple[np.ndarray, np.ndarray]:
    image: Any = nibabel.load(path)
    points = image.get_arrays_from_intent("NIFTI_INTENT_POINTSET")
    triangles = image.get_arrays_from_intent("NIFTI_INTENT_TRIANGLE")
    if not points or not triangles:
        raise ValueError("no POINTSET and TRIANGLE arrays in it")
    vertices = points[0].data.astype(np.float64)
    system = points[0].coordsys
    if system is not None and system.xform is not None and system.xform.shape == (4, 4):
        moved = not np.allclose(system.xform, np.eye(4))
        if moved and system.xformspace == 1:  # NIFTI_XFORM_SCANNER_ANAT: the matrix leads there
            return vertices @ system.xform[:3, :3].T + system.xform[:3, 3], triangles[0].data
        if system.dataspace == 1:
            return vertices, triangles[0].data
    keys = ("VolGeomC_R", "VolGeomC_A", "VolGeomC_S")
    if all(key in points[0].meta for key in keys):
        vertices = vertices + np.array([float(points[0].meta[key]) for key in keys])
    return vertices, triangles[0].data
