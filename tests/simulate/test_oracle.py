"""The NEURON oracle on a small cell: against NEURON's own extracellular mechanism, rest, repeatability, symmetries."""

import concurrent.futures
import inspect
import multiprocessing
import subprocess
import sys

import numpy as np
import pytest

from tmsjax.cells import build_neuron, cable_model, load_neuron, steady_state
from tmsjax.core.errors import InputError
from tmsjax.simulate import (
    Search,
    Status,
    find_threshold,
    fires,
    on_grid,
    pulse,
    quasipotential,
    thresholds,
    traces,
    uniform_thresholds,
)
from tmsjax.simulate.oracle import Oracle
from tmsjax.simulate.workers import Simulator

DIRECTION = np.array([0.6, 0.0, 0.8])
FINE = Search(tolerance=1e-5, split=0.5)


def _elsewhere(function, *arguments):
    """Run in a fresh process: NEURON holds one cell."""
    with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
        return executor.submit(function, *arguments).result()


def _by_extracellular(cell, direction):
    """The threshold with potentials outside the membrane (NEURON's `extracellular`), counting crossings in Python."""
    h = load_neuron()
    built = build_neuron(cell)
    for sec in built.sections:
        sec.insert("extracellular")
    steady_state()
    state = h.SaveState()
    state.save()
    cable = cable_model(cell)
    es = quasipotential(cable, np.broadcast_to(direction, (cable.n, 3)))
    wave = on_grid(pulse("monophasic"))
    middles = (wave[1:] + wave[:-1]) / 2  # a backward Euler step takes the field at its middle

    def crossings(amplitude):
        state.restore(1)
        h.t, h.dt = 0.0, 0.005
        v = np.array([seg.v for seg in built.segments])
        count = 0
        for value in middles:
            for seg, potential in zip(built.segments, es, strict=True):
                seg.extracellular.e = amplitude * value * potential
            h.fadvance()
            before, v = v, np.array([seg.v for seg in built.segments])
            count += int(((v >= 0) & (before < 0)).sum())
        return count

    return find_threshold(lambda amplitude: crossings(amplitude) >= 3, 300.0, Search(tolerance=1e-4, split=0.5)).high


def _by_injection(cell, direction):
    simulator = Simulator(cell, pulse("monophasic"))
    field = np.broadcast_to(direction, (simulator.cable.n, 3))
    return simulator.threshold(field, 300.0, Search(tolerance=1e-4, split=0.5), False).found.high


def _repeats(cell):
    oracle = Oracle(build_neuron(cell).segments)
    rest = oracle.rest()
    oracle.set_pulse(pulse("biphasic"))
    current = np.zeros(oracle.n)
    current[[0, -1]] = [-1e-3, 1e-3]
    oracle.set_currents(current)
    outcomes = [oracle.fires(amplitude) for amplitude in (0.0, 1e3, 0.0, 1e3)]
    firing = oracle.voltages()
    oracle.initiation(1e3)
    oracle.fires(0.0)
    still = oracle.voltages()
    oracle.fires(1e3)
    return rest, outcomes, firing, still, oracle.voltages()


def _bad_currents(cell):
    oracle = Oracle(build_neuron(cell).segments)
    for wrong in (np.zeros(oracle.n + 1), np.full(oracle.n, np.nan)):
        with pytest.raises(InputError, match="finite nA"):
            oracle.set_currents(wrong)


def test_axial_injection_has_the_threshold_of_extracellular(small_cell):
    outside = _elsewhere(_by_extracellular, small_cell, DIRECTION)
    inside = _elsewhere(_by_injection, small_cell, DIRECTION)
    assert 10 < inside < 4000
    assert abs(inside / outside - 1) < 2e-4


def test_rest_is_steady_and_runs_repeat(small_cell):
    rest, outcomes, firing, still, again = _elsewhere(_repeats, small_cell)
    assert ((rest > -80) & (rest < -60)).all()
    assert outcomes == [False, True, False, True]
    np.testing.assert_allclose(still, rest, atol=1e-3)
    np.testing.assert_array_equal(firing, again)


def test_bad_currents(small_cell):
    _elsewhere(_bad_currents, small_cell)


def test_thresholds_scale_and_polarity(small_cell):
    """The factor is inverse to the field's scale, V/m is not changed by it; turning the field round changes both."""
    n = cable_model(small_cell).n
    field = np.random.default_rng(3).normal(size=(n, 3)) * 0.05 + DIRECTION
    result = thresholds(small_cell, np.stack([field, 40 * field, -field]), workers=1)
    assert result.ok.all()
    assert result.v_per_m[0] == pytest.approx(result.v_per_m[1], rel=1e-12)
    assert result.factor[0] == pytest.approx(40 * result.factor[1], rel=1e-12)
    np.testing.assert_allclose(result.v_per_m, result.factor * np.linalg.norm(field[0]) * [1, 40, 1])
    assert abs(result.v_per_m[2] / result.v_per_m[0] - 1) > 0.02
    assert ((result.initiation >= 0) & (result.initiation < n)).all()
    assert result.why(0) == "threshold found within the tolerance"


def test_uniform_thresholds_fire_just_above_and_not_below(small_cell):
    directions = np.stack([DIRECTION, -DIRECTION, [0, 0, 1.0]])
    progress = []
    cold = uniform_thresholds(small_cell, directions, initiation=False, workers=1, progress=progress.append)
    assert progress == ["3 of 3 fields"]
    assert (cold.initiation == -1).all()
    warm = uniform_thresholds(small_cell, directions, guess=cold.v_per_m * 1.04, initiation=False, workers=1)
    np.testing.assert_allclose(warm.v_per_m, cold.v_per_m, rtol=0.006)
    assert warm.runs.sum() < cold.runs.sum()
    fields = np.broadcast_to(directions[:, None], (3, cable_model(small_cell).n, 3))
    fired = fires(small_cell, fields, cold.v_per_m[:, None] * [0.99, 1.0], workers=1)
    np.testing.assert_array_equal(fired, [[False, True]] * 3)


def test_what_cannot_be_reached_says_so(small_cell):
    result = uniform_thresholds(small_cell, DIRECTION[None], highest_v_per_m=1.0, workers=1)
    assert np.isnan(result.v_per_m).all()
    assert np.isnan(result.factor).all()
    assert "largest amplitude" in result.why(0)


def test_a_field_that_does_not_cover_the_cell_has_a_status(small_cell):
    fields = np.repeat(DIRECTION[None, None], 3, axis=0) * np.ones((3, cable_model(small_cell).n, 1))
    fields[1, -1, 2] = np.nan
    for engine in ("neuron", "cable"):
        result = thresholds(small_cell, fields, engine=engine, workers=1, initiation=False)
        assert result.status.tolist() == [0, Status.NOT_COVERED, 0]
        assert np.isnan(result.v_per_m[1])
        assert result.runs[1] == 0
        assert "not known" in result.why(1)
        assert result.v_per_m[0] == result.v_per_m[2] > 0


def test_bad_input(small_cell):
    n = cable_model(small_cell).n
    good = np.broadcast_to(DIRECTION, (2, n, 3))
    holes = good.copy()
    holes[1, 3, 0] = np.nan
    absent = good.copy()
    absent[1, 0] = 0.0
    for fields, options, says in (
        (good[:, 1:], {}, "E at each of its compartments"),
        (good[0], {}, "E at each of its compartments"),
        (np.where(np.isnan(holes), np.inf, holes), {}, "infinity in field 1"),
        (absent, {}, "no field at the soma in field 1"),
        (good, {"engine": "hoc"}, "one of 'neuron', 'cable'"),
        (good, {"membrane": "reduced"}, "engine='cable' for it"),
        (good, {"rule": "straight"}, "'tree', 'aberra2019'"),
        (good, {"pulse": "square"}, "unknown pulse"),
        (good, {"guess": np.array([100.0, np.nan])}, "positive V/m"),
        (good, {"guess": np.ones(3)}, "positive V/m"),
        (good, {"tolerance": -1.0}, "tolerance"),
    ):
        with pytest.raises(InputError, match=says):
            thresholds(small_cell, fields, workers=1, **options)
    for fields, options, says in (
        (good.astype(complex), {}, "real numbers"),
        (good, {"guess": "x"}, "guess"),
        (good, {"workers": 1.5}, "workers"),
        (good, {"workers": -1}, "workers"),
    ):
        with pytest.raises(InputError, match=says):
            inspect.unwrap(thresholds)(small_cell, fields, **options)
    for amplitudes in (np.full((2, 1), np.inf), np.full((2, 1), np.nan), np.array([["a"], ["b"]])):
        with pytest.raises(InputError, match="amplitudes"):
            inspect.unwrap(fires)(small_cell, good, amplitudes)
    with pytest.raises(InputError, match="workers"):
        fires(small_cell, good, np.ones((2, 1)), workers=-1)
    for amplitude, rows, says in (
        (1.0, [0.7], "rows"),
        (1.0, ["a"], "rows"),
        ("x", [0], "amplitude"),
        (-1.0, [0], "0"),
    ):
        with pytest.raises(InputError, match=says):
            inspect.unwrap(traces)(small_cell, good[0], amplitude, rows)
    with pytest.raises(InputError, match="unit vectors"):
        uniform_thresholds(small_cell, 2 * DIRECTION[None])
    with pytest.raises(InputError, match=r"\(k, 3\)"):
        uniform_thresholds(small_cell, np.ones((2, 2)))
    with pytest.raises(InputError, match="NaN in field 1"):
        fires(small_cell, holes, np.ones((2, 1)))
    with pytest.raises(InputError, match="amplitudes"):
        fires(small_cell, good, -np.ones((2, 1)))


def test_the_worker_path_imports_neither_jax_nor_zarr():
    code = (
        "import sys, tmsjax; tmsjax.simulate.thresholds; import tmsjax.simulate.oracle, tmsjax.simulate.workers; "
        "print([m for m in ('jax', 'flax', 'numba', 'zarr', 'matplotlib', 'nibabel') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
