"""The compartments of a cell as plain arrays: what NEURON makes of its sections, without NEURON."""

from __future__ import annotations

import numpy as np

from tmsjax.cells.biophysics import channels, densities, membrane_of, passive
from tmsjax.cells.geometry import Segments, segment_section
from tmsjax.cells.mechanism_library import MECHANISMS
from tmsjax.cells.types import DISABLED_DIAM_UM, REGIONS, CableModel, Cell, Section


def cable_model(cell: Cell) -> CableModel:
    """Compartments of a cell in NEURON's ``forall`` order: geometry, tree, membrane (see ``CableModel``)."""
    membrane = membrane_of(cell)
    ra = membrane.common["ra_ohm_cm"]
    sections = cell.sections
    pieces = [segment_section(section, ra) for section in sections]
    if cell.disabled is not None:
        pieces[cell.disabled] = _disable_last(pieces[cell.disabled], sections[cell.disabled], ra)
    counts = np.array([section.nseg for section in sections])
    starts = np.concatenate([[0], np.cumsum(counts)])
    parent, ri = _tree(sections, pieces, starts)
    leak = [passive(membrane, section.region) for section in sections]
    density = {name: np.zeros(starts[-1]) for name in (*MECHANISMS, *channels(membrane), "gamma", "decay")}
    for k, section in enumerate(sections):
        for name, values in densities(membrane, section).items():
            density[name][starts[k] : starts[k + 1]] = values
    del density["CaDynamics_E2"]
    return CableModel(
        name=cell.name,
        section_names=tuple(section.name for section in sections),
        section=np.repeat(np.arange(len(sections)), counts),
        x=np.concatenate([(np.arange(n) + 0.5) / n for n in counts]),
        region=np.repeat([REGIONS.index(section.region) for section in sections], counts),
        xyz_um=np.concatenate([piece.centre_um for piece in pieces]),
        area_um2=np.concatenate([piece.area_um2 for piece in pieces]),
        diam_um=np.concatenate([piece.diam_um for piece in pieces]),
        length_um=np.repeat([section.length_um / section.nseg for section in sections], counts),
        parent=parent,
        ri_mohm=ri,
        cm_uf_per_cm2=np.repeat([part[0] for part in leak], counts),
        ra_ohm_cm=ra,
        g_pas=np.repeat([part[1] for part in leak], counts),
        e_pas_mv=np.repeat([part[2] for part in leak], counts),
        gamma=density.pop("gamma"),
        decay_ms=density.pop("decay"),
        channels=density,
        e_na_mv=membrane.common["e_na_mv"],
        e_k_mv=membrane.common["e_k_mv"],
        e_h_mv=membrane.common["e_h_mv"],
    )


def _disable_last(piece: Segments, section: Section, ra_ohm_cm: float) -> Segments:
    """The last segment becomes a cylinder of DISABLED_DIAM_UM."""
    length = section.length_um / section.nseg
    half = 4e-2 * ra_ohm_cm / np.pi * (length / 2) / DISABLED_DIAM_UM**2
    out = Segments(*(values.copy() for values in piece))
    out.area_um2[-1] = np.pi * DISABLED_DIAM_UM * length
    out.diam_um[-1] = DISABLED_DIAM_UM
    out.left_mohm[-1] = out.right_mohm[-1] = half
    return out


def _tree(sections: tuple[Section, ...], pieces: list[Segments], starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Parent node and axial resistance to it, for segments and then for section ends.

    A section attached at 0.5 hangs on the middle of its parent's middle segment, one attached at 1 on its end.
    """
    n, m = starts[-1], starts[-1] + len(sections)
    parent, ri = np.empty(m, dtype=np.int64), np.empty(m)
    for k, (section, piece) in enumerate(zip(sections, pieces, strict=True)):
        rows = np.arange(starts[k], starts[k + 1])
        parent[rows[1:]] = rows[:-1]
        parent[rows[0]] = _joint(section, sections, starts)
        ri[rows] = piece.left_mohm
        ri[rows[1:]] += piece.right_mohm[:-1]
        parent[n + k] = rows[-1]
        ri[n + k] = piece.right_mohm[-1]
    return parent, ri


def _joint(section: Section, sections: tuple[Section, ...], starts: np.ndarray) -> int:
    if section.parent < 0:
        return -1
    if section.parent_x == 1.0:
        return int(starts[-1]) + section.parent
    return int(starts[section.parent]) + int(section.parent_x * sections[section.parent].nseg)
