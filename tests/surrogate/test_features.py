"""The polynomial fit of a patch, against numpy's least squares and polynomials known beforehand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmsjax.core.errors import InputError
from tmsjax.surrogate import features


def monomials(n, degree):
    t = np.linspace(-1, 1, n)
    x, y, z = np.meshgrid(t, t, t, indexing="ij")
    return np.stack([x**i * y**j * z**k for i, j, k in features.exponents(degree)], -1)


@pytest.mark.parametrize(("n", "degree"), [(9, 1), (9, 2), (9, 3), (9, 4), (9, 6), (4, 2), (5, 4)])
def test_exact_on_polynomials_of_its_degree(n, degree):
    weights = np.random.default_rng(degree).normal(size=(len(features.exponents(degree)), 3))
    patch = jnp.asarray(monomials(n, degree) @ weights, jnp.float32)
    c = features.coefficients(patch, degree)
    assert c.shape == (features.count(degree),)
    np.testing.assert_allclose(features.polynomial(c, n, degree), patch, atol=2e-5)


def test_is_the_least_squares_fit_of_any_patch():
    patch = np.random.default_rng(0).normal(size=(9, 9, 9, 3))
    a = monomials(9, 3).reshape(729, -1)
    expected = (a @ np.linalg.lstsq(a, patch.reshape(729, 3), rcond=None)[0]).reshape(patch.shape)
    c = features.coefficients(jnp.asarray(patch, jnp.float32), 3)
    np.testing.assert_allclose(features.polynomial(c, 9, 3), expected, atol=1e-5)


def test_lower_degrees_are_the_first_coefficients():
    patch = jax.random.normal(jax.random.key(0), (9, 9, 9, 3))
    high = features.coefficients(patch, 4)
    for degree, count in zip((0, 1, 2, 3), (3, 12, 30, 60), strict=True):
        assert features.count(degree) == count
        np.testing.assert_allclose(features.coefficients(patch, degree), high[:count], atol=1e-6)
    np.testing.assert_allclose(high[:3], patch.mean((0, 1, 2)), atol=1e-6)


def test_axes_are_x_y_z():
    t = jnp.linspace(-1, 1, 9)
    patch = jnp.zeros((9, 9, 9, 3)).at[..., 2].set(t[:, None, None])  # E_z rises along x
    c = features.coefficients(patch, 1).reshape(4, 3)
    row = features.exponents(1).index((1, 0, 0))
    assert abs(float(c[row, 2])) > 0.5
    np.testing.assert_allclose(np.delete(np.asarray(c).ravel(), 3 * row + 2), 0, atol=1e-6)


@settings(deadline=None, max_examples=30)
@given(st.floats(-30, 30), st.integers(0, 2**31))
def test_normalisation_takes_the_scale_away(log10, seed):
    patch = jax.random.normal(jax.random.key(seed), (3, 3, 3, 3)) + 0.5
    plain, scaled = features.normalise(patch), features.normalise(patch * np.float32(10.0**log10))
    assert bool(plain.ok)
    assert bool(scaled.ok)
    np.testing.assert_allclose(scaled.patch, plain.patch, rtol=2e-5, atol=2e-5)
    np.testing.assert_allclose(scaled.magnitude, plain.magnitude * np.float32(10.0**log10), rtol=2e-5)
    np.testing.assert_allclose(jnp.linalg.norm(features.centre_field(plain.patch)), 1, rtol=1e-5)


@pytest.mark.parametrize("n", [4, 9])
def test_centre_of_a_linear_field_is_its_mean(n):
    slope = jax.random.normal(jax.random.key(1), (3, 3))
    t = jnp.linspace(-1, 1, n)
    patch = jnp.stack(jnp.meshgrid(t, t, t, indexing="ij"), -1) @ slope + jnp.array([1.0, 2.0, 3.0])
    np.testing.assert_allclose(features.centre_field(patch), [1, 2, 3], atol=1e-5)


@pytest.mark.parametrize("bad", ["nan", "inf", "zero", "dead centre"])
def test_what_cannot_be_normalised_is_flagged(bad):
    patch = jnp.ones((9, 9, 9, 3))
    patch = {
        "nan": patch.at[0, 1, 2, 0].set(jnp.nan),
        "inf": patch.at[4, 4, 4, 1].set(jnp.inf),
        "zero": 0 * patch,
        "dead centre": patch.at[4, 4, 4].set(0),
    }[bad]
    result = features.normalise(patch)
    assert not bool(result.ok)
    assert bool(jnp.isnan(result.magnitude))


def test_a_grid_too_coarse_is_refused():
    with pytest.raises(InputError, match="too coarse"):
        features.coefficients(jnp.ones((3, 3, 3, 3)), 3)


def test_a_sample_that_is_not_finite_is_found_wherever_it_is():
    patches = np.ones((9, 5, 5, 5, 3), np.float32)
    for row, place in enumerate(np.random.default_rng(0).integers(0, 5, (8, 3))):
        patches[row, *place, row % 3] = np.nan if row % 2 else np.inf
    found = jax.jit(jax.vmap(features.normalise))(patches)
    np.testing.assert_array_equal(found.ok, [False] * 8 + [True])
