"""The smallest amplitude at which a cell fires: bracketing from a guess, then bisection."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable

from tmsjax.core.errors import InputError, check_number


class Status(enum.IntEnum):
    """How a search ended; ``sentence`` says it in words."""

    NOT_DONE = -1
    OK = 0
    NOT_REACHED = 1
    FIRES_AT_REST = 2
    FIRES_AT_LOWEST = 3
    NOT_COVERED = 4

    @property
    def sentence(self) -> str:
        """The status in words."""
        return _SENTENCES[self]


_SENTENCES = {
    Status.NOT_DONE: "not simulated yet",
    Status.OK: "threshold found within the tolerance",
    Status.NOT_REACHED: "the cell does not fire at the largest amplitude allowed",
    Status.FIRES_AT_REST: "the cell fires without any field: there is no threshold",
    Status.FIRES_AT_LOWEST: "the cell fires at the smallest amplitude allowed",
    Status.NOT_COVERED: "the field is not known (NaN) at some of the cell's compartments",
}


@dataclasses.dataclass(frozen=True)
class Search:
    """How to search, with amplitudes in V/m at the soma.

    The bracket grows from the guess by ``step``, ``step**2``, ``step**4``, ... up to doubling (or ``step`` itself,
    if that is more), and is then divided at ``split`` until high - low is at most ``tolerance * low`` or, if
    ``absolute_v_per_m`` is given, at most that. Both ends are tested amplitudes; ``high`` is reported. A run that
    fires ends early and costs a fifth, so that the cheapest split lies above the middle. The published search
    (Aberra et al. 2020) is ``Search(absolute_v_per_m=0.05, split=0.5)`` from 100 V/m.
    """

    tolerance: float = 0.005
    absolute_v_per_m: float | None = None
    step: float = 2.0
    split: float = 0.7
    lowest_v_per_m: float = 0.1
    highest_v_per_m: float = 5000.0

    def checked(self) -> Search:
        """The same, or an InputError that names the number that cannot be."""
        for name, value, low in (
            ("tolerance", self.tolerance, 0.0),
            ("absolute_v_per_m", 1.0 if self.absolute_v_per_m is None else self.absolute_v_per_m, 0.0),
            ("step", self.step, 1.0),
            ("lowest_v_per_m", self.lowest_v_per_m, 0.0),
            ("highest_v_per_m", self.highest_v_per_m, self.lowest_v_per_m),
        ):  # the lowest is checked before the highest is compared with it
            check_number(value, f"threshold search: {name}", above=low)
        if not 0.0 < check_number(self.split, "threshold search: split") < 1.0:
            raise InputError("threshold search: split", got=self.split, expected="a number between 0 and 1")
        return self


@dataclasses.dataclass(frozen=True)
class Found:
    """The amplitude that fires (V/m; NaN without a threshold), the largest known not to, the status, the runs."""

    high: float
    low: float
    status: Status
    runs: int


def find_threshold(fires: Callable[[float], bool], guess: float, search: Search) -> Found:
    """The smallest amplitude at which ``fires(amplitude)`` holds, for a predicate that changes once, to True."""
    runs = 0
    nan = float("nan")

    def test(amplitude: float) -> bool:
        nonlocal runs
        runs += 1
        return bool(fires(amplitude))

    step = search.step
    widest = max(step, 2.0)
    amplitude = min(max(guess, search.lowest_v_per_m), search.highest_v_per_m)
    if test(amplitude):
        high = amplitude
        while True:
            if high <= search.lowest_v_per_m:
                return Found(nan, 0.0, Status.FIRES_AT_LOWEST, runs)
            low = max(high / step, search.lowest_v_per_m)
            if not test(low):
                break
            high, step = low, min(step**2, widest)
    else:
        low = amplitude
        while True:
            if low >= search.highest_v_per_m:
                return Found(nan, low, Status.NOT_REACHED, runs)
            high = min(low * step, search.highest_v_per_m)
            if test(high):
                break
            low, step = high, min(step**2, widest)

    while high - low > (search.tolerance * low if search.absolute_v_per_m is None else search.absolute_v_per_m):
        middle = low + search.split * (high - low)
        if not low < middle < high:
            break
        if test(middle):
            high = middle
        else:
            low = middle
    return Found(high, low, Status.OK, runs)
