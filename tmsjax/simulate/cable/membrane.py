"""The membrane of a cell for the solver: which channels move, their resting state, and everything as arrays.

Potentials are deviations ``u`` from the resting potential ``V_r`` of the full model, so that the cell is at rest to the
last bit when nothing is injected, in single precision too. A channel at rest carries ``g_0 (V_r - E)``, which the axial
currents balance; only ``(g - g_0)`` enters. Channels that do not move are a leak of their resting conductance:
``membrane="reduced"`` moves the axon's NaTa_t and SKv3_1 alone.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float
from numpy import ndarray

from tmsjax.cells.types import REGIONS, CableModel
from tmsjax.core.errors import InputError
from tmsjax.simulate.cable import rates
from tmsjax.simulate.cable.tree import Graph, graph

MEMBRANES = ("full", "reduced")
REDUCED = ("NaTa_t", "SKv3_1")
AXON = tuple(REGIONS.index(name) for name in ("ais", "node", "myelin", "unmyelinated"))

NF_PER_UM2 = 1e-5  # of 1 uF/cm2
US_PER_UM2 = 1e-2  # of 1 S/cm2
STEADY_STEPS = 100
START_MV = -75.0


@dataclasses.dataclass(frozen=True)
class Channel:
    """A channel: its rates (end and rate of every gate), the gates' powers, its reversal: na, k, h or ca."""

    rates: Callable
    powers: tuple[int, ...]
    ion: Literal["na", "k", "h", "ca"]


CHANNELS: dict[str, Channel] = {
    "NaTa_t": Channel(rates.nata, (3, 1), "na"),
    "NaTs2_t": Channel(rates.nats2, (3, 1), "na"),
    "Nap_Et2": Channel(rates.nap, (3, 1), "na"),
    "K_Tst": Channel(rates.k_tst, (4, 1), "k"),
    "K_Pst": Channel(rates.k_pst, (2, 1), "k"),
    "SKv3_1": Channel(rates.skv3, (1,), "k"),
    "Im": Channel(rates.im, (1,), "k"),
    "Ih": Channel(rates.ih, (1,), "h"),
    "Ca_HVA": Channel(rates.ca_hva, (2, 1), "ca"),
    "Ca": Channel(rates.ca_hva, (2, 1), "ca"),
    "Ca_LVAst": Channel(rates.ca_lva, (2, 1), "ca"),
}
"""The channels whose gates follow the potential; SK_E2 follows calcium and is added where there is some."""
SK = "SK_E2"


@dataclasses.dataclass(frozen=True, eq=False)
class Rest:
    """The steady state: potential (n,) mV, calcium (n,) mM, the gates of every channel: name -> (gates, n)."""

    v_mv: Float[ndarray, " n"]
    calcium_mm: Float[ndarray, " n"]
    gates: dict[str, Float[ndarray, "g n"]]


def check_channels(cable: CableModel) -> None:
    """Raise InputError for a channel that this solver does not know."""
    unknown = sorted(name for name, g in cable.channels.items() if name not in (*CHANNELS, SK) and np.any(g))
    if unknown:
        raise InputError(
            f"the cable engine does not know the channel {', '.join(unknown)} of {cable.name}",
            got=", ".join(unknown), expected=f"{', '.join(CHANNELS)} and {SK}", mend='use engine="neuron"',
        )  # fmt: skip


def conductances_us(cable: CableModel) -> dict[str, Float[ndarray, " n"]]:
    """Maximal conductance (uS) of every channel that the cell has, in every compartment."""
    area = US_PER_UM2 * np.asarray(cable.area_um2, float)
    return {name: area * np.asarray(g, float) for name, g in sorted(cable.channels.items()) if np.any(g)}


def reversal_mv(cable: CableModel, ion: str, calcium_mm: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Reversal potential (mV) of an ion in every compartment."""
    if ion == "ca":
        return rates.calcium_reversal(calcium_mm)
    return np.full(cable.n, {"na": cable.e_na_mv, "k": cable.e_k_mv, "h": cable.e_h_mv}[ion])


def open_share(name: str, gates: Float[ndarray, "g n"]) -> Float[ndarray, " n"]:
    """The product of a channel's gates, each to its power."""
    powers = (1,) if name == SK else CHANNELS[name].powers
    return np.prod([gate**power for gate, power in zip(gates, powers, strict=True)], axis=0)


@functools.lru_cache(maxsize=16)
def steady_state(cable: CableModel) -> Rest:
    """Where the cell rests: 100 backward Euler steps so long that only the steady state is left (Aberra et al. 2018).

    Each solves the potentials with the gates held, and sets the gates to their ends there; from -75 mV.
    """
    check_channels(cable)
    n, tree = cable.n, graph(cable)
    axial = _axial(tree)
    us = conductances_us(cable)
    leak = US_PER_UM2 * np.asarray(cable.area_um2, float) * cable.g_pas
    v = np.full(n, START_MV)
    calcium = np.full(n, rates.CA_REST_MM)
    gates = _ends(us, v, calcium)
    for _ in range(STEADY_STEPS):
        g, drive, of_calcium = leak.copy(), leak * cable.e_pas_mv, np.zeros(n)
        for name, maximal in us.items():
            share = maximal * open_share(name, gates[name])
            ion = "k" if name == SK else CHANNELS[name].ion
            g += share
            drive += share * reversal_mv(cable, ion, calcium)
            if ion == "ca":
                of_calcium += share
        diagonal = np.concatenate([g, np.zeros(tree.nodes - n)])
        full = scipy.sparse.csc_array(axial + scipy.sparse.diags_array(diagonal))
        new = np.asarray(scipy.sparse.linalg.spsolve(full, np.concatenate([drive, np.zeros(tree.nodes - n)])))[:n]
        current = of_calcium * (v - reversal_mv(cable, "ca", calcium))  # nA, before the step: as the mechanisms see it
        moved = np.abs(new - v).max()
        v = new
        calcium = settled_calcium(cable, current)
        gates = _ends(us, v, calcium)
        if moved < 1e-11:
            break
    return Rest(v, calcium, gates)


def settled_calcium(cable: CableModel, current_na: Float[ndarray, " n"]) -> Float[ndarray, " n"]:
    """Calcium (mM) that a constant calcium current (nA) leads to in its shell."""
    return rates.CA_REST_MM - calcium_per_na(cable) * np.asarray(cable.decay_ms, float) * current_na


def calcium_per_na(cable: CableModel) -> Float[ndarray, " n"]:
    """Speed (mM/ms) at which 1 nA of outward calcium current empties the shell (Destexhe et al. 1994)."""
    density = 100.0 / np.asarray(cable.area_um2, float)  # mA/cm2 for 1 nA
    return 1e4 * density * np.asarray(cable.gamma, float) / (2.0 * rates.FARADAY * rates.SHELL_UM)


def moving(cable: CableModel, membrane: str) -> dict[str, Float[ndarray, " n"]]:
    """The channels whose gates the solver moves, with their maximal conductances (uS)."""
    if membrane not in MEMBRANES:
        raise InputError("membrane", got=repr(membrane), expected='"full" or "reduced"')
    us = conductances_us(cable)
    if membrane == "full":
        return us
    axon = np.isin(cable.region, AXON)
    return {name: np.where(axon, g, 0.0) for name, g in us.items() if name in REDUCED and np.any(g[axon])}


def capacitance_nf(cable: CableModel) -> Float[ndarray, " n"]:
    """Capacitance (nF) of every compartment."""
    return NF_PER_UM2 * np.asarray(cable.cm_uf_per_cm2, float) * np.asarray(cable.area_um2, float)


def still_us(cable: CableModel, membrane: str) -> Float[ndarray, " n"]:
    """The constant part of the membrane conductance (uS): the leak and channels that do not move, as they rest."""
    rest = steady_state(cable)
    g = US_PER_UM2 * np.asarray(cable.area_um2, float) * cable.g_pas
    moves = moving(cable, membrane)
    for name, maximal in conductances_us(cable).items():
        g = g + (maximal - moves.get(name, 0.0)) * open_share(name, rest.gates[name])
    return g


def _axial(tree: Graph) -> scipy.sparse.coo_array:
    """The Laplacian (nodes, nodes) of the axial conductances."""
    rows = np.concatenate([tree.a, tree.b, tree.a, tree.b])
    columns = np.concatenate([tree.a, tree.b, tree.b, tree.a])
    values = np.concatenate([tree.us, tree.us, -tree.us, -tree.us])
    return scipy.sparse.coo_array((values, (rows, columns)), shape=(tree.nodes, tree.nodes))


def _ends(us: dict[str, ndarray], v: ndarray, calcium: ndarray) -> dict[str, ndarray]:
    """Where the gates go at these potentials and calcium concentrations."""
    out = {name: np.stack(CHANNELS[name].rates(v)[::2]) for name in us if name != SK}
    if SK in us:
        out[SK] = rates.sk(calcium)[None]
    return out
