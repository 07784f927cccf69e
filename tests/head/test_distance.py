"""The smooth distance from the scalp, on a sphere, and its derivatives (on S1: tests/coil/test_chart.py)."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spheres import layered_sphere

from tmsjax import head as heads
from tmsjax.core.errors import InputError


@pytest.fixture(scope="module")
def ball():
    head = heads.from_labels(*layered_sphere(2.0, {2: 60.0}, shift=(0.4, 0.7, 0.2)))
    return head, heads.scalp_distance(head)


@jax.jit
def at(distance, points):
    return distance.at(points)


def test_of_a_sphere(ball):
    rng = np.random.default_rng(0)
    out = rng.normal(size=(500, 3))
    points = out / np.linalg.norm(out, axis=1, keepdims=True) * rng.uniform(52, 85, (500, 1))
    found = at(ball[1], points)
    np.testing.assert_allclose(found, np.linalg.norm(points, axis=1) - 60, atol=0.8)  # voxel steps of 2 mm
    slope = jax.jit(jax.vmap(jax.grad(ball[1].at)))(jnp.asarray(points, jnp.float32))
    away = points / np.linalg.norm(points, axis=1, keepdims=True)
    assert np.median((np.asarray(slope) * away).sum(1)) == pytest.approx(1.0, abs=0.02)
    assert np.linalg.norm(slope - away, axis=1).max() < 0.35


def test_beyond_the_grid_it_goes_on_growing(ball):
    x = jnp.linspace(80.0, 200.0, 25)
    line = jnp.stack([x, 0 * x, 0 * x], 1)
    np.testing.assert_allclose(at(ball[1], line), x - 60, atol=3.0)  # a voxel of the grid
    assert np.isfinite(jax.jit(jax.grad(lambda p: ball[1].at(p).sum()))(line)).all()


def test_twice_differentiable(ball):
    """Steps of the second derivative along a line that crosses knots: bounded by the third times the step."""

    def along(t):
        return ball[1].at(jnp.array([0.31, 0.87, 0.38]) * t)

    t = jnp.linspace(60.0, 72.0, 481)
    second = np.asarray(jax.jit(jax.vmap(jax.grad(jax.grad(along))))(t))
    assert np.abs(np.diff(second)).max() < 0.1 * np.ptp(second)


def test_an_empty_scalp(ball):
    empty = heads.Surface(np.zeros((0, 3), np.float32), np.zeros((0, 3), np.int32))
    with pytest.raises(InputError, match="no scalp"):
        heads.scalp_distance(ball[0], scalp=empty)
