"""One trainer for every network of the library: minibatches, deterministic by seed, resumed to the bit after a kill."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from tmsjax.core.errors import InputError
from tmsjax.nn.functional import Variables
from tmsjax.nn.optimise import TrainSpec, transformation
from tmsjax.nn.runs import Run, identity

Examples = Any
"""A pytree of arrays with the examples along the first axis of every leaf."""


class Fit(NamedTuple):
    """What training returns; ``variables`` are those of ``best_epoch`` (the lowest validation loss)."""

    variables: Variables
    history: dict[str, list[float]]
    best_epoch: int
    status: Literal["finished", "stopped_early", "diverged"]
    seconds: float


def fit(
    loss: Callable[..., Any],
    variables: Variables,
    train: Examples,
    validation: Examples,
    spec: TrainSpec,
    key: jax.Array,
    *,
    batched: bool = False,
    trainable: Any = True,
    devices: Sequence[Any] | None = None,
    steps_per_call: int | None = None,
    folder: str | Path | None = None,
    save_seconds: float = 10.0,
    progress: Callable[[str], None] | None = None,
) -> Fit:
    """Minimise the mean of ``loss`` over ``train``, keeping the variables that are best on ``validation``.

    Every epoch visits the examples in a new order drawn from ``fold_in(key, epoch)``; the last, incomplete batch of
    that order is left out. The same arguments give the same bits on the same machine.

    Parameters
    ----------
    loss
        ``loss(variables, example) -> scalar``, written for one example and mapped over the batch. With ``batched``,
        ``loss(variables, batch, key) -> (b,)`` of a whole batch, where ``key`` is for dropout and the like and None
        in validation; it may return ``((b,), replaced)``, a dict of variables that this batch sets, such as running
        averages of batch normalisation.
    variables
        Where to start: a nested dict of arrays.
    trainable
        Which variables to train: True, or a pytree of booleans (whole branches may be one boolean).
    devices
        A batch is shared among these, along the axis "data" of a mesh; default: all of this process, or as many of
        them as divide it.
    steps_per_call
        Steps in one compiled call, an epoch by default. On CPUs XLA's own convolutions have gradients up to 28 times
        slower inside loops: 1 for networks that train with them there.
    folder
        Keeps the state of the run (every ``save_seconds`` and at the end), what it is and the metrics of every epoch;
        a later call with the same arguments goes on to the result that an unbroken run would have given.
    progress
        Told of every epoch, in words.

    Raises
    ------
    InputError
        Leaves that disagree in length, no examples, a spec that cannot be, a ``folder`` that holds another run.
    """
    n, m = _count(train, "training"), _count(validation, "validation")
    batch = min(spec.check().batch, n - n % spec.accumulate)
    if not batch:
        raise InputError("too few examples", got=n, expected=f"{spec.accumulate}, one for each part of a batch")
    started = time.perf_counter()
    about = None if folder is None else identity(spec, key, variables, train, validation)
    optimiser = transformation(spec)
    trainable = _broadcast(trainable, variables)
    share = _Share(devices, batch // spec.accumulate)
    values = loss if batched else lambda variables, batch, key: jax.vmap(partial(loss, variables))(batch)
    run_steps = jax.jit(partial(_steps, values, optimiser, trainable, share), out_shardings=share.whole)
    validate = jax.jit(partial(_mean_loss, values, min(batch, m), share))

    train, validation = share.everywhere((train, validation))
    state = _State.start(*share.everywhere((variables, optimiser.init(variables))))
    with nullcontext() if about is None else Run(folder or "", about) as run:
        if run is not None and (saved := run.latest(state.arrays(spec))) is not None:
            state = _State.restored(saved, share)
        saved_at = time.perf_counter()
        while (status := state.status(spec)) is None:
            rate = spec.rate(state.epoch) * state.scale
            new, optimiser_state, total, count = state.variables, state.optimiser, 0.0, 0
            for rows, keys in _calls(key, state.epoch, n, batch, spec.accumulate, steps_per_call):
                new, optimiser_state, value = run_steps(new, optimiser_state, train, rows, keys, jnp.float32(rate))
                total, count = total + float(value) * len(rows), count + len(rows)
            state = state.after(new, optimiser_state, total / count, float(validate(new, validation)), rate, spec)
            if progress is not None:
                progress(f"epoch {state.epoch}/{spec.epochs}: loss {state.history['validation'][-1]:.4g}")
            if run is not None:
                run.record({"epoch": state.epoch, **{name: column[-1] for name, column in state.history.items()}})
                if state.status(spec) is not None or time.perf_counter() - saved_at >= save_seconds:
                    run.save(state.epoch, state.arrays(spec))
                    saved_at = time.perf_counter()
    best = jax.tree.map(lambda leaf: jnp.asarray(np.asarray(leaf)), state.best)
    return Fit(best, state.history, state.best_epoch, status, time.perf_counter() - started)


class _State(NamedTuple):
    variables: Variables
    optimiser: Any
    best: Variables
    best_loss: float
    best_epoch: int
    waited: int
    scale: float
    epoch: int
    history: dict[str, list[float]]

    @staticmethod
    def start(variables: Variables, optimiser_state: Any) -> _State:
        return _State(
            variables, optimiser_state, variables, float("inf"), -1, 0, 1.0, 0, {name: [] for name in COLUMNS}
        )

    def after(
        self, variables: Variables, optimiser: Any, train: float, validation: float, rate: float, spec: TrainSpec
    ) -> _State:
        better = validation < self.best_loss
        waited = 0 if better else self.waited + 1
        reduce = spec.plateau_patience is not None and waited >= spec.plateau_patience
        values = {"train": train, "validation": validation, "learning_rate": rate}
        return _State(
            variables,
            optimiser,
            variables if better else self.best,
            validation if better else self.best_loss,
            self.epoch if better else self.best_epoch,
            0 if reduce else waited,
            self.scale * spec.plateau_factor if reduce else self.scale,
            self.epoch + 1,
            {name: [*values_so_far, values[name]] for name, values_so_far in self.history.items()},
        )

    def status(self, spec: TrainSpec) -> Literal["finished", "stopped_early", "diverged"] | None:
        """How training has ended, None while it has not."""
        if self.epoch and not np.isfinite(self.history["train"][-1]):
            return "diverged"
        if spec.patience is not None and self.epoch - 1 - self.best_epoch >= spec.patience:
            return "stopped_early"
        return "finished" if self.epoch >= spec.epochs else None

    def arrays(self, spec: TrainSpec) -> dict[str, Any]:
        """The state as numpy arrays of shapes that do not depend on the epoch."""
        history = {name: np.zeros(spec.epochs) for name in self.history}
        for name, values in self.history.items():
            history[name][: self.epoch] = values
        # Float64 on disk, where JAX would make float32 of them.
        numbers = {name: np.float64(getattr(self, name)) for name in NUMBERS}
        arrays = jax.tree.map(np.asarray, (self.variables, self.optimiser, self.best))
        return {**dict(zip(TREES, arrays, strict=True)), "numbers": numbers, "history": history}

    @staticmethod
    def restored(saved: dict[str, Any], share: _Share) -> _State:
        variables, optimiser, best = (share.everywhere(saved[name]) for name in TREES)
        loss, best_epoch, waited, scale, epoch = (float(saved["numbers"][name]) for name in NUMBERS)
        history = {name: saved["history"][name][: int(epoch)].tolist() for name in COLUMNS}
        return _State(variables, optimiser, best, loss, int(best_epoch), int(waited), scale, int(epoch), history)


COLUMNS = ("train", "validation", "learning_rate")
TREES = ("variables", "optimiser", "best")
NUMBERS = ("best_loss", "best_epoch", "waited", "scale", "epoch")


class _Share:
    """The devices that share a batch, along the axis "data"; everything else is on each of them."""

    def __init__(self, devices: Sequence[Any] | None, batch: int) -> None:
        if devices is not None and batch % len(devices):
            raise InputError(
                "a batch is shared equally",
                got=f"{batch} examples (of one part) on {len(devices)} devices",
                expected="a multiple of the number of devices",
            )
        available = jax.local_devices() if devices is None else list(devices)
        count = max(k for k in range(1, len(available) + 1) if batch % k == 0)
        mesh = Mesh(np.array(available[:count]), ("data",))
        self.count = count
        self.parts, self.whole = NamedSharding(mesh, PartitionSpec("data")), NamedSharding(mesh, PartitionSpec())

    def everywhere(self, tree: Any) -> Any:
        return jax.device_put(tree, self.whole)

    def among(self, batch: Examples) -> Examples:
        even = jax.tree.leaves(batch)[0].shape[0] % self.count == 0
        return jax.lax.with_sharding_constraint(batch, self.parts) if even else batch


def _calls(key: jax.Array, epoch: int, n: int, batch: int, parts: int, most: int | None):
    """(rows (steps, b), keys (steps,)) of every compiled call of an epoch."""
    key = jax.random.fold_in(key, epoch)
    rows = jax.random.permutation(key, n)[: n - n % batch].reshape(-1, batch // parts)
    keys = jax.random.split(jax.random.fold_in(key, 1), len(rows))
    size = len(rows) if most is None else most
    for first in range(0, len(rows), size):
        yield rows[first : first + size], keys[first : first + size]


def _steps(loss, optimiser, trainable, share, variables, optimiser_state, examples, rows, keys, rate):
    def step(carry, drawn):
        variables, optimiser_state = carry
        some = share.among(jax.tree.map(lambda leaf: leaf[drawn[0]], examples))

        def mean(v):
            v = jax.tree.map(lambda leaf, free: leaf if free else jax.lax.stop_gradient(leaf), v, trainable)
            out = loss(v, some, drawn[1])
            losses, replaced = out if isinstance(out, tuple) else (out, {})
            return losses.mean(), replaced

        (value, replaced), gradient = jax.value_and_grad(mean, has_aux=True)(variables)
        updates, optimiser_state = optimiser.update(gradient, optimiser_state, variables)
        moved = jax.tree.map(lambda v, u, free: v - rate * u if free else v, variables, updates, trainable)
        return ({**moved, **replaced}, optimiser_state), value

    carry = variables, optimiser_state
    if len(rows) == 1:
        carry, value = step(carry, (rows[0], keys[0]))
        return *carry, value
    carry, values = jax.lax.scan(step, carry, (rows, keys))
    return *carry, values.mean()


def _mean_loss(loss, chunk, share, variables, examples):
    def total(batch):
        out = loss(variables, share.among(batch), None)
        return (out[0] if isinstance(out, tuple) else out).sum()

    m = jax.tree.leaves(examples)[0].shape[0]
    whole = m // chunk * chunk
    chunks = jax.tree.map(lambda leaf: leaf[:whole].reshape(-1, chunk, *leaf.shape[1:]), examples)
    result = jax.lax.map(total, chunks).sum()
    if whole < m:
        result += total(jax.tree.map(lambda leaf: leaf[whole:], examples))
    return result / m


def _broadcast(trainable: Any, variables: Variables) -> Any:
    try:
        return jax.tree.broadcast(trainable, variables)
    except ValueError as error:
        raise InputError(
            "which variables to train", got=trainable, expected="True, or booleans in the nesting of the variables"
        ) from error


def _count(examples: Examples, what: str) -> int:
    lengths = {int(np.shape(leaf)[0]) for leaf in jax.tree.leaves(examples)}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(
            f"the {what} examples do not pair up", got=sorted(lengths), expected="one length > 0 for every leaf"
        )
    return lengths.pop()
