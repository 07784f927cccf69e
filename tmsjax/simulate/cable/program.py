"""A cell, its membrane and a time step as the flat arrays that the kernel walks through."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from tmsjax.cells.types import CableModel
from tmsjax.simulate.cable import membrane as membranes
from tmsjax.simulate.cable.membrane import CHANNELS, SK
from tmsjax.simulate.cable.rates import calcium_reversal
from tmsjax.simulate.cable.tree import graph, schedule

ORDER = (*CHANNELS, SK)
"""Channels in the order in which the kernel visits them; the index is the bit of ``Program.mask``."""
CALCIUM = len(ORDER)
"""The bit of a compartment whose calcium moves."""


class Program(NamedTuple):
    """What one step does. Rows are those of ``tree.Graph``; numbers are of the kernel's dtype, indices int64.

    ``capacity`` (nodes,) is C/dt, ``crossing`` (nodes,) the deviation at 0 mV (infinite at branch points). ``active``
    lists the compartments with moving channels, a of them, and for each ``mask`` (which channels), ``us`` (a,
    channels), ``above`` (a, 3) = V_r - E for Na, K and Ih, ``v_rest``, ``balance`` (the resting current of the moving
    channels, nA), ``gate`` (where its gates begin in ``resting``), ``calcium`` (a, 2): 1 - exp(-dt / decay), and decay
    times mM/ms per nA. ``still`` lists the other nodes, and ``pivots`` those of them that stay in the dynamic tree. The
    rest is a ``tree.Schedule``.
    """

    dt: Float[ndarray, " 1"]
    capacity: Float[ndarray, " nodes"]
    crossing: Float[ndarray, " nodes"]
    diagonal: Float[ndarray, " nodes"]
    active: Int[ndarray, " a"]
    mask: Int[ndarray, " a"]
    us: Float[ndarray, "a channels"]
    above: Float[ndarray, "a 3"]
    v_rest: Float[ndarray, " a"]
    balance: Float[ndarray, " a"]
    gate: Int[ndarray, " a"]
    calcium: Float[ndarray, "a 2"]
    resting: Float[ndarray, " gates"]
    still: Int[ndarray, " still"]
    pivots: Int[ndarray, " pivots"]
    node: Int[ndarray, " s"]
    left: Int[ndarray, " s"]
    right: Int[ndarray, " s"]
    to_left: Float[ndarray, " s"]
    to_right: Float[ndarray, " s"]
    inverse: Float[ndarray, " s"]
    tree: Int[ndarray, " d"]
    parent: Int[ndarray, " d"]
    tree_us: Float[ndarray, " d"]


def compile_program(cable: CableModel, membrane: str, dt_ms: float, dtype: str = "float32") -> Program:
    """The program of a cell at a time step."""
    rest = membranes.steady_state(cable)
    moves = membranes.moving(cable, membrane)
    us = np.stack([moves.get(name, np.zeros(cable.n)) for name in ORDER], axis=1)
    active = np.flatnonzero((us > 0).any(axis=1))
    tree = graph(cable)
    capacity = membranes.capacitance_nf(cable) / dt_ms
    solve = schedule(tree, capacity + membranes.still_us(cable, membrane), us.max(axis=1) > 0)

    ions = [None if name == SK else CHANNELS[name].ion for name in ORDER]
    in_calcium = np.array([ion == "ca" for ion in ions])
    mask = (us[active] > 0) @ (1 << np.arange(len(ORDER)))
    mask[(us[active][:, in_calcium] > 0).any(axis=1) | (us[active, ORDER.index(SK)] > 0)] |= 1 << CALCIUM
    above = np.stack([rest.v_mv - membranes.reversal_mv(cable, ion, rest.calcium_mm) for ion in ("na", "k", "h")], 1)
    balance, gates, first = [], [], []
    for row, bits in zip(active.tolist(), mask.tolist(), strict=True):
        first.append(len(gates))
        current = inward = 0.0
        for k, name in enumerate(ORDER):
            if not bits >> k & 1:
                continue
            values = rest.gates[name][:, row]
            share = us[row, k] * float(membranes.open_share(name, values[:, None])[0])
            gates += values.tolist()
            if ions[k] == "ca":
                inward += share * (rest.v_mv[row] - calcium_reversal(rest.calcium_mm[row]))
            else:
                current += share * above[row, {"na": 0, "k": 1, "h": 2, None: 1}[ions[k]]]
        if bits >> CALCIUM & 1:
            gates += [rest.calcium_mm[row], inward]
        balance.append(current + inward)
    decay = np.where(cable.decay_ms > 0, cable.decay_ms, 1.0)
    calcium = np.stack([-np.expm1(-dt_ms / decay), membranes.calcium_per_na(cable) * decay], axis=1)
    calcium[np.asarray(cable.decay_ms) <= 0] = 0.0

    branch = np.zeros(tree.nodes - cable.n)
    still = np.setdiff1d(np.arange(tree.nodes), active)
    real = {
        "dt": np.array([dt_ms]),
        "capacity": np.concatenate([capacity, branch]),
        "crossing": np.concatenate([-rest.v_mv, branch + np.inf]),
        "diagonal": solve.diagonal,
        "us": us[active],
        "above": above[active],
        "v_rest": rest.v_mv[active],
        "balance": np.array(balance),
        "calcium": calcium[active],
        "resting": np.array(gates),
        "to_left": solve.to_left,
        "to_right": solve.to_right,
        "inverse": solve.inverse,
        "tree_us": solve.us,
    }
    whole = {
        "active": active,
        "mask": mask,
        "gate": np.array(first),
        "still": still,
        "pivots": np.intersect1d(still, solve.tree),
        "node": solve.node,
        "left": solve.left,
        "right": solve.right,
        "tree": solve.tree,
        "parent": solve.parent,
    }
    arrays = {name: np.ascontiguousarray(value, dtype) for name, value in real.items()}
    arrays |= {name: np.ascontiguousarray(value, np.int64) for name, value in whole.items()}
    return Program(**arrays)
