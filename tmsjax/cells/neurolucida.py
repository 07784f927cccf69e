"""What NEURON's Import3d lets pass in a Neurolucida .asc file, checked before it makes sections of it.

Import3d repairs in silence: it removes branches without a length and gives their children to the parent, ties any
tree outside the soma to the soma's centre, however far it is, and makes sections of kinds that nobody asks for. The
published cells need none of these repairs, except that a tree may begin some way off the soma's outline as drawn.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from tmsjax.core.errors import InputError

KINDS = {1: "soma", 2: "axon", 3: "basal dendrite", 4: "apical dendrite"}
DISCONNECTED_UM = 50.0
"""A tree that begins farther than this from every point of the soma's outline is not connected to it. Of 95 cells of
the Blue Brain Project that we looked at, no tree begins farther away than 32 um."""


def check_text(text: str, path: Path) -> None:
    """Raise InputError unless the file holds complete nested lists (NEURON may crash on others)."""
    bare = re.sub(r'"[^"\n]*"|;[^\n]*', "", text)
    opened, closed = bare.count("("), bare.count(")")
    if opened == 0 or opened != closed:
        raise InputError(
            "the .asc file holds no complete reconstruction",
            got=f"{path}: {opened} opening and {closed} closing parentheses",
            expected="Neurolucida's nested lists, all closed",
            mend="fetch the file again; it may have been cut short",
        )


def check_trees(reader, path: Path) -> None:
    """Raise InputError, naming kind and line, for what Import3d_Neurolucida3 read but should not make a cell of.

    ``reader`` has read the file and is not instantiated yet.
    """
    sections = [reader.sections.o(k) for k in range(int(reader.sections.count()))]
    outline = [_points(section) for section in sections if section.iscontour_]
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
