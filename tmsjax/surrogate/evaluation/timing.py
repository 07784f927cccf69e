"""Seconds against the number of thresholds, method by method (Aberra et al. 2023, section 3.3 and figure 7)."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from tmsjax.core.errors import InputError
from tmsjax.surrogate.evaluation.scores import Rows

COUNTS = (1, 10, 100, 1000, 10000)
"""Numbers of thresholds."""


class Method(NamedTuple):
    """``run(count)`` finds so many thresholds and blocks until they are there; it is never asked for above ``most``."""

    run: Callable[[int], object]
    most: int = COUNTS[-1]


def time_by_count(
    methods: Mapping[str, Method],
    counts: Sequence[int] = COUNTS,
    repeats: int = 3,
    clock: Callable[[], float] = time.process_time,
) -> Rows:
    """Seconds that every method takes for every number of thresholds, methods taking turns.

    Beyond a method's ``most`` its seconds are those of the largest number that it was asked for, in proportion, as the
    paper's are for its simulations (``measured`` is False there: the best case of a method that scales).

    Args:
        repeats: the median of so many runs counts, after one that does not (compilation).
        clock: CPU-seconds of this process by default; pin it to one core for the time that it would take.

    Returns:
        One row for each method and number: ``method``, ``thresholds``, ``seconds``, ``per_second``, ``measured``.
    """
    if repeats < 1 or not counts or min(counts) < 1:
        raise InputError("nothing to time", got=(list(counts), repeats), expected="numbers from 1, repeats from 1")
    measured: dict[tuple[str, int], float] = {}
    for count in sorted(counts):
        asked = {name: method for name, method in methods.items() if count <= method.most}
        seconds: dict[str, list[float]] = {name: [] for name in asked}
        for method in asked.values():
            method.run(count)
        for _ in range(repeats):
            for name, method in asked.items():
                start = clock()
                method.run(count)
                seconds[name].append(clock() - start)
        measured |= {(name, count): statistics.median(values) for name, values in seconds.items()}
    rows: Rows = []
    for name in methods:
        known = [count for other, count in measured if other == name]
        if not known:
            raise InputError(
                f"{name} is never run", got=f"most {methods[name].most}", expected=f"{min(counts)} or more"
            )
        for count in sorted(counts):
            nearest = count if count in known else max(known)
            taken = measured[name, nearest] * count / nearest
            rate = count / taken if taken > 0 else float("inf")
            rows.append(
                {"method": name, "thresholds": count, "seconds": taken, "per_second": rate, "measured": count in known}
            )
    return rows
