"""NEURON as the oracle: does a cell fire, and where, under an induced field. One cell per process; imports no JAX.

Numerics of the published thresholds (Aberra et al. 2020, Brain Stimul 13:175): backward Euler at 5 us for 1 ms from
the steady state, an action potential is at least three upward crossings of 0 mV over all compartments. The field
enters as axial currents (quasipotential.py) through one density mechanism, which also counts the crossings and ends
the run at the third.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tmsjax.cells.mechanism_library import load_neuron
from tmsjax.cells.neuron_cell import steady_state
from tmsjax.core.errors import InputError
from tmsjax.simulate.pulses import WINDOW_MS, Pulse, on_grid

DT_MS = 0.005
INITIATION_DT_MS = 0.001
INITIATION_WINDOW_MS = 2.0
CROSSINGS = 3
NA_PER_UM2_IN_MA_PER_CM2 = 100.0


class Oracle:
    """A cell in this process's NEURON, in its steady state, that answers whether it fires.

    ``segments`` are NEURON's segments in the order of the currents. Only the setters and the runs change it.
    """

    def __init__(self, segments: Sequence) -> None:
        self._h = h = load_neuron()
        self._segments = list(segments)
        for section in {seg.sec.name(): seg.sec for seg in self._segments}.values():
            section.insert("QuasiInjection")
        n = len(self._segments)
        self._area_um2 = np.array([seg.area() for seg in self._segments])
        self._amp = h.PtrVector(n)
        self._first = h.PtrVector(n)
        for row, seg in enumerate(self._segments):
            self._amp.pset(row, seg._ref_amp_QuasiInjection)
            self._first.pset(row, seg._ref_first_QuasiInjection)
        self._never = h.Vector(n, -1.0)
        self._grid = h.Vector()
        self._wave = h.Vector()
        h.scale_QuasiInjection = 0.0
        steady_state()
        self._state = h.SaveState()
        self._state.save()

    @property
    def n(self) -> int:
        """Number of compartments."""
        return len(self._segments)

    def set_pulse(self, pulse: Pulse) -> None:
        """Play this pulse from now on, sampled at 5 us whatever the time step."""
        wave = on_grid(pulse, DT_MS, INITIATION_WINDOW_MS)
        self._wave.from_python(wave)
        self._grid.from_python(DT_MS * np.arange(len(wave)))
        self._wave.play(self._h._ref_wave_QuasiInjection, self._grid, True)
        self._h.finitialize()  # NEURON looks up what it plays here; a run restores the steady state anyhow

    def set_currents(self, current_na: Float[ndarray, " n"]) -> None:
        """Inject these currents (nA at amplitude 1 and the pulse's peak) from now on."""
        current = np.asarray(current_na, float)
        if current.shape != (self.n,) or not np.isfinite(current).all():
            raise InputError(
                "injected currents", got=f"{current.shape}, or not finite", expected=f"({self.n},) finite nA"
            )
        self._amp.scatter(self._h.Vector(NA_PER_UM2_IN_MA_PER_CM2 * current / self._area_um2))

    def fires(self, amplitude: float) -> bool:
        """Whether the cell fires with the currents multiplied by ``amplitude``."""
        return self._run(amplitude, DT_MS, WINDOW_MS) >= CROSSINGS

    def initiation(self, amplitude: float) -> int:
        """The row that first crosses 0 mV in a run at 1 us over 2 ms; -1 if the cell does not fire in it."""
        self._first.scatter(self._never)
        if self._run(amplitude, INITIATION_DT_MS, INITIATION_WINDOW_MS) < CROSSINGS:
            return -1
        first = self._h.Vector(self.n)
        self._first.gather(first)
        times = first.as_numpy()
        return int(np.where(times < 0, np.inf, times).argmin())

    def traces(self, amplitude: float, rows: Sequence[int]) -> Float[ndarray, "steps_plus_1 r"]:
        """Membrane potential (mV) of some compartments at t = 0, 5 us, ... 1 ms, whether the cell fires or not."""
        h = self._h
        some = [self._segments[row] for row in rows]
        self._state.restore(1)
        h.t, h.dt = 0.0, DT_MS
        h.scale_QuasiInjection = amplitude
        out = [[seg.v for seg in some]]
        for _ in range(round(WINDOW_MS / DT_MS)):
            h.fadvance()
            out.append([seg.v for seg in some])
        return np.array(out).reshape(len(out), len(some))

    def voltages(self) -> Float[ndarray, " n"]:
        """Membrane potential (mV) of every compartment now."""
        return np.array([seg.v for seg in self._segments])

    def rest(self) -> Float[ndarray, " n"]:
        """Membrane potential (mV) of every compartment in the steady state."""
        self._state.restore(1)
        return self.voltages()

    def _run(self, amplitude: float, dt_ms: float, window_ms: float) -> float:
        """Number of crossings of one run from the steady state, which ends at the third."""
        h = self._h
        self._state.restore(1)
        h.t = 0.0
        h.dt = dt_ms
        h.count_QuasiInjection = 0.0
        h.scale_QuasiInjection = amplitude
        for _ in range(round(window_ms / dt_ms)):
            h.fadvance()
            if h.count_QuasiInjection >= CROSSINGS:
                break
        return h.count_QuasiInjection
