"""Pulses: closed forms against an ODE solver, physics of the coil current, recordings, bad input."""

import dataclasses
import inspect

import numpy as np
import pytest
from scipy.integrate import solve_ivp

from tmsjax.core.errors import InputError
from tmsjax.simulate import Pulse, coil_voltage, on_grid, pulse, recorded
from tmsjax.simulate.circuits import Monophasic, Switched, net_current
from tmsjax.simulate.pulses import MAGPRO_X100

NAMES = ("monophasic", "biphasic", "halfsine")


def _integrate_monophasic(c: Monophasic, times):
    """Current, capacitor voltage, diode current and the lagged coil voltage, by an ODE solver."""

    def off(t, x):
        i, v, _, seen = x
        e = v - c.damping_per_ms * i
        return [e, -c.w2_per_ms2 * i, 0.0, (e - seen) / c.lag_ms]

    def free(t, x):
        i, v, i_d, seen = x
        e = v - c.damping_per_ms * i
        diode = (-v - c.diode_resistance_per_ms * i_d) / c.diode_inductance
        return [e, -c.w2_per_ms2 * (i - i_d), diode, (e - seen) / c.lag_ms]

    def reversal(t, x):
        return x[1]

    reversal.terminal = True
    options = {"rtol": 1e-10, "atol": 1e-12, "dense_output": True, "method": "LSODA"}
    first = solve_ivp(off, (0, 1), [0.0, 1.0, 0.0, 0.0], events=reversal, **options)
    second = solve_ivp(free, (first.t[-1], 1.1), first.y[:, -1], **options)
    return np.where(times < first.t[-1], first.sol(times)[3], second.sol(times)[3])


def _integrate_switched(c: Switched, times):
    def on(t, x):
        i, v, seen = x
        e = v - c.damping_per_ms * i
        return [e, -c.w2_per_ms2 * i, (e - seen) / c.lag_ms]

    def snubber(t, x):
        i, _, seen = x
        e = -i / c.snubber_ms
        return [e, 0.0, (e - seen) / c.lag_ms]

    def current(t, x):
        return x[0] if t > 0.01 else 1.0

    options = {"rtol": 1e-10, "atol": 1e-12, "dense_output": True, "method": "LSODA"}
    crossings = solve_ivp(on, (0, 1), [0.0, 1.0, 0.0], events=current, **options).t_events[0]
    opening = crossings[c.half_periods - 1] + c.storage_ms
    first = solve_ivp(on, (0, opening), [0.0, 1.0, 0.0], **options)
    second = solve_ivp(snubber, (opening, 1.1), first.y[:, -1], **options)
    return np.where(times < opening, first.sol(np.minimum(times, opening))[2], second.sol(times)[2])


@pytest.mark.parametrize("name", NAMES)
def test_closed_form_solves_the_circuit(name):
    circuit = dataclasses.replace(MAGPRO_X100[name], delay_ms=0.0)
    times = np.linspace(1e-6, 0.9, 777)
    by_solver = (_integrate_monophasic if name == "monophasic" else _integrate_switched)(circuit, times)
    np.testing.assert_allclose(coil_voltage(circuit, times), by_solver, atol=2e-7)


@pytest.mark.parametrize("name", NAMES)
def test_the_coil_current_ends_at_zero(name):
    assert abs(net_current(MAGPRO_X100[name])) < 1e-12
    named = pulse(name)
    net = np.trapezoid(named.waveform, named.time_ms)
    assert abs(net) < 5e-3 * np.trapezoid(np.abs(named.waveform), named.time_ms)  # the monophasic tail outlasts 1 ms


def test_undamped_quarter_period():
    """Without resistance the coil voltage is a cosine of w = sqrt(w2) until the switch opens."""
    circuit = Switched(2, 1e-9, 400.0, 1e-3, 1e-3, 1e-4, 0.0)
    times = np.linspace(0.0, 0.3, 50)
    np.testing.assert_allclose(coil_voltage(circuit, times, lagged=False), np.cos(20.0 * times), atol=1e-8)


@pytest.mark.parametrize("name", NAMES)
def test_named_pulses_have_unit_peak_and_start_at_zero(name):
    named = pulse(name)
    assert np.abs(named.waveform).max() == 1.0
    assert named.waveform[0] == 0.0
    assert named.name == name
    grid = on_grid(named)
    assert grid.shape == (201,)
    assert grid[:2].tolist() == [0.0, 0.0]
    assert 0.98 < grid[2] <= 1.0


def test_phases_of_the_named_pulses():
    mono, half, full = (pulse(name).waveform for name in ("monophasic", "halfsine", "biphasic"))
    assert -0.35 < mono.min() < -0.25
    assert half.min() < -0.85
    assert full[1300:1500].max() > 0.7  # the second phase upward, 0.26 to 0.30 ms


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "rms", "largest"), [("monophasic", 0.7, 8.4), ("biphasic", 1.0, 16.1), ("halfsine", 0.8, 10.2)]
)
def test_fit_to_the_recorded_pulses(shared, name, rms, largest):
    """The stated fit errors, % of the peak; the largest are within 2 us of a switching."""
    recording = recorded(shared / f"cells/aberra2019/waveform_magprox100_{name}_5MHz.csv")
    named = pulse(name)
    error = 100 * (np.interp(recording.time_ms, named.time_ms, named.waveform) - recording.waveform)
    assert np.sqrt(np.mean(error**2)) < rms
    assert np.abs(error).max() < largest


@pytest.mark.shared
@pytest.mark.parametrize("name", NAMES)
def test_sampling_of_a_recording_is_the_published_one(shared, name):
    folder = shared / "cells/aberra2019"
    used = np.genfromtxt(folder / f"waveform_magprox100_{name}_sim_dt5us.csv", delimiter=",", skip_header=1)[1:]
    grid = on_grid(recorded(folder / f"waveform_magprox100_{name}_5MHz.csv", normalise=False))
    np.testing.assert_allclose(used[:, 0], 0.005 * np.arange(201), atol=1e-12)
    np.testing.assert_allclose(grid, used[:, 1], atol=1e-12)


def test_recording_is_read_and_normalised(tmp_path):
    path = tmp_path / "mine.csv"
    path.write_text("t_ms,E\n0,0\n0.1,-4\n0.2,2\n")
    mine = pulse(path)
    assert mine.name == "mine"
    np.testing.assert_allclose(mine.waveform, [0.0, -1.0, 0.5])
    np.testing.assert_allclose(recorded(str(path), normalise=False).waveform, [0.0, -4.0, 2.0])
    np.testing.assert_allclose(on_grid(mine, stop_ms=0.4)[[0, 1, 21, 41, 42, 80]], [0, 0, -1, 0.5, 0, 0], atol=1e-12)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("t,E\n0,0\n0.1,nan\n0.2,1\n", "NaN"),
        ("0,0\n0.1,hello\n", "NaN, infinity or text"),
        ("0,0\n0.2,1\n0.1,1\n", r"goes back[\s\S]*0\.1 ms in sample 2 after 0\.2 ms"),
        ("0,0\n0.2,0\n", "zeros"),
        ("0\n1\n", "two columns"),
        ("0,1,2\n1,2,3\n", "two columns"),
        ("0,1\n1\n", "two columns"),
        ("", "two columns"),
    ],
)
def test_bad_recordings(tmp_path, text, says):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(InputError, match=says):
        pulse(path)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(("unit", "says"), [(1e3, "window[\\s\\S]*us by 1000"), (1e-3, "too short[\\s\\S]*s by 1000")])
def test_times_in_us_or_s_are_refused(tmp_path, name, unit, says):
    named = pulse(name)
    np.savetxt(tmp_path / "right.csv", np.stack([named.time_ms + 4.0, named.waveform], 1), delimiter=",")
    np.testing.assert_allclose(pulse(tmp_path / "right.csv").waveform, named.waveform)
    np.savetxt(tmp_path / "wrong.csv", np.stack([unit * named.time_ms, named.waveform], 1), delimiter=",")
    with pytest.raises(InputError, match=says):
        pulse(tmp_path / "wrong.csv")
    with pytest.raises(InputError, match="times in ms"):
        pulse(Pulse(unit * named.time_ms, named.waveform, "wrong"))


def test_a_pulse_that_the_window_misses_is_refused():
    named = pulse("biphasic")
    late = np.append(-1.5, named.time_ms), np.append(0.0, named.waveform)
    with pytest.raises(InputError, match=r"100 % of the energy after 1 ms[\s\S]*cut off what comes before"):
        pulse(Pulse(*late, "late"))
    tail = np.arange(0.0, 10.0, 2e-4)  # a long, noisy recording is one pulse all the same
    noisy = np.interp(tail, named.time_ms, named.waveform, right=0.0)
    noisy += 0.01 * np.random.default_rng(0).normal(size=tail.size)
    assert pulse(Pulse(tail, noisy, "noisy")).time_ms[-1] > 9


@pytest.mark.parametrize("source", [None, 3])
def test_what_is_no_pulse_is_refused(source):
    with pytest.raises(InputError, match="monophasic, biphasic, halfsine"):
        inspect.unwrap(pulse)(source)


def test_unknown_pulse_names_those_that_exist():
    with pytest.raises(InputError, match="monophasic, biphasic, halfsine"):
        pulse("square")
    with pytest.raises(InputError, match=r"cannot read the pulse missing\.csv"):
        pulse("missing.csv")
    with pytest.raises(InputError, match="zeros"):
        pulse(Pulse(np.arange(3.0), np.zeros(3), "flat"))
