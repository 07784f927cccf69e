"""Stimulator circuits in closed form: the coil voltage L dI/dt, to which the induced field is proportional.

A capacitor C, charged to 1, is switched at ``delay`` onto a coil (inductance L, total resistance R). With the
current in units of 1/L the states obey ``i' = v - a i`` and ``v' = -w2 i`` (a = R/L, w2 = 1/(L C)), and E = i'.
Every later switch position is again a linear circuit, so that E is a sum of complex exponentials between two
switchings. What is recorded beside the coil follows E with a first-order lag (thyristor turn-on, probe); the lag
keeps the integral of E, which is the coil's final current: zero.

Sources: Peterchev, Murphy, Lisanby 2011 (J Neural Eng 8:036016, sec. 1: conventional monophasic and biphasic circuits);
Kammer et al. 2001 (Clin Neurophysiol 112:250). Times in ms, rates in 1/ms.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from numpy import ndarray

Pieces = list[tuple[float, ndarray, ndarray]]


@dataclasses.dataclass(frozen=True)
class Monophasic:
    """Thyristor, then a free-wheeling diode with a resistor across the capacitor once its voltage reverses.

    ``i_d' = (-v - r_d i_d) / l_d``, ``v' = -w2 (i - i_d)``: ``l_d`` is the inductance of the diode branch in units
    of L, ``r_d`` its resistance in units of L per ms.
    """

    damping_per_ms: float
    w2_per_ms2: float
    diode_resistance_per_ms: float
    diode_inductance: float
    lag_ms: float
    delay_ms: float

    def pieces(self) -> Pieces:
        """Start (ms after the delay), rates (k,) and complex weights (k,) of E of each switch position."""
        a, w2 = self.damping_per_ms, self.w2_per_ms2
        r_d, l_d = self.diode_resistance_per_ms, self.diode_inductance
        wd = _ringing(a, w2)
        reversal = (np.pi - np.arctan(2 * wd / a)) / wd
        on = np.array([[-a, 1.0], [-w2, 0.0]])
        free = np.array([[-a, 1.0, 0.0], [-w2, 0.0, w2], [0.0, -1.0 / l_d, -r_d / l_d]])
        start = np.array([0.0, 1.0])
        at_reversal = np.append(_state(on, start, reversal), 0.0)
        return [(0.0, *_modes(on, start)), (reversal, *_modes(free, at_reversal))]


@dataclasses.dataclass(frozen=True)
class Switched:
    """A thyristor (and an antiparallel diode) that lets ``half_periods`` pass: 1 is a half-sine, 2 a biphasic pulse.

    The switch opens ``storage_ms`` after the current's zero crossing (its stored charge), and the small reverse
    current then decays through the snubber with the time constant ``snubber_ms``: the short spike that ends
    recorded pulses.
    """

    half_periods: int
    damping_per_ms: float
    w2_per_ms2: float
    storage_ms: float
    snubber_ms: float
    lag_ms: float
    delay_ms: float

    def pieces(self) -> Pieces:
        """Start (ms after the delay), rates (k,) and complex weights (k,) of E of each switch position."""
        a, w2 = self.damping_per_ms, self.w2_per_ms2
        on = np.array([[-a, 1.0], [-w2, 0.0]])
        start = np.array([0.0, 1.0])
        opening = self.half_periods * np.pi / _ringing(a, w2) + self.storage_ms
        current = _state(on, start, opening)[0]
        decay = -1.0 / self.snubber_ms
        return [(0.0, *_modes(on, start)), (opening, np.array([decay + 0j]), np.array([decay * current + 0j]))]


Circuit = Monophasic | Switched


def coil_voltage(circuit: Circuit, time_ms: Float[ndarray, " t"], lagged: bool = True) -> Float[ndarray, " t"]:
    """E at times (ms), in units of the capacitor's first voltage; without the lag if ``lagged`` is False."""
    time = np.asarray(time_ms, float) - circuit.delay_ms
    pieces = circuit.pieces()
    ends = [start for start, _, _ in pieces[1:]] + [np.inf]
    out = np.zeros(time.shape)
    carried = 0.0  # the lagged value at the start of a piece
    for (start, rates, weights), end in zip(pieces, ends, strict=True):
        follow = weights / (1.0 + rates * circuit.lag_ms) if lagged else weights
        offset = carried - follow.sum().real if lagged else 0.0

        def value(t, start=start, rates=rates, follow=follow, offset=offset):
            own = np.real(np.exp(np.multiply.outer(t - start, rates)) @ follow)
            return own + offset * np.exp(-(t - start) / circuit.lag_ms)

        inside = (time >= start) & (time < end)
        out[inside] = value(time[inside])
        if np.isfinite(end):
            carried = float(value(np.array(end)))
    return out


def net_current(circuit: Circuit) -> float:
    """The integral of E over all time: the coil's final current, zero for every circuit here (in 1/ms units of L)."""
    pieces = circuit.pieces()
    total = 0.0
    for k, (start, rates, weights) in enumerate(pieces):
        last = np.exp(rates * (pieces[k + 1][0] - start)) if k + 1 < len(pieces) else 0.0
        total += float((weights / rates * (last - 1.0)).sum().real)
    return total


def _ringing(a: float, w2: float) -> float:
    """Damped angular frequency (1/ms) of the thyristor phase."""
    return float(np.sqrt(w2 - a**2 / 4))


def _state(system: ndarray, start: ndarray, time: float) -> ndarray:
    rates, vectors = np.linalg.eig(system)
    return (vectors @ (np.exp(rates * time) * np.linalg.solve(vectors, start.astype(complex)))).real


def _modes(system: ndarray, start: ndarray) -> tuple[ndarray, " ndarray"]:
    """Rates and weights of i'(t) for x' = system x, x(0) = start, i = x[0]."""
    rates, vectors = np.linalg.eig(system)
    rates = rates.astype(complex)
    return rates, rates * vectors[0] * np.linalg.solve(vectors, start.astype(complex))
