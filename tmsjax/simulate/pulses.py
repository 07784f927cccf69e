"""TMS pulses: the time course of the induced field, unit peak, from our own circuits or from a recording.

The three named pulses are closed-form circuits (see circuits.py) fitted to the output of a MagVenture MagPro X100 by
``benchmarks/fit_pulses.py``; ``pulse`` states how well.
"""

from __future__ import annotations

import dataclasses
import functools
import os
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tmsjax.core.errors import InputError, check_number
from tmsjax.simulate.circuits import Circuit, Monophasic, Switched, coil_voltage

MAGPRO_X100: dict[str, Circuit] = {
    "monophasic": Monophasic(1.5102, 417.975, 3.9186, 0.056205, 2.789e-4, 1.1243e-3),
    "biphasic": Switched(2, 1.7689, 427.032, 1.6089e-3, 3.4452e-3, 5.896e-4, 8.281e-4),
    "halfsine": Switched(1, 1.5897, 428.564, 1.9652e-3, 3.2342e-3, 4.717e-4, 1.1045e-3),
}
SAMPLE_MS = 2e-4  # 5 MHz, as the recordings
DURATION_MS = 1.0
WINDOW_MS = 1.0
"""How long a simulation runs, and so the longest pulse, from its first sample on."""
SHORTEST_MS = 0.01
"""The least integral of E^2 over its peak: two steps of the simulation."""
MOST_SAMPLES = 10_000_000
"""Of a pulse: 80 MB."""
MISSED = 0.1
"""The most of the integral of E^2 that may lie beyond the window."""


@dataclasses.dataclass(frozen=True)
class Pulse:
    """Time (ms) and waveform (unit peak, dimensionless), both (t,); zero before the first and after the last sample."""

    time_ms: Float[ndarray, " t"]
    waveform: Float[ndarray, " t"]
    name: str


def pulse(source: str | os.PathLike | Pulse) -> Pulse:
    """A pulse by name (monophasic, biphasic, halfsine), from a recorded CSV (t_ms, E), or as it is.

    The named pulses are circuits fitted to the output of a MagVenture MagPro X100 (recordings at 5 MHz of Aberra et
    al. 2020), both at unit peak. Errors over the recorded 0.74 ms, in % of the peak: RMS, and the largest, which lies
    within 2 us of a switching; and the change of uniform-field thresholds from those of the recording (L2/3 and L5
    clone 1 of Aberra et al. 2020, 7 directions each):

    ==========  ====  =======  ================
    pulse       RMS   largest  thresholds
    ==========  ====  =======  ================
    monophasic  0.63  8.3      -0.5 to -0.7 %
    biphasic    0.99  16.0     -0.9 to +0.3 %
    halfsine    0.76  9.9      -2.0 to +0.3 %
    ==========  ====  =======  ================

    Raises:
        InputError: an unknown name, an unreadable file, a recording that is no pulse, or one that does not fit the
            simulation's window of 1 ms after its first sample (as with times in us or s).
    """
    if isinstance(source, Pulse):
        return _checked(source.time_ms, source.waveform, source.name)
    if isinstance(source, str) and source in MAGPRO_X100:
        return _fitted(source)
    if isinstance(source, str | os.PathLike):
        path = Path(source)
        if path.suffix.lower() == ".csv" or path.exists():
            return recorded(path)
    raise InputError(
        "unknown pulse",
        got=repr(source),
        expected=f"one of {', '.join(MAGPRO_X100)}, the path of a CSV (t_ms, E), or a Pulse",
    )


def recorded(path: str | os.PathLike, normalise: bool = True) -> Pulse:
    """Read a recorded pulse: a CSV with two columns, t in ms and E in any unit, with or without a header line.

    The waveform is divided by its largest |E| unless ``normalise`` is False; its sign is kept.
    """
    path = Path(path)
    expected = "two columns (t_ms, E) and 2 or more rows"
    try:
        lines = [line.split(",") for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read the pulse {path}", got=error, expected=f"a CSV with {expected}") from error
    if lines and np.isnan([_number(word) for word in lines[0]]).all():  # the header line
        lines = lines[1:]
    widths = sorted({len(line) for line in lines})
    if widths != [2] or len(lines) < 2:
        raise InputError(
            f"cannot read the pulse {path}", got=f"{len(lines)} rows of {widths} columns", expected=expected
        )
    table = np.array([[_number(word) for word in line] for line in lines])
    loaded = _checked(table[:, 0], table[:, 1], path.stem)
    if not normalise:
        return loaded
    return dataclasses.replace(loaded, waveform=loaded.waveform / np.abs(loaded.waveform).max())


def on_grid(pulse: Pulse, dt_ms: float = 0.005, stop_ms: float = 1.0) -> Float[ndarray, " steps_plus_1"]:
    """The waveform at t = 0, dt, ... stop, as NEURON plays it (linear in between).

    Every dt-th sample of the recording is taken, with no filter, and the pulse's first sample falls on t = dt: the
    published thresholds were computed so, and the sampling is part of the model (an averaged pulse lowers them by 2
    to 4 %).

    Raises:
        InputError: a step that is not positive, or an end before the first step or after millions.
    """
    dt_ms = check_number(dt_ms, "sampling of a pulse: dt_ms", above=0.0)
    stop_ms = check_number(stop_ms, "sampling of a pulse: stop_ms", dt_ms, MOST_SAMPLES * dt_ms)
    grid = dt_ms * np.arange(round(stop_ms / dt_ms) + 1)
    start = pulse.time_ms[0] - dt_ms
    values = np.interp(grid + start, pulse.time_ms, pulse.waveform, left=0.0, right=0.0)
    values[0] = 0.0
    return values


@functools.cache
def _fitted(name: str) -> Pulse:
    time = SAMPLE_MS * np.arange(round(DURATION_MS / SAMPLE_MS) + 1)
    waveform = coil_voltage(MAGPRO_X100[name], time)
    return Pulse(time, waveform / np.abs(waveform).max(), name)


def real_numbers(values: Any, what: str) -> ndarray:
    """The values as an array; InputError for text, complex numbers, objects and ragged lists."""
    try:
        array = np.asarray(values)
    except (TypeError, ValueError) as error:
        raise InputError(what, got=error, expected="real numbers") from error
    if array.dtype.kind not in "iuf":
        raise InputError(what, got=f"dtype {array.dtype}", expected="real numbers")
    return array


def _number(word: str) -> float:
    try:
        return float(word)
    except ValueError:
        return float("nan")


def _checked(time_ms: ndarray, waveform: ndarray, name: str) -> Pulse:
    time_ms = real_numbers(time_ms, f"pulse {name}: time").astype(float)
    waveform = real_numbers(waveform, f"pulse {name}: waveform").astype(float)
    if time_ms.ndim != 1 or time_ms.shape != waveform.shape or time_ms.size < 2:
        raise InputError(
            f"pulse {name}",
            got=f"time {time_ms.shape}, waveform {waveform.shape}",
            expected="two arrays (t,) of one length",
        )
    if not (np.isfinite(time_ms).all() and np.isfinite(waveform).all()):
        row = int(np.argmax(~(np.isfinite(time_ms) & np.isfinite(waveform))))
        raise InputError(f"pulse {name}", got=f"NaN, infinity or text in sample {row}", expected="finite numbers")
    if not (np.diff(time_ms) > 0).all():
        row = int(np.argmax(np.diff(time_ms) <= 0)) + 1
        raise InputError(
            f"pulse {name}: time goes back or stands still",
            got=f"{time_ms[row]:.9g} ms in sample {row} after {time_ms[row - 1]:.9g} ms",
            expected="increasing t_ms",
        )
    if not np.abs(waveform).max() > 0:
        raise InputError(f"pulse {name}", got="a waveform of zeros", expected="a peak other than zero")
    _check_duration(time_ms - time_ms[0], np.abs(waveform), name)
    return Pulse(time_ms, waveform, name)


def _check_duration(after_ms: ndarray, size: ndarray, name: str) -> None:
    """Refuse what the window would miss, and what its time steps would: mostly times that are not in ms."""
    share = (size / size.max()) ** 2
    total = np.trapezoid(share, after_ms)
    inside = np.append(after_ms[after_ms < WINDOW_MS], min(WINDOW_MS, after_ms[-1]))
    missed = 1 - np.trapezoid(np.interp(inside, after_ms, share), inside) / total
    peak_ms = after_ms[size.argmax()]
    found = f"the peak {peak_ms:g} ms after the first sample, {after_ms[-1]:g} ms in all"
    if peak_ms >= WINDOW_MS or missed > MISSED:
        raise InputError(
            f"pulse {name} does not fit the simulation's window",
            got=f"{found}, {100 * missed:.0f} % of the energy after {WINDOW_MS:g} ms",
            expected=f"times in ms, and a pulse within {WINDOW_MS:g} ms of the first sample",
            mend="divide times in us by 1000; cut off what comes before the pulse",
        )
    if total < SHORTEST_MS:
        raise InputError(
            f"pulse {name} is too short to be simulated",
            got=f"{found}, the energy of {total:.2g} ms at the peak",
            expected=f"times in ms, and the energy of at least {SHORTEST_MS:g} ms at the peak",
            mend="multiply times in s by 1000",
        )
