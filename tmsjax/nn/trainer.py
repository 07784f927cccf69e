"""One trainer for every network of the library: AdamW on minibatches, deterministic by seed, interruptible.

``loss(variables, example) -> scalar`` is written for one example; the trainer maps it over the batch.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp

from tmsjax.core.errors import InputError
from tmsjax.nn.functional import Variables

Examples = Any
"""A pytree of arrays with the examples along the first axis of every leaf."""


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """How to train: hashable, and part of a model's card.

    The learning rate of epoch e is ``learning_rate * warmup * cosine(e)``, times ``plateau_factor`` for every
    ``plateau_patience`` epochs without a new best validation loss (the paper's ReduceLROnPlateau).
    """

    epochs: int = 200
    batch: int = 128
    learning_rate: float = 3e-3
    warmup_epochs: int = 0
    cosine: bool = True
    weight_decay: float = 0.0
    clip: float | None = 1.0
    patience: int | None = None
    plateau_patience: int | None = None
    plateau_factor: float = 0.2

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch before any plateau reduction."""
        warm = min(1.0, (epoch + 1) / (self.warmup_epochs + 1))
        decay = 0.5 * (1 + np.cos(np.pi * epoch / self.epochs)) if self.cosine else 1.0
        return float(self.learning_rate * warm * decay)


class Fit(NamedTuple):
    """What training returns; ``variables`` are those of ``best_epoch`` (the lowest validation loss)."""

    variables: Variables
    history: dict[str, list[float]]
    best_epoch: int
    status: Literal["finished", "stopped_early", "diverged"]
    seconds: float


def fit(
    loss: Callable[[Variables, Examples], jax.Array],
    variables: Variables,
    train: Examples,
    validation: Examples,
    spec: TrainSpec,
    key: jax.Array,
    *,
    folder: str | Path | None = None,
    save_every: int = 20,
    progress: Callable[[str], None] | None = None,
) -> Fit:
    """Minimise the mean of ``loss`` over ``train``, keeping the variables that are best on ``validation``.

    Every epoch visits the examples in a new order drawn from ``fold_in(key, epoch)``; the last, incomplete batch of
    that order is left out. The same key and data give the same bits on the same machine. With ``folder``, the whole
    state is kept there by Orbax's CheckpointManager, and a later call with the same arguments continues from it to
    the result that an unbroken run would have given.

    Raises
    ------
    InputError
        Leaves that disagree in length, or no examples.
    """
    n, m = _count(train, "training"), _count(validation, "validation")
    batch = min(spec.batch, n)
    started = time.perf_counter()
    optimiser = _optimiser(spec)
    train, validation = jax.tree.map(jnp.asarray, (train, validation))
    run_epoch = jax.jit(partial(_epoch, loss, optimiser, batch))
    validate = jax.jit(partial(_mean_loss, loss, max(1, min(m, 1024))))

    state = _State.start(variables, optimiser.init(variables))
    manager = _manager(folder)
    with manager if manager is not None else nullcontext():
        if manager is not None and (step := manager.latest_step()) is not None:
            state = _restore(manager, step, state)
        status = "finished"
        while state.epoch < spec.epochs:
            epoch = state.epoch
            rate = jnp.float32(spec.rate(epoch) * state.scale)
            new, optimiser_state, value = run_epoch(
                state.variables, state.optimiser, train, jax.random.fold_in(key, epoch), rate
            )
            state = state.after(new, optimiser_state, float(value), float(validate(new, validation)), float(rate), spec)
            if progress is not None:
                progress(f"epoch {epoch + 1}/{spec.epochs}: loss {state.history['validation'][-1]:.4g}")
            if not np.isfinite(state.history["train"][-1]):
                status = "diverged"
                break
            if manager is not None and (state.epoch % save_every == 0 or state.epoch == spec.epochs):
                _save(manager, state)
            if spec.patience is not None and epoch - state.best_epoch >= spec.patience:
                status = "stopped_early"
                break
    return Fit(state.best, state.history, state.best_epoch, status, time.perf_counter() - started)


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
        history: dict[str, list[float]] = {"train": [], "validation": [], "learning_rate": []}
        return _State(variables, optimiser_state, variables, float("inf"), -1, 0, 1.0, 0, history)

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


def _optimiser(spec: TrainSpec) -> optax.GradientTransformation:
    """AdamW without its learning rate, which the epoch multiplies in; matrices decay, scalars and vectors do not."""
    matrices = partial(jax.tree.map, lambda leaf: jnp.ndim(leaf) > 1)
    steps = [] if spec.clip is None else [optax.clip_by_global_norm(spec.clip)]
    return optax.chain(*steps, optax.scale_by_adam(), optax.add_decayed_weights(spec.weight_decay, mask=matrices))


def _epoch(loss, optimiser, batch, variables, optimiser_state, examples, key, rate):
    n = jax.tree.leaves(examples)[0].shape[0]
    order = jax.random.permutation(key, n)[: n - n % batch].reshape(-1, batch)

    def step(carry, rows):
        variables, optimiser_state = carry
        some = jax.tree.map(lambda leaf: leaf[rows], examples)
        value, gradient = jax.value_and_grad(lambda v: jax.vmap(partial(loss, v))(some).mean())(variables)
        updates, optimiser_state = optimiser.update(gradient, optimiser_state, variables)
        variables = jax.tree.map(lambda v, u: v - rate * u, variables, updates)
        return (variables, optimiser_state), value

    (variables, optimiser_state), values = jax.lax.scan(step, (variables, optimiser_state), order)
    return variables, optimiser_state, values.mean()


def _mean_loss(loss, chunk, variables, examples):
    return jax.lax.map(partial(loss, variables), examples, batch_size=chunk).mean()


def _count(examples: Examples, what: str) -> int:
    lengths = {int(np.shape(leaf)[0]) for leaf in jax.tree.leaves(examples)}
    if len(lengths) != 1 or 0 in lengths:
        raise InputError(
            f"the {what} examples do not pair up", got=sorted(lengths), expected="one length > 0 for every leaf"
        )
    return lengths.pop()


def _manager(folder: str | Path | None) -> ocp.CheckpointManager | None:
    if folder is None:
        return None
    options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
    return ocp.CheckpointManager(Path(folder).absolute(), options=options)


def _save(manager: ocp.CheckpointManager, state: _State) -> None:
    state = state._replace(history={name: np.array(values) for name, values in state.history.items()})
    manager.save(state.epoch, args=ocp.args.PyTreeSave(jax.tree.map(np.asarray, state)))


def _restore(manager: ocp.CheckpointManager, step: int, like: _State) -> _State:
    like = like._replace(history={name: np.zeros(step) for name in like.history})
    how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
    saved: Any = manager.restore(step, args=ocp.args.PyTreeRestore(item=like, restore_args=how))
    history = {name: values.tolist() for name, values in saved.history.items()}
    variables, optimiser, best = jax.tree.map(jnp.asarray, (saved.variables, saved.optimiser, saved.best))
    numbers = float(saved.best_loss), int(saved.best_epoch), int(saved.waited), float(saved.scale)
    return _State(variables, optimiser, best, *numbers, step, history)
