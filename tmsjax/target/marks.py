"""Marked target points: CSV, and markups of 3D Slicer (.fcsv), in world millimetres; several raters and one consensus.

FCSV says in its header which world it is in: ``# CoordinateSystem = LPS`` (or 1), as Slicer 4.11 and later write, or
``RAS`` (or 0), as those before did. That line is obeyed, whatever the version; a file without it is taken for RAS only
where its version is 4.10 or less. NIfTI and this library are RAS: the first two coordinates change their sign.
"""

from __future__ import annotations

import csv
import io
import re
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.io.reading import checked_path, reading
from tmsjax.target.points import POINTS, check_names, is_left
from tmsjax.target.volume import Volume

COLUMNS = "id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID"
"""Of Slicer's markups."""

WORLDS = {"RAS": 1.0, "0": 1.0, "LPS": -1.0, "1": -1.0}
"""Sign of the first two coordinates by the name, or number, of the world."""

RAS_UNTIL = (4, 10)
"""Version of Slicer up to which a file that says nothing is in RAS."""

SIDE_MM = 10.0
"""How far a single point may lie on the other side of the head's middle before it is warned of."""


class Mark(NamedTuple):
    """One point marked by one rater: ``place_mm`` (3,) in world RAS+ mm; ``note`` is what the file says of it."""

    point: str
    place_mm: tuple[float, float, float]
    rater: str = ""
    note: str = ""


def read_marks(path: str | Path, rater: str | None = None) -> list[Mark]:
    """Marks of a .csv or .fcsv file.

    CSV: a line ``# space = RAS mm`` (or LPS), then columns ``name,x,y,z`` and, if there are several, ``rater``. FCSV:
    the label is the point's name; the rater is the file's name unless given.

    Raises:
        InputError: another kind of file, a world that is not said, names that are none of the eleven, places that are
            not finite, a point marked twice by a rater, no points.
    """
    path = checked_path(path, "a file of points")
    readers = {".csv": _read_csv, ".fcsv": _read_fcsv}
    if path.suffix.lower() not in readers or not path.is_file():
        raise InputError("there is no such file of points", got=str(path), expected="a .csv or a .fcsv file")
    with reading(path, "the points cannot be read", "text in UTF-8"):
        text = path.read_text("utf-8-sig")
    marks = readers[path.suffix.lower()](text, path)
    if rater is not None:
        marks = [mark._replace(rater=rater) for mark in marks]
    if not marks:
        raise InputError("the file holds no points", got=str(path), expected="one or more")
    check_names([mark.point for mark in marks])
    twice = {(m.point, m.rater) for m in marks if sum((o.point, o.rater) == (m.point, m.rater) for o in marks) > 1}
    if twice:
        raise InputError("a point is marked twice by one rater", got=f"{path}: {sorted(twice)}", expected="once")
    return marks


def write_fcsv(path: str | Path, marks: Iterable[Mark]) -> Path:
    """Write marks as markups of 3D Slicer 4.13 and 5 (LPS); the file appears whole or not at all."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    for i, mark in enumerate(marks):
        x, y, z = mark.place_mm
        place = [f"{v:.4f}" for v in (-x, -y, z)]
        rows.writerow([i + 1, *place, 0, 0, 0, 1, 1, 1, 0, mark.point, mark.note, ""])
    path = checked_path(path, "a file of points")
    head = f"# Markups fiducial file version = 4.13\n# CoordinateSystem = LPS\n# columns = {COLUMNS}\n"
    with staged_file(path) as stage:
        stage.write_text(head + out.getvalue(), "utf-8")
    return path


def write_csv(path: str | Path, marks: Iterable[Mark]) -> Path:
    """Write marks as ``read_marks`` takes them: RAS mm, with their raters."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["name", "x", "y", "z", "rater"])
    rows.writerows([m.point, *(f"{v:.4f}" for v in m.place_mm), m.rater] for m in marks)
    path = checked_path(path, "a file of points")
    with staged_file(path) as stage:
        stage.write_text("# space = RAS mm\n" + out.getvalue(), "utf-8")
    return path


def check_marks(marks: Sequence[Mark], volume: Volume) -> list[str]:
    """What is odd about marks in an image, in words: left and right that look swapped. Warned of, too.

    Raises InputError where a mark lies outside the cube round the head: it belongs to another image or another world.
    """
    places = volume.from_world(np.array([mark.place_mm for mark in marks]))
    side = len(volume.values)
    outside = [m.point for m, p in zip(marks, places, strict=True) if (p < 0).any() or (p > side - 1).any()]
    if outside:
        raise InputError(
            "points lie outside the image",
            got=", ".join(sorted(set(outside))),
            expected=f"places within {side} mm round the head",
            mend="check that the points are of this image, and in the world (RAS or LPS) that their file says",
        )
    notes = []
    for rater in dict.fromkeys(mark.rater for mark in marks):
        across = {m.point: p[0] for m, p in zip(marks, places, strict=True) if m.rater == rater}
        for point, x in across.items():
            other = across.get(("R" if is_left(point) else "L") + point[1:])
            off = (x - (side - 1) / 2) * (1 if is_left(point) else -1)
            if (other is None and off > SIDE_MM) or (other is not None and is_left(point) and x > other):
                notes.append(f"{point}{f' of {rater}' if rater else ''} lies on the other side of the head")
    for note in notes:
        warnings.warn(f"{note}: are left and right swapped? It is taken as it is.", stacklevel=2)
    return notes


def _read_csv(text: str, path: Path) -> list[Mark]:
    worlds = re.findall(r"^#\s*space\s*=\s*(\w+)", text, re.MULTILINE | re.IGNORECASE)
    if len(set(worlds)) != 1 or worlds[0].upper() not in ("RAS", "LPS"):
        raise InputError(
            "the file does not say which world its points are in",
            got=f"{path}: {worlds or 'nothing'}",
            expected='a line "# space = RAS mm" or "# space = LPS mm"',
        )
    lines = [line for line in text.splitlines() if line.strip() and not line.startswith("#")]
    table = csv.DictReader(lines, skipinitialspace=True)
    missing = {"name", "x", "y", "z"} - set(table.fieldnames or ())
    if missing:
        raise InputError("columns are missing", got=f"{path}: {table.fieldnames}", expected="name,x,y,z[,rater]")
    sign = WORLDS[worlds[0].upper()]
    return [_mark(r["name"], (r["x"], r["y"], r["z"]), sign, r.get("rater") or "", "", path) for r in table]


def _read_fcsv(text: str, path: Path) -> list[Mark]:
    comments = dict(re.findall(r"^#\s*([\w ]+?)\s*=\s*(.+?)\s*$", text, re.MULTILINE))
    columns = [name.strip() for name in comments.get("columns", COLUMNS).split(",")]
    if not {"x", "y", "z", "label"} <= set(columns):
        raise InputError("columns are missing", got=f"{path}: {columns}", expected=COLUMNS)
    sign = WORLDS.get(comments.get("CoordinateSystem", "").upper())
    if sign is None:
        version = re.search(r"(\d+)\.(\d+)", comments.get("Markups fiducial file version", ""))
        old = version is not None and tuple(map(int, version.groups())) <= RAS_UNTIL
        if "CoordinateSystem" in comments or version is None or not old:
            raise InputError(
                "the file does not say which world its points are in",
                got=f"{path}: {comments.get('CoordinateSystem', 'no CoordinateSystem')}",
                expected="# CoordinateSystem = LPS (or RAS, 0, 1)",
            )
        warnings.warn(f"{path.name} says no coordinate system; of Slicer {version.group()}, so RAS", stacklevel=3)
        sign = 1.0
    rows = csv.reader(line for line in text.splitlines() if line.strip() and not line.startswith("#"))
    marks = []
    for row in rows:
        cell = dict(zip(columns, row, strict=False))
        if len(row) < 4 or "label" not in cell:
            raise InputError("a line of a .fcsv file is cut off", got=f"{path}: {row}", expected=COLUMNS)
        place = (cell["x"], cell["y"], cell["z"])
        marks.append(_mark(cell["label"], place, sign, path.stem, cell.get("desc", ""), path))
    return marks


def _mark(name: str, place: tuple, sign: float, rater: str, note: str, path: Path) -> Mark:
    try:
        x, y, z = (float(v) for v in place)
    except (TypeError, ValueError) as error:
        raise InputError("a place is not made of numbers", got=f"{path}: {name} {place}", expected="x,y,z") from error
    if not np.isfinite([x, y, z]).all():
        raise InputError("a place is not finite", got=f"{path}: {name} {place}", expected="finite mm")
    return Mark(name.strip(), (sign * x, sign * y, z), rater, note)


def as_arrays(marks: Sequence[Mark], points: Sequence[str] = POINTS) -> tuple[Float[np.ndarray, "p 3"], np.ndarray]:
    """Places (p, 3) in world mm, NaN where a point is absent, and which are present (p,); one mark a point."""
    found = {mark.point: mark.place_mm for mark in marks}
    places = np.array([found.get(point, (np.nan,) * 3) for point in points], np.float64).reshape(-1, 3)
    return places, np.isfinite(places).all(axis=1).reshape(-1)
