"""Fit the stimulator circuits of tmsjax.simulate.circuits to recorded pulses, and print the table that pulses.py holds.

    python -m benchmarks.fit_pulses FOLDER

FOLDER has waveform_magprox100_{monophasic,biphasic,halfsine}_5MHz.csv.
The recordings (MagPro X100, 5 MHz, ModelDB 241165) carry no licence and are not part of this repository; the fitted
numbers are.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import numpy as np
from scipy.optimize import least_squares

from tmsjax.simulate.circuits import Circuit, Monophasic, Switched, coil_voltage
from tmsjax.simulate.pulses import recorded

# First guesses: ringing with a 0.3 ms period, a microsecond of rise.
GUESSES: dict[str, Circuit] = {
    "monophasic": Monophasic(1.5, 440.0, 10.0, 0.3, 4e-4, 1e-3),
    "biphasic": Switched(2, 1.5, 440.0, 2e-3, 2e-3, 4e-4, 1e-3),
    "halfsine": Switched(1, 1.5, 440.0, 2e-3, 2e-3, 4e-4, 1e-3),
}


def fit(guess: Circuit, time_ms: np.ndarray, waveform: np.ndarray) -> tuple[Circuit, np.ndarray]:
    """Least squares over the logarithms of the circuit's numbers, both pulses at unit peak; the pulse and its error."""
    names = [f.name for f in dataclasses.fields(guess) if f.name != "half_periods"]
    first = np.log([getattr(guess, name) for name in names])

    def residual(x: np.ndarray) -> np.ndarray:
        circuit = dataclasses.replace(guess, **dict(zip(names, map(float, np.exp(x)), strict=True)))
        voltage = coil_voltage(circuit, time_ms)
        return voltage / np.abs(voltage).max() - waveform

    solution = least_squares(residual, first, x_scale="jac", max_nfev=2000)
    circuit = dataclasses.replace(guess, **dict(zip(names, map(float, np.exp(solution.x)), strict=True)))
    return circuit, 100 * solution.fun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    for name, guess in GUESSES.items():
        pulse = recorded(parser.parse_args().folder / f"waveform_magprox100_{name}_5MHz.csv")
        circuit, error = fit(guess, pulse.time_ms, pulse.waveform)
        worst = pulse.time_ms[np.abs(error).argmax()]
        rms, largest = np.sqrt(np.mean(error**2)), np.abs(error).max()
        print(f"{name}: rms {rms:.2f} %, max {largest:.1f} % at {worst:.4f} ms\n    {circuit}")


if __name__ == "__main__":
    main()
