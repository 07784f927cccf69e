"""Pulses from numbers: closed forms, chosen widths, scaling; bad input. Directions and fields of a place."""

import inspect

import numpy as np
import pytest
from scipy.spatial.transform import Rotation

from tmsjax.cells import cable_model
from tmsjax.core.errors import InputError
from tmsjax.simulate import fields_at, monophasic_pulse, on_grid, pulse, uniform_thresholds
from tmsjax.simulate import rectangular_pulse as checked_rectangular
from tmsjax.simulate import sampled_pulse as checked_sampled
from tmsjax.simulate import sine_pulse as checked_sine
from tmsjax.simulate import uniform_directions as checked_directions

# As users call them: the tests' own checks of types come before those of the functions.
rectangular_pulse, sampled_pulse, sine_pulse, uniform_directions = map(
    inspect.unwrap, (checked_rectangular, checked_sampled, checked_sine, checked_directions)
)


@pytest.mark.parametrize("half_periods", [1, 2])
def test_an_undamped_sine_pulse_is_a_cosine(half_periods):
    made = sine_pulse(half_periods, 0.3)
    inside = made.time_ms < half_periods * 0.15 + 1e-6
    np.testing.assert_allclose(made.waveform[inside], np.cos(2 * np.pi * made.time_ms[inside] / 0.3), atol=1e-9)
    assert not made.waveform[~inside].any()
    assert abs(np.trapezoid(made.waveform, made.time_ms)) < 2e-4  # the current ends at zero


def test_a_damped_sine_pulse_decays_by_its_damping():
    made = sine_pulse(2, 0.3, 2.0)
    one_period = made.waveform[round(0.3 / 2e-4)] / made.waveform[0]
    assert one_period == pytest.approx(np.exp(-2.0 * 0.3 / 2), rel=1e-6)


def test_rectangular_phases_have_the_chosen_widths_and_levels():
    made = rectangular_pulse([0.06, 0.12], [1.0, -0.5])
    assert np.abs(made.waveform).max() == 1.0
    up = np.trapezoid(np.maximum(made.waveform, 0), made.time_ms)
    down = np.trapezoid(np.minimum(made.waveform, 0), made.time_ms)
    assert up == pytest.approx(0.06, abs=1e-3)
    assert down == pytest.approx(-0.06, abs=1e-3)
    assert np.interp([0.03, 0.1, 0.2], made.time_ms, made.waveform, right=0).tolist() == [1.0, -0.5, 0.0]
    assert made.waveform[0] == made.waveform[-1] == 0.0


def test_the_monophasic_pulse_stretches():
    device, long = monophasic_pulse(), monophasic_pulse(1.5)
    np.testing.assert_allclose(device.waveform, pulse("monophasic").waveform, atol=1e-12)

    def first_zero(p):
        return p.time_ms[np.flatnonzero((p.waveform[:-1] > 0) & (p.waveform[1:] <= 0))[0]]

    assert first_zero(long) / first_zero(device) == pytest.approx(1.5, rel=0.03)
    damped = monophasic_pulse(diode_resistance_per_ms=20.0)
    assert damped.waveform.min() < device.waveform.min()


def test_longer_phases_need_less_field(small_cell):
    """Strength and duration: the threshold falls as a pulse's first phase gets longer."""
    found = [
        uniform_thresholds(
            small_cell, np.array([[0.6, 0.0, 0.8]]), rectangular_pulse([w, w]), "cable", initiation=False
        ).v_per_m[0]
        for w in (0.03, 0.06, 0.12)
    ]
    assert found[0] > 1.1 * found[1] > 1.1**2 * found[2]


def test_samples_of_ones_own():
    made = sampled_pulse(np.array([0.0, 0.1, 0.2]), np.array([0.0, -4.0, 2.0]), "mine")
    np.testing.assert_allclose(made.waveform, [0.0, -1.0, 0.5])
    assert made.name == "mine"
    assert sampled_pulse(np.array([0.0, 0.1]), np.array([0.0, 3.0]), normalise=False).waveform[1] == 3.0


def test_every_25th_sample_is_taken_without_a_filter():
    """The published sampling: at 5 us, a spike of 0.2 us is kept whole or lost, and the first sample is at t = dt."""
    wave = np.zeros(2501)
    wave[1:] = 0.4
    wave[100] = 1.0  # a multiple of 25
    wave[110] = 1.0  # not one
    grid = on_grid(sampled_pulse(2e-4 * np.arange(2501), wave))
    assert grid[0] == grid[1] == 0.0
    assert grid[1 + 4] == pytest.approx(1.0)
    np.testing.assert_allclose(np.delete(grid[2:101], 3), 0.4, rtol=1e-9)


@pytest.mark.parametrize(
    ("make", "says"),
    [
        (lambda: sine_pulse(0, 0.3), "half_periods"),
        (lambda: sine_pulse(2, -0.3), "period_ms"),
        (lambda: sine_pulse(2, 0.3, 100.0), "damping_per_ms"),
        (lambda: sine_pulse("a", 0.3), "half_periods"),
        (lambda: sine_pulse(np.nan, 0.3), "half_periods"),
        (lambda: sine_pulse(np.inf, 0.3), "half_periods"),
        (lambda: sine_pulse(1.5, 0.3), "half_periods"),
        (lambda: sine_pulse(2, "a"), "period_ms"),
        (lambda: sine_pulse(2, 5.0), "window"),
        (lambda: sine_pulse(2, 1e4), "window"),
        (lambda: sine_pulse(2, 1e9), "window"),
        (lambda: rectangular_pulse([1e9, 0.1]), "window"),
        (lambda: rectangular_pulse(["a", 0.1]), "widths_ms"),
        (lambda: sampled_pulse(np.array(["a", "b"]), np.ones(2)), "time"),
        (lambda: sampled_pulse(np.array([0.0, 0.1]), np.array([0.0, 1j])), "waveform"),
        (lambda: on_grid(pulse("monophasic"), dt_ms=0.0), "dt_ms"),
        (lambda: on_grid(pulse("monophasic"), stop_ms=1e9), "stop_ms"),
        (lambda: uniform_directions(1e-9), "theta_step_deg"),
        (lambda: rectangular_pulse([0.06], [1.0, -1.0]), "one level for each width"),
        (lambda: rectangular_pulse([0.06, -0.1]), "widths_ms"),
        (lambda: rectangular_pulse([0.06, np.nan]), "widths_ms"),
        (lambda: rectangular_pulse([0.06, 0.06], [0.0, 0.0]), "levels"),
        (lambda: rectangular_pulse([0.06, 0.06], rise_ms=0.0), "rise_ms"),
        (lambda: rectangular_pulse([3.0, 3.0]), "window"),
        (lambda: monophasic_pulse(0.0), "stretch"),
        (lambda: sampled_pulse(np.array([0.0, 0.2, 0.1]), np.ones(3)), "goes back"),
        (lambda: sampled_pulse(np.array([0.0, 0.1, 0.2]), np.array([0.0, np.inf, 1.0])), "NaN, infinity"),
        (lambda: uniform_directions(7.0), "theta_step_deg"),
        (lambda: uniform_directions(15.0, 0.0), "phi_step_deg"),
    ],
)
def test_bad_numbers_are_named(make, says):
    with pytest.raises(InputError, match=says):
        make()


def test_a_long_decayed_tail_is_a_pulse():
    assert sine_pulse(40, 0.3, 20.0).time_ms[-1] > 6.0


def test_grids_of_directions():
    published, fine = uniform_directions(), uniform_directions(5.0, 5.0)
    assert (len(published), len(fine)) == (398, 2522)
    for grid in (published, fine):
        np.testing.assert_allclose(np.linalg.norm(grid, axis=1), 1.0)
        assert len(np.unique(grid.round(9), axis=0)) == len(grid)
    np.testing.assert_allclose(published[1], [np.sin(np.pi / 12), 0, np.cos(np.pi / 12)])


def test_a_field_of_the_place_turns_with_the_cell(small_cell):
    """A uniform field is the same in the world wherever the cell is; its components turn; gradients are sampled."""
    cable = cable_model(small_cell)
    turn = Rotation.from_rotvec([0.4, -1.0, 0.3]).as_matrix()
    where = np.array([[10.0, -20.0, 30.0]])
    uniform = fields_at(lambda points: np.broadcast_to([1.0, 2.0, 3.0], points.shape), cable, where, turn[None])
    np.testing.assert_allclose(uniform[0], np.broadcast_to(turn.T @ [1.0, 2.0, 3.0], (cable.n, 3)))
    linear = fields_at(lambda points: points, cable, where, turn[None])
    np.testing.assert_allclose(linear[0], turn.T @ where[0] + cable.xyz_um / 1e3, atol=1e-9)


def test_bad_places_are_named(small_cell):
    cable = cable_model(small_cell)
    for positions, rotations, says in (
        (np.zeros((2, 3)), np.eye(3)[None], "where the cells are"),
        (np.zeros((1, 3)), 2 * np.eye(3)[None], "no rotation"),
        (np.zeros((1, 3)), -np.eye(3)[None], "no rotation"),
    ):
        with pytest.raises(InputError, match=says):
            fields_at(lambda points: points, cable, positions, rotations)
    with pytest.raises(InputError, match="compartments"):
        fields_at(lambda points: points[:1], cable, np.zeros((1, 3)), np.eye(3)[None])
