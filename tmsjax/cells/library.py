"""The cell library: bundled open cells, the reference cells of Aberra et al., and a user's own."""

from __future__ import annotations

import functools
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.resources import as_file, files
from pathlib import Path

from tmsjax.cells.biophysics import membrane
from tmsjax.cells.fetch import ABERRA_LICENCE, ABERRA_SOURCE, SHA256, reference_folder
from tmsjax.cells.main_axon import Rule, main_axon_terminal, rule_of
from tmsjax.cells.membrane_file import read_membrane
from tmsjax.cells.morphology import read_morphology
from tmsjax.cells.myelin import myelinate
from tmsjax.cells.scaling import ADULT_HUMAN, Scaling, scale, scaling_of
from tmsjax.cells.types import Cell, Membrane
from tmsjax.core.errors import InputError

ABERRA = {"L23_PC_cADpyr229": "L23_PC", "L4_LBC_cACint209": "L4_LBC", "L5_TTPC2_cADpyr232": "L5_TTPC2"}
"""Cell types of Aberra et al. (five clones each) and their membrane tables."""

DEEPEST_MAIN_AXON = ("L5_TTPC2_cADpyr232_5",)
"""Cells whose main axon upstream finds by depth, not by width (their ids 8, 20, 22, 25)."""


@dataclass(frozen=True)
class CellInfo:
    """What is known of a cell of the library.

    ``kind`` is "reconstruction" (one traced neuron), "clone" (a jittered copy of one) or "graft" (dendrites of one,
    axon of another). ``known_from`` says how its type is known, ``membrane`` which table it gets, ``note`` what else
    to heed. ``sha256`` is that of the reconstruction's file, unpacked.
    """

    name: str
    kind: str
    cell_type: str
    known_from: str
    species: str
    membrane: str
    source: str
    licence: str
    holder: str
    sha256: str
    note: str


@functools.cache
def _open_cells() -> dict:
    text = (files("tmsjax") / "data" / "cells" / "open" / "cells.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def names() -> list[str]:
    """All names that ``load`` knows."""
    return [f"open/{name}" for name in _open_cells()["cells"]] + [
        f"aberra2019/{kind}_{k}" for kind in ABERRA for k in range(1, 6)
    ]


def info(name: str) -> CellInfo:
    """Source, licence, kind and type of a cell of the library, or InputError naming those that exist."""
    family, short = _split(name)
    if family == "open":
        cell = _open_cells()["cells"][short]
        source = _open_cells()["sources"][cell["source"]]
        return CellInfo(
            name=name,
            **{key: cell[key] for key in ("kind", "cell_type", "known_from", "species", "membrane", "sha256", "note")},
            source=f"{cell['source']} {source['version']}, {cell['member']}",
            licence=source["licence"],
            holder=source["holder"],
        )
    return CellInfo(
        name=name,
        kind="clone",
        cell_type=short.rsplit("_", 2)[0],
        known_from="the m-type in its name (Markram et al. 2015)",
        species="rat",
        membrane=ABERRA[short.rsplit("_", 1)[0]],
        source=ABERRA_SOURCE,
        licence=ABERRA_LICENCE,
        holder="Copyright (c) 2015 EPFL-BBP",
        sha256=SHA256[short],
        note="not bundled: tmsjax fetch aberra2019",
    )


def load(
    name: str,
    *,
    root: str | os.PathLike | None = None,
    axon: str | None = None,
    scaling: str | Scaling = ADULT_HUMAN,
) -> Cell:
    """Load a cell of the library, scaled (to adult human size unless asked otherwise) and myelinated.

    ``"open/..."`` are bundled (``names()``, ``info(name)``). ``"aberra2019/CELL"`` are the cells of Aberra et al.
    (2020): from ``root/asc/CELL.asc``, or without ``root`` from where ``tmsjax fetch aberra2019`` put them. ``axon``:
    "intact", or "disabled": the last segment of the main axon is 1000 um wide. The default is the published variant:
    disabled for aberra2019's L5 cells, intact otherwise. ``scaling`` is as in ``from_file``; with another than "adult
    human" the cell's name says so. Raises InputError for an unknown name or a missing file.
    """
    family, short = _split(name)
    if root is not None and not isinstance(root, (str, os.PathLike)):
        raise InputError(
            "the folder of the reference cells is no path", got=repr(root), expected="a path (root=FOLDER)"
        )
    factors = scaling_of(scaling)
    if factors != ADULT_HUMAN:
        named = f"{name} ({scaling})" if isinstance(scaling, str) else f"{name} (scaled)"
    else:
        named = name
    if family == "open":
        cell = _open_cells()["cells"][short]
        with as_file(files("tmsjax") / "data" / "cells" / "open" / cell["file"]) as path:
            return from_file(path, cell["membrane"], name=named, axon=axon or "intact", scaling=factors)
    table = ABERRA[short.rsplit("_", 1)[0]]
    rule: Rule = "deepest" if short in DEEPEST_MAIN_AXON else "widest"
    default = "disabled" if table == "L5_TTPC2" else "intact"
    path = _reference_file(short, root)
    return from_file(path, table, name=named, axon=axon or default, scaling=factors, main_axon=rule)


def from_file(
    path: str | os.PathLike,
    biophysics: str | os.PathLike | Membrane,
    *,
    name: str | None = None,
    axon: str = "intact",
    scaling: str | Scaling = ADULT_HUMAN,
    main_axon: Rule = "widest",
    types: Mapping[int, str] | None = None,
    mechanisms: str | os.PathLike | None = None,
) -> Cell:
    """Make a cell from a reconstruction (.asc or .swc in um, +y towards the pia) and a membrane.

    ``biophysics`` is a table of ``biophysics.toml`` ("L23_PC", "L4_LBC", "L5_TTPC2"), or a user's file of the same
    form ("my.toml", or "my.toml#TABLE" where it has several). ``mechanisms`` is a folder of .mod files with the
    channels that such a file names beyond ours: density mechanisms with RANGE gbar in S/cm2, which only the NEURON
    engine runs. ``scaling``: "adult human", "adult rat" (from a juvenile rat; Aberra et al. 2018, 2020), "none", or
    factors. ``types`` says what an .swc's custom types are, e.g. ``{7: "axon"}``. The reconstruction is scaled, turned
    so that +z points to the pia, and myelinated. Raises InputError for anything that cannot be used, naming section,
    region or key.
    """
    own: Membrane | None = None
    if isinstance(biophysics, Membrane):
        own = biophysics
    elif Path(str(biophysics).split("#")[0]).suffix == ".toml":
        own = read_membrane(biophysics, mechanisms)
    elif mechanisms is not None:
        raise InputError(
            "own mechanisms need an own membrane table",
            got=f"mechanisms={str(mechanisms)!r} with {str(biophysics)!r}",
            expected="biophysics='my.toml', which says where the channels are",
        )
    else:
        membrane(str(biophysics))
    if axon not in ("intact", "disabled"):
        raise InputError("there is no such axon variant", got=repr(axon), expected='"intact" or "disabled"')
    rule, factors = rule_of(main_axon), scaling_of(scaling)
    sections = myelinate(scale(read_morphology(path, types), factors))
    disabled = main_axon_terminal(sections, rule) if axon == "disabled" else None
    label = name or Path(path).name.split(".")[0]
    cell = Cell(name=label, biophysics=str(biophysics), sections=sections, disabled=disabled)
    return cell if own is None else replace(cell, biophysics=own.name, membrane=own)


def _split(name: object) -> tuple[str, str]:
    if not isinstance(name, str) or name not in names():
        raise InputError("there is no such cell", got=repr(name), expected=", ".join(names()))
    family, _, short = name.partition("/")
    return family, short


def _reference_file(short: str, root: str | os.PathLike | None) -> Path:
    mend = f"run `tmsjax fetch aberra2019`, or get them from {ABERRA_SOURCE} and give their folder (root=FOLDER)"
    folder = reference_folder() if root is None else Path(root)
    path = folder / "asc" / f"{short}.asc"
    if path.is_file():
        return path
    if root is None:
        raise InputError(
            "the reference cells are not bundled",
            got=f"root=None, and none in {folder}",
            expected=f"root=FOLDER that holds asc/{short}.asc, or fetched cells",
            mend=mend,
        )
    raise InputError(
        "the reference cell is not in this folder (option root)",
        got=f"no file {path}",
        expected=f"root/asc/{short}.asc",
        mend=mend,
    )
