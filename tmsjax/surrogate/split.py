"""Which thresholds train a surrogate and which only judge it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tmsjax.core.errors import InputError


@dataclasses.dataclass(frozen=True)
class Split:
    """Rows that train, that choose (best epoch, members) and that only judge; ``by`` says what stays together."""

    train: np.ndarray
    validation: np.ndarray
    held_out: np.ndarray
    by: str


def split(n: int, seed: int, held_out: float = 0.2, validation: float = 0.08, groups: Any = None) -> Split:
    """Part n examples at random into training, validation and held-out rows, in these shares.

    Twelve azimuths of one neuron see almost the same field: give the index of its position as the group of each
    example (n,), and positions stay whole; otherwise the held-out score flatters.
    """
    if groups is not None and np.shape(groups) != (n,):
        raise InputError("one group for every example", got=np.shape(groups), expected=(n,))
    names, index = np.unique(np.arange(n) if groups is None else np.asarray(groups), return_inverse=True)
    if len(names) < 5:
        raise InputError("too few groups to hold some out", got=len(names), expected="5 or more positions")
    order = np.random.default_rng(seed).permutation(len(names))
    rank = np.empty(len(names), int)
    rank[order] = np.arange(len(names))
    judges = max(1, round(held_out * len(names)))
    choosers = judges + max(1, round(validation * len(names)))
    place = rank[index]
    parts = place >= choosers, (place >= judges) & (place < choosers), place < judges
    return Split(*map(np.flatnonzero, parts), by="example" if groups is None else "position")
