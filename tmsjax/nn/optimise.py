"""How a network is trained: the settings, hashable and part of its card, and the optimiser that they name."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax

from tmsjax.core.errors import InputError

OPTIMISERS = {
    "adam": optax.scale_by_adam,
    "sgd": optax.identity,
    "momentum": partial(optax.trace, decay=0.9),
    "adadelta": partial(optax.scale_by_adadelta, rho=0.95, eps=1e-7),
}
"""By name, without their learning rate; Adam with weight decay is AdamW, Adadelta has Keras's constants."""

SCHEDULES = {
    "cosine": lambda epoch, epochs: 0.5 * (1 + np.cos(np.pi * epoch / epochs)),
    "constant": lambda epoch, epochs: 1.0,
    "inverse": lambda epoch, epochs: 1 / (1 + 0.1 * epoch),
}
"""The learning rate of an epoch (from 0) over the first one's."""


@dataclasses.dataclass(frozen=True)
class TrainSpec:
    """How to train: hashable, and part of a model's card.

    The learning rate of epoch e is ``learning_rate * warmup * schedule(e)``, times ``plateau_factor`` for every
    ``plateau_patience`` epochs without a new best validation loss (Keras's ReduceLROnPlateau); training ends after
    ``patience`` such epochs. ``schedule`` and ``optimiser`` are names of SCHEDULES and OPTIMISERS. A batch is worked
    through in ``accumulate`` parts of equal size, to bound memory.
    """

    epochs: int = 200
    batch: int = 128
    learning_rate: float = 3e-3
    warmup_epochs: int = 0
    schedule: str = "cosine"
    optimiser: str = "adam"
    weight_decay: float = 0.0
    clip: float | None = 1.0
    patience: int | None = None
    plateau_patience: int | None = None
    plateau_factor: float = 0.2
    accumulate: int = 1

    def check(self) -> TrainSpec:
        """Return self, or raise InputError."""
        for what, got, known in (
            ("schedule", self.schedule, SCHEDULES),
            ("optimiser", self.optimiser, OPTIMISERS),
        ):
            if got not in known:
                raise InputError(f"unknown {what}", got=got, expected=" or ".join(known))
        counts = {"epochs": self.epochs, "batch": self.batch, "accumulate": self.accumulate}
        for what, got in counts.items():
            if got < 1:
                raise InputError(f"{what} of training", got=got, expected="1 or more")
        if self.batch % self.accumulate:
            raise InputError("a batch in equal parts", got=f"{self.batch} in {self.accumulate}", expected="a divisor")
        return self

    def rate(self, epoch: int) -> float:
        """Learning rate of an epoch before any plateau reduction."""
        warm = min(1.0, (epoch + 1) / (self.warmup_epochs + 1))
        return float(self.learning_rate * warm * SCHEDULES[self.schedule](epoch, self.epochs))


def transformation(spec: TrainSpec) -> optax.GradientTransformation:
    """Gradients to steps of learning rate 1; matrices decay, scalars and vectors do not."""
    matrices = partial(jax.tree.map, lambda leaf: jnp.ndim(leaf) > 1)
    clip = [] if spec.clip is None else [optax.clip_by_global_norm(spec.clip)]
    decay = [] if spec.weight_decay == 0 else [optax.add_decayed_weights(spec.weight_decay, mask=matrices)]
    chain = optax.chain(*clip, OPTIMISERS[spec.optimiser](), *decay)
    if spec.accumulate == 1:
        return chain
    return optax.MultiSteps(chain, spec.accumulate).gradient_transformation()
