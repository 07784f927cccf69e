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
    wild = nn.TrainSpec(epochs=400, batch=32, learning_rate=1e36, schedule="constant", clip=None)
    result = nn.fit(loss, START, TRAIN, VALIDATION, wild, KEY)
    assert result.status == "diverged"
    assert np.isfinite(result.variables["w"]).all()


def test_stops_early_and_reduces_on_plateau():
    noise = (X, rng.normal(size=400).astype(np.float32))
    spec = nn.TrainSpec(epochs=300, batch=32, learning_rate=0.05, schedule="constant", patience=20, plateau_patience=5)
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


def test_small_sets_and_odd_batches():
    few = jax.tree.map(lambda a: a[:7], TRAIN)
    result = nn.fit(loss, START, few, few, dataclasses.replace(SPEC, epochs=200, learning_rate=0.2), KEY)
    np.testing.assert_allclose(result.variables["w"], TRUE, atol=1e-2)


def test_a_loss_of_a_batch_is_the_mapped_loss_of_examples():
    spec = dataclasses.replace(SPEC, epochs=4)
    one = nn.fit(loss, START, TRAIN, VALIDATION, spec, KEY)
    many = nn.fit(lambda v, b, key: (b[0] @ v["w"] - b[1]) ** 2, START, TRAIN, VALIDATION, spec, KEY, batched=True)
    np.testing.assert_allclose(many.variables["w"], one.variables["w"], rtol=1e-5)
    np.testing.assert_allclose(many.history["validation"], one.history["validation"], rtol=1e-4)


def test_steps_in_calls_of_any_number_are_the_same_steps():
    spec = dataclasses.replace(SPEC, epochs=4)
    whole = nn.fit(loss, START, TRAIN, VALIDATION, spec, KEY)
    for size in (1, 4):
        parts = nn.fit(loss, START, TRAIN, VALIDATION, spec, KEY, steps_per_call=size)
        np.testing.assert_allclose(parts.variables["w"], whole.variables["w"], rtol=1e-5)
        np.testing.assert_allclose(parts.history["train"], whole.history["train"], rtol=1e-5)


def test_a_batch_in_parts_is_the_same_batch():
    spec = dataclasses.replace(SPEC, epochs=4, clip=0.1, weight_decay=0.1)
    whole = nn.fit(loss, START, TRAIN, VALIDATION, spec, KEY)
    parts = nn.fit(loss, START, TRAIN, VALIDATION, dataclasses.replace(spec, accumulate=4), KEY)
    np.testing.assert_allclose(parts.variables["w"], whole.variables["w"], rtol=1e-5)
    np.testing.assert_allclose(parts.history["validation"], whole.history["validation"], rtol=1e-4)


def test_running_averages_and_noise_of_a_batch():
    """Batch normalisation's state: set by the loss, not by its gradient; validation changes nothing."""
    seen = []

    def normalised(v, batch, key):
        seen.append(key is None)
        if key is None:
            return (batch[0][:, 0] - v["mean"]) ** 2
        noise = jax.random.normal(key, batch[1].shape)
        mean = 0.9 * v["mean"] + 0.1 * batch[0][:, 0].mean()
        return (v["w"] - 1) ** 2 + 0 * v["mean"] + 0 * noise, {"mean": mean}

    shifted = (X + 5, Y)
    start = {"w": jnp.zeros(()), "mean": jnp.zeros(())}
    spec = nn.TrainSpec(epochs=20, batch=40, schedule="constant", learning_rate=0.1)
    result = nn.fit(normalised, start, shifted, shifted, spec, KEY, batched=True, trainable={"w": True, "mean": False})
    assert float(result.variables["mean"]) == pytest.approx(5 + X[:, 0].mean(), abs=0.05)
    assert float(result.variables["w"]) == pytest.approx(1.0, abs=0.05)
    assert result.history["validation"][-1] == pytest.approx(X[:, 0].var(), rel=1e-2)
    assert set(seen) == {True, False}


def test_noise_is_drawn_anew_for_every_batch_and_settled_by_the_key():
    def noisy(v, batch, key):
        return jnp.zeros(len(batch[1])) if key is None else (v["w"][0] - jax.random.normal(key, batch[1].shape)) ** 2

    spec = dataclasses.replace(SPEC, epochs=2)
    a, b = (nn.fit(noisy, START, TRAIN, VALIDATION, spec, KEY, batched=True) for _ in range(2))
    assert a.history == b.history
    assert a.history["train"][0] != a.history["train"][1]


@pytest.mark.parametrize("optimiser", ["adam", "sgd", "momentum", "adadelta"])
def test_frozen_parts_stay_to_the_bit(optimiser):
    start = {"free": {"w": jnp.zeros(3)}, "frozen": {"a": jnp.full((2, 2), 0.3), "b": jnp.ones(())}}
    spec = dataclasses.replace(SPEC, epochs=2, weight_decay=0.1, optimiser=optimiser)

    def with_frozen(v, e):
        return (e[0] @ v["free"]["w"] * v["frozen"]["b"] + v["frozen"]["a"].sum() - e[1]) ** 2

    result = nn.fit(with_frozen, start, TRAIN, VALIDATION, spec, KEY, trainable={"free": True, "frozen": False})
    for a, b in zip(jax.tree.leaves(result.variables["frozen"]), jax.tree.leaves(start["frozen"]), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    assert float(jnp.abs(result.variables["free"]["w"]).min()) > 0
    with pytest.raises(InputError, match="which variables"):
        nn.fit(with_frozen, start, TRAIN, VALIDATION, spec, KEY, trainable={"free": True})


def test_sgd_with_inverse_decay_by_hand():
    """One batch an epoch and the loss w^2 / 2: w shrinks by 1 - rate / (1 + 0.1 e) in epoch e."""
    spec = nn.TrainSpec(epochs=5, batch=320, learning_rate=0.5, schedule="inverse", optimiser="sgd", clip=None)
    result = nn.fit(lambda v, e: v["w"] ** 2 / 2 + 0 * e[1], {"w": jnp.ones(())}, TRAIN, VALIDATION, spec, KEY)
    shrunk = np.cumprod([1 - 0.5 / (1 + 0.1 * e) for e in range(5)])
    np.testing.assert_allclose(result.history["validation"], shrunk**2 / 2, rtol=1e-5)


def test_adadelta_is_kerass():
    """First steps by hand: rho 0.95, eps 1e-7 (Zeiler 2012, algorithm 1), rate 1, loss (w - 1)^2 / 2."""
    spec = nn.TrainSpec(epochs=3, batch=320, learning_rate=1.0, schedule="constant", optimiser="adadelta", clip=None)
    start = {"w": jnp.zeros(())}
    result = nn.fit(lambda v, e: (v["w"] - 1) ** 2 / 2 + 0 * e[1], start, TRAIN, VALIDATION, spec, KEY)
    w = squares = steps = 0.0
    for _ in range(3):
        g = w - 1
        squares = 0.95 * squares + 0.05 * g**2
        step = np.sqrt(steps + 1e-7) / np.sqrt(squares + 1e-7) * g
        steps = 0.95 * steps + 0.05 * step**2
        w -= step
    assert float(result.variables["w"]) == pytest.approx(w, rel=1e-4)


@pytest.mark.parametrize(
    "wrong", [{"schedule": "step"}, {"optimiser": "lbfgs"}, {"epochs": 0}, {"batch": 10, "accumulate": 4}]
)
def test_settings_that_cannot_be(wrong):
    with pytest.raises(InputError):
        nn.fit(loss, START, TRAIN, VALIDATION, dataclasses.replace(SPEC, **wrong), KEY)


def test_examples_that_do_not_pair_up_are_refused():
    with pytest.raises(InputError, match="training"):
        nn.fit(loss, START, (X[:10], Y[:9]), VALIDATION, SPEC, KEY)
    with pytest.raises(InputError, match="validation"):
        nn.fit(loss, START, TRAIN, (X[:0], Y[:0]), SPEC, KEY)
