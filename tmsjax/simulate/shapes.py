"""Pulses from a few numbers: damped sines, rectangles of chosen widths, monophasic pulses, and samples of one's own.

All begin at t = 0 with their first phase positive, have a peak of 1 and are sampled at 5 MHz. Times in ms.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tmsjax.core.errors import InputError, check_number
from tmsjax.simulate.circuits import Monophasic, coil_voltage
from tmsjax.simulate.pulses import DURATION_MS, MAGPRO_X100, SAMPLE_MS, WINDOW_MS, Pulse, real_numbers
from tmsjax.simulate.pulses import pulse as checked

LONGEST_MS = 100 * WINDOW_MS
"""Of the samples that are made at all: a tail that has decayed may outlast the window."""


def sine_pulse(half_periods: int, period_ms: float, damping_per_ms: float = 0.0) -> Pulse:
    """The coil voltage of an undisturbed resonant circuit: half_periods = 1 is a half-sine, 2 a biphasic pulse.

    ``E = exp(-a t / 2) (cos(w t) - a / (2 w) sin(w t))`` with w = 2 pi / period until the current's zero crossing
    number ``half_periods`` (a cosine: it is the current that is a sine). ``damping_per_ms`` is a = R / L.

    Source: Peterchev, Murphy, Lisanby 2011 (J Neural Eng 8:036016, sec. 1).

    Raises:
        InputError: half_periods below 1, a period that is not positive, damping below 0 or beyond ringing, or a pulse
            that does not fit the simulation's window of 1 ms.
    """
    if check_number(half_periods, "sine pulse: half_periods", 1) % 1:
        raise InputError("sine pulse: half_periods", got=half_periods, expected="a whole number from 1")
    period_ms = check_number(period_ms, "sine pulse: period_ms", above=0.0, unit="ms")
    if not check_number(damping_per_ms, "sine pulse: damping_per_ms", 0.0) < 4 * np.pi / period_ms:
        raise InputError(
            "sine pulse: damping_per_ms", got=damping_per_ms, expected=f"0 to below {4 * np.pi / period_ms:.4g}"
        )
    w, end = 2 * np.pi / period_ms, half_periods * period_ms / 2
    time = _times(end)
    ringing = np.exp(-damping_per_ms * time / 2) * (np.cos(w * time) - damping_per_ms / (2 * w) * np.sin(w * time))
    wave = np.where(time <= end * (1 + 1e-9), ringing, 0.0)
    name = {1: "half-sine", 2: "biphasic"}.get(int(half_periods), f"{half_periods} half periods")
    return _unit(time, wave, f"{name} {period_ms:g} ms")


def monophasic_pulse(stretch: float = 1.0, diode_resistance_per_ms: float | None = None) -> Pulse:
    """The MagPro X100's monophasic circuit with all its times stretched, and another resistor across its diode.

    Args:
        stretch: 1 is the device itself, with a rise of the current in some 70 us; 2 takes twice as long.
        diode_resistance_per_ms: of the free-wheeling branch in units of the coil's inductance, before the stretch; more
            lets the current decay faster. The device's own by default.

    Raises:
        InputError: a number that is not positive, or a pulse that does not fit the window.
    """
    circuit = MAGPRO_X100["monophasic"]
    assert isinstance(circuit, Monophasic)
    resistance = circuit.diode_resistance_per_ms if diode_resistance_per_ms is None else diode_resistance_per_ms
    _positive("monophasic pulse", stretch=stretch, diode_resistance_per_ms=resistance)
    stretched = dataclasses.replace(
        circuit,
        damping_per_ms=circuit.damping_per_ms / stretch,
        w2_per_ms2=circuit.w2_per_ms2 / stretch**2,
        diode_resistance_per_ms=resistance / stretch,
    )
    time = SAMPLE_MS * np.arange(round(DURATION_MS / SAMPLE_MS) + 1)
    return _unit(time, coil_voltage(stretched, time), f"monophasic x {stretch:g}")


def rectangular_pulse(
    widths_ms: Sequence[float], levels: Sequence[float] = (1.0, -1.0), *, rise_ms: float = 0.002
) -> Pulse:
    """A controllable-pulse-width (cTMS) pulse: phases of chosen widths and levels, one after the other.

    Args:
        widths_ms: of every phase, from the middle of its first edge to that of its last.
        levels: of every phase, relative; the largest becomes 1.
        rise_ms: of every edge (linear), centred on the switching; the first begins at t = 0.

    Source: Peterchev, D'Ostilio, Rothwell, Murphy 2014 (J Neural Eng 11:056023): near-rectangular electric fields.

    Raises:
        InputError: widths that are not positive or shorter than an edge, levels that do not go with them, are not
            finite or all zero, or a pulse that does not fit the window.
    """
    widths = real_numbers(widths_ms, "rectangular pulse: widths_ms").astype(float)
    heights = real_numbers(levels, "rectangular pulse: levels").astype(float)
    if widths.ndim != 1 or widths.shape != heights.shape or not widths.size:
        raise InputError(
            "rectangular pulse", got=f"{widths.shape} widths, {heights.shape} levels",
            expected="one level for each width",
        )  # fmt: skip
    _positive("rectangular pulse", rise_ms=rise_ms)
    if not (np.isfinite(widths).all() and (widths >= rise_ms).all()):
        raise InputError("rectangular pulse: widths_ms", got=widths, expected=f"finite, at least rise_ms = {rise_ms:g}")
    if not (np.isfinite(heights).all() and heights.any()):
        raise InputError("rectangular pulse: levels", got=heights, expected="finite, not all zero")
    switchings = rise_ms / 2 + np.concatenate([[0.0], np.cumsum(widths)])
    knots = np.stack([switchings - rise_ms / 2, switchings + rise_ms / 2], axis=1).ravel()
    around = np.concatenate([[0.0], heights, [0.0]])
    values = np.stack([around[:-1], around[1:]], axis=1).ravel()
    time = _times(float(knots[-1]))
    return _unit(time, np.interp(time, knots, values), f"rectangular {'/'.join(f'{w:g}' for w in widths)} ms")


def sampled_pulse(
    time_ms: Float[ndarray, " t"], waveform: Float[ndarray, " t"], name: str = "sampled", *, normalise: bool = True
) -> Pulse:
    """A pulse from one's own samples; divided by its largest |value| unless ``normalise`` is False.

    Raises:
        InputError: samples that are not finite, times out of order, a waveform of zeros, or one that does not fit the
            simulation's window.
    """
    time = real_numbers(time_ms, f"pulse {name}: time").astype(float)
    given = checked(Pulse(time, real_numbers(waveform, f"pulse {name}: waveform").astype(float), name))
    return _unit(given.time_ms, given.waveform, name) if normalise else given


def _times(end_ms: float) -> Float[ndarray, " t"]:
    """Samples from 0 to just beyond the end; what is far longer than the window is refused before they are made."""
    if not end_ms <= LONGEST_MS:
        raise InputError(
            "a pulse that does not fit the simulation's window", got=f"{end_ms:g} ms",
            expected=f"times in ms, and a pulse within {WINDOW_MS:g} ms", mend="divide times in us by 1000",
        )  # fmt: skip
    return SAMPLE_MS * np.arange(int(np.ceil(end_ms / SAMPLE_MS)) + 3)


def _unit(time_ms: ndarray, waveform: ndarray, name: str) -> Pulse:
    return checked(Pulse(time_ms, waveform / np.abs(waveform).max(), name))


def _positive(what: str, **numbers: float) -> None:
    for name, value in numbers.items():
        check_number(value, f"{what}: {name}", above=0.0)
