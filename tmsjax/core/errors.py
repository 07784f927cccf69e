"""Errors that say what was got, what was expected, and how to mend it."""

from __future__ import annotations

import math
from typing import Any

import numpy as np


class TmsjaxError(Exception):
    """Base of every error that tmsjax raises on purpose."""


class InputError(TmsjaxError, ValueError):
    """Input that cannot be used: names what was got, what was expected and how to mend it."""

    def __init__(self, what: str, *, got: object, expected: object, mend: str = "") -> None:
        lines = [what, f"  got:      {got}", f"  expected: {expected}"]
        if mend:
            lines.append(f"  mend:     {mend}")
        super().__init__("\n".join(lines))


class MissingToolError(TmsjaxError, RuntimeError):
    """A program or package that this task needs (a C++ compiler, NEURON, an extra) is not installed."""


class ConvergenceError(TmsjaxError, RuntimeError):
    """A solver that did not reach what it was asked for; the message says how far it got."""


def check_number(
    value: Any,
    what: str,
    low: float = -math.inf,
    high: float = math.inf,
    *,
    above: float = -math.inf,
    unit: str = "",
) -> float:
    """Return one finite number as a float, or raise InputError naming ``what`` it is.

    Numbers of Python, NumPy and JAX are taken; text, None, True and False, arrays of several and NaN are not. ``low``
    and ``high`` are allowed themselves, ``above`` is not. ``unit`` is said with what was expected.
    """
    try:
        number = np.asarray(value)
    except (TypeError, ValueError):  # a ragged list, an object that refuses
        number = np.asarray(None)
    if number.ndim == 0 and number.dtype.kind in "iuf":
        found = float(number)
        if math.isfinite(found) and low <= found <= high and found > above:
            return found
    limits = [
        text
        for text, limit in ((f"above {above:g}", above), (f"at least {low:g}", low), (f"at most {high:g}", high))
        if math.isfinite(limit)
    ]
    words = ["one finite number", *([unit] if unit else [])]
    raise InputError(what, got=repr(value)[:80], expected=", ".join([" of ".join(words), *limits]))
