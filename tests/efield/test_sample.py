import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.efield import EField

AFFINE = np.array([[2.0, 0, 0, -10], [0, 2, 0, -12], [0, 0, 2, -8], [0, 0, 0, 1]])


def linear(x):
    return np.asarray(x) @ np.array([[0.1, 0.2, -0.3], [0.4, -0.5, 0.6], [-0.7, 0.8, 0.9]]) + 1.0


def make(mask=None):
    shape = (10, 12, 9)
    centres = (
        np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), -1) @ AFFINE[:3, :3].T + AFFINE[:3, 3]
    )
    mask = np.ones(shape, bool) if mask is None else mask
    values = np.where(mask[..., None], linear(centres), 0)
    one = jnp.asarray(1e-5, jnp.float32)
    return EField(
        jnp.asarray(values, jnp.float32), jnp.asarray(mask), jnp.asarray(AFFINE, jnp.float32), one, jnp.asarray(7), 1e-4
    )


@pytest.fixture(scope="module")
def points():
    return np.random.default_rng(1).uniform([-9, -11, -7], [7, 9, 7], (300, 3)).astype(np.float32)


def test_a_linear_field_is_exact(points):
    np.testing.assert_allclose(make().at(points), linear(points), atol=2e-5)


def test_jacobian_of_a_linear_field(points):
    field = make()
    jacobian = jax.vmap(jax.jacfwd(lambda x: field.at(x[None])[0]))(jnp.asarray(points[:5]) + 0.01)
    expected = (linear(np.eye(3)) - linear(np.zeros((3, 3)))).T
    np.testing.assert_allclose(jacobian, np.broadcast_to(expected, (5, 3, 3)), atol=1e-4)


def test_gradient_in_the_values_sums_the_weights(points):
    field = make()
    gradient = jax.grad(lambda v: jnp.sum(dataclasses.replace(field, values=v).at(points)[:, 0]))(field.values)
    assert float(gradient[..., 0].sum()) == pytest.approx(len(points), rel=1e-5)
    assert float(jnp.abs(gradient[..., 1:]).max()) == 0


def test_air_does_not_leak_in():
    """A constant field in tissue stays that constant up to the last half voxel, though air next to it holds zeros."""
    mask = np.zeros((10, 12, 9), bool)
    mask[:5] = True
    field = make(mask)
    field = dataclasses.replace(field, values=3.0 * jnp.broadcast_to(field.mask[..., None], field.values.shape))
    edge = np.array([[-10 + 2 * 4 + 0.9, 0, 0], [-10 + 2 * 4 - 0.5, 1, 1]], np.float32)
    np.testing.assert_allclose(field.at(edge), 3.0, rtol=1e-6)
    beyond = np.array([[-10 + 2 * 4 + 1.1, 0, 0]], np.float32)
    assert not bool(field.inside(beyond)[0])
    assert bool(field.inside(edge).all())
    with pytest.raises(InputError, match="1 of 1 points"):
        field.at(beyond)


def test_points_off_the_grid():
    field = make()
    away = np.array([[0, 0, 0], [-11.5, 0, 0], [1e4, 0, 0]], np.float32)
    assert np.asarray(field.inside(away)).tolist() == [True, False, False]
    with pytest.raises(InputError, match=r"2 of 3 points, the first at \[-11.5, 0.0, 0.0\]"):
        field.at(away)
    masked = np.asarray(field.at(away, outside="nan"))
    assert np.isnan(masked[1:]).all()
    assert np.isfinite(masked[0]).all()
    assert np.isnan(np.asarray(jax.jit(field.at)(away))[1:]).all()


def test_nan_in_the_field():
    field = make()
    broken = dataclasses.replace(field, values=field.values.at[5, 6, 4, 1].set(jnp.nan))
    with pytest.raises(InputError, match="not finite"):
        broken.at(np.array([[0.1, 0.2, 0.3]], np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_points_that_are_not_finite(value):
    field = make()
    points = np.array([[0, 0, 0], [1, value, 0]], np.float32)
    with pytest.raises(InputError, match=r"points are not finite\n.*1 of 2 points, first in row 1"):
        field.at(points)
    assert np.asarray(field.inside(points)).tolist() == [True, False]
    masked = np.asarray(field.at(points, outside="nan"))
    assert np.isnan(masked[1]).all()
    assert np.isfinite(masked[0]).all()


def test_a_single_point():
    field = make()
    one = np.array([1.2, -3.0, 4.0], np.float32)
    assert field.at(one).shape == (3,)
    np.testing.assert_allclose(field.at(one), linear(one), atol=2e-5)
    assert bool(field.inside(one))
    assert field.inside(one).shape == ()
    with pytest.raises(InputError, match="1 of 1 points"):
        field.at([1e4, 0.0, 0.0])


def test_wrong_shape_and_choice():
    for bad, message in (
        (np.zeros((3, 2)), "shape"),
        (np.zeros((1, 3), complex), "no real"),
        (np.ones((1, 3), bool), "no real"),
    ):
        with pytest.raises(InputError, match=message):
            make().at(bad)
        with pytest.raises(InputError, match=message):
            make().inside(bad)
    with pytest.raises(InputError, match="outside"):
        make().at(np.zeros((1, 3)), outside="zero")


def test_status_is_a_sentence_when_the_solver_stopped_short():
    field = dataclasses.replace(make(), residual=jnp.asarray(3e-3))
    assert field.status == "not converged: residual 3.0e-03 above 1.0e-04"
