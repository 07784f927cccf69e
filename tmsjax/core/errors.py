"""Errors that say what was got, what was expected, and how to mend it."""

from __future__ import annotations


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
