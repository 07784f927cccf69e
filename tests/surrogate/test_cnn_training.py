"""Training of the network on synthetic thresholds whose law is known; nothing here is a neuron."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from synthetic_thresholds import SIDE_MM, fields, hidden_functionals, thresholds

from tmsjax.core.errors import InputError
from tmsjax.nn import TrainSpec
from tmsjax.surrogate import SurrogateSpec, cnn, load, save, train, train_cnn
from tmsjax.surrogate.cnn import CnnSpec
from tmsjax.surrogate.cnn_train import PAPER_TRAINING, fit_network
from tmsjax.surrogate.examples import normalised

N = 5
SMALL = CnnSpec(12, conv_layers=2, kernel=2, units=12, dense_layers=2, activation="leaky_relu", output="log")
SPEC = SurrogateSpec("synthetic/polarisation", n=N, side_mm=SIDE_MM, model=SMALL, family="cnn")
QUICK = TrainSpec(epochs=60, batch=32, learning_rate=3e-3, clip=None)
FEW = fields(600, seed=3, n=N)
TRUTH = thresholds(FEW, hidden_functionals(n=N))


@pytest.fixture(scope="module")
def trained():
    return train_cnn(FEW, TRUTH, SPEC, 0, groups=np.arange(600) // 3, training=QUICK)


def test_learns_the_hidden_law(trained):
    """Far better than the mean threshold, from a few hundred patches."""
    _, report = trained
    scores = report["scores"]["surrogate"]
    spread = 100 * np.mean(np.abs(TRUTH / np.median(TRUTH) - 1))
    assert scores["mape_percent"] < spread / 2
    assert report["status"] == ["finished"]
    assert report["n_train"] + report["n_validation"] + report["n_held_out"] == 600


def test_is_judged_on_the_rows_that_judge_the_support_model(trained, spec):
    _, report = trained
    groups = np.arange(600) // 3
    short = dataclasses.replace(QUICK, epochs=1)
    support = dataclasses.replace(spec, n=N, model=dataclasses.replace(spec.model, degrees=(1,)))
    _, other = train(FEW, TRUTH, support, 0, groups=groups, candidates=(), training=short)
    np.testing.assert_array_equal(report["held_out_rows"], other["held_out_rows"])
    assert set(report) - {"validation_mape_percent"} == set(other) - {"validation_mape_percent"}
    assert not set(groups[report["held_out_rows"]]) & set(groups[np.setdiff1d(range(600), report["held_out_rows"])])


def test_saved_and_loaded_it_predicts_the_same_bits(trained, tmp_path):
    model, report = trained
    back = load(save(model, tmp_path / "cnn", card={"licence": "CC0-1.0"}))
    assert back.spec == model.spec
    assert back.spec.model.unit_v_per_m == pytest.approx(np.median(TRUTH), rel=0.1)
    assert back.card["scores"] == report["scores"]
    np.testing.assert_array_equal(back.predict(FEW[:50]), model.predict(FEW[:50]))


def test_fast_inference_equals_plain_convolution_with_trained_weights(trained):
    model, _ = trained
    x = jnp.asarray(normalised(FEW))
    net = cnn.network(model.spec.model, N)
    plain = np.exp(net.apply(model.variables, x)) * model.spec.model.unit_v_per_m
    np.testing.assert_allclose(model.predict(FEW), plain, rtol=1e-4)


def test_gradients_are_those_of_differences_and_the_scale_is_free(trained):
    model, _ = trained
    patch = jnp.asarray(FEW[:1], jnp.float32)
    direction = jnp.asarray(np.random.default_rng(0).normal(size=patch.shape), jnp.float32) * jnp.abs(patch).max()
    slope = jnp.sum(jax.grad(lambda x: jnp.log(model.predict(x)).sum())(patch) * direction)
    step = 5e-4
    up, down = (float(jnp.log(model.predict(patch + s * step * direction))[0]) for s in (1, -1))
    assert float(slope) == pytest.approx((up - down) / (2 * step), rel=0.02)
    np.testing.assert_allclose(model.predict(FEW[:20] * 1e3), model.predict(FEW[:20]), rtol=1e-5)


def test_the_papers_network_and_loss():
    """Table 1: the threshold in V/m, mean squared error, Adam; validation loss of the start by hand."""
    model = CnnSpec(filters=6, conv_layers=2, kernel=2, units=4)
    units, rows = normalised(FEW), (np.arange(500), np.arange(500, 600))
    still = dataclasses.replace(PAPER_TRAINING, epochs=1, learning_rate=0.0)
    spec, result = fit_network(model, units, TRUTH, *rows, still, 0)
    assert spec == model
    start = cnn.network(model, N).init(jax.random.split(jax.random.key(0))[0])
    expected = np.mean((np.asarray(cnn.thresholds(model, start, jnp.asarray(units[500:]))) - TRUTH[500:]) ** 2)
    assert result.history["validation"][0] == pytest.approx(expected, rel=1e-4)
    assert (PAPER_TRAINING.batch, PAPER_TRAINING.learning_rate, PAPER_TRAINING.epochs) == (62, 1e-5, 2000)


def test_batch_normalisation_and_dropout():
    """Running averages come near the whole set's, so that one patch alone is predicted as within a batch."""
    model = dataclasses.replace(SMALL, batch_norm="after", dropout=0.1)
    training = dataclasses.replace(QUICK, epochs=25)
    spec = dataclasses.replace(SPEC, model=model)
    surrogate, report = train_cnn(FEW, TRUTH, spec, 1, training=training)
    spread = 100 * np.mean(np.abs(TRUTH / np.median(TRUTH) - 1))
    assert report["scores"]["surrogate"]["mape_percent"] < 0.8 * spread
    start = cnn.network(model, N).init(jax.random.key(0))
    assert jax.tree.structure(start) == jax.tree.structure(surrogate.variables)
    moved = np.asarray(surrogate.variables["averages"][0])
    assert np.abs(moved - np.asarray(start["averages"][0])).max() > 0.1
    np.testing.assert_allclose(surrogate.predict(FEW[:1]), surrogate.predict(FEW[:40])[:1], rtol=1e-5)


def test_spherical_coordinates_and_upsampling_train_too():
    model = CnnSpec(filters=6, conv_layers=2, kernel=3, units=4, coordinates="spherical", upsample=7, output="log")
    spec = dataclasses.replace(SPEC, model=model)
    surrogate, report = train_cnn(FEW[:200], TRUTH[:200], spec, 0, training=dataclasses.replace(QUICK, epochs=2))
    assert np.isfinite(report["scores"]["surrogate"]["mape_percent"])
    assert surrogate.predict(FEW[:3]).shape == (3,)


def test_bad_training_data(spec):
    bad = FEW[:100].copy()
    bad[7, 0, 0, 0, 0] = np.nan
    short = {"training": dataclasses.replace(QUICK, epochs=1)}
    with pytest.raises(InputError, match="first row 7"):
        train_cnn(bad, TRUTH[:100], SPEC, 0, **short)
    zero = FEW[:100].copy()
    zero[3, N // 2, N // 2, N // 2] = 0
    with pytest.raises(InputError, match="first row 3"):
        train_cnn(zero, TRUTH[:100], SPEC, 0, **short)
    for values in (TRUTH[:99], np.where(np.arange(100) == 3, np.inf, TRUTH[:100]), -TRUTH[:100]):
        with pytest.raises(InputError):
            train_cnn(FEW[:100], values, SPEC, 0, **short)
    with pytest.raises(InputError, match="too few"):
        train_cnn(FEW[:20], TRUTH[:20], SPEC, 0, **short)
    with pytest.raises(InputError, match="pair up"):
        train_cnn(fields(100, seed=3, n=7), TRUTH[:100], SPEC, 0, **short)
    with pytest.raises(InputError, match="family cnn"):
        train_cnn(fields(100, seed=3), TRUTH[:100], spec, 0, **short)
