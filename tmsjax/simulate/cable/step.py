"""One backward Euler step of all lanes, in numba: gates, the linear system, crossings of 0 mV.

State of the lanes, tables (rows, LANES): ``u`` deviations from rest (mV), ``gates`` (gates, calcium, calcium current),
``unit`` injected currents at unit amplitude (nA); work space ``r`` (right-hand side) and ``d`` (diagonal, then its
inverse).
"""

from __future__ import annotations

from tmsjax.simulate.cable import rates
from tmsjax.simulate.cable.ops import settle
from tmsjax.simulate.cable.program import CALCIUM, ORDER
from tmsjax.simulate.cable.simd import LANES, bits, both, inlined, kernel, load, store

NATA, NATS2, NAP, K_TST, K_PST, SKV3, IM, IH, CA_HVA, CA, CA_LVA, SK = (1 << k for k in range(len(ORDER)))
IN_CALCIUM = 1 << CALCIUM
assert ORDER == (
    "NaTa_t", "NaTs2_t", "Nap_Et2", "K_Tst", "K_Pst", "SKv3_1", "Im", "Ih", "Ca_HVA", "Ca", "Ca_LVAst", "SK_E2",
)  # fmt: skip


@inlined
def _move(gates, k, end, rate, dt):
    """Let gate ``k`` go its way for a step; its new value."""
    x = load(gates, k)
    x = x + settle(rate * dt) * (end - x)
    store(gates, k, x)
    return x


@inlined
def _move_two(gates, k, rates_of_both, dt):
    m_end, m_rate, h_end, h_rate = rates_of_both
    return _move(gates, k, m_end, m_rate, dt), _move(gates, k + 1, h_end, h_rate, dt)


@kernel
def membrane(p, u, gates, unit, scale, r, d):
    """Move the gates of every active compartment to its potential; its diagonal and right-hand side."""
    dt = p.dt[0]
    s = load(scale, 0)
    for j in range(p.active.shape[0]):
        row, mask, k = p.active[j], p.mask[j], p.gate[j]
        deviation = load(u, row)
        v = rates.within(deviation + p.v_rest[j])
        na = k_ion = ca = deviation * 0.0
        total = na + p.diagonal[row]
        rhs = deviation * p.capacity[row] + s * load(unit, row) + p.balance[j]
        if mask & NATA:
            m, h = _move_two(gates, k, rates.nata(v), dt)
            na = na + p.us[j, 0] * (m * m * m * h)
            k += 2
        if mask & NATS2:
            m, h = _move_two(gates, k, rates.nats2(v), dt)
            na = na + p.us[j, 1] * (m * m * m * h)
            k += 2
        if mask & NAP:
            m, h = _move_two(gates, k, rates.nap(v), dt)
            na = na + p.us[j, 2] * (m * m * m * h)
            k += 2
        if mask & K_TST:
            m, h = _move_two(gates, k, rates.k_tst(v), dt)
            square = m * m
            k_ion = k_ion + p.us[j, 3] * (square * square * h)
            k += 2
        if mask & K_PST:
            m, h = _move_two(gates, k, rates.k_pst(v), dt)
            k_ion = k_ion + p.us[j, 4] * (m * m * h)
            k += 2
        if mask & SKV3:
            end, rate = rates.skv3(v)
            k_ion = k_ion + p.us[j, 5] * _move(gates, k, end, rate, dt)
            k += 1
        if mask & IM:
            end, rate = rates.im(v)
            k_ion = k_ion + p.us[j, 6] * _move(gates, k, end, rate, dt)
            k += 1
        if mask & IH:
            end, rate = rates.ih(v)
            g = p.us[j, 7] * _move(gates, k, end, rate, dt)
            total = total + g
            rhs = rhs - g * p.above[j, 2]
            k += 1
        if mask & CA_HVA:
            m, h = _move_two(gates, k, rates.ca_hva(v), dt)
            ca = ca + p.us[j, 8] * (m * m * h)
            k += 2
        if mask & CA:
            m, h = _move_two(gates, k, rates.ca_hva(v), dt)
            ca = ca + p.us[j, 9] * (m * m * h)
            k += 2
        if mask & CA_LVA:
            m, h = _move_two(gates, k, rates.ca_lva(v), dt)
            ca = ca + p.us[j, 10] * (m * m * h)
            k += 2
        if mask & IN_CALCIUM:
            at = k + 1 if mask & SK else k
            calcium = load(gates, at)  # moved by the current of the step before, as NEURON's mechanism is
            settled = rates.CA_REST_MM - p.calcium[j, 1] * load(gates, at + 1)
            calcium = calcium + p.calcium[j, 0] * (settled - calcium)
            store(gates, at, calcium)
            if mask & SK:
                end = rates.sk(calcium)
                k_ion = k_ion + p.us[j, 11] * _move(gates, k, end, end * 0.0 + 1.0, dt)
            reversal = rates.calcium_reversal(calcium)
            store(gates, at + 1, ca * (deviation + p.v_rest[j] - reversal))
            total = total + ca
            rhs = rhs - ca * (p.v_rest[j] - reversal)
        store(d, row, total + na + k_ion)
        store(r, row, rhs - na * p.above[j, 0] - k_ion * p.above[j, 1])


@inlined
def _note(crossed, row, step, count, first_row, first_step):
    """Count the lanes in which ``row`` crossed, and keep the lowest row of a lane's first step with a crossing."""
    for lane in range(LANES):
        if crossed >> lane & 1:
            count[lane] += 1
            if first_row[lane] < 0 or (first_step[lane] == step[lane] and row < first_row[lane]):
                first_row[lane] = row
                first_step[lane] = step[lane]


@kernel
def solve(p, u, unit, scale, r, d, step, count, first_row, first_step):
    """The deviations after the step, and the upward crossings of 0 mV in it."""
    s = load(scale, 0)
    for j in range(p.still.shape[0]):
        row = p.still[j]
        store(r, row, load(u, row) * p.capacity[row] + s * load(unit, row))
    for j in range(p.pivots.shape[0]):
        row = p.pivots[j]
        store(d, row, s * 0.0 + p.diagonal[row])
    for j in range(p.node.shape[0]):
        left, right = p.left[j], p.right[j]
        x = load(r, p.node[j])
        store(r, left, load(r, left) + p.to_left[j] * x)
        store(r, right, load(r, right) + p.to_right[j] * x)
    last = p.tree.shape[0] - 1
    for j in range(last):
        row, above, us = p.tree[j], p.parent[j], p.tree_us[j]
        inverse = 1.0 / load(d, row)
        share = inverse * us
        store(d, row, inverse)
        store(d, above, load(d, above) - share * us)
        store(r, above, load(r, above) + share * load(r, row))
    root = p.tree[last]
    store(d, root, 1.0 / load(d, root))
    for j in range(last, -1, -1):
        row = p.tree[j]
        before = load(u, row)
        now = load(r, row) * load(d, row)
        if j < last:
            now = now + (load(d, row) * p.tree_us[j]) * load(u, p.parent[j])
        store(u, row, now)
        crossed = bits(both(before < p.crossing[row], now >= p.crossing[row]))
        if crossed:
            _note(crossed, row, step, count, first_row, first_step)
    for j in range(p.node.shape[0] - 1, -1, -1):
        row = p.node[j]
        before = load(u, row)
        now = load(r, row) * p.inverse[j] + p.to_left[j] * load(u, p.left[j]) + p.to_right[j] * load(u, p.right[j])
        store(u, row, now)
        crossed = bits(both(before < p.crossing[row], now >= p.crossing[row]))
        if crossed:
            _note(crossed, row, step, count, first_row, first_step)
