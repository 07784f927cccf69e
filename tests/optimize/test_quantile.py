"""Smooth quantiles: what they solve, their derivative, their limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads

from tmsjax.optimize.quantile import quantile, smooth_quantile

RNG = np.random.default_rng(0)
VALUES = jnp.asarray(RNG.normal(5.0, 0.4, 200), jnp.float32)
WEIGHTS = jnp.asarray(RNG.uniform(0.5, 2.0, 200), jnp.float32)
solve = jax.jit(lambda *args: smooth_quantile(*map(jnp.asarray, args)))


@settings(max_examples=20, deadline=None)
@given(share=st.floats(0.02, 0.98), tau=st.floats(0.01, 0.5))
def test_it_solves_its_equation(share, tau):
    x = solve(VALUES, WEIGHTS, share, tau)
    reached = np.sum(WEIGHTS * jax.nn.sigmoid((x - VALUES) / tau)) / np.sum(WEIGHTS)
    assert reached == pytest.approx(share, abs=2e-5)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_it_becomes_the_plain_one(share):
    ordered = np.sort(VALUES)
    hard = float(quantile(VALUES, jnp.ones(200), jnp.float32(share)))
    assert hard == ordered[round(share * 200) - 1]
    off = [abs(float(solve(VALUES, jnp.ones(200), share, tau)) - hard) for tau in (0.1, 0.01, 0.0001)]
    gap = ordered[round(share * 200)] - hard
    assert off[2] <= gap + 1e-4
    assert off[2] < off[0]


def test_the_plain_one_is_weighted_and_knows_what_is_never_reached():
    values, weights = jnp.array([3.0, 1.0, 2.0, jnp.inf]), jnp.array([1.0, 2.0, 1.0, 4.0])
    assert [float(quantile(values, weights, jnp.float32(s))) for s in (0.2, 0.25, 0.3, 0.5)] == [1.0, 1.0, 2.0, 3.0]
    assert float(quantile(values, weights, jnp.float32(0.6))) == np.inf


def test_its_derivative_is_that_of_the_equation_and_ignores_what_is_never_reached():
    with jax.enable_x64(True):
        values, weights = jnp.asarray(VALUES, jnp.float64), jnp.asarray(WEIGHTS, jnp.float64)
        check_grads(lambda v, s: solve(v, weights, s, 0.05), (values, 0.3), 1, eps=1e-5)
        slope = jax.grad(lambda v: solve(v, weights, 0.3, 0.05))(values.at[0].set(jnp.inf))
        assert float(slope[0]) == 0.0
        assert float(slope.sum()) == pytest.approx(1.0)  # all later by x, the quantile too
