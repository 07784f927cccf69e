"""Reconstructed morphologies (Neurolucida .asc, SWC) through NEURON's Import3d, as plain sections.

Import3d stays the reader because the published cells were made with it: what it makes of a soma's outline decides the
soma's area. Its silent repairs are refused before it sees a file (``swc.py``) or before it acts (``neurolucida.py``).
"""

from __future__ import annotations

import contextlib
import gzip
import io
import lzma
import os
import tempfile
import zlib
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np

from tmsjax.cells import neurolucida, swc
from tmsjax.cells.geometry import segment_section
from tmsjax.cells.mechanism_library import load_neuron
from tmsjax.cells.types import Region, Section
from tmsjax.core.errors import InputError

SEGMENT_UM = 40.0
"""A section of length L has 1 + 2 int(L / 40 um) segments."""

IMPORTED: dict[str, Region] = {"soma": "soma", "axon": "ais", "dend": "basal", "apic": "apical"}
"""Import3d's section names; every axon section counts as "ais" until myelination."""

SOMA_DIAM_UM = (1.0, 100.0)
"""Diameters of spheres as large as a soma can be: others mean that the file is not in micrometres."""
NEURITE_DIAM_UM = (1e-3, 1000.0)
"""Diameters that axon and dendrites can have: the squid's giant axon is about as wide."""


def segments(length_um: float) -> int:
    """Number of segments of a section of this length (um)."""
    return 1 + 2 * int(length_um / SEGMENT_UM)


def read_morphology(path: str | os.PathLike, types: Mapping[int, str] | None = None) -> tuple[Section, ...]:
    """Read a reconstruction in um (.asc or .swc, plain, .gz or .xz): soma, then axon, basal and apical sections.

    The order is NEURON's. A soma drawn as a contour becomes the stack of frusta that Import3d makes of it, one of a
    single point a cylinder as long as it is wide. The axon sections are named axon[0].. and have region "ais".
    ``types`` says what custom types of an .swc are, e.g. ``{7: "axon"}``. Raises InputError for a file that is
    missing, unreadable, empty, or without a soma or an axon, and for pieces that are not connected, have no length or
    no width (naming the section, point or line).
    """
    if not isinstance(path, (str, os.PathLike)):
        raise InputError("the morphology is no path", got=repr(path), expected="a Neurolucida .asc or an .swc file")
    path = Path(path)
    if not path.is_file():
        raise InputError("the morphology does not exist", got=path, expected="a Neurolucida .asc or an .swc file")
    kind = Path(path.name.lower().removesuffix(".gz").removesuffix(".xz")).suffix
    if kind not in (".asc", ".swc"):
        raise InputError(
            "a morphology of this kind cannot be read",
            got=path.name,
            expected="a file .asc or .swc (or packed, .gz, .xz)",
        )
    text = _text(path)
    if kind == ".swc":
        sections = _import_swc(swc.swc_table(text, path.name, types), path)
    else:
        neurolucida.check_text(text, path)
        sections = _import3d(text, "Import3d_Neurolucida3", path)
    return _checked(sections, path)


def _import_swc(table: np.ndarray, path: Path) -> list[Section]:
    """Import an .swc; one whose soma is a contour (radii 0) goes through Neurolucida's format, which knows contours."""
    if not swc.has_contour(table):
        return _import3d(swc.swc_text(table), "Import3d_SWC_read", path)
    kind = {row[0]: row[1] for row in table}
    mixed = [row for row in table[1:] if row[1] != kind[row[6]] != swc.SOMA]
    if mixed:
        raise InputError(
            f"{path.name}: a branch changes its type on the way, which a cell with a soma of radius 0 cannot",
            got=f"type {mixed[0][1]:g} grows out of type {kind[mixed[0][6]]:g} at {mixed[0][2:5].tolist()} um",
            expected="one type in every tree",
            mend="give the soma's points radii",
        )
    return _import3d(neurolucida.neurolucida_text(table), "Import3d_Neurolucida3", path)


def _import3d(text: str, reader: str, source: Path) -> list[Section]:
    """Sections of a file by Import3d; the NEURON sections belong to a Python object and go with it."""
    h = load_neuron()
    with contextlib.redirect_stdout(io.StringIO()):
        h.load_file("stdlib.hoc")
        h.load_file("import3d.hoc")
    holder = _Holder()
    try:
        morphology = getattr(h, reader)()
        morphology.quiet = 1
        with tempfile.TemporaryDirectory() as work:
            file = Path(work) / "morphology"
            file.write_text(text, encoding="utf-8")
            morphology.input(str(file))
        if reader == "Import3d_Neurolucida3":
            neurolucida.check_trees(morphology, source)
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
    size = float(np.sqrt(segment_section(somata[0], ra_ohm_cm=100.0).area_um2.sum() / np.pi))
    if not SOMA_DIAM_UM[0] <= size <= SOMA_DIAM_UM[1]:
        raise InputError(
            f"{path.name}: the soma is as large as a sphere of {size:.3g} um",
            got=f"{len(somata[0].diam_um)} points over {somata[0].length_um:.3g} um",
            expected=f"{SOMA_DIAM_UM[0]:g} to {SOMA_DIAM_UM[1]:g} um",
            mend="is the file in micrometres? Pixels or nanometres must be converted",
        )
    if not axon:
        raise InputError(
            f"{path.name} has no axon",
            got=f"sections {sorted({section.name.split('[')[0] for section in sections})}",
            expected="an axon, which TMS activates",
            mend="use a reconstruction with its axon",
        )
    for section in sections:
        finite = np.isfinite(section.points_um).all() and np.isfinite(section.diam_um).all()
        thin, wide = section.diam_um.min(initial=np.inf), section.diam_um.max(initial=0.0)
        sized = NEURITE_DIAM_UM[0] <= thin and wide <= NEURITE_DIAM_UM[1]
        if not finite or len(section.diam_um) < 2 or section.length_um <= 0 or not sized:
            raise InputError(
                f"{path.name}: section {section.name} has no volume",
                got=f"{len(section.diam_um)} points, length {section.length_um:g} um, diameters from "
                f"{thin:g} to {wide:g} um",
                expected=f"at least two finite points, a length and diameters of {NEURITE_DIAM_UM[0]:g} to "
                f"{NEURITE_DIAM_UM[1]:g} um",
            )
    stray = [section.name for section in axon[1:] if sections[section.parent].region != "ais"]
    if stray:
        raise InputError(f"{path.name} has more than one axon", got=f"axon[0] and {stray}", expected="one axon")
    return tuple(sections)


def _text(path: Path) -> str:
    """A reconstruction's text, unpacked, or an InputError that says why it cannot be read."""
    unpack = {".gz": gzip.decompress, ".xz": lzma.decompress}.get(path.suffix.lower(), bytes)
    try:
        return unpack(path.read_bytes()).decode("utf-8", errors="replace")
    except (OSError, EOFError, lzma.LZMAError, zlib.error) as error:
        raise InputError(
            f"{path.name} cannot be read", got=str(error), expected="a whole file that may be read"
        ) from error
