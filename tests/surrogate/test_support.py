"""The support function itself: limits, homogeneity, gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from synthetic_thresholds import fields

from tmsjax.core.errors import InputError
from tmsjax.surrogate import SupportSpec, features, support


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(-100, 100, width=32), min_size=2, max_size=20), st.floats(2, 400))
def test_p_norm_lies_between_its_bounds(drive, q):
    a = np.array(drive, np.float32)
    value = float(support.p_norm(jnp.asarray(a), jnp.float32(q)))
    top = max(float(a.max()), 0.0)
    flushed = float(np.finfo(np.float32).tiny)  # below it, a device may count any number as 0
    assert top * (1 - 1e-5) - flushed <= value <= top * len(a) ** (1 / q) * (1 + 1e-5)


def test_p_norm_by_hand_and_far_from_overflow():
    assert float(support.p_norm(jnp.array([3.0, 4.0, -5.0]), jnp.float32(2))) == pytest.approx(5.0)
    assert float(support.p_norm(jnp.array([3e30, 4e30]), jnp.float32(40))) == pytest.approx(4e30, rel=1e-5)
    assert float(support.p_norm(jnp.array([-1.0, -2.0]), jnp.float32(40))) == 0.0
    assert np.isnan(float(support.p_norm(jnp.array([1.0, jnp.nan]), jnp.float32(40))))


def test_p_norm_gradients():
    drive = jnp.array([0.5, 1.0, 0.9, -0.7])
    norm = lambda a, q: support.p_norm(jnp.asarray(a), jnp.asarray(q))  # noqa: E731
    check_grads(norm, (drive, jnp.float32(8.0)), order=1, modes=["rev"], atol=2e-3, rtol=2e-2)
    gradient = jax.grad(support.p_norm)(jnp.array([0.0, 1.0, -1.0]), jnp.float32(30.0))
    np.testing.assert_allclose(gradient, [0, 1, 0], atol=1e-6)
    assert np.isfinite(jax.grad(support.p_norm)(jnp.array([-1.0, -1.0]), jnp.float32(30.0))).all()


@pytest.mark.parametrize("form", ["pnorm", "logsumexp"])
def test_a_single_functional_is_linear(form):
    """Uniform field along z, one functional of gain 1/200 along z among weak ones: the threshold is 200 V/m."""
    spec = SupportSpec((1,), 6, form)
    kernel = np.zeros((6, 12), np.float32)
    kernel[0, 2] = 1 / 200
    variables = {
        "member_0": {"kernel": kernel, "log_sharpness": np.float32(np.log(200.0 * 50 if form == "logsumexp" else 50))}
    }
    patch = jnp.zeros((9, 9, 9, 3)).at[..., 2].set(1.0)
    assert 1 / float(support.reciprocal(spec, variables, patch)) == pytest.approx(200, rel=1e-3)


def test_p_norm_form_is_homogeneous_without_normalisation(model):
    patch = jnp.asarray(fields(1, 3)[0])
    one = support.reciprocal(model.spec.model, model.variables, patch)
    three = support.reciprocal(model.spec.model, model.variables, 3 * patch)
    np.testing.assert_allclose(three, 3 * one, rtol=1e-5)


def test_members_see_the_fit_of_their_own_degree(model):
    """Adding a cubic polynomial to the patch leaves the quadratic member alone and changes the others."""
    patch = jnp.asarray(fields(1, 4)[0])
    c = np.zeros(features.count(3), np.float32)
    c[features.count(2) :] = 0.2 * float(jnp.abs(patch).max())
    changed = patch + features.polynomial(jnp.asarray(c), 9, 3)
    first, second = (
        support.from_coefficients(model.spec.model, model.variables, features.coefficients(p, 4))
        for p in (patch, changed)
    )
    np.testing.assert_allclose(first[0], second[0], rtol=1e-5)
    assert (np.abs(first[1:] / second[1:] - 1) > 1e-3).all()


def test_members_that_see_the_samples():
    """A degree beside two members that read one sample each: the median is of the three."""
    spec = SupportSpec((1,), 4, "pnorm", samples=2)
    polynomial = np.zeros((4, 12), np.float32)
    polynomial[0, 2] = 1 / 100
    one, other = np.zeros((2, 4, 81), np.float32)
    one[1, 2], other[3, 80] = 1 / 200, 1 / 300
    sharp = np.float32(np.log(50))
    kernels = (polynomial, one, other)
    variables = {f"member_{i}": {"kernel": k, "log_sharpness": sharp} for i, k in enumerate(kernels)}
    patch = jnp.zeros((3, 3, 3, 3)).at[..., 2].set(1.0)
    each = support.members(spec, variables, patch)
    np.testing.assert_allclose(1 / each, [100, 200, 300], rtol=1e-5)
    assert 1 / float(support.reciprocal(spec, variables, patch)) == pytest.approx(200, rel=1e-5)


@pytest.mark.parametrize("bad", [((),), ((0,),), ((9,),), ((2,), 1), ((2,), 8, "max"), ((2,), 8, "pnorm", -1)])
def test_specs_that_cannot_be_built_are_refused(bad):
    with pytest.raises(InputError):
        SupportSpec(*bad).check(9)
