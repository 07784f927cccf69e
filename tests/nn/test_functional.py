"""Modules as pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.test_util import check_grads

from tmsjax import nn
from tmsjax.core.errors import InputError


class Net(nnx.Module):
    def __init__(self, rngs: nnx.Rngs) -> None:
        self.inner = nnx.Linear(3, 4, rngs=rngs)
        self.outer = nnx.Linear(4, 1, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.outer(jnp.tanh(self.inner(x)))[0]


net = nn.functional(Net)
x = jnp.array([0.3, -1.0, 2.0])


def test_init_depends_on_the_key_alone():
    a, b, c = net.init(jax.random.key(0)), net.init(jax.random.key(0)), net.init(jax.random.key(1))
    assert a["inner"]["kernel"].shape == (3, 4)
    assert jax.tree.all(jax.tree.map(lambda p, q: bool((p == q).all()), a, b))
    assert not np.allclose(a["inner"]["kernel"], c["inner"]["kernel"])


def test_apply_is_the_module_and_pure():
    variables = net.init(jax.random.key(0))
    expected = Net(nnx.Rngs(jax.random.key(0)))(x)
    np.testing.assert_array_equal(net.apply(variables, x), expected)
    doubled = jax.tree.map(lambda leaf: 2 * leaf, variables)
    assert not np.allclose(net.apply(doubled, x), expected)
    np.testing.assert_array_equal(net.apply(variables, x), expected)


def test_plain_jax_transformations_take_it():
    variables = net.init(jax.random.key(0))
    many = jnp.stack([x, -x, 2 * x])
    batch = jax.jit(jax.vmap(net.apply, (None, 0)))(variables, many)
    np.testing.assert_allclose(batch, [net.apply(variables, row) for row in many], rtol=1e-6)
    check_grads(lambda v: net.apply(v, x), (variables,), order=1, modes=["rev"], rtol=1e-2)


def test_state_beside_the_parameters_is_refused():
    with pytest.raises(InputError, match="mean"):
        nn.functional(lambda rngs: nnx.BatchNorm(3, rngs=rngs))
