"""The batched cable engine: against NEURON on a small cell, against its own formulas and a dense solve, repeatable."""

import dataclasses
import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmsjax.cells import cable_model, load
from tmsjax.core.errors import InputError
from tmsjax.simulate import Search, Status, find_threshold, fires, pulse, thresholds, traces, uniform_thresholds
from tmsjax.simulate.cable import membrane, ops, simd
from tmsjax.simulate.cable.engine import cable_engine
from tmsjax.simulate.cable.tree import Graph, graph, schedule

POTENTIALS = np.concatenate([np.linspace(-140, 90, 4590), [-300, 300, -38, -66, -32, -60, -17, -64.4, -154.9, -27]])
UP = np.array([0.6, 0.0, 0.8])


def _random_fields(cable, k, seed=0):
    """Smooth fields with gradients like those in cortex, of any scale: E0 + r . G."""
    rng = np.random.default_rng(seed)
    gradient = rng.normal(size=(k, 3, 3)) * 0.2e-3
    base = rng.normal(size=(k, 1, 3))
    base /= np.linalg.norm(base, axis=-1, keepdims=True)
    return rng.uniform(0.2, 3, (k, 1, 1)) * (base + np.einsum("ni,kij->knj", cable.xyz_um, gradient))


def _in_numba(function, values, dtype):
    """Every output of a rate function, by numba's vectors of lanes."""
    padded = np.resize(values, -(-len(values) // simd.LANES) * simd.LANES)
    given = simd.table(len(padded) // simd.LANES, dtype)
    given[:] = padded.reshape(given.shape)
    outputs = []
    for which in range(len(function(values[:1]))):
        out = simd.table(len(given), dtype)
        ops.apply(function, which, given, out)
        outputs.append(out.ravel()[: len(values)])
    return outputs


@pytest.mark.parametrize("name", sorted(membrane.CHANNELS))
def test_rates_in_numba_are_those_in_numpy(name):
    function = membrane.CHANNELS[name].rates
    exact = function(POTENTIALS)
    assert all(np.isfinite(values).all() for values in exact)
    for dtype, tolerance in (("float32", 3e-5), ("float64", 1e-12)):
        for ours, right in zip(_in_numba(function, POTENTIALS, dtype), exact, strict=True):
            np.testing.assert_allclose(ours, right, rtol=tolerance, atol=tolerance * 1e-3)


def test_functions_of_lanes():
    x = np.concatenate([np.linspace(-80, 80, 999), [0.0, 1e-9]])
    y = np.geomspace(1e-9, 40, 999)
    for dtype, tolerance in (("float32", 3e-7), ("float64", 1e-14)):
        (ours,) = _in_numba(_exp, x, dtype)
        np.testing.assert_allclose(ours, np.exp(x), rtol=100 * tolerance)
        (ours,) = _in_numba(_log, y, dtype)
        np.testing.assert_allclose(ours, np.log(y), rtol=tolerance, atol=tolerance)
        (ours,) = _in_numba(_settle, y[y < 2.0], dtype)
        np.testing.assert_allclose(ours, -np.expm1(-y[y < 2.0]), rtol=max(tolerance, 3e-6))
    (late,) = _in_numba(_settle, y[y >= 2.0], "float64")
    np.testing.assert_allclose(late, -np.expm1(-y[y >= 2.0]), atol=2e-4)


def _exp(x):
    return (ops.exp(x),)


def _log(x):
    return (ops.log(x),)


def _settle(x):
    return (ops.settle(x),)


@given(st.integers(2, 60), st.integers(0, 2**32 - 1))
@settings(deadline=None, max_examples=60)
def test_the_schedule_solves_the_system(nodes, seed):
    """Any tree, any set of active nodes: as a dense solve does."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, nodes + 1))
    b = np.array([rng.integers(0, k) for k in range(1, nodes)])
    tree = Graph(n, nodes, np.arange(1, nodes), b, rng.uniform(0.1, 10, nodes - 1))
    fixed, extra = rng.uniform(0.5, 2, n), rng.uniform(0, 5, n) * (rng.random(n) < 0.5)
    plan = schedule(tree, fixed, extra > 0)
    assert sorted([*plan.node, *plan.tree]) == list(range(nodes))

    dense = np.zeros((nodes, nodes))
    for a, c, us in zip(tree.a, tree.b, tree.us, strict=True):
        dense[[a, c], [c, a]] -= us
        dense[[a, c], [a, c]] += us
    dense[np.arange(n), np.arange(n)] += fixed + extra
    right = np.concatenate([rng.normal(size=n), np.zeros(nodes - n)])

    r, u, d = right.copy(), np.zeros(nodes), plan.diagonal.copy()
    d[:n] += extra
    for k in range(len(plan.node)):
        x = r[plan.node[k]]
        r[plan.left[k]] += plan.to_left[k] * x
        r[plan.right[k]] += plan.to_right[k] * x
    for node, above, us in zip(plan.tree[:-1], plan.parent[:-1], plan.us[:-1], strict=True):
        d[above] -= us**2 / d[node]
        r[above] += us / d[node] * r[node]
    for node, above, us in zip(plan.tree[::-1], plan.parent[::-1], plan.us[::-1], strict=True):
        u[node] = (r[node] + us * u[above]) / d[node]
    for k in reversed(range(len(plan.node))):
        u[plan.node[k]] = (
            plan.inverse[k] * r[plan.node[k]] + plan.to_left[k] * u[plan.left[k]] + plan.to_right[k] * u[plan.right[k]]
        )
    np.testing.assert_allclose(u, np.linalg.solve(dense, right), rtol=1e-9, atol=1e-12)


def test_nothing_of_a_cell_is_lost_in_its_graph(small_cell):
    cable = cable_model(small_cell)
    tree = graph(cable)
    assert len(tree.a) == tree.nodes - 1
    parents_of_many = 1  # the initial segment's end, from which the two branches begin
    assert tree.nodes == cable.n + parents_of_many


def test_the_cell_rests_where_neuron_says_and_stays_there(small_cell):
    cable = cable_model(small_cell)
    rows = np.arange(cable.n)
    field = np.broadcast_to(UP, (cable.n, 3))
    in_neuron = traces(small_cell, field, 0.0, rows, tables=False)
    np.testing.assert_allclose(membrane.steady_state(cable).v_mv, in_neuron[0], atol=1e-5)
    for precision in ("float32", "float64"):
        ours = traces(small_cell, field, 0.0, rows, engine="cable", precision=precision)
        assert ours.shape == in_neuron.shape == (201, cable.n)
        np.testing.assert_allclose(ours, np.broadcast_to(ours[0], ours.shape), atol=2e-4)


@pytest.mark.parametrize("name", ["monophasic", "biphasic"])
def test_potentials_are_neurons_through_an_action_potential(small_cell, name):
    """Every compartment, every step; the same equations, so that only rounding differs."""
    cable = cable_model(small_cell)
    (field,) = _random_fields(cable, 1, seed=4)
    amplitude = 1.1 * float(thresholds(small_cell, field[None], name, engine="cable").v_per_m[0])
    rows = np.arange(cable.n)
    neuron = traces(small_cell, field, amplitude, rows, name, tables=False)
    assert neuron.max() > 20
    exact = traces(small_cell, field, amplitude, rows, name, engine="cable", precision="float64")
    assert np.abs(exact - neuron).max() < 2e-3
    single = traces(small_cell, field, amplitude, rows, name, engine="cable")
    assert np.abs(single - neuron).max() < 0.05


def test_thresholds_are_neurons(small_cell):
    fields = _random_fields(cable_model(small_cell), 12)
    options = {"absolute_v_per_m": 0.05, "tables": False}
    neuron = thresholds(small_cell, fields, workers=1, **options)
    assert neuron.ok.sum() > 9
    exact = thresholds(small_cell, fields, engine="cable", precision="float64", **options)
    np.testing.assert_array_equal(exact.status, neuron.status)
    np.testing.assert_array_equal(exact.runs, neuron.runs)
    np.testing.assert_allclose(exact.v_per_m, neuron.v_per_m, rtol=1e-12)
    np.testing.assert_array_equal(exact.initiation, neuron.initiation)
    single = thresholds(small_cell, fields, engine="cable", **options)
    np.testing.assert_allclose(single.v_per_m, neuron.v_per_m, rtol=1e-3)
    reduced = thresholds(small_cell, fields, engine="cable", membrane="reduced", **options)
    np.testing.assert_allclose(reduced.v_per_m[neuron.ok], neuron.v_per_m[neuron.ok], rtol=0.01)
    assert single.source == "cable engine, full membrane, numba float32"
    assert "reduced" in reduced.source
    assert neuron.source.startswith("NEURON")
    assert "exact" in neuron.source


def test_the_original_codes_rule_of_integration_moves_thresholds_alike_in_both_engines(small_cell):
    fields = _random_fields(cable_model(small_cell), 3, seed=8)
    by_rule = {}
    for rule in ("tree", "aberra2019"):
        ours, theirs = (
            thresholds(small_cell, fields, engine=engine, rule=rule, tolerance=1e-4, initiation=False, workers=1)
            for engine in ("cable", "neuron")
        )
        np.testing.assert_allclose(ours.v_per_m, theirs.v_per_m, rtol=1e-3)
        by_rule[rule] = ours.v_per_m
    assert np.nanmax(np.abs(by_rule["tree"] / by_rule["aberra2019"] - 1)) > 1e-3


def test_the_queue_searches_as_find_threshold_does(small_cell):
    """The same amplitudes in the same order: the same bracket and the same number of runs, whatever the outcome."""
    cable = cable_model(small_cell)
    engine = cable_engine(cable, pulse("monophasic"), workers=1)
    fields = _random_fields(cable, 3, seed=2)
    for search in (
        Search(),
        Search(step=1.1, tolerance=0.02),
        Search(step=3.0, split=0.5, absolute_v_per_m=0.4),
        Search(highest_v_per_m=30.0),
        Search(lowest_v_per_m=2000.0, highest_v_per_m=4000.0),
    ):
        guesses = np.array([20.0, 300.0, 3000.0])
        answers = engine.search(fields, guesses, search, initiation=False)
        for field, guess, answer in zip(fields, guesses, answers, strict=True):

            def fires_at(amplitude, field=field):
                return engine.fires(field[None], np.array([[amplitude]]))[0, 0]

            expected = find_threshold(fires_at, float(guess), search)
            np.testing.assert_equal(dataclasses.astuple(answer.found), dataclasses.astuple(expected))


def test_results_do_not_depend_on_order_company_or_threads(small_cell):
    fields = _random_fields(cable_model(small_cell), 40, seed=6)
    alone = thresholds(small_cell, fields[:1], engine="cable", tolerance=1e-4)
    said = []
    whole = thresholds(small_cell, fields, engine="cable", tolerance=1e-4, workers=1, progress=said.append)
    assert said[-1] == "40 of 40 fields"
    turned = thresholds(small_cell, fields[::-1], engine="cable", tolerance=1e-4, workers=3)
    for name in ("v_per_m", "initiation", "status", "runs"):
        np.testing.assert_array_equal(getattr(whole, name), getattr(turned, name)[::-1])
        np.testing.assert_array_equal(getattr(whole, name)[:1], getattr(alone, name))


def test_it_fires_at_its_threshold_and_not_below(small_cell):
    directions = np.concatenate([np.eye(3), -np.eye(3)])
    found = uniform_thresholds(small_cell, directions, engine="cable", tolerance=1e-3)
    fields = np.broadcast_to(directions[:, None], (6, cable_model(small_cell).n, 3))
    some = found.ok
    fired = fires(small_cell, fields[some], found.v_per_m[some, None] * [0.998, 1.0], engine="cable")
    np.testing.assert_array_equal(fired, [[False, True]] * int(some.sum()))
    assert some.sum() >= 4


def test_a_cell_that_fires_by_itself_has_no_threshold(small_cell):
    cable = cable_model(small_cell)
    engine = cable_engine(cable, pulse("monophasic"), workers=1)
    driven = engine.run._replace(balance=engine.run.balance + 1.0)  # 1 nA more than what balances it at rest
    restless = dataclasses.replace(engine, run=driven)
    (answer,) = restless.search(np.broadcast_to(UP, (1, cable.n, 3)), np.array([100.0]), Search(), initiation=False)
    assert answer.found.status == Status.FIRES_AT_REST
    assert np.isnan(answer.found.high)


def test_bad_input(small_cell):
    cable = cable_model(small_cell)
    field = np.broadcast_to(UP, (1, cable.n, 3))
    for options, says in (
        ({"membrane": "thin"}, "'full', 'reduced'"),
        ({"precision": "float16"}, "'float32', 'float64'"),
        ({"backend": "cuda"}, "'numba', 'jax'"),
        ({"rule": "straight"}, "'tree', 'aberra2019'"),
    ):
        with pytest.raises(InputError, match=says):
            thresholds(small_cell, field, engine="cable", **options)
    strange = dataclasses.replace(cable, channels={**cable.channels, "HCN9": np.full(cable.n, 1e-4)})
    with pytest.raises(InputError, match=r'HCN9[\s\S]*engine="neuron"'):
        cable_engine(strange, pulse("monophasic"))
    for rows in ([-1], [cable.n], [[0]]):
        with pytest.raises(InputError, match="rows to record"):
            traces(small_cell, field[0], 1.0, rows, engine="cable")
    with pytest.raises(InputError, match="V/m, at least 0"):
        traces(small_cell, field[0], -1.0, [0], engine="cable")


def test_no_compiler_is_needed(small_cell, monkeypatch):
    """Without a C++ compiler NEURON's mechanisms cannot be made; the cable engine brings its own."""
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("CXX", raising=False)
    result = uniform_thresholds(small_cell, UP[None], engine="cable", initiation=False, workers=os.cpu_count())
    assert result.ok.all()


@pytest.mark.parametrize("name", ["open/L23_PC_1", "open/L4_LBC_1", "open/L5_PC_1"])
def test_random_fields_of_whole_cells_have_neurons_thresholds(name):
    """A few of the 200 fields a cell of benchmarks/groundtruth.py: largest difference 1 %, median 0.1 %."""
    cell = load(name)
    fields = _random_fields(cable_model(cell), 4, seed=11)
    ours = thresholds(cell, fields, engine="cable", tolerance=2e-4, initiation=False)
    assert ours.ok.all()
    around = ours.v_per_m[:, None] * [1 - 1e-3, 1 + 1e-3]
    np.testing.assert_array_equal(fires(cell, fields, around), [[False, True]] * 4)
    reduced = thresholds(cell, fields, engine="cable", tolerance=2e-4, membrane="reduced", initiation=False)
    np.testing.assert_allclose(reduced.v_per_m, ours.v_per_m, rtol=0.01)


def test_compiled_kernels_belong_to_the_text_they_were_compiled_from(monkeypatch):
    """The cached file carries a digest of the whole folder in its name; where it cannot be written there is none."""
    from tmsjax.simulate.cable import queue

    assert simd.SOURCES in queue.run_queue.py_func.__qualname__
    asked = []

    def compiler(**options):
        asked.append(options.get("cache", False))
        if options.get("cache"):
            raise RuntimeError("cannot cache function: no locator available")
        return lambda function: function

    monkeypatch.setattr(simd, "njit", compiler)

    def double(x):
        return 2 * x

    assert simd.kernel(double)(3) == 6
    assert asked == [True, False]
