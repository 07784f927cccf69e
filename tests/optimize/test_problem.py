"""What neurons see of a pose without a field on a grid, and its gradient."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sphere_cortex import LIMITS, TOP, along, law, population, sphere_head

import tmsjax as tj
from tmsjax.coil import check_outside
from tmsjax.core.errors import InputError
from tmsjax.efield import posemodel
from tmsjax.optimize import activation_map, lowest_didt, mean_field, percentile_field, prepare
from tmsjax.optimize.problem import drawn, gradients, look, values
from tmsjax.optimize.targets import of_population

X = drawn(LIMITS, 8, 3)


def test_thresholds_are_those_of_the_pose_models_field(mixed, pose_model, coil):
    """The same from the field on the grid, by ``response.thresholds``."""
    for row in X[:3]:
        pose = mixed.scalp.pose(jnp.asarray(row, jnp.float32))
        group = mixed.held_out[0]
        for sign in (1.0, -1.0):
            field = pose_model.field(coil, pose, didt=sign)
            wanted = tj.response.thresholds(group.model, field, group.population)
            seen = group.see(mixed.modes(pose), sign)
            predicted = np.where(np.isfinite(seen.log_didt), np.exp(seen.log_didt), np.nan)
            np.testing.assert_allclose(predicted, wanted.a_per_us, rtol=0.03)  # a cell that is hardly driven
            assert np.nanmedian(np.abs(predicted / wanted.a_per_us - 1)) < 1e-3
            known = wanted.ok
            assert known.mean() > 0.5
            e = wanted.v_per_m[known] / wanted.a_per_us[known]
            np.testing.assert_allclose(np.exp(seen.log_e)[known], e, rtol=3e-3)
    assert float(mixed.modes.lost) < 1e-3


OBJECTIVES = {
    "D50": lowest_didt(0.5),
    "D10": lowest_didt(0.1),
    "mean E": mean_field(),
    "p80 E": percentile_field(80),
    "map": activation_map(200.0),
}


def test_gradients_are_those_of_finite_differences(mixed):
    """Of every smooth objective: reverse mode against central differences of 0.1 mm and 0.4 degrees, in float32."""
    step = np.array([0.1, 0.1, 0.4, 1, 1, 1])

    def each(x):
        seen = look(mixed.scalp, mixed.modes, mixed.search, x, jnp.float32(1), True)
        return jnp.stack([objective.value(seen, jnp.float32(0.05)) for objective in OBJECTIVES.values()])

    ask = jax.jit(lambda x: (each(x), jax.jacrev(each)(x)))
    slopes = np.stack([ask(row)[1] for row in jnp.asarray(X, jnp.float32)])
    ends = [[np.stack([ask(row)[0] for row in jnp.asarray(X + s * step * np.eye(6)[n], jnp.float32)]) for s in (1, -1)]
            for n in range(3)]  # fmt: skip
    numeric = np.stack([(ends[n][0] - ends[n][1]) / (2 * step[n]) for n in range(3)], axis=2)
    error = np.linalg.norm(slopes[..., :3] - numeric, axis=2) / np.linalg.norm(numeric, axis=2)
    for k, name in enumerate(OBJECTIVES):
        assert np.median(error[:, k]) < 0.01, name
        assert error[:, k].max() < 0.1, name
    smooth, slope, hard = gradients(mixed, OBJECTIVES["D50"], X, 1, 0.05)
    np.testing.assert_allclose(slope, slopes[:, 0], rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(smooth, [ask(row)[0][0] for row in jnp.asarray(X, jnp.float32)], atol=1e-5)
    np.testing.assert_allclose(hard, values(mixed, OBJECTIVES["D50"], X, 1), atol=1e-5)


def test_the_smooth_objective_goes_to_the_hard_one(mixed):
    hard = values(mixed, lowest_didt(0.5), X, 1)
    off = [np.abs(values(mixed, lowest_didt(0.5), X, 1, tau=tau) - hard).max() for tau in (0.1, 0.01, 0.001)]
    assert off[2] < off[1] < off[0]
    assert off[2] < 0.02  # sixty cells: neighbours are that far apart


def test_turning_head_target_and_coil_together_changes_nothing(mixed, head, coil):
    """A quarter turn about the z axis, to the pose models' own error: their noise is drawn anew."""
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])
    turned_head = sphere_head(turn)
    before = mixed.search[0].population
    turned = dataclasses.replace(
        population(),
        positions=jnp.asarray(population().positions @ turn.T, jnp.float32),
        rotations=jnp.asarray(turn @ np.asarray(population().rotations), jnp.float32),
    )
    model = posemodel.precompute_region(turned_head, turn @ TOP, 9.0, rank=30, held_out=0)
    problem = prepare(
        turned_head, coil, of_population(turned), mixed.search[0].model, pose_model=model, variables=LIMITS
    )
    assert len(problem.search[0]) == len(before)
    there = []
    for row in X:
        pose = mixed.scalp.chart.pose(row[:2], row[2], row[3])
        moved = tj.coil.CoilPose(
            jnp.asarray(turn, jnp.float32) @ pose.rotation, jnp.asarray(turn, jnp.float32) @ pose.centre
        )
        c = problem.scalp.chart.coordinates(moved)
        there.append([*c.place_mm, c.handle_deg, c.gap_mm, 0.0, 0.0])
    np.testing.assert_allclose(
        values(problem, lowest_didt(0.5), np.array(there), 1), values(mixed, lowest_didt(0.5), X, 1), atol=0.01
    )


def test_poses_clear_the_scalp_whatever_is_asked(head, coil, mixed, pose_model):
    """Tilted by 15 degrees a wing would cut into the head: the coil is lifted, smoothly."""
    limits = dataclasses.replace(LIMITS, tilt_deg=15.0, gap_mm=(0.0, 4.0))
    problem = prepare(
        head, coil, of_population(population()), law(along([1.0, 0, 0])), pose_model=pose_model, variables=limits
    )
    x = drawn(limits, 12, 0)
    for row in x:
        pose = problem.scalp.pose(jnp.asarray(row, jnp.float32))
        check_outside(head, coil, pose)
        assert float(problem.scalp.slack(pose)) >= 0.0
        assert bool(pose_model.covers(coil, pose))
    worst = np.array([0.0, 0, 0, 0, 15.0, 0])
    assert float(problem.scalp.lift(jnp.asarray(worst, jnp.float32))) > 2.0
    slope = jax.grad(lambda x: problem.scalp.lift(x))(jnp.asarray(worst, jnp.float32))
    assert np.isfinite(slope).all()
    assert float(slope[4]) > 0.05


def test_a_pose_model_of_another_head_is_refused(head, coil, pose_model):
    other = dataclasses.replace(head, conductivity={**head.conductivity, 2: 0.3})
    with pytest.raises(InputError, match="belongs to another head"):
        prepare(other, coil, of_population(population()), law(along([1.0, 0, 0])), pose_model=pose_model)


def test_a_model_without_a_grid_and_layers_without_a_surrogate(head, coil, pose_model):
    target, model = of_population(population()), law(along([1.0, 0, 0]))
    points = pose_model.resampled(np.asarray(pose_model.points_mm)[:20])
    with pytest.raises(InputError, match="has no grid"):
        prepare(head, coil, target, model, pose_model=points)
    with pytest.raises(InputError, match="surrogates of the target's layers"):
        prepare(head, coil, target, {"L23": model}, pose_model=pose_model)


def test_a_population_outside_the_models_domain_is_refused(head, coil, pose_model):
    beside = of_population(population(middle=np.array([0.0, 18.0, 37.0])))
    with pytest.raises(InputError, match="no neuron of the population lies in the pose model's domain"):
        prepare(head, coil, beside, law(along([1.0, 0, 0])), pose_model=pose_model, variables=LIMITS)


def test_a_search_beyond_the_pose_model_is_refused(head, coil, pose_model):
    near = dataclasses.replace(pose_model, reach_mm=jnp.float32(20.0))
    with pytest.raises(InputError, match="leaves the pose model's domain"):
        prepare(head, coil, of_population(population()), law(along([1.0, 0, 0])), pose_model=near, variables=LIMITS)


def test_the_card_says_what_it_was_made_from(mixed):
    assert json.loads(mixed.made)["head"] == "sphere"
    assert mixed.dropped == 0.0
