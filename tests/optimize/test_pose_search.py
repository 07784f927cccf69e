"""Searches with a known end: one direction that cells fire along, over a sphere."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from sphere_cortex import LIMITS, TOP, along, law, population

import tmsjax as tj
from tmsjax.core.errors import InputError
from tmsjax.optimize import (
    SearchPlan,
    activation_map,
    baselines,
    lowest_didt,
    mean_field,
    percentile_field,
    place,
    place_coil,
    prepare,
    search,
    selectivity,
)
from tmsjax.optimize.check import _near_the_median
from tmsjax.optimize.problem import values
from tmsjax.optimize.scalp import one_held
from tmsjax.optimize.targets import Group, Target, of_population

SHORT = SearchPlan(places=7, angles=8, starts=3, adam=12, kept=2, lbfgs=8, finalists=1)
TINY = SearchPlan(places=4, angles=4, starts=1, adam=2, kept=1, lbfgs=1, finalists=1)


@pytest.fixture(scope="module")
def found(polar):
    return search(polar, lowest_didt(0.5), SHORT)


def test_the_coil_ends_over_the_target_along_the_direction_that_cells_fire(polar, found):
    """A tangential figure of eight over a sphere: the field is largest under its middle, along its handle."""
    pose = one_held(polar.scalp, found.x).pose
    middle = np.asarray(polar.search[0].population.positions).mean(0)
    aim = np.asarray(pose.centre) / np.linalg.norm(pose.centre)
    assert np.degrees(np.arccos(aim @ middle / np.linalg.norm(middle))) < 1.5
    y = np.asarray(pose.rotation[:, 1])
    assert abs(y @ [0.6, 0.8, 0.0]) > np.cos(np.radians(3))
    assert found.evaluations < 200
    assert found.gradients < 100


def test_turned_by_half_a_turn_and_reversed_it_is_the_same(polar, found):
    """The wings of this coil are mirror images of each other; reversed alone, no cell fires any more."""
    turned = found.x + np.array([0, 0, 180.0, 0, 0, 0])
    same = values(polar, lowest_didt(0.5), turned[None], -found.polarity)
    assert float(same[0]) == pytest.approx(found.value, abs=2e-3)
    assert np.isinf(values(polar, lowest_didt(0.5), found.x[None], -found.polarity)[0])


def test_no_pose_near_the_end_is_better(polar, found):
    rng = np.random.default_rng(0)
    near = found.x + rng.normal(size=(60, 6)) * [1.5, 1.5, 6.0, 0, 0, 0]
    assert np.nanmin(values(polar, lowest_didt(0.5), near, found.polarity)) > found.value - 0.002


def test_the_mean_field_optimum_lies_over_the_target_and_does_not_know_polarity(mixed):
    best = search(mixed, mean_field(), SHORT)
    centre = np.asarray(one_held(mixed.scalp, best.x).pose.centre)
    middle = np.asarray(mixed.search[0].population.positions).mean(0)
    aim = centre / np.linalg.norm(centre)
    assert np.degrees(np.arccos(aim @ middle / np.linalg.norm(middle))) < 1.5
    again = values(mixed, mean_field(), best.x[None], -best.polarity)
    assert float(again[0]) == pytest.approx(best.value, abs=1e-6)


def test_a_placement_says_all_that_is_asked_of_it(polar, head):
    best = place(polar, lowest_didt(0.5), head=head, plan=SHORT)
    assert best.status.startswith("optimum")
    assert best.borders == []
    assert best.value == pytest.approx(best.search_value, rel=0.05)
    assert 0 < best.sampling_error < 0.05
    assert best.unit == "A/us"
    # The direct solve on 3 mm voxels, with all dipoles; the pose model is the closed form.
    assert best.direct is not None
    assert best.direct["value"] == pytest.approx(best.value, rel=0.1)
    field = tj.efield.solve(head, polar.coil, best.pose, didt=float(best.polarity))
    group = polar.held_out[0]
    didt = tj.response.thresholds(group.model, field, group.population).a_per_us
    assert best.direct["value"] == pytest.approx(np.quantile(didt, 0.5, method="inverted_cdf"), rel=1e-4)
    of_field = best.field_optimum
    assert of_field is not None
    # Over a sphere the mean |E| of a small target is the same at all angles: it does not know what cells fire along.
    assert of_field["better"]["loss"] > 0.02
    assert of_field["worse"]["value"] == np.inf
    assert 0 < best.tolerance["loss_2mm"] < best.tolerance["loss_5mm"]
    assert 0 < best.tolerance["loss_5deg"] < best.tolerance["loss_15deg"] < 0.1
    # cos 15 degrees: the field along the direction that counts
    assert best.tolerance["loss_15deg"] == pytest.approx(1 / np.cos(np.radians(15)) - 1, abs=0.015)
    # Of sixty other neurons, whose own optimum is elsewhere by as much as their sampling.
    assert np.nanmin(best.map["value"]) > (1 - 2 * best.sampling_error) * best.value
    assert best.layers["L5"]["didt_a_per_us"]["0.5"] == pytest.approx(best.value, rel=1e-3)
    plain = best.summary()
    np.testing.assert_allclose(plain["matsimnibs"], best.pose.matrix, atol=1e-6)
    assert plain["evaluations"] == best.evaluations == best.history[-1]["evaluations"]
    lowest = [row["value"] for row in best.history]
    assert lowest == sorted(lowest, reverse=True)


def test_thresholds_at_the_pose_are_those_of_neuron(head, coil, pose_model):
    """Of cells of the library over the sphere: a field solved anew, sampled at every compartment, simulated."""
    problem = prepare(
        head, coil, of_population(population(sites=20)), tj.surrogate.load("open/L5_PC_1"), pose_model=pose_model,
        variables=LIMITS,
    )  # fmt: skip
    best = place(problem, mean_field(), head=head, plan=TINY, simulate=2)
    assert best.neuron is not None
    assert len(best.neuron) == 2
    middle = best.layers["L5"]["didt_a_per_us"]["0.5"]
    for row in best.neuron:
        assert row["simulated_a_per_us"] == pytest.approx(row["predicted_a_per_us"], rel=0.02)
        assert row["predicted_a_per_us"] == pytest.approx(middle, rel=0.25)
    with pytest.raises(InputError, match="neurons to simulate"):
        place(problem, mean_field(), head=head, plan=TINY, simulate=-1)


def test_neurons_to_simulate_are_near_the_median_and_stand_for_themselves(mixed):
    group = dataclasses.replace(mixed.held_out[0], weight=jnp.ones(60).at[:30].set(0))
    didt = np.concatenate([np.full(30, 7.0), 100.0 * 1.1 ** np.arange(30)])
    didt[59] = np.nan
    rng = np.random.default_rng(0)
    few = _near_the_median(didt, group, 3, rng)
    assert (np.abs(didt[few] / np.nanmedian(didt[30:]) - 1) < 0.2).all()
    many = _near_the_median(didt, group, 12, rng)
    assert len(set(many)) == 12
    assert set(many) <= set(range(30, 59))
    with pytest.raises(InputError, match="no neuron of L5 has a predicted threshold"):
        _near_the_median(np.full(60, np.nan), group, 3, rng)


def test_an_end_on_the_border_is_no_optimum(head, coil, pose_model):
    """Searched round a point 20 mm beside the target, within 12 mm."""
    target = dataclasses.replace(of_population(population()), centre_mm=TOP + np.array([0.0, 20.0, -6.0]))
    best = place_coil(
        head, coil, target, law(along([1.0, 0, 0])), mean_field(), pose_model=pose_model, variables=LIMITS, plan=SHORT
    )
    assert "border" in best.status
    assert "12 mm" in best.borders[0]
    assert best.field_optimum is None
    assert best.evaluations == best.gradients == 0  # of thresholds
    assert best.field_evaluations > 56


def test_layers_are_weighted(head, coil, pose_model):
    """Two layers that want directions at right angles: the heavier one has its way."""
    groups = [
        Group(
            "target",
            dataclasses.replace(population(sites=60, x_axis=np.array(axis), seed=seed), layer=layer),
            np.ones(60),
        )
        for seed, (layer, axis) in enumerate([("L23", [1.0, 0, 0]), ("L5", [0, 1.0, 0])])
    ]
    target = Target("two layers", TOP, tuple(groups), tuple(groups))
    models = dict.fromkeys(("L23", "L5"), law(along([1.0, 0, 0], [-0.5, 0, 0])))
    problem = prepare(head, coil, target, models, pose_model=pose_model, variables=LIMITS)
    for heavy, axis in (("L23", [1.0, 0, 0]), ("L5", [0, 1.0, 0])):
        weights = {"L23": 0.02, "L5": 0.02} | {heavy: 1.0}
        best = search(problem, lowest_didt(0.5, weights), SHORT)
        y = np.asarray(one_held(problem.scalp, best.x).pose.rotation[:, 1])
        assert abs(y @ axis) > np.cos(np.radians(12))
    with pytest.raises(InputError, match="layers of the objective"):
        place(problem, lowest_didt(0.5, {"L4": 1.0}), plan=SHORT)


@pytest.fixture(scope="module")
def with_ring(head, coil, pose_model):
    """A target of cells that fire along one direction, and a ring of cells 6 mm beside it that do too."""
    axis = np.array([0.6, 0.8, 0.0])
    ring = population(middle=TOP + np.array([6.0, 0.0, -0.5]), spread_mm=1.5, sites=60, x_axis=axis, seed=3)
    groups = (
        Group(
            "target",
            population(middle=TOP - np.array([3.0, 0, 0.1]), spread_mm=1.5, sites=60, x_axis=axis),
            np.ones(60),
        ),
        Group("ring", ring, np.zeros(60)),
    )
    target = Target("pair", TOP, groups, groups)
    return prepare(head, coil, target, law(along([1.0, 0, 0])), pose_model=pose_model, variables=LIMITS)


def test_selectivity_spares_the_ring_within_the_cap(with_ring):
    lowest = search(with_ring, lowest_didt(0.9), SHORT)
    needed = float(np.exp(lowest.value))
    selective = search(with_ring, selectivity(1.5 * needed, 0.9), SHORT)
    assert selective.value <= float(
        values(with_ring, selectivity(1.5 * needed, 0.9), lowest.x[None], lowest.polarity)[0]
    )
    spent = float(np.exp(values(with_ring, lowest_didt(0.9), selective.x[None], selective.polarity)[0]))
    assert spent <= 1.5 * needed * 1.001
    assert selective.x[0] < 0 or selective.value == 0.0  # away from the ring
    with pytest.raises(InputError, match="needs a ring"):
        place(dataclasses.replace(with_ring, search=with_ring.search[:1]), selectivity(100.0), plan=SHORT)


def test_a_map_of_activity_is_met(with_ring):
    best = search(with_ring, activation_map(), SHORT)
    assert best.value < 0.2  # of all cells; half of them are wanted, so that all or none would be 0.5
    share = values(with_ring, activation_map(1e-6), best.x[None], best.polarity)
    assert float(share[0]) == pytest.approx(0.5)


def test_baselines_agree_where_they_must(polar, mixed, found):
    grid = baselines.grid(polar, lowest_didt(0.5), 6.0, 30.0)
    assert grid.evaluations == len(baselines.grid_poses(polar, 6.0, 30.0)) == 13 * 12
    assert grid.value >= found.value - 1e-4
    assert np.exp(grid.value - found.value) < 1.06
    coarse = baselines.simnibs_like(mixed, radius_mm=10.0)
    best = search(mixed, mean_field(), SHORT)
    assert best.value <= coarse.value + 1e-4
    assert coarse.field_evaluations == 13 * 12
    vector = baselines.adm_like(mixed, 3.0, 10.0)
    assert abs(vector.value - best.value) < 0.03  # |mean E| and mean |E| of a small target
    simplex = baselines.nelder_mead(polar, lowest_didt(0.5), found.x + np.array([2.0, -2.0, 15.0, 0, 0, 0]), 120)
    assert found.value - 0.005 <= simplex.value < found.value + 0.02
    boxes = baselines.direct(polar, lowest_didt(0.5), 300)
    assert boxes.evaluations <= 300
    assert np.exp(boxes.value - found.value) < 1.08


@pytest.mark.parametrize("step", [(0.0, 30.0), (5.0, float("nan"))])
def test_grids_that_are_none(polar, step):
    with pytest.raises(InputError, match="step"):
        baselines.grid_poses(polar, *step)


@pytest.mark.parametrize(
    "make",
    [
        lambda: lowest_didt(0.0),
        lambda: lowest_didt(1.2),
        lambda: lowest_didt(0.5, {"L5": -1.0}),
        lambda: lowest_didt(0.5, {}),
        lambda: selectivity(0.0),
        lambda: activation_map(-5.0),
        lambda: percentile_field(100.0),
    ],
)
def test_objectives_that_are_none(make):
    with pytest.raises(InputError):
        make()


def test_a_share_that_nothing_activates_is_refused(polar):
    """Cells that no field drives."""
    mute = dataclasses.replace(polar, search=tuple(dataclasses.replace(g, inputs=0 * g.inputs) for g in polar.search))
    with pytest.raises(InputError, match="no pose has a finite objective"):
        search(mute, lowest_didt(0.5), SHORT)
