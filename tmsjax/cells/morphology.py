"""Reconstructed morphologies (Neurolucida .asc, SWC) through NEURON's Import3d, as plain sections."""

from __future__ import annotations

import contextlib
import io
import os
import re
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tmsjax.cells.mechanism_library import load_neuron
from tmsjax.cells.types import Region, Section
from tmsjax.core.errors import InputError

SEGMENT_UM = 40.0
"""A section of length L has 1 + 2 int(L / 40 um) segments."""

IMPORTED: dict[str, Region] = {"soma": "soma", "axon": "ais", "dend": "basal", "apic": "apical"}
"""Import3d's section names; every axon section counts as "ais" until myelination."""


def segments(length_um: float) -> int:
    """Number of segments of a section of this length (um)."""
    return 1 + 2 * int(length_um / SEGMENT_UM)


def read_morphology(path: str | os.PathLike) -> tuple[Section, ...]:
    """Read a reconstruction (.asc or .swc): one soma, then axon, basal and apical sections in NEURON's order.

    A soma drawn as a contour becomes the stack of frusta that Import3d makes of it. The axon sections are named
    axon[0].. and have region "ais". Raises InputError for a file that is missing, unreadable, empty, or without a
    soma or an axon.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError("the morphology does not exist", got=path, expected="a Neurolucida .asc or an .swc file")
    kind = path.suffix.lower()
    if kind not in (".asc", ".swc"):
        raise InputError("a morphology of this kind cannot be read", got=path.name, expected="a file .asc or .swc")
    if kind == ".swc":
        table = _swc_table(path)
        sections = _import_swc(path, table)
    else:
        _check_neurolucida(path)
        sections = _import3d(path, "Import3d_Neurolucida3", path)
    return _checked(sections, path)


def _import3d(file: Path, reader: str, source: Path) -> list[Section]:
    """Sections of a file by Import3d; the NEURON sections belong to a Python object and go with it."""
    h = load_neuron()
    with contextlib.redirect_stdout(io.StringIO()):
        h.load_file("stdlib.hoc")
        h.load_file("import3d.hoc")
    holder = _Holder()
    try:
        morphology = getattr(h, reader)()
        morphology.quiet = 1
        morphology.input(str(file))
        h.Import3d_GUI(morphology, False).instantiate(holder)
        made = [sec for name in ("soma", "axon", "dend", "apic") for sec in getattr(holder, name, [])]
        return _attached([_plain(sec, made) for sec in made])
    except (RuntimeError, AttributeError, IndexError) as error:
        raise InputError(
            "NEURON's Import3d cannot read the morphology", got=f"{source}: {error}", expected="a valid .asc or .swc"
        ) from error


class _Holder:
    """Owns the sections that Import3d makes, so that they vanish with it."""

    def __str__(self) -> str:
        return "tmsjax_import"


def _plain(sec, made: list) -> Section:
    """A NEURON section as plain arrays, with path distances of its future segments from soma(0).

    The last segment's distance is that of the section's end, as in the published cells: there the densities were
    set in a loop over all x from 0 to 1, whose last turn falls on the last segment again.
    """
    name = sec.name().split(".")[-1]
    k = sec.n3d()
    points = np.array([[sec.x3d(i), sec.y3d(i), sec.z3d(i)] for i in range(k)], dtype=np.float32).reshape(k, 3)
    diam = np.array([sec.diam3d(i) for i in range(k)], dtype=np.float32)
    joint = sec.parentseg()
    h = load_neuron()
    root = made[0]
    nseg = segments(sec.L)
    start = h.distance(root(0), sec(0)) if joint is not None else 0.0
    places = (np.arange(nseg) + 0.5) / nseg
    places[-1] = 1.0
    return Section(
        name=name,
        region=IMPORTED.get(name.split("[")[0], "basal"),
        parent=made.index(joint.sec) if joint is not None else -1,
        parent_x=joint.x if joint is not None else 0.0,
        points_um=points,
        diam_um=diam,
        nseg=nseg,
        distance_um=start + sec.L * places,
    )


def _attached(sections: list[Section]) -> list[Section]:
    """Attach what hangs on the soma to its middle, and what hangs on a section's start to what that hangs on."""
    out = []
    for section in sections:
        while section.parent > 0 and section.parent_x == 0.0:
            above = sections[section.parent]
            section = replace(section, parent=above.parent, parent_x=above.parent_x)
        out.append(replace(section, parent_x=0.5) if section.parent == 0 else section)
    return out


def _checked(sections: list[Section], path: Path) -> tuple[Section, ...]:
    """Raise InputError unless there is one soma with a volume, an axon, and every section has a length and a width."""
    somata = [section for section in sections if section.region == "soma"]
    axon = [section for section in sections if section.region == "ais"]
    if len(somata) != 1:
        raise InputError(f"{path.name} has no single soma", got=f"{len(somata)} soma sections", expected="one soma")
    if not axon:
        raise InputError(
            f"{path.name} has no axon",
            got=f"sections {sorted({section.name.split('[')[0] for section in sections})}",
            expected="an axon, which TMS activates",
            mend="use a reconstruction with its axon",
        )
    for section in sections:
        finite = np.isfinite(section.points_um).all() and np.isfinite(section.diam_um).all()
        if not finite or len(section.diam_um) < 2 or section.length_um <= 0 or (section.diam_um <= 0).any():
            raise InputError(
                f"{path.name}: section {section.name} has no volume",
                got=f"{len(section.diam_um)} points, length {section.length_um:g} um, diameters from "
                f"{section.diam_um.min(initial=np.inf):g} um",
                expected="at least two finite points, a length and positive diameters",
            )
    stray = [section.name for section in axon[1:] if sections[section.parent].region != "ais"]
    if stray:
        raise InputError(f"{path.name} has more than one axon", got=f"axon[0] and {stray}", expected="one axon")
    return tuple(sections)


def _check_neurolucida(path: Path) -> None:
    """Raise InputError unless the file holds complete nested lists (NEURON may crash on others)."""
    text = _text(path)
    bare = re.sub(r'"[^"\n]*"|;[^\n]*', "", text)
    opened, closed = bare.count("("), bare.count(")")
    if opened == 0 or opened != closed:
        raise InputError(
            "the .asc file holds no complete reconstruction",
            got=f"{path}: {opened} opening and {closed} closing parentheses",
            expected="Neurolucida's nested lists, all closed",
            mend="fetch the file again; it may have been cut short",
        )


def _swc_table(path: Path) -> Float[np.ndarray, "k 7"]:
    """Rows id, type, x, y, z, radius, parent of an .swc file, checked (NEURON may crash on broken trees)."""
    expected = "lines of seven numbers: id, type, x, y, z, radius, parent (an earlier id, or -1)"
    rows = [line.split("#")[0].split() for line in _text(path).splitlines()]
    try:
        table = np.array([[float(word) for word in row] for row in rows if row])
    except ValueError as error:
        raise InputError("the .swc file cannot be read", got=f"{path}: {error}", expected=expected) from error
    if table.ndim != 2 or table.shape[1] != 7 or not np.isfinite(table).all():
        raise InputError(
            "the .swc file holds no reconstruction", got=f"{path}: a table {table.shape}", expected=f"finite {expected}"
        )
    ids, parents = table[:, 0], table[:, 6]
    lost = ~np.isin(parents, np.append(ids, -1)) | (parents >= ids)
    if lost.any() or len(np.unique(ids)) < len(ids):
        raise InputError(
            "the .swc file is not a tree",
            got=f"{path}: ids used twice, or points whose parent is not an earlier point: {ids[lost][:5].tolist()}",
            expected=expected,
        )
    return table


def _import_swc(path: Path, table: np.ndarray) -> list[Section]:
    """Import an .swc; one whose soma is a contour (radii 0) goes through Neurolucida's format, which knows contours."""
    soma = table[table[:, 1] == 1]
    if len(soma) == 0:
        raise InputError(f"{path.name} has no soma", got="no point of type 1", expected="a soma (type 1)")
    if (soma[:, 5] > 0).all():
        return _import3d(path, "Import3d_SWC_read", path)
    if (soma[:, 5] > 0).any() or len(soma) < 3:
        raise InputError(
            f"{path.name} has a soma without a size",
            got=f"{len(soma)} points with radii {soma[:, 5].min():g} to {soma[:, 5].max():g}",
            expected="positive radii, or a contour of at least three points whose radii are all 0",
        )
    with tempfile.TemporaryDirectory() as work:
        file = Path(work) / "contour.asc"
        file.write_text(_neurolucida(table))
        return _import3d(file, "Import3d_Neurolucida3", path)


def _neurolucida(table: np.ndarray) -> str:
    """An .swc table with a contour soma as Neurolucida text; a branch starts at its parent's last point."""
    kinds = {2: "Axon", 3: "Dendrite", 4: "Apical"}
    rows = {int(row[0]): row for row in table}
    children: dict[int, list[int]] = {}
    for row in table:
        children.setdefault(int(row[6]), []).append(int(row[0]))
    lines = ['("CellBody"', "  (CellBody)"]
    lines += [_point(row) for row in table if row[1] == 1]
    lines += [")"]
    for row in table:
        on_soma = int(row[6]) in rows and rows[int(row[6])][1] == 1
        if row[1] != 1 and int(row[1]) in kinds and on_soma:
            lines += ["(", f"  ({kinds[int(row[1])]})", *_branch(int(row[0]), rows, children, None), ")"]
    return "\n".join(lines) + "\n"


def _branch(start: int, rows: dict, children: dict, parent: np.ndarray | None) -> list[str]:
    lines = [] if parent is None else [_point(parent)]
    at = start
    while True:
        lines.append(_point(rows[at]))
        following = children.get(at, [])
        if len(following) != 1:
            break
        at = following[0]
    if following:
        branches = [_branch(child, rows, children, rows[at]) for child in following]
        lines += ["(", *_joined(branches), ")"]
    return lines


def _joined(branches: list[list[str]]) -> list[str]:
    lines = branches[0]
    for branch in branches[1:]:
        lines = [*lines, "|", *branch]
    return lines


def _point(row: np.ndarray) -> str:
    return f"  ({row[2]:.9g} {row[3]:.9g} {row[4]:.9g} {2 * row[5]:.9g})"


def _text(path: Path) -> str:
    """A reconstruction's text, or an InputError that says why it cannot be read."""
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InputError(f"{path.name} cannot be read", got=str(error), expected="a file that may be read") from error
