"""The cell library: bundled open cells, and the reference cells from a folder of the user."""

from __future__ import annotations

import os
from importlib.resources import as_file, files
from pathlib import Path

from tmsjax.cells.biophysics import table_of
from tmsjax.cells.main_axon import Rule, main_axon_terminal
from tmsjax.cells.morphology import read_morphology
from tmsjax.cells.myelin import myelinate
from tmsjax.cells.scaling import ADULT_HUMAN, Scaling, scale
from tmsjax.cells.types import Cell
from tmsjax.core.errors import InputError

OPEN = {
    "L23_PC_1": ("L23_PC", "L23_PC_1.swc"),
    "L4_LBC_1": ("L4_LBC", "L4_LBC_1.swc"),
    "L5_PC_1": ("L5_TTPC2", "L5_PC_1.asc"),
}
"""Bundled cells: membrane table and file. Nothing is disabled unless asked for."""

ABERRA = {"L23_PC_cADpyr229": "L23_PC", "L4_LBC_cACint209": "L4_LBC", "L5_TTPC2_cADpyr232": "L5_TTPC2"}
"""Cell types of Aberra et al. (five clones each) and their membrane tables."""

DEEPEST_MAIN_AXON = ("L5_TTPC2_cADpyr232_5",)
"""Cells whose main axon upstream finds by depth, not by width (their ids 8, 20, 22, 25)."""

WHERE = "https://github.com/Aman-A/TMSsim_Aberra2019 or ModelDB 241165 (CC BY-NC-SA 4.0: fetch them yourself)"


def names() -> list[str]:
    """All names that ``load`` knows."""
    return [f"open/{name}" for name in OPEN] + [f"aberra2019/{kind}_{k}" for kind in ABERRA for k in range(1, 6)]


def load(name: str, *, root: str | os.PathLike | None = None, axon: str | None = None) -> Cell:
    """Load a cell, scaled to adult human size and myelinated.

    ``"open/L23_PC_1"``, ``"open/L4_LBC_1"`` and ``"open/L5_PC_1"`` are bundled. ``"aberra2019/CELL"`` reads
    ``root/asc/CELL.asc``, the reconstructions of Aberra et al. (2020), which users fetch themselves.
    ``axon``: "intact", or "disabled": the last segment of the main axon is 1000 um wide. The default is the published
    variant: disabled for aberra2019's L5 cells, intact otherwise. Raises InputError for an unknown name or a missing
    file.
    """
    if not isinstance(name, str) or name not in names():
        raise InputError("there is no such cell", got=repr(name), expected=", ".join(names()))
    family, _, short = name.partition("/")
    if family == "open":
        table, file = OPEN[short]
        with as_file(files("tmsjax") / "data" / "cells" / "open" / file) as path:
            return from_file(path, table, name=name, axon=axon or "intact")
    table = ABERRA[short.rsplit("_", 1)[0]]
    path = _reference_file(short, root)
    rule: Rule = "deepest" if short in DEEPEST_MAIN_AXON else "widest"
    default = "disabled" if table == "L5_TTPC2" else "intact"
    return from_file(path, table, name=name, axon=axon or default, main_axon=rule)


def from_file(
    path: str | os.PathLike,
    biophysics: str,
    *,
    name: str | None = None,
    axon: str = "intact",
    scaling: Scaling = ADULT_HUMAN,
    main_axon: Rule = "widest",
) -> Cell:
    """Make a cell from a reconstruction of a rat neuron (.asc or .swc, +y towards the pia) and a membrane table.

    ``biophysics`` is "L23_PC", "L4_LBC" or "L5_TTPC2". The reconstruction is scaled, turned so that +z points to the
    pia, and myelinated (Aberra et al. 2018, 2020). Raises InputError for another table or variant of the
    axon, or a file that is missing or no reconstruction.
    """
    table_of(biophysics)
    if axon not in ("intact", "disabled"):
        raise InputError("there is no such axon variant", got=repr(axon), expected='"intact" or "disabled"')
    sections = myelinate(scale(read_morphology(path), scaling))
    disabled = main_axon_terminal(sections, main_axon) if axon == "disabled" else None
    return Cell(name=name or Path(path).stem, biophysics=biophysics, sections=sections, disabled=disabled)


def _reference_file(short: str, root: str | os.PathLike | None) -> Path:
    if root is None:
        raise InputError(
            "the reference cells are not bundled",
            got="root=None",
            expected=f"root=FOLDER that holds asc/{short}.asc",
            mend=f"get them from {WHERE}",
        )
    path = Path(root) / "asc" / f"{short}.asc"
    if not path.is_file():
        raise InputError(
            "the reference cell is not in this folder (option root)",
            got=f"no file {path}",
            expected=f"root/asc/{short}.asc",
            mend=f"get them from {WHERE}",
        )
    return path
