"""The uniform-field estimator: exact where it was simulated, continuous round the sphere."""

import jax
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.surrogate import evaluate, uniform

GRID = uniform.directions()


def smooth(d):
    return 200 + 40 * d[..., 2] + 30 * d[..., 0] * d[..., 1] - 20 * d[..., 1] ** 2


MAP = uniform.from_table(GRID, smooth(GRID))


def test_the_paper_s_grid():
    assert GRID.shape == (2522, 3)  # Aberra 2023, section 2.3
    np.testing.assert_allclose(np.linalg.norm(GRID, axis=1), 1)
    assert len(np.unique(np.round(GRID, 9), axis=0)) == 2522


def test_exact_at_its_directions_in_any_order_and_scale():
    np.testing.assert_allclose(MAP.predict(GRID * 3e-7), smooth(GRID), rtol=1e-4)
    order = np.random.default_rng(0).permutation(len(GRID))
    np.testing.assert_array_equal(uniform.from_table(GRID[order], smooth(GRID)[order]).table, MAP.table)


def test_close_between_them():
    d = np.random.default_rng(1).normal(size=(4000, 3))
    d /= np.linalg.norm(d, axis=1, keepdims=True)
    np.testing.assert_allclose(MAP.predict(d), smooth(d), rtol=1e-3)


def test_linear_between_two_nodes():
    theta, phi = np.deg2rad(52.5), np.deg2rad(357.5)  # across the seam, between four nodes
    d = np.array([[np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)]])
    table = np.asarray(MAP.table)
    assert float(MAP.predict(d)[0]) == pytest.approx(table[10:12][:, [71, 0]].mean(), rel=1e-5)


def test_periodic_and_right_at_the_poles():
    phi = np.linspace(-3 * np.pi, 3 * np.pi, 50)
    ring = np.stack([np.cos(phi), np.sin(phi), 0.3 + 0 * phi], -1)
    again = np.stack([np.cos(phi + 2 * np.pi), np.sin(phi + 2 * np.pi), 0.3 + 0 * phi], -1)
    np.testing.assert_allclose(MAP.predict(ring), MAP.predict(again), rtol=1e-4)
    seam = np.array([[1, 1e-7, 0.3], [1, -1e-7, 0.3], [1, 0.0, 0.3], [1, -0.0, 0.3]])
    np.testing.assert_allclose(MAP.predict(seam), float(MAP.predict(seam)[0]), rtol=1e-6)
    for z in (1.0, -1.0):
        near = np.stack([1e-5 * np.cos(phi), 1e-5 * np.sin(phi), z + 0 * phi], -1)
        np.testing.assert_allclose(MAP.predict(near), 200 + 40 * z, rtol=1e-4)
        assert float(MAP.predict(np.array([[0.0, 0.0, z]]))[0]) == pytest.approx(200 + 40 * z)


def test_turning_the_table_by_one_step_turns_the_map():
    a = np.deg2rad(5)
    turn = np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]])
    turned = uniform.from_table(GRID @ turn.T, smooth(GRID))
    d = np.random.default_rng(2).normal(size=(500, 3))
    np.testing.assert_allclose(turned.predict(d @ turn.T), MAP.predict(d), rtol=1e-4)


def test_gradients_are_finite_everywhere():
    d = np.concatenate([GRID[:3], GRID[-3:], [[0.3, -0.2, 0.9]]]).astype(np.float32)
    gradient = jax.grad(lambda e: MAP.predict(e).sum())(d)
    assert np.isfinite(gradient).all()
    h, e = 1e-3, d[-1:]
    for axis in np.eye(3, dtype=np.float32):
        difference = (MAP.predict(e + h * axis) - MAP.predict(e - h * axis)) / (2 * h)
        assert float(difference[0]) == pytest.approx(float(gradient[-1] @ axis), abs=0.3)


def test_a_dead_field_has_no_threshold():
    assert np.isnan(MAP.predict(np.zeros((1, 3)))[0])


def test_the_baseline_is_blind_to_gradients(model):
    """In fields that share the direction at the soma, whatever their gradients, it says the same."""
    d = GRID[[100, 900, 2000]].astype(np.float32)
    patches = np.ones((3, 9, 9, 9, 3), np.float32) * d[:, None, None, None]
    patches[:, 5:] *= 2
    scores = evaluate(model, patches, smooth(GRID[[100, 900, 2000]]), MAP)
    assert scores["uniform"]["mape_percent"] < 0.01
    assert scores["surrogate"]["mape_percent"] > 1


@pytest.mark.parametrize(
    ("directions", "values"),
    [(GRID[:-1], smooth(GRID)[:-1]), (GRID, -smooth(GRID)), (GRID[::-1] * [1, 1, 1.2], smooth(GRID)),
     (np.concatenate([GRID[:1], GRID[:-1]]), smooth(GRID))],
)  # fmt: skip
def test_other_tables_are_refused(directions, values):
    with pytest.raises(InputError):
        uniform.from_table(directions, values)


def test_steps_that_do_not_divide_are_refused():
    with pytest.raises(InputError):
        uniform.directions(7.0)
