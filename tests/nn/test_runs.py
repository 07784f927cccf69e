"""A training run on disk: resumed to the bit after kills, metrics without gaps or repeats, other runs refused."""

import dataclasses
import json
import os
import random
import subprocess
import sys
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax import nn
from tmsjax.core.errors import InputError

TRAINING = """
import sys
import jax, jax.numpy as jnp, numpy as np
from tmsjax import nn

rng = np.random.default_rng(0)
x = rng.normal(size=(400, 3)).astype(np.float32)
y = np.sin(x @ [1.0, -2.0, 0.5]).astype(np.float32)
net = {"a": {"kernel": rng.normal(size=(3, 16)).astype(np.float32)}, "b": np.full(16, 0.1, np.float32)}

def loss(v, batch, key):
    drop = 1.0 if key is None else jax.random.bernoulli(key, 0.9, (16,))
    return (jnp.tanh(batch[0] @ v["a"]["kernel"]) * drop @ v["b"] - batch[1]) ** 2

spec = nn.TrainSpec(epochs=40, batch=32, learning_rate=0.01, plateau_patience=3)
folder = None if sys.argv[1] == "-" else sys.argv[1]
fit = nn.fit(loss, net, (x[:320], y[:320]), (x[320:], y[320:]), spec, jax.random.key(7), batched=True,
             folder=folder, save_seconds=0.0, progress=lambda text: print(text, flush=True))
np.savez(sys.argv[2], kernel=fit.variables["a"]["kernel"], b=fit.variables["b"], best=fit.best_epoch,
         validation=fit.history["validation"])
"""


def command(folder, out):
    return [sys.executable, "-W", "ignore", "-c", TRAINING, str(folder), str(out)]


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """The folder of a run that was never interrupted, and its result."""
    folder = tmp_path_factory.mktemp("unbroken")
    subprocess.run(command(folder / "run", folder / "out.npz"), check=True, capture_output=True)
    return folder / "run", folder / "out.npz"


def test_killed_at_any_moment_it_ends_with_the_same_weights(tmp_path, unbroken):
    """Most of the time here goes into saving states, so that most kills fall into the middle of that."""
    moments = random.Random(0)
    for _ in range(3):
        with subprocess.Popen(command(tmp_path / "run", tmp_path / "out.npz"), stdout=subprocess.PIPE) as process:
            assert process.stdout is not None
            said = process.stdout.readline()
            time.sleep(moments.uniform(0.0, 0.25))
            process.kill()
        assert said.startswith(b"epoch")
        assert process.returncode != 0, "it had ended before it was killed"
    subprocess.run(command(tmp_path / "run", tmp_path / "out.npz"), check=True, capture_output=True)
    with np.load(tmp_path / "out.npz") as ours, np.load(unbroken[1]) as theirs:
        assert ours.files == theirs.files
        for name in ours.files:
            assert ours[name].tobytes() == theirs[name].tobytes(), name
    assert (tmp_path / "run" / "metrics.jsonl").read_bytes() == (unbroken[0] / "metrics.jsonl").read_bytes()


def test_metrics_have_one_line_an_epoch_and_the_seed_is_kept(unbroken):
    columns = nn.read_metrics(unbroken[0])
    assert columns["epoch"] == list(range(1, 41))
    with np.load(unbroken[1]) as result:
        assert columns["validation"] == result["validation"].tolist()
    about = json.loads((unbroken[0] / "run.json").read_text())
    assert about["seed"] == np.asarray(jax.random.key_data(jax.random.key(7))).tolist()
    assert about["training"]["plateau_patience"] == 3


def test_no_metrics_and_a_line_cut_off(tmp_path):
    with pytest.raises(InputError, match="no metrics"):
        nn.read_metrics(tmp_path)
    line = '{"epoch": 1, "train": 2.0, "validation": 3.0, "learning_rate": 0.1}\n'
    (tmp_path / "metrics.jsonl").write_text(line + line[:20])
    assert nn.read_metrics(tmp_path)["validation"] == [3.0]


X = np.random.default_rng(0).normal(size=(100, 2)).astype(np.float32)
SPEC = nn.TrainSpec(epochs=6, batch=10, schedule="constant", patience=2)


def train(folder, *, x=X, start=0.0, spec=SPEC, seed=0, **options):
    def loss(v, e):
        return jnp.sum((e - v["w"]) ** 2)

    return nn.fit(loss, {"w": jnp.full(2, start)}, x, x[:20], spec, jax.random.key(seed), folder=folder, **options)


def test_a_finished_run_is_not_trained_again(tmp_path):
    said = []
    first = train(tmp_path, progress=said.append)
    again = train(tmp_path, progress=said.append)
    assert len(said) == len(first.history["train"]) == len(nn.read_metrics(tmp_path)["epoch"])
    assert (again.status, again.best_epoch, again.history) == (first.status, first.best_epoch, first.history)
    np.testing.assert_array_equal(again.variables["w"], first.variables["w"])


def test_an_interrupted_run_goes_on_after_what_was_saved(tmp_path):
    class Interrupt(Exception): ...

    def stop(text):
        if text.startswith("epoch 4/"):
            raise Interrupt

    whole = train(tmp_path / "whole")
    with pytest.raises(Interrupt):
        train(tmp_path / "run", progress=stop, save_seconds=0.0)
    said = []
    rest = train(tmp_path / "run", progress=said.append)
    assert said[0].startswith("epoch 4/6")
    assert rest.history == whole.history
    assert np.asarray(rest.variables["w"]).tobytes() == np.asarray(whole.variables["w"]).tobytes()


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"x": X + 1}, "examples"),
        ({"start": 1.0}, "start"),
        ({"spec": dataclasses.replace(SPEC, batch=20)}, "training"),
        ({"seed": 1}, "seed"),
    ],
)
def test_a_folder_of_another_run_is_refused(tmp_path, other, what):
    train(tmp_path)
    with pytest.raises(InputError, match=f"another {what}"):
        train(tmp_path, **other)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        train(tmp_path)


DEVICES = """
import jax, jax.numpy as jnp, numpy as np
from tmsjax import nn
from tmsjax.core.errors import InputError

assert len(jax.devices()) == 4
rng = np.random.default_rng(0)
x, kernel = rng.normal(size=(250, 5, 5, 2)).astype(np.float32), rng.normal(size=(3, 3, 2, 4)).astype(np.float32)

def loss(v, batch, key):
    y = jax.lax.conv_general_dilated(batch, v["kernel"], (1, 1), "VALID", dimension_numbers=("NHWC", "HWIO", "NHWC"))
    return (jnp.tanh(y).sum((1, 2, 3)) - batch.sum((1, 2, 3))) ** 2

def train(devices, batch=24):
    spec = nn.TrainSpec(epochs=4, batch=batch, learning_rate=0.01)
    return nn.fit(loss, {"kernel": kernel}, x[:200], x[200:], spec, jax.random.key(0), batched=True, devices=devices)

one, two, four, every = (train(d) for d in (jax.devices()[:1], jax.devices()[:2], jax.devices(), None))
for other in (two, four, every):
    np.testing.assert_allclose(other.variables["kernel"], one.variables["kernel"], atol=1e-5)
    np.testing.assert_allclose(other.history["validation"], one.history["validation"], rtol=1e-4)
    assert len(other.variables["kernel"].devices()) == 1
some = train(None, batch=30)  # three of the four share it
try:
    train(jax.devices(), batch=30)
except InputError as error:
    print("refused", error)
"""


def test_devices_that_share_the_batch_train_the_same_network():
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4"}
    done = subprocess.run([sys.executable, "-c", DEVICES], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "refused a batch is shared equally" in done.stdout
