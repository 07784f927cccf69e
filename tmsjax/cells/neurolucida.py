"""Neurolucida's .asc format: what NEURON's Import3d lets pass in it, checked first, and an .swc's table written in it.

Import3d repairs in silence: it removes branches without a length and gives their children to the parent, ties any
tree outside the soma to the soma's centre, however far it is, and makes sections of kinds that nobody asks for. The
published cells need none of these repairs, except that a tree may begin some way off the soma's outline as drawn. An
outline that encloses nothing, or a point that is nowhere, ends the whole process.
"""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tmsjax.core.errors import InputError

KINDS = {1: "soma", 2: "axon", 3: "basal dendrite", 4: "apical dendrite"}
DISCONNECTED_UM = 50.0
"""A tree that begins farther than this from every point of the soma's outline is not connected to it. Of 95 cells of
the Blue Brain Project that we looked at, no tree begins farther away than 32 um."""
FARTHEST_UM = 1e6
"""No number of a reconstruction is larger: a metre."""
THINNEST = 1e-3
"""Width of a soma's outline over its length, below which it counts as a line."""


def check_text(text: str, path: Path) -> None:
    """Raise InputError unless the file holds complete nested lists and points somewhere (NEURON crashes on others)."""
    bare = re.sub(r'"[^"\n]*"|;[^\n]*', "", text)
    opened, closed = bare.count("("), bare.count(")")
    if opened == 0 or opened != closed:
        raise InputError(
            "the .asc file holds no complete reconstruction",
            got=f"{path}: {opened} opening and {closed} closing parentheses",
            expected="Neurolucida's nested lists, all closed",
            mend="fetch the file again; it may have been cut short",
        )
    for found in re.finditer(r"\(([^()]*)\)", bare):
        words = found[1].replace(",", " ").split()[:4]
        if words and _is_number(words[0]) and not all(map(_near, words)):
            raise InputError(
                f"{path.name}, line {bare.count(chr(10), 0, found.start()) + 1}: a point is nowhere",
                got=f"({' '.join(words)})"[:80],
                expected=f"finite numbers up to {FARTHEST_UM:g} um",
                mend="is the file in micrometres? Pixels or nanometres must be converted",
            )


def check_trees(reader, path: Path) -> None:
    """Raise InputError, naming kind and line, for what Import3d_Neurolucida3 read but should not make a cell of.

    ``reader`` has read the file and is not instantiated yet.
    """
    sections = [reader.sections.o(k) for k in range(int(reader.sections.count()))]
    outline = [_points(section) for section in sections if section.iscontour_]
    for points in outline:
        _check_outline(points[:, :3], path)
    for section in sections:
        if section.iscontour_:
            continue
        kind = int(section.type)
        where = f"{path.name}, line {_line(reader, section, 1)}"
        if kind not in KINDS:
            raise InputError(
                f"{where}: a tree is of no kind", got=f"type {kind}", expected="a tree marked Axon, Dendrite or Apical"
            )
        own = _points(section)[int(section.first) :]
        if len(own) < 2 or not np.ptp(own[:, :3], axis=0).any():
            raise InputError(
                f"{where}: a section of the {KINDS[kind]} has no length",
                got=f"{len(own)} points at {np.round(own[:1, :3], 3).tolist()}",
                expected="at least two points at different places",
                mend="delete the branch or join it to the one before",
            )
        if not np.isfinite(own).all() or (own[:, 3] <= 0).any():
            first = int(np.flatnonzero(~np.isfinite(own).all(axis=1) | (own[:, 3] <= 0))[0])
            bad = own[first]
            line = _line(reader, section, first + int(section.first))
            raise InputError(
                f"{path.name}, line {line}: a point of the {KINDS[kind]} has no width",
                got=f"x, y, z, diameter = {np.round(bad, 3).tolist()}",
                expected="finite coordinates and a positive diameter",
            )
        if outline and section.parentsec is not None and section.parentsec.iscontour_:
            gap = np.linalg.norm(np.concatenate(outline)[:, :3] - own[0, :3], axis=1).min()
            if gap > DISCONNECTED_UM:
                raise InputError(
                    f"{where}: the {KINDS[kind]} is not connected to the soma",
                    got=f"it begins {gap:.0f} um from the soma's outline",
                    expected=f"at most {DISCONNECTED_UM:g} um, or a branch of another tree",
                    mend="join the pieces in the program that traced them",
                )


def neurolucida_text(table: Float[np.ndarray, "k 7"]) -> str:
    """An .swc's table (``swc.swc_table``) whose soma is a contour, in this format, which knows contours.

    A branch starts at its parent's point.
    """
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
        if row[1] != 1 and on_soma:
            lines += ["(", f"  ({kinds[int(row[1])]})", *_branch(int(row[0]), rows, children, None), ")"]
    return "\n".join(lines) + "\n"


def _is_number(word: str) -> bool:
    with contextlib.suppress(ValueError):
        float(word)
        return True
    return False


def _near(word: str) -> bool:
    """Whether a word of a point is no number (the name of its spine), or one that a reconstruction may hold."""
    return not _is_number(word) or abs(float(word)) <= FARTHEST_UM


def _check_outline(xyz: np.ndarray, path: Path) -> None:
    """InputError unless the points of a soma's outline enclose an area."""
    usable = len(xyz) >= 3 and bool(np.isfinite(xyz).all())
    extent = np.linalg.svd(xyz - xyz.mean(axis=0), compute_uv=False) if usable else np.zeros(3)
    if not extent[1] > THINNEST * extent[0]:
        raise InputError(
            f"{path.name}: the soma's outline encloses nothing",
            got=f"{len(xyz)} points, {np.round(xyz[:3], 3).tolist()} ...",
            expected="at least three finite points that do not lie on a line",
        )


def _line(reader, section, column: int) -> int:
    """Line of the file that a column of a section comes from; column 0 is the soma's centre or the parent's last point.

    The first point of a tree is in Import3d's list twice, the second time with the line after it.
    """
    at = int(section.id) + column - 1
    return int(reader.iline.x[at - 1 if section.first and column == 1 else at])


def _points(section) -> np.ndarray:
    """x, y, z, diameter (um) of an Import3d section."""
    k = int(section.raw.ncol())
    rows = [[section.raw.getval(axis, j) for axis in range(3)] for j in range(k)]
    return np.column_stack([np.array(rows).reshape(k, 3), np.array(section.d)[:k]])


def _branch(start: int, rows: dict, children: dict, parent: np.ndarray | None) -> list[str]:
    """Lines of the branch that begins with this point, and of all that grow from it."""
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
