"""The cable engine in JAX: against the numba kernel, over several devices, and its gradients against differences."""

import dataclasses
import inspect
import os
import pickle
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.cells import cable_model
from tmsjax.core.errors import InputError
from tmsjax.simulate import Pulse, pulse, threshold_gradient, thresholds, traces
from tmsjax.simulate.cable.device import model, potentials, solve
from tmsjax.simulate.cable.engine import cable_engine
from tmsjax.simulate.cable.rounds import rounds
from tmsjax.simulate.cable.tree import Graph
from tmsjax.simulate.engines import open_engine

SHARDED = """
import pickle, sys
import jax, numpy as np
from tmsjax.simulate import thresholds
assert jax.device_count() == 4
cell, fields = pickle.load(open(sys.argv[1], "rb"))
result = thresholds(cell, fields, engine="cable", backend="jax", initiation=False, guess=300.0)
np.save(sys.argv[2], result.v_per_m)
"""


def _random_fields(cable, k, seed=0):
    rng = np.random.default_rng(seed)
    unit = rng.normal(size=(k, 1, 3))
    return unit + np.einsum("ni,kij->knj", cable.xyz_um, 0.2e-3 * rng.normal(size=(k, 3, 3)))


@pytest.mark.parametrize("seed", range(6))
def test_rounds_solve_the_system(seed):
    rng = np.random.default_rng(seed)
    nodes = int(rng.integers(2, 80))
    n = int(rng.integers(1, nodes + 1))
    b = np.array([rng.integers(max(0, k - 5), k) for k in range(1, nodes)])
    tree = Graph(n, nodes, np.arange(1, nodes), b, rng.uniform(0.1, 10, nodes - 1))
    fixed, extra = rng.uniform(0.5, 2, n), rng.uniform(0, 5, n) * (rng.random(n) < 0.5)
    plan = rounds(tree, fixed, extra > 0)
    dense = np.zeros((nodes, nodes))
    for a, c, us in zip(tree.a, tree.b, tree.us, strict=True):
        dense[[a, c], [c, a]] -= us
        dense[[a, c], [a, c]] += us
    dense[np.arange(n), np.arange(n)] += fixed + extra
    right = np.concatenate([rng.normal(size=n), np.zeros(nodes - n)])
    with jax.enable_x64(True):
        d = jnp.asarray(plan.diagonal + np.pad(extra, (0, nodes - n)))
        u = solve(plan, d[:, None], jnp.asarray(right)[:, None])[:, 0]
    np.testing.assert_allclose(u, np.linalg.solve(dense, right), rtol=1e-9, atol=1e-12)


def test_potentials_are_those_of_the_kernel(small_cell):
    cable = cable_model(small_cell)
    (field,) = _random_fields(cable, 1, seed=4)
    rows = np.arange(0, cable.n, 5)
    options = {"engine": "cable", "precision": "float64"}
    for amplitude in (100.0, 2000.0):
        kernel = traces(small_cell, field, amplitude, rows, **options)
        device = traces(small_cell, field, amplitude, rows, **options, backend="jax")
        np.testing.assert_allclose(device, kernel, atol=1e-9)
    assert kernel.max() > 20


def test_thresholds_are_those_of_the_kernel(small_cell):
    """More fields than lanes on a processor, so that lanes are given new ones."""
    fields = _random_fields(cable_model(small_cell), 70)
    kernel = thresholds(small_cell, fields, engine="cable", initiation=False)
    said = []
    device = thresholds(small_cell, fields, engine="cable", backend="jax", initiation=False, progress=said.append)
    np.testing.assert_array_equal(device.status, kernel.status)
    np.testing.assert_allclose(device.v_per_m, kernel.v_per_m, rtol=2e-3)
    assert (device.runs == kernel.runs).mean() > 0.95
    assert said[-1] == "70 of 70 fields"
    assert device.source == f"cable engine, full membrane, JAX float32 on {jax.default_backend()}"


def test_lanes_are_sharded_over_devices(small_cell, tmp_path):
    fields = _random_fields(cable_model(small_cell), 30, seed=2)
    (tmp_path / "in.pkl").write_bytes(pickle.dumps((small_cell, fields)))
    flags = os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
    subprocess.run(
        [sys.executable, "-c", SHARDED, str(tmp_path / "in.pkl"), str(tmp_path / "out.npy")],
        check=True,
        env={**os.environ, "XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"},
    )
    alone = thresholds(small_cell, fields, engine="cable", backend="jax", initiation=False, guess=300.0)
    np.testing.assert_allclose(np.load(tmp_path / "out.npy"), alone.v_per_m, rtol=1e-3)


def test_potentials_are_differentiable_in_field_amplitude_and_pulse(small_cell):
    cable = cable_model(small_cell)
    engine = cable_engine(cable, pulse("monophasic"), precision="float64")
    with jax.enable_x64(True):
        constants = model(cable, "full", 0.005)
        current = jnp.asarray(engine.unit_currents(_random_fields(cable, 1, seed=4)).T)
        wave = jnp.asarray(engine.run_wave)
        row = jnp.array([4], jnp.int32)

        @jax.jit
        def last(current, amplitude, wave):
            return potentials(constants, current, amplitude, wave, row)[60, 0]

        point = (current, jnp.array([150.0]), wave)
        slopes = jax.jit(jax.grad(last, argnums=(0, 1, 2)))(*point)
        rng = np.random.default_rng(1)
        for k, slope in enumerate(slopes):
            towards = jnp.asarray(rng.normal(size=slope.shape)) * jnp.abs(point[k]).max()
            ends = [last(*point[:k], point[k] + h * towards, *point[k + 1 :]) for h in (1e-5, -1e-5)]
            assert float((slope * towards).sum()) == pytest.approx(float(ends[0] - ends[1]) / 2e-5, rel=1e-5)


@pytest.mark.parametrize("name", ["monophasic", "biphasic"])
def test_gradient_of_the_threshold(small_cell, name):
    """Against differences of thresholds found to ten digits, along random changes of the field and of the pulse."""
    cable = cable_model(small_cell)
    (field,) = _random_fields(cable, 1, seed=4)
    gradient = threshold_gradient(small_cell, field, name)
    assert abs(gradient.residual_mv) < 10
    assert (gradient.field * field).sum() == pytest.approx(-gradient.factor, rel=1e-9)
    guess = gradient.factor * float(np.linalg.norm(field[0]))
    exact = {"engine": "cable", "precision": "float64", "tolerance": 1e-10, "initiation": False, "guess": guess}
    for towards in (*_random_fields(cable, 2, seed=5), np.random.default_rng(6).normal(size=field.shape)):
        ends = thresholds(small_cell, np.stack([field + 1e-4 * towards, field - 1e-4 * towards]), name, **exact).factor
        assert (gradient.field * towards).sum() == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)

    named = pulse(name)
    bump = np.exp(-(((named.time_ms - 0.06) / 0.02) ** 2))
    ends = [
        thresholds(small_cell, field[None], Pulse(named.time_ms, named.waveform + h * bump, "changed"), **exact).factor[
            0
        ]
        for h in (1e-4, -1e-4)
    ]
    middles = 0.005 * (np.arange(200) + 0.5)
    samples = np.interp(0.005 * np.arange(201) - 0.005, named.time_ms, bump)
    samples[0] = 0.0
    change = np.interp(middles, 0.005 * np.arange(201), samples)
    assert gradient.wave @ change == pytest.approx((ends[0] - ends[1]) / 2e-4, rel=1e-3)


@pytest.mark.parametrize("guess", [np.nan, -5.0, np.ones(3), "x"])
def test_a_guess_that_is_no_amplitude_has_no_gradient(small_cell, guess):
    field = np.broadcast_to([0.0, 0.0, 1.0], (cable_model(small_cell).n, 3))
    with pytest.raises(InputError, match="guess"):
        inspect.unwrap(threshold_gradient)(small_cell, field, guess=guess)


def test_a_store_gives_every_lane_several_fields(small_cell):
    with open_engine(small_cell, pulse("monophasic"), "cable", backend="jax") as engine:
        assert engine.rows_together == 4 * 64 * jax.device_count()  # of a processor
        assert dataclasses.replace(engine, lanes=4096).rows_together == 4 * 4096


def test_a_field_without_a_threshold_has_no_gradient(small_cell):
    field = np.zeros((cable_model(small_cell).n, 3))
    field[0] = [1.0, 0.0, 0.0]
    with pytest.raises(InputError, match="largest amplitude"):
        threshold_gradient(small_cell, 1e-6 * field + 1e-9, guess=4000.0)
    field[3] = np.nan
    with pytest.raises(InputError, match="not known"):
        threshold_gradient(small_cell, field)
