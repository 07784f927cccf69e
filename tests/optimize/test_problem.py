"""What neurons see of a pose without a field on a grid, and its gradient."""

import dataclasses
import json

import jax.numpy as jnp
import numpy as np
import pytest
from sphere_cortex import LIMITS, TOP, along, law, population, sphere_head, sphere_pose_model

import tmsjax as tj
from tmsjax.coil import check_outside
from tmsjax.core.errors import InputError
from tmsjax.optimize import activation_map, lowest_didt, mean_field, percentile_field, prepare
from tmsjax.optimize.neurons import in_domain
from tmsjax.optimize.problem import drawn, gradients, values
from tmsjax.optimize.scalp import batch_of_tangents, held_at, poses
from tmsjax.optimize.targets import of_population

X = drawn(LIMITS, 8, 3)


def test_the_pose_model_of_these_tests_is_right(pose_model, coil, mixed):
    """Against the closed form of a sphere's field."""
    for rotation, centre in zip(*dataclasses.astuple(poses(mixed.scalp, X[:4])), strict=True):
        pose = tj.coil.CoilPose(rotation, centre)
        exact = np.asarray(tj.efield.sphere_efield(coil, pose, pose_model.points_mm, np.zeros(3)))
        assert np.linalg.norm(pose_model(coil, pose) - exact) < 0.006 * np.linalg.norm(exact)


def test_thresholds_are_those_of_the_pose_models_field(mixed, pose_model, coil):
    """The same from the field on the grid, by ``response.thresholds``."""
    for rotation, centre in zip(*dataclasses.astuple(poses(mixed.scalp, X[:3])), strict=True):
        pose = tj.coil.CoilPose(rotation, centre)
        group = mixed.held_out[0]
        for sign in (1.0, -1.0):
            field = pose_model.field(coil, pose, didt=sign)
            wanted = tj.response.thresholds(group.model, field, group.population)
            seen = group.see(mixed.modes(pose), sign)
            predicted = np.where(np.isfinite(seen.log_didt), np.exp(seen.log_didt), np.nan)
            driven = wanted.a_per_us < 1e4  # what is hardly driven at all is the difference of large numbers
            np.testing.assert_allclose(predicted[driven], wanted.a_per_us[driven], rtol=3e-3)
            assert (np.nan_to_num(predicted[~driven], nan=np.inf) > 9e3).all()
            assert np.nanmedian(np.abs(predicted / wanted.a_per_us - 1)) < 1e-3
            inside = group.model.in_domain(group.model.sample(field, group.population))
            assert np.mean(inside == in_domain(group, mixed.modes(pose))) > 0.97  # but for those at the limit itself
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


@pytest.mark.parametrize("name", OBJECTIVES)
def test_gradients_are_those_of_finite_differences(mixed, name):
    """Of every smooth objective: central differences of 0.1 mm and 0.4 degrees, in float32."""
    objective, tau = OBJECTIVES[name], 0.05
    step = np.array([0.1, 0.1, 0.4])
    smooth, slope, hard = gradients(mixed, objective, X, 1, tau)
    moved = [X + sign * step[n] * np.eye(6)[n] for n in range(3) for sign in (1, -1)]
    ends = values(mixed, objective, np.concatenate(moved), 1, tau=tau).reshape(3, 2, len(X))
    numeric = ((ends[:, 0] - ends[:, 1]) / (2 * step[:, None])).T
    error = np.linalg.norm(slope[:, :3] - numeric, axis=1) / np.linalg.norm(numeric, axis=1)
    assert np.median(error) < 0.01
    assert error.max() < 0.1
    np.testing.assert_allclose(smooth, values(mixed, objective, X, 1, tau=tau), atol=1e-5)
    np.testing.assert_allclose(hard, values(mixed, objective, X, 1), atol=1e-5)


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
    model = sphere_pose_model(turned_head, turn @ TOP, seed=1)
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
    held = held_at(problem.scalp, x)
    assert float(held.slack_mm.min()) >= 0.0
    for rotation, centre in zip(held.pose.rotation, held.pose.centre, strict=True):
        pose = tj.coil.CoilPose(rotation, centre)
        check_outside(head, coil, pose)
        assert bool(pose_model.covers(coil, pose))
    tilted = np.array([[0.0, 0, 0, 0, tilt, 0] for tilt in (14.8, 15.0)])
    held = held_at(problem.scalp, tilted)
    assert float(held.lift_mm[1]) > 2.0
    pose, moved = batch_of_tangents(problem.scalp, jnp.asarray(tilted, jnp.float32))
    # Lifted along its own axis, and turned about itself: what a degree more does to its centre.
    slope = (held.pose.centre[1] - held.pose.centre[0]) / 0.2
    np.testing.assert_allclose(moved.centre[1, 4], slope, atol=0.02)
    assert float(jnp.linalg.norm(slope)) > 0.05


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
