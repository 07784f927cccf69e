"""A cell as NEURON sections with all mechanisms, and its resting state."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from tmsjax.cells.biophysics import densities, membrane_of, passive
from tmsjax.cells.mechanism_library import load_mechanisms, load_neuron
from tmsjax.cells.types import DISABLED_DIAM_UM, Cell, Membrane, Section

STEADY_STEPS = 100
STEADY_DT_MS = 1e9
V_INIT_MV = -75.0


@dataclass(frozen=True, eq=False)
class NeuronCell:
    """A cell that lives in NEURON: its sections and its segments in the row order of ``cable_model(cell)``."""

    cell: Cell
    sections: list[Any]
    segments: list[Any]


def build_neuron(cell: Cell) -> NeuronCell:
    """Build a cell in the current process's NEURON, membrane included, at 37 C; it lives as long as the result.

    Raises MissingToolError where NEURON or the compiler that its mechanisms need is missing.
    """
    membrane = membrane_of(cell)
    h = load_mechanisms(membrane.mechanisms) if membrane.mechanisms else load_neuron()
    h.celsius = membrane.common["temperature_c"]
    made = [_section(h, section) for section in cell.sections]
    for sec, section in zip(made, cell.sections, strict=True):
        if section.parent >= 0:
            sec.connect(made[section.parent](section.parent_x), 0)
    for sec, section in zip(made, cell.sections, strict=True):
        _insert(sec, section, membrane)
    if cell.disabled is not None:
        last = made[cell.disabled]
        last((last.nseg - 0.5) / last.nseg).diam = DISABLED_DIAM_UM
    return NeuronCell(cell=cell, sections=made, segments=[segment for sec in made for segment in sec])


def steady_state() -> Float[np.ndarray, " n"]:
    """Bring everything in NEURON to rest: 100 backward-Euler steps of 1e9 ms, then t = 0 (Aberra et al. 2018).

    Returns the potential (mV) of every segment of every section, in ``forall`` order. ``h.dt`` is left as it was;
    variable time steps are switched off.
    """
    h = load_neuron()
    h.load_file("stdrun.hoc")
    h.cvode_active(0)
    h.secondorder = 0
    dt, h.dt = h.dt, STEADY_DT_MS
    try:
        h.finitialize(V_INIT_MV)
        h.t = -STEADY_STEPS * STEADY_DT_MS
        for _ in range(STEADY_STEPS):
            h.fadvance()
    finally:
        h.dt = dt
    h.t = 0.0
    h.fcurrent()
    h.frecord_init()
    return np.array([segment.v for sec in h.allsec() for segment in sec])


def _section(h, section: Section):
    sec = h.Section(name=section.name)
    sec.pt3dclear()
    for (x, y, z), diam in zip(section.points_um.tolist(), section.diam_um.tolist(), strict=True):
        sec.pt3dadd(x, y, z, diam)
    sec.nseg = section.nseg
    return sec


def _insert(sec, section: Section, membrane: Membrane) -> None:
    constants = membrane.common
    sec.Ra = constants["ra_ohm_cm"]
    sec.cm, g_pas, e_pas = passive(membrane, section.region)
    sec.insert("pas")
    values = densities(membrane, section)
    calcium = {name: values.pop(name) for name in ("gamma", "decay") if name in values}
    for name in values:
        sec.insert(name)
    if calcium:
        sec.insert("CaDynamics_E2")
    for k, segment in enumerate(sec):
        segment.pas.g, segment.pas.e = g_pas, e_pas
        for name, density in values.items():
            getattr(segment, name).gbar = density[k]
        for name, value in calcium.items():
            setattr(segment.CaDynamics_E2, name, value[k])
    _set_reversals(sec, constants)


def _set_reversals(sec, constants: Mapping[str, Any]) -> None:
    """Reversal potentials of the ions that the section's channels use."""
    if sec.has_membrane("na_ion"):
        sec.ena = constants["e_na_mv"]
    if sec.has_membrane("k_ion"):
        sec.ek = constants["e_k_mv"]
    if sec.has_membrane("ca_ion"):
        sec.cao = constants["ca_out_mm"]
    if sec.has_membrane("Ih"):
        for segment in sec:
            segment.Ih.e = constants["e_h_mv"]
