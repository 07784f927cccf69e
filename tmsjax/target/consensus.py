"""One point of several raters': the centre of those who agree (Baxter et al. 2021, section 2.1).

In the paper a neurologist looked which of three experts had meant the same gyrus, and "the further distance between two
experts considered to be in agreement was less than 12mm". Here the distance alone decides.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations
from typing import NamedTuple

import numpy as np
from jaxtyping import Float

from tmsjax.core.errors import InputError
from tmsjax.target.marks import Mark

AGREE_MM = 12.0
"""Raters agree where every pair of them is nearer than this."""

MOST_RATERS = 8


class Consensus(NamedTuple):
    """``place_mm`` (3,) or None where all differ; who ``agreed``; ``tied``: another group was as large, but wider."""

    place_mm: Float[np.ndarray, 3] | None
    agreed: tuple[str, ...]
    tied: bool


def consensus(marks: Sequence[Mark], agree_mm: float = AGREE_MM) -> Consensus:
    """The consensus of marks of one point: the largest group all of whose pairs agree, and its centre.

    One rater alone is taken as they are. Where groups of one size tie (A near B and B near C, but A far from C: the
    paper says nothing), the narrower one is taken and the result is marked as tied.

    Raises InputError for marks of different points, no marks, or more than eight raters.
    """
    if not marks or len({mark.point for mark in marks}) > 1 or len(marks) > MOST_RATERS:
        raise InputError(
            "a consensus is of one point",
            got=sorted({mark.point for mark in marks}) or "no marks",
            expected=f"marks of one point by 1 to {MOST_RATERS} raters",
        )
    places = np.array([mark.place_mm for mark in marks])
    if len(marks) == 1:
        return Consensus(places[0], (marks[0].rater,), False)
    apart = np.linalg.norm(places[:, None] - places, axis=-1)
    for size in range(len(marks), 1, -1):
        groups = [list(group) for group in combinations(range(len(marks)), size)]
        widths = [apart[np.ix_(group, group)].max() for group in groups]
        agreeing = [i for i, width in enumerate(widths) if width < agree_mm]
        if agreeing:
            best = groups[min(agreeing, key=lambda i: widths[i])]
            return Consensus(places[best].mean(0), tuple(marks[i].rater for i in best), len(agreeing) > 1)
    return Consensus(None, (), False)


def consensus_marks(marks: Sequence[Mark], agree_mm: float = AGREE_MM) -> tuple[list[Mark], list[str]]:
    """The consensus of every point among ``marks``, and what is to be said of those without one, or with a tie."""
    found, notes = [], []
    for point in dict.fromkeys(mark.point for mark in marks):
        own = [mark for mark in marks if mark.point == point]
        result = consensus(own, agree_mm)
        if result.place_mm is None:
            notes.append(f"{point}: no two of {len(own)} raters within {agree_mm:g} mm, left out")
            continue
        x, y, z = map(float, result.place_mm)
        if result.tied:
            notes.append(f"{point}: two groups of raters agree among themselves, the narrower one is taken")
        found.append(Mark(point, (x, y, z), "consensus", ", ".join(result.agreed)))
    return found, notes


def rater_errors(
    marks: Sequence[Mark], agree_mm: float = AGREE_MM, *, leave_out: bool = False
) -> dict[str, list[float]]:
    """Distance (mm) of every rater's mark from the consensus of its point: the paper's expert variability.

    The consensus contains the rater whom it judges, which flatters by up to sqrt(2/3) for three. With ``leave_out`` the
    others' consensus judges instead.

    Returns point -> one distance a rater, without those where there is no consensus.
    """
    out: dict[str, list[float]] = {}
    for point in dict.fromkeys(mark.point for mark in marks):
        own = [mark for mark in marks if mark.point == point]
        for mark in own:
            others = [other for other in own if not leave_out or other is not mark]
            place = consensus(others, agree_mm).place_mm if len(others) > 1 else None
            if place is not None:
                out.setdefault(point, []).append(float(np.linalg.norm(place - mark.place_mm)))
    return out
