"""Poses from neuronavigation and for it: Brainsight's text, Localite's XML, SimNIBS's matrices.

Every file is in the world frame of the T1 that the navigator was given, which must be the head's. Coil frames differ:
here, as in SimNIBS, x runs across the wings, y along the handle away from the grip, z into the head.

- Brainsight: x and z turned round (z out of the head): its matrix is ours times diag(-1, 1, -1, 1).
- Localite: its x is our z, its y our -y, its z our x.

Coordinate systems of Brainsight: "NIfTI:S:Aligned", "NIfTI:Aligned", the same with Scanner or with Q for S, are RAS+ mm
of the image's sform or qform, taken as the head's world frame; where these differ the export must be of the one that
nibabel uses (the sform, if it has one). "World" is DICOM's (LPS), converted. "Brainsight" (the corner of the image) and
template spaces (MNI-152, Talairach, Other-Template) do not lead to the head without the image and are refused.
Localite says coordinateSpace="RAS" or "LPS" itself.

The conversions are those of SimNIBS 4.1 (simnibs/utils/nnav.py: facts, no code); a file of either program was not at
hand.
"""

from __future__ import annotations

import dataclasses
import os
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np
import scipy.io
from jaxtyping import Float
from scipy.io.matlab import MatReadError

from tmsjax.coil.types import CoilPose
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import check_rigid

BRAINSIGHT = np.diag([-1.0, 1.0, -1.0, 1.0])
"""Brainsight's coil axes in ours, and ours in Brainsight's."""

LOCALITE = np.array([[0.0, 0, 1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Localite's coil axes in ours, and ours in Localite's."""

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
"""DICOM's patient axes to RAS+, and back."""

COLUMNS = ("Loc. X", "Loc. Y", "Loc. Z", *(f"m{i}n{j}" for i in range(3) for j in range(3)))


@dataclasses.dataclass(frozen=True)
class NamedPose:
    """A pose with what its file says of it.

    name: as in the file. pose: in the head's world. kind: "target", "sample" (Brainsight), "trigger", "instrument"
    (Localite) or "matrix" (SimNIBS). time: as in the file, with its date where it has one; "" if not given.
    didt: A/us of the pulse, and intensity_percent: of the stimulator's maximum, where the file has them.
    """

    name: str
    pose: CoilPose
    kind: str = "matrix"
    time: str = ""
    didt: float | None = None
    intensity_percent: float | None = None


def load_poses(path: Any) -> list[NamedPose]:
    """Read the poses of a neuronavigation file.

    - ``.txt``: Brainsight's export (begins with "# Version"), or SimNIBS's matrices: rows of four numbers, four rows a
      matrix (``numpy.savetxt`` of a ``matsimnibs``).
    - ``.xml``: Localite's TriggerMarkers or InstrumentMarkers. Markers of an untracked coil (no position) are left out
      with a warning.
    - ``.mat``: a SimNIBS session (``poslist{..}.pos(..).matsimnibs``), or one variable ``matsimnibs``.

    Raises:
        InputError: a missing or malformed file, a coordinate system that does not lead to the head, no pose in it, or
            a matrix that is no rotation.
    """
    source = Path(path) if isinstance(path, str | os.PathLike) else Path("")
    readers = {".txt": _read_text, ".xml": _read_localite, ".mat": _read_session}
    if source.suffix.lower() not in readers or not source.is_file():
        raise InputError(
            "there is no such file of poses",
            got=repr(path) if not isinstance(path, str | os.PathLike) else str(path),
            expected="a file: Brainsight or matrices (.txt), Localite (.xml), SimNIBS session (.mat)",
        )
    poses = readers[source.suffix.lower()](source)
    if not poses:
        raise InputError("the file holds no pose", got=source.name, expected="one pose or more")
    return poses


def save_poses(poses: Sequence[NamedPose] | CoilPose, path: str | os.PathLike[str], form: str) -> None:
    """Write poses for a navigator or for SimNIBS; the file appears whole or not at all.

    Args:
        poses: named poses, or one pose.
        path: the file, with the suffix of its form (.txt, .xml, .txt).
        form: "brainsight" (targets, NIfTI:Aligned), "localite" (InstrumentMarkers, RAS) or "matsimnibs".

    Raises:
        InputError: an unknown form, the suffix of another, no poses, or a place that cannot be written.
    """
    writers = {"brainsight": (_brainsight_text, ".txt"), "localite": (_localite_text, ".xml"),
               "matsimnibs": (_matrix_text, ".txt")}  # fmt: skip
    named = [NamedPose("pose", poses)] if isinstance(poses, CoilPose) else list(poses)
    if form not in writers:
        raise InputError("poses are not written in this form", got=repr(form), expected=", ".join(writers))
    write, suffix = writers[form]
    target = Path(path)
    if target.suffix.lower() != suffix or not named:
        raise InputError(
            f"poses for {form}", got=f"{len(named)} poses to {target.name}", expected=f"1 or more, {suffix}"
        )
    text = write(named)
    try:
        with tempfile.TemporaryDirectory(dir=target.parent, prefix=".poses-") as folder:
            staged = Path(folder) / target.name
            staged.write_text(text, encoding="utf-8")
            os.replace(staged, target)
    except OSError as error:
        raise InputError("poses cannot be written", got=str(error), expected="a folder to write in") from error


def _pose(matrix: Float[np.ndarray, "4 4"], what: str) -> CoilPose:
    """A pose from a matrix that text has rounded: the rotation nearest to it, if it is one but for that."""
    m = check_rigid(matrix, what).copy()
    u, _, vt = np.linalg.svd(m[:3, :3])
    m[:3, :3] = u @ vt
    return CoilPose.from_matrix(m)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("file of poses cannot be read", got=f"{path.name}: {error}", expected="UTF-8 text") from error


def _read_text(path: Path) -> list[NamedPose]:
    lines = _lines(path)
    if any(line.startswith("# Version") for line in lines[:5]):
        return _read_brainsight(path, lines)
    rows = [line.split("#")[0].replace(",", " ").split() for line in lines]
    try:
        table = np.array([row for row in rows if row], float)
    except ValueError:
        table = np.zeros((0, 0))
    if table.ndim != 2 or table.shape[1:] != (4,) or len(table) % 4:
        raise InputError(
            "matrices cannot be read",
            got=f"{path.name} with {sum(map(bool, rows))} rows",
            expected="rows of four numbers, four rows a matrix; or Brainsight's export, from '# Version' on",
        )
    names = [path.stem] if len(table) == 4 else [f"{path.stem}_{i}" for i in range(len(table) // 4)]
    matrices = table.reshape(-1, 4, 4)
    return [NamedPose(name, _pose(m, f"matrix of {name}")) for name, m in zip(names, matrices, strict=True)]


def _brainsight_world(path: Path, lines: list[str]) -> Float[np.ndarray, "4 4"]:
    """From the coordinate system of a Brainsight export to RAS+ mm of its image."""
    system = next((s.split(":", 1)[1].strip() for s in lines if s.startswith("# Coordinate system:")), "")
    parts = system.lower().split(":")
    if parts[0] == "nifti" and parts[-1] in ("aligned", "scanner") and len(parts) <= 3:
        return np.eye(4)
    if system.lower() == "world":
        return LPS
    raise InputError(
        "coordinate system of a Brainsight export",
        got=f"{system or 'none'} in {path.name}",
        expected="NIfTI:Aligned, NIfTI:Scanner (also with S or Q), or World",
        mend="choose one of these when exporting; 'Brainsight' counts from a corner of the image, which is not known",
    )


def _read_brainsight(path: Path, lines: list[str]) -> list[NamedPose]:
    world, columns, kind, poses = _brainsight_world(path, lines), None, "", []
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            header = line.lstrip("# ").split("\t")
            kind = {"Target Name": "target", "Sample Name": "sample"}.get(header[0].strip(), "")
            columns = [name.strip() for name in header] if kind else None
            missing = [name for name in COLUMNS if name not in columns] if columns else []
            if missing:
                raise InputError("a Brainsight section lacks columns", got=f"{path.name}:{number} without {missing}",
                                 expected="Loc. X, Y, Z and m0n0 to m2n2")  # fmt: skip
        elif columns and line.strip():
            cells = dict(zip(columns, (cell.strip() for cell in line.split("\t")), strict=False))
            where = f"{path.name}:{number}"
            values = _numbers([cells.get(name, "") for name in COLUMNS], where)
            if values is None:  # a sample that was not tracked
                warnings.warn(f"{where}: {cells[columns[0]]!r} has no position, left out", stacklevel=4)
                continue
            matrix = np.eye(4)
            matrix[:3, 3], matrix[:3, :3] = values[:3], values[3:].reshape(3, 3).T
            when = " ".join(cells[name] for name in ("Date", "Time") if cells.get(name))
            name = cells[columns[0]]
            poses.append(NamedPose(name, _pose(world @ matrix @ BRAINSIGHT, f"{where} ({name})"), kind, when))
    return poses


def _numbers(cells: Sequence[str], where: str) -> Float[np.ndarray, "n"] | None:  # noqa: UP037
    """Numbers of a row, or None if it has "(null)" or nothing in place of them."""
    if all(cell in ("", "(null)", "NaN", "nan") for cell in cells):
        return None
    try:
        values = np.array(cells, float)
    except ValueError:
        values = np.array([np.nan])
    if not np.isfinite(values).all():
        raise InputError("a pose is malformed", got=f"{where}: {list(cells)}", expected=f"{len(cells)} finite numbers")
    return values


def _brainsight_text(poses: list[NamedPose]) -> str:
    lines = [
        "# Version: 12",
        "# Coordinate system: NIfTI:Aligned",
        "# Created by: tmsjax",
        "# Units: millimetres, degrees, milliseconds, and microvolts",
        "# Encoding: UTF-8",
        "# Notes: Each column is delimited by a tab. Each value within a column is delimited by a semicolon.",
        "# Target Name\t" + "\t".join(COLUMNS),
    ]
    for named in poses:
        m = named.pose.matrix @ BRAINSIGHT
        cells = [*m[:3, 3], *m[:3, :3].T.ravel()]
        lines.append("\t".join([" ".join(named.name.split()), *(f"{value:.7f}" for value in cells)]))
    return "\n".join(lines) + "\n"


def _read_localite(path: Path) -> list[NamedPose]:
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(
            "file of poses cannot be read", got=f"{path.name}: {error}", expected="Localite's XML"
        ) from error
    space = (root.get("coordinateSpace") or "").upper()
    if space not in ("RAS", "LPS"):
        raise InputError(
            "coordinate space of a Localite file",
            got=f"coordinateSpace={space!r} in {path.name}",
            expected='"RAS" or "LPS", in the outermost element',
        )
    world, poses = (np.eye(4) if space == "RAS" else LPS), []
    for kind, tag in (("trigger", "TriggerMarker"), ("instrument", "InstrumentMarker")):
        for index, marker in enumerate(root.iter(tag)):
            where = f"{path.name}, {tag} {index}"
            inner = marker.find("Marker")
            holder = marker if inner is None else inner
            given = next(holder.iter("Matrix4D"), None)
            cells = [given.get(f"data{i}{j}", "") for i in range(4) for j in range(4)] if given is not None else []
            values = _numbers(cells, where) if cells else None
            name = holder.get("description") or marker.get("description") or f"{kind} {index}"
            if values is None or np.array_equal(values.reshape(4, 4), np.eye(4)):
                if given is None:
                    raise InputError("a marker has no matrix", got=where, expected="Matrix4D with data00 to data33")
                warnings.warn(f"{where}: {name!r} has no position (the coil was not tracked), left out", stacklevel=4)
                continue
            response = {v.get("key"): _float(v.get("response")) for v in marker.iter("Value")}
            poses.append(
                NamedPose(
                    name,
                    _pose(world @ values.reshape(4, 4) @ LOCALITE, where),
                    kind,
                    marker.get("recordingTime") or "",
                    didt=response.get("valueA"),
                    intensity_percent=response.get("amplitudeA"),
                )
            )
    return poses


def _float(text: str | None) -> float | None:
    """A positive number, or None: Localite writes 0 or NaN for what the stimulator did not report."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None


def _localite_text(poses: list[NamedPose]) -> str:
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<InstrumentMarkerList coordinateSpace="RAS">']
    for index, named in enumerate(poses):
        m = named.pose.matrix @ LOCALITE
        data = " ".join(f'data{i}{j}="{m[i, j]:+.17f}"' for i in range(4) for j in range(4))
        lines += [
            f'    <InstrumentMarker alwaysVisible="false" index="{index}" selected="false">',
            f'        <Marker additionalInformation="" color="#ff0000" description={quoteattr(named.name)} set="true">',
            f"            <Matrix4D {data}/>",
            "        </Marker>",
            "    </InstrumentMarker>",
        ]
    return "\n".join([*lines, "</InstrumentMarkerList>"]) + "\n"


def _matrix_text(poses: list[NamedPose]) -> str:
    blocks = []
    for named in poses:
        rows = "\n".join(" ".join(f"{value:.9e}" for value in row) for row in named.pose.matrix)
        blocks.append(f"# {' '.join(named.name.split())}\n{rows}")
    return "\n".join(blocks) + "\n"


def _read_session(path: Path) -> list[NamedPose]:
    try:
        content: Any = scipy.io.loadmat(path, simplify_cells=True)
    except (OSError, ValueError, TypeError, NotImplementedError, KeyError, IndexError, MatReadError) as error:
        raise InputError(
            "file of poses cannot be read",
            got=f"{path.name}: {error}",
            expected="a .mat file of SimNIBS, not of version 7.3",
        ) from error
    entries = [entry for block in _items(content.get("poslist")) for entry in _items(_field(block, "pos"))]
    entries = entries or [content]
    poses = []
    for index, entry in enumerate(entries):
        matrix = np.asarray(_field(entry, "matsimnibs"), dtype=object)
        if matrix.shape != (4, 4):
            continue  # a position by centre and direction, which only the mesh turns into a matrix
        name = _field(entry, "name")
        name = name if isinstance(name, str) and name else f"{path.stem}_{index}"
        didt = _field(entry, "didt")
        rate = float(didt) * 1e-6 if isinstance(didt, int | float) and didt else None
        poses.append(NamedPose(name, _pose(matrix.astype(float), f"matsimnibs of {name}"), didt=rate))
    return poses


def _items(value: Any) -> list[Any]:
    """Cells or structs of a .mat file as a list: one of them comes alone."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | np.ndarray) else [value]


def _field(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None
