"""The trainer on problems whose answer is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax import nn
from tmsjax.core.errors import InputError

rng = np.random.default_rng(0)
TRUE = np.array([1.0, -2.0, 0.5], np.float32)
X = rng.normal(size=(400, 3)).astype(np.float32)
Y = X @ TRUE
TRAIN, VALIDATION = (X[:320], Y[:320]), (X[320:], Y[320:])
START = {"w": jnp.zeros(3)}
SPEC = nn.TrainSpec(epochs=60, batch=32, learning_rate=0.05)
KEY = jax.random.key(3)


def loss(variables, example):
    return (example[0] @ variables["w"] - example[1]) ** 2


def test_recovers_a_linear_model():
    result = nn.fit(loss, START, TRAIN, VALIDATION, SPEC, KEY)
    np.testing.assert_allclose(result.variables["w"], TRUE, atol=1e-3)
    assert result.status == "finished"
    assert len(result.history["train"]) == SPEC.epochs
    assert result.history["validation"][result.best_epoch] == min(result.history["validation"])


def test_validation_loss_is_the_mean_over_all_examples():
    many = rng.normal(size=(3001, 3)).astype(np.float32)
    still = dataclasses.replace(SPEC, epochs=1, learning_rate=0.0)
    result = nn.fit(loss, {"w": jnp.ones(3)}, TRAIN, (many, many @ TRUE), still, KEY)
    expected = np.mean((many @ np.ones(3) - many @ TRUE) ** 2)
    assert result.history["validation"][0] == pytest.approx(expected, rel=1e-5)
    first = np.mean((X[:320] @ np.ones(3) - Y[:320]) ** 2)
    assert result.history["train"][0] == pytest.approx(first, rel=1e-5)


def test_same_key_same_bits_other_key_other_bits():
    spec = dataclasses.replace(SPEC, epochs=3)
    a, b = (nn.fit(loss, START, TRAIN, VALIDATION, spec, KEY) for _ in range(2))
    c = nn.fit(loss, START, TRAIN, VALIDATION, spec, jax.random.key(4))
    assert a.variables["w"].tobytes() == b.variables["w"].tobytes() != c.variables["w"].tobytes()
    assert a.history == b.history


def test_best_so_far_survives_a_rate_that_diverges():
    wild = nn.TrainSpec(epochs=400, batch=32, learning_rate=1e36, cosine=False, clip=None)
    result = nn.fit(loss, START, TRAIN, VALIDATION, wild, KEY)
    assert result.status == "diverged"
    assert np.isfinite(result.variables["w"]).all()


def test_stops_early_and_reduces_on_plateau():
    noise = (X, rng.normal(size=400).astype(np.float32))
    spec = nn.TrainSpec(epochs=300, batch=32, learning_rate=0.05, cosine=False, patience=20, plateau_patience=5)
    result = nn.fit(loss, START, jax.tree.map(lambda a: a[:320], noise), VALIDATION, spec, KEY)
    assert result.status == "stopped_early"
    assert len(result.history["train"]) == result.best_epoch + 1 + spec.patience
    rates = result.history["learning_rate"]
    assert rates[-1] == pytest.approx(0.05 * 0.2 ** ((len(rates) - 2 - result.best_epoch) // 5), rel=1e-5)


def test_learning_rate_warms_up_and_falls_to_zero():
    spec = nn.TrainSpec(epochs=100, learning_rate=1.0, warmup_epochs=3)
    assert [spec.rate(e) for e in range(3)] == pytest.approx([0.25, 0.5, 0.75], rel=2e-3)
    assert spec.rate(50) == pytest.approx(0.5)
    assert spec.rate(99) < 1e-3


def test_weight_decay_shrinks_matrices_only():
    start = {"matrix": jnp.ones((2, 2)), "scalar": jnp.ones(())}
    spec = nn.TrainSpec(epochs=50, batch=32, learning_rate=0.1, weight_decay=0.5)
    still = nn.fit(lambda v, e: 0.0 * (v["matrix"].sum() + v["scalar"]) + 0 * e[1], start, TRAIN, VALIDATION, spec, KEY)
    assert float(still.variables["scalar"]) == 1.0
    longer = nn.fit(lambda v, e: 1e-9 * v["matrix"].sum() + v["scalar"] ** 2, start, TRAIN, VALIDATION, spec, KEY)
    assert float(jnp.abs(longer.variables["matrix"]).max()) < 1.0


def test_an_interrupted_run_continues_to_the_same_bits(tmp_path):
    class Interrupt(Exception): ...

    def stop(text):
        if text.startswith("epoch 47/"):
            raise Interrupt

    whole = nn.fit(loss, START, TRAIN, VALIDATION, SPEC, KEY)
    with pytest.raises(Interrupt):
        nn.fit(loss, START, TRAIN, VALIDATION, SPEC, KEY, folder=tmp_path / "run", progress=stop)
    seen = []
    rest = nn.fit(loss, START, TRAIN, VALIDATION, SPEC, KEY, folder=tmp_path / "run", progress=seen.append)
    assert seen[0].startswith("epoch 41/60")
    assert rest.variables["w"].tobytes() == whole.variables["w"].tobytes()
    assert rest.history == whole.history


def test_small_sets_and_odd_batches():
    few = jax.tree.map(lambda a: a[:7], TRAIN)
    result = nn.fit(loss, START, few, few, dataclasses.replace(SPEC, epochs=200, learning_rate=0.2), KEY)
    np.testing.assert_allclose(result.variables["w"], TRUE, atol=1e-2)


def test_examples_that_do_not_pair_up_are_refused():
    with pytest.raises(InputError, match="training"):
        nn.fit(loss, START, (X[:10], Y[:9]), VALIDATION, SPEC, KEY)
    with pytest.raises(InputError, match="validation"):
        nn.fit(loss, START, TRAIN, (X[:0], Y[:0]), SPEC, KEY)
