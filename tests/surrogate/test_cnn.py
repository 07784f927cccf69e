import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.surrogate import Surrogate, cnn, train
from tmsjax.surrogate.cnn import CnnSpec
from tmsjax.surrogate.domain import fit
from tmsjax.surrogate.examples import coefficients_of

SMALL = CnnSpec(filters=10, units=6)


def patches(b=3, n=9, seed=0):
    x = np.random.default_rng(seed).standard_normal((b, n, n, n, 3)) * 0.3 + np.array([0.0, 0.0, 1.0])
    return jnp.asarray(x, jnp.float32)


def test_layers_of_the_paper():
    """Table 1: 115 filters and 57 units shrink by 0.8; 7, 5, 3, 1 samples a side after each convolution."""
    spec = CnnSpec()
    assert spec.widths == ((115, 92, 73, 58), (57, 45, 36))
    shapes = jax.eval_shape(cnn.network(spec, 9).init, jax.random.key(0))
    count = sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(shapes))
    conv = sum(27 * a * b + b for a, b in ((3, 115), (115, 92), (92, 73), (73, 58)))
    assert count == conv + sum(a * b + b for a, b in ((58, 57), (57, 45), (45, 36), (36, 1)))


def test_glorot_uniform_start():
    variables = cnn.network(CnnSpec(), 9).init(jax.random.key(0))
    kernel = np.asarray(variables["kernels"][1])
    assert np.abs(kernel).max() == pytest.approx(np.sqrt(6 / (27 * (115 + 92))), rel=1e-3)
    assert not np.asarray(variables["biases"][0]).any()


@pytest.mark.parametrize(
    ("spec", "n"),
    [
        (SMALL, 9),
        (dataclasses.replace(SMALL, coordinates="spherical", activation="leaky_relu"), 9),
        (dataclasses.replace(SMALL, upsample=9), 5),
        *((dataclasses.replace(cnn.variable_size(n), filters=10, units=6), n) for n in (3, 5, 7)),
    ],
)
def test_both_formulations_agree(spec, n):
    net = cnn.network(spec, n)
    variables = net.init(jax.random.key(1))
    x = jax.vmap(lambda p: cnn.inputs(spec, p))(patches(n=n))
    plain, fast = net.apply(variables, x), net.apply(variables, x, fast=True)
    np.testing.assert_allclose(fast, plain, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(cnn.thresholds(spec, variables, patches(n=n)), plain, rtol=1e-4, atol=1e-5)


def test_spherical_coordinates_by_hand():
    field = jnp.array([[0.0, 0.0, 2.0], [0.0, 0.0, -1.0], [3.0, 4.0, 0.0], [0.0, -1.0, 1.0], [0.0, 0.0, 0.0]])
    expected = [[2, 0, 0, 0], [1, np.pi, 0, 0], [5, np.pi / 2, 0.6, 0.8], [2**0.5, np.pi / 4, 0, -1], [0, 0, 0, 0]]
    np.testing.assert_allclose(cnn.spherical(field), expected, atol=1e-6)
    assert np.isfinite(jax.jacobian(cnn.spherical)(field)).all()


def test_upsampling_keeps_a_linear_field():
    ticks = jnp.linspace(-1, 1, 5)
    x, y, z = jnp.meshgrid(ticks, ticks, ticks, indexing="ij")
    up = cnn.inputs(CnnSpec(upsample=9), jnp.stack([x + 2 * y, z, 1 - x], -1))
    ticks = jnp.linspace(-1, 1, 9)
    x, y, z = jnp.meshgrid(ticks, ticks, ticks, indexing="ij")
    np.testing.assert_allclose(up, jnp.stack([x + 2 * y, z, 1 - x], -1), atol=1e-6)


@pytest.mark.parametrize(
    ("spec", "n"),
    [
        (CnnSpec(), 7),
        (CnnSpec(upsample=5), 9),
        (CnnSpec(shrink=0.0), 9),
        (CnnSpec(activation="tanh"), 9),
        (CnnSpec(coordinates="polar"), 9),
    ],
)
def test_refuses_networks_that_cannot_be(spec, n):
    with pytest.raises(InputError):
        spec.check(n)


def test_no_network_of_the_paper_for_four_samples():
    with pytest.raises(InputError, match="no network"):
        cnn.variable_size(4)


def test_the_support_functions_trainer_refuses_a_network(spec):
    network = dataclasses.replace(spec, family="cnn", model=SMALL)
    with pytest.raises(InputError, match="support-function"):
        train(patches(60), np.full(60, 200.0), network, 0)


def test_predicts_as_a_surrogate(spec):
    """Through the same calls as every surrogate: free of the field's scale, one by one as together, with gradients."""
    network = dataclasses.replace(spec, family="cnn", model=dataclasses.replace(SMALL, unit_v_per_m=200.0))
    few = patches(40)
    model = Surrogate(cnn.network(SMALL, 9).init(jax.random.key(4)), fit(coefficients_of(few, 2), 2), network)
    together = model.predict(few)
    np.testing.assert_allclose(model.predict(few * 37.0), together, rtol=1e-4)
    np.testing.assert_allclose(
        jnp.concatenate([model.predict(few[i : i + 1]) for i in range(3)]), together[:3], rtol=1e-4
    )
    gradient = jax.grad(lambda x: model.predict(x).sum())(few[:2])
    assert jnp.abs(gradient).max() > 0
    np.testing.assert_allclose(jnp.sum(gradient * few[:2], (1, 2, 3, 4)), 0, atol=1e-2 * jnp.abs(gradient).max())


def test_kernels_are_made_ready_once_and_not_saved(spec, monkeypatch):
    """Eager, compiled, vmapped and differentiated predictions take the same kernels; nothing is added to save."""
    network = dataclasses.replace(spec, family="cnn", model=dataclasses.replace(SMALL, unit_v_per_m=200.0))
    few = patches(6)
    variables = cnn.network(SMALL, 9).init(jax.random.key(4))
    model = Surrogate(variables, fit(coefficients_of(patches(40), 2), 2), network)
    unit = few / jnp.linalg.norm(few[:, 4, 4, 4], axis=-1)[:, None, None, None, None]
    plain = cnn.thresholds(network.model, variables, unit)
    np.testing.assert_allclose(model.predict(few), plain, rtol=1e-4)
    calls = []
    monkeypatch.setattr(cnn.minimal_filtering, "transformed", lambda *a: calls.append(a))
    np.testing.assert_allclose(jax.jit(model.predict)(few), plain, rtol=1e-4)
    np.testing.assert_allclose(jax.vmap(lambda x: model.predict(x[None])[0])(few), plain, rtol=1e-4)
    slope = jax.jit(jax.grad(lambda x: model.predict(x).sum()))(few)
    assert np.isfinite(slope).all()
    assert np.abs(slope).max() > 0
    assert not calls
    assert set(model.variables) == set(variables)
    assert len(jax.tree.leaves(model)) == len(jax.tree.leaves((variables, model.domain)))


@pytest.mark.parametrize("spec", [SMALL, dataclasses.replace(SMALL, batch_norm="after", output="log")])
def test_prepared_kernels_give_the_same_thresholds(spec):
    variables = cnn.network(spec, 9).init(jax.random.key(4))
    ready = cnn.prepared(spec, variables, 9)
    assert set(ready) == {*variables, "ready"}
    np.testing.assert_allclose(
        cnn.thresholds(spec, ready, patches(20)), cnn.thresholds(spec, variables, patches(20)), rtol=1e-5
    )


def test_outputs_are_thresholds_or_their_logarithms():
    variables = cnn.network(SMALL, 9).init(jax.random.key(4))
    log = dataclasses.replace(SMALL, output="log", unit_v_per_m=150.0)
    plain = cnn.thresholds(SMALL, variables, patches())
    np.testing.assert_allclose(cnn.thresholds(log, variables, patches()), 150 * np.exp(plain), rtol=1e-5)


def test_dropout_and_batch_statistics_only_with_a_key():
    spec = dataclasses.replace(SMALL, dropout=0.5, batch_norm="before")
    net = cnn.network(spec, 9)
    variables = net.init(jax.random.key(5))
    np.testing.assert_array_equal(net.apply(variables, patches()), net.apply(variables, patches()))
    first, averages = net.apply(variables, patches(), key=jax.random.key(0))
    other, _ = net.apply(variables, patches(), key=jax.random.key(1))
    assert not np.allclose(first, other)
    fast, _ = net.apply(variables, patches(), key=jax.random.key(0), fast=True)
    np.testing.assert_allclose(fast, first, rtol=1e-3, atol=1e-4)
    # The first layer's running mean has moved a hundredth of the way to the batch's.
    kernel = variables["kernels"][0]
    batch = jax.lax.conv_general_dilated(
        patches(), kernel, (1, 1, 1), "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC")
    )
    np.testing.assert_allclose(averages[0][0], 0.01 * batch.mean((0, 1, 2, 3)), atol=1e-5)
    np.testing.assert_allclose(averages[0][1], 0.99 + 0.01 * batch.var((0, 1, 2, 3)), rtol=1e-4)
