"""What the two ways of training support-function members share: the loss, what is to be done, what came out."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.nn import Fit, TrainSpec
from tmsjax.nn.functional import Variables
from tmsjax.surrogate.support import SupportSpec

SMOOTH = 1e-2
"""Relative error below which the loss turns from absolute to quadratic: at 0.3 %, hundreds of small errors outweigh the
few of 3 % that functionals which seldom win have."""


def relative_error(reciprocal: Float[Array, ""], log_threshold: Float[Array, ""]) -> Float[Array, ""]:
    """``|log(threshold / predicted)|``, rounded off at zero."""
    error = jnp.log(reciprocal) + log_threshold
    return jnp.sqrt(error**2 + SMOOTH**2) - SMOOTH


@dataclasses.dataclass(frozen=True)
class Plan:
    """How members are trained; the i-th has its own key, folder and voice. ``starts``: of each, the best is kept."""

    training: TrainSpec
    seed: int
    starts: int = 1
    folder: Path | None = None
    progress: Callable[[str], None] | None = None

    def of(self, i: int, name: str) -> dict[str, Any]:
        """``key``, ``folder`` and ``progress`` of member i."""
        say = self.progress
        return {
            "key": jax.random.fold_in(jax.random.key(self.seed), i),
            "folder": None if self.folder is None else self.folder / name.replace(" ", "_"),
            "progress": None if say is None else partial(lambda start, text: say(f"{start}, {text}"), name),
        }


class Fitted(NamedTuple):
    """Members that were trained, the model that they make, and how it was chosen among candidates."""

    variables: Variables
    model: SupportSpec
    fits: list[Fit]
    choice: list[dict[str, Any]]
