"""Which thresholds train a surrogate and which only judge it."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Int

from tmsjax.core.errors import InputError

RARE_SHARE = 0.03
"""Of the training rows: what every place of initiation counts as, at least."""

MOST_REPEATS = 20
"""Times that a row counts, at most: a place that one row knows of is not worth hundreds."""


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
    example (n,), and positions stay whole; otherwise the held-out score flatters. Examples of group -1 train and never
    judge, and change nothing of how the others are parted.
    """
    if groups is not None and np.shape(groups) != (n,):
        raise InputError("one group for every example", got=np.shape(groups), expected=(n,))
    group = np.arange(n) if groups is None else np.asarray(groups)
    judging = group >= 0
    names, index = np.unique(group[judging], return_inverse=True)
    if len(names) < 5:
        raise InputError("too few groups to hold some out", got=len(names), expected="5 or more positions")
    order = np.random.default_rng(seed).permutation(len(names))
    rank = np.empty(len(names), int)
    rank[order] = np.arange(len(names))
    judges = max(1, round(held_out * len(names)))
    choosers = judges + max(1, round(validation * len(names)))
    place = np.full(n, len(names))
    place[judging] = rank[index]
    parts = place >= choosers, (place >= judges) & (place < choosers), place < judges
    return Split(*map(np.flatnonzero, parts), by="example" if groups is None else "position")


def balanced(
    rows: Int[np.ndarray, " t"], initiation: Int[np.ndarray, " b"], share: float = RARE_SHARE, most: int = MOST_REPEATS
) -> Int[np.ndarray, " r"]:
    """Rows with those repeated whose action potential begins where few do.

    An end of the axon that 30 of 20,000 fields excite first is as good as unknown to a mean over the 20,000, and then
    wrong by several per cent in the uniform field that excites it. ``initiation`` is the compartment that fires first,
    of every row there is; -1 where it is not known, which no row is repeated for.
    """
    places, index, counts = np.unique(initiation[rows], return_inverse=True, return_counts=True)
    times = np.clip(np.ceil(share * len(rows) / counts), 1, most).astype(int)
    times[places < 0] = 1
    return np.repeat(rows, times[index])
