"""The cable solver in JAX: the same equations for processors, accelerators and gradients.

Lanes are the last axis of every array, so that they are sharded over devices without communication. A step is a pure
function of the state; runs are scanned in pieces of a few dozen steps, between which lanes that have ended are given
their next run (``queue.judge``, the search of the numba engine), so that few idle.
"""

from __future__ import annotations

import dataclasses
import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tmsjax.cells.types import CableModel
from tmsjax.simulate.cable import membrane as membranes
from tmsjax.simulate.cable import rates
from tmsjax.simulate.cable.membrane import CHANNELS, SK
from tmsjax.simulate.cable.ops import settle
from tmsjax.simulate.cable.rounds import INDEX, Round, Rounds, Sums, rounds
from tmsjax.simulate.cable.tree import graph


class State(NamedTuple):
    """The state of the lanes.

    Deviations from rest (mV); the gates of every channel; calcium (mM) and its current (nA); crossings, and the lowest
    row of the first step with one (-1 before).
    """

    u: Float[Array, "nodes L"]
    gates: dict[str, Float[Array, "gates rows L"]]
    calcium: Float[Array, "rows L"]
    inward: Float[Array, "rows L"]
    crossings: Int[Array, " L"]
    first_row: Int[Array, " L"]


@dataclasses.dataclass(frozen=True, eq=False)
class Model:
    """A cell, its membrane and a time step as constants of a program.

    ``moves`` maps a channel to its rows, conductances (uS) and V_r - E; calcium lives in ``calcium_rows``. The arrays
    are NumPy's: they become constants of the dtype of the state.
    """

    cable: CableModel
    dt_ms: float
    plan: Rounds
    capacity: np.ndarray
    rest_mv: np.ndarray
    moves: dict[str, tuple[np.ndarray, np.ndarray, np.ndarray]]
    resting: dict[str, np.ndarray]
    calcium_rows: np.ndarray
    calcium_rest: np.ndarray
    calcium_share: np.ndarray
    calcium_per_na: np.ndarray
    inward_rest: np.ndarray
    balance: np.ndarray

    @property
    def nodes(self) -> int:
        """Compartments and branch points."""
        return len(self.capacity)


@functools.lru_cache(maxsize=16)
def model(cable: CableModel, membrane: str, dt_ms: float) -> Model:
    """The constants of a cell at a time step."""
    n = cable.n
    rest = membranes.steady_state(cable)
    moves = membranes.moving(cable, membrane)
    tree = graph(cable)
    capacity = membranes.capacitance_nf(cable) / dt_ms
    active = np.zeros(n, bool)
    for us in moves.values():
        active |= us > 0
    in_calcium = np.zeros(n, bool)
    inward, balance = np.zeros(n), np.zeros(n)
    packed, resting = {}, {}
    for name, us in moves.items():
        rows = np.flatnonzero(us > 0).astype(INDEX)
        ion = "k" if name == SK else CHANNELS[name].ion
        above = rest.v_mv - membranes.reversal_mv(cable, ion, rest.calcium_mm)
        current = us * membranes.open_share(name, rest.gates[name]) * above
        balance += current
        if ion == "ca":
            inward += current
        in_calcium |= (us > 0) & (ion == "ca" or name == SK)
        packed[name] = (rows, us[rows], above[rows])
        resting[name] = rest.gates[name][:, rows]
    with_calcium = np.flatnonzero(in_calcium).astype(INDEX)
    decay = np.asarray(cable.decay_ms, float)[with_calcium]
    branch = np.zeros(tree.nodes - n)
    return Model(
        cable=cable,
        dt_ms=dt_ms,
        plan=rounds(tree, capacity + membranes.still_us(cable, membrane), active),
        capacity=np.concatenate([capacity, branch]),
        rest_mv=np.concatenate([rest.v_mv, branch - np.inf]),
        moves=packed,
        resting=resting,
        calcium_rows=with_calcium,
        calcium_rest=rest.calcium_mm[with_calcium],
        calcium_share=np.where(decay > 0, -np.expm1(-dt_ms / np.where(decay > 0, decay, 1.0)), 0.0),
        calcium_per_na=membranes.calcium_per_na(cable)[with_calcium] * decay,
        inward_rest=inward[with_calcium],
        balance=balance,
    )


def at_rest(cell: Model, lanes: int, dtype: Any) -> State:
    """The resting state of some lanes."""

    def spread(values: np.ndarray) -> Array:
        return jnp.broadcast_to(jnp.asarray(values, dtype)[..., None], (*values.shape, lanes))

    return State(
        u=jnp.zeros((cell.nodes, lanes), dtype),
        gates={name: spread(values) for name, values in cell.resting.items()},
        calcium=spread(cell.calcium_rest),
        inward=spread(cell.inward_rest),
        crossings=jnp.zeros(lanes, jnp.int32),
        first_row=jnp.full(lanes, -1, jnp.int32),
    )


def step(cell: Model, state: State, injected: Float[Array, "n L"]) -> State:
    """One backward Euler step under injected currents (nA)."""
    dtype = state.u.dtype
    n = cell.cable.n
    u = state.u
    v = rates.within(u[:n] + _column(cell.rest_mv[:n], dtype))
    diagonal = jnp.broadcast_to(_column(cell.plan.diagonal, dtype), u.shape)
    right = u * _column(cell.capacity, dtype)
    right = right.at[:n].add(injected + _column(cell.balance, dtype))

    rows = cell.calcium_rows
    settled = rates.CA_REST_MM - _column(cell.calcium_per_na, dtype) * state.inward
    calcium = state.calcium + _column(cell.calcium_share, dtype) * (settled - state.calcium)
    inward = jnp.zeros((n, u.shape[1]), dtype)
    concentration = (inward + rates.CA_REST_MM).at[rows].set(calcium)
    reversal = rates.calcium_reversal(concentration)
    gates = {}
    for name, (at, us, above) in cell.moves.items():
        if name == SK:
            ends = rates.sk(concentration[at])
            moving = (ends, jnp.ones_like(ends))
            powers = (1,)
        else:
            moving, powers = CHANNELS[name].rates(v[at]), CHANNELS[name].powers
        new = [
            x + settle(rate * cell.dt_ms) * (end - x)
            for x, end, rate in zip(state.gates[name], moving[::2], moving[1::2], strict=True)
        ]
        gates[name] = jnp.stack(new)
        g = _column(us, dtype)
        for x, power in zip(new, powers, strict=True):
            g = g * x**power
        if name != SK and CHANNELS[name].ion == "ca":
            force = _column(cell.rest_mv[at], dtype) - reversal[at]
            inward = inward.at[at].add(g * (u[at] + force))
        else:
            force = _column(above, dtype)
        diagonal = diagonal.at[at].add(g, unique_indices=True, indices_are_sorted=True)
        right = right.at[at].add(-g * force, unique_indices=True, indices_are_sorted=True)

    new_u = solve(cell.plan, diagonal, right)
    rest = _column(cell.rest_mv, dtype)
    crossed = ((u + rest < 0) & (new_u + rest >= 0))[:n]
    row = jnp.where(crossed, jnp.arange(n, dtype=jnp.int32)[:, None], n).min(0)
    return State(
        u=new_u,
        gates=gates,
        calcium=calcium,
        inward=inward[rows],
        crossings=state.crossings + crossed.sum(0, dtype=jnp.int32),
        first_row=jnp.where((state.first_row < 0) & (row < n), row, state.first_row),
    )


def solve(plan: Rounds, d: Float[Array, "nodes L"], r: Float[Array, "nodes L"]) -> Float[Array, "nodes L"]:
    """The solution of the tree's linear system with diagonal ``d`` (of dynamic nodes) and right-hand side ``r``."""
    dtype = r.dtype
    for turn in plan.static:
        assert turn.share is not None
        x = r[turn.node]
        r = _add(r, turn.sums, [_column(turn.share[:, 0], dtype) * x, _column(turn.share[:, 1], dtype) * x])
    edges = jnp.broadcast_to(_column(plan.edges, dtype), (len(plan.edges), r.shape[1]))
    kept = []
    for turn in plan.dynamic:
        inverse = 1.0 / d[turn.node]
        to_a, to_b = edges[turn.edge_a], edges[turn.edge_b]
        share_a, share_b = to_a * inverse, to_b * inverse
        x = r[turn.node]
        d = _add(d, turn.sums, [-share_a * to_a, -share_b * to_b])
        r = _add(r, turn.sums, [share_a * x, share_b * x])
        if len(turn.new_links):
            made = (share_a * to_b)[turn.new_from]
            edges = edges.at[turn.new_links].set(made, unique_indices=True)
        kept.append((turn, x * inverse, share_a, share_b))
    u = jnp.zeros_like(r).at[plan.root].set(r[plan.root] / d[plan.root])
    for turn, own, share_a, share_b in reversed(kept):
        u = _put(u, turn, own, share_a, share_b)
    for turn in reversed(plan.static):
        assert turn.share is not None
        own = _column(turn.inverse, dtype) * r[turn.node]
        u = _put(u, turn, own, _column(turn.share[:, 0], dtype), _column(turn.share[:, 1], dtype))
    return u


def _put(u: Array, turn: Round, own: Array, share_a: Array, share_b: Array) -> Array:
    """The potentials of a round's nodes from their neighbours'; a neighbour that is itself has a share of zero."""
    values = own + share_a * u[turn.a] + share_b * u[turn.b]
    return u.at[turn.node].set(values, unique_indices=True)


def _add(x: Array, sums: Sums, parts: list[Array]) -> Array:
    padded = jnp.concatenate([*parts, jnp.zeros((1, x.shape[1]), x.dtype)])
    total = padded[sums.source[:, 0]]
    for k in range(1, sums.source.shape[1]):
        total = total + padded[sums.source[:, k]]
    return x.at[sums.target].add(total, unique_indices=True)


def _column(values: Any, dtype: Any) -> Array:
    return jnp.asarray(values, dtype)[:, None]


def potentials(
    cell: Model,
    currents_na: Float[Array, "n L"],
    amplitude: Float[Array, " L"],
    wave: Float[Array, " t"],
    row: Int[Array, " L"],
) -> Float[Array, "t L"]:
    """The potential (mV) of one compartment of each lane after every step: differentiable in all but ``row``.

    ``wave`` (t,) is the pulse at the middle of every step. Steps are recomputed in the backward pass, which keeps the
    states between them alone: some 50 kB a step and lane.
    """
    lanes = currents_na.shape[1]
    scaled = currents_na * amplitude

    @jax.checkpoint
    def one(state: State, value: Array) -> tuple[State, Array]:
        state = step(cell, state, scaled * value)
        return state, state.u[row, jnp.arange(lanes, dtype=INDEX)]

    start = at_rest(cell, lanes, currents_na.dtype)
    _, out = jax.lax.scan(one, start, wave)
    return out + jnp.asarray(cell.rest_mv, currents_na.dtype)[row]
