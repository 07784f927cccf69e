"""What decides a threshold, in a form that is written down beside it: a store's rows all come from one simulation."""

from __future__ import annotations

import dataclasses
import hashlib
import inspect
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy import ndarray

from tmsjax.cells.types import Cell
from tmsjax.simulate.engines import cable_of, open_engine
from tmsjax.simulate.pulses import Pulse
from tmsjax.simulate.search import Search

OPTIONS: Mapping[str, tuple[str, ...]] = {
    "neuron": ("rule", "tables"),
    "cable": ("rule", "membrane", "backend", "precision"),
}
"""The options of every engine that change its numbers."""
BITS = 32
"""Of the numbers that are compared: the last ones differ between processors."""


def fingerprint(
    cell: Cell, pulse: Pulse, search: Search, *, initiation: bool, guessed: bool, engine: str, options: Mapping
) -> dict[str, Any]:
    """What a simulation is made of, as plain JSON: compartments, membrane and waveform as sha256, the rest as it is."""
    defaults = inspect.signature(open_engine).parameters
    return {
        "cell": _cell(cell),
        "pulse": _sha([pulse.time_ms, pulse.waveform]),
        "search": dataclasses.asdict(search),
        "initiation": bool(initiation),
        "guessed": guessed,
        "engine": engine,
        **{name: options.get(name, defaults[name].default) for name in OPTIONS.get(engine, ())},
    }


def differences(stored: Mapping[str, Any], given: Mapping[str, Any]) -> tuple[str, str]:
    """What of two fingerprints differs, in words: of the given one, of the stored one; empty if nothing."""
    given = json.loads(json.dumps(given, default=repr))
    names = [name for name in {**stored, **given} if stored.get(name) != given.get(name)]
    ours, theirs = (", ".join(f"{name} = {_short(one.get(name))}" for name in names) for one in (given, stored))
    return ours, theirs


def _cell(cell: Cell) -> str:
    """The compartments, and what the membrane's own files add to them."""
    cable = cable_of(cell)
    parts: list[Any] = [getattr(cable, field.name) for field in dataclasses.fields(cable) if field.name != "name"]
    if cell.membrane is not None:
        parts.append(json.dumps(cell.membrane.common, sort_keys=True, default=repr))
        if cell.membrane.mechanisms is not None:
            parts += [file.read_bytes() for file in sorted(Path(cell.membrane.mechanisms).glob("*.mod"))]
    return _sha(parts)


def _sha(parts: list[Any]) -> str:
    digest = hashlib.sha256()
    for part in parts:
        if isinstance(part, Mapping):
            digest.update(_sha([value for name in sorted(part) for value in (name, part[name])]).encode())
        elif isinstance(part, ndarray | float | int):
            numbers = np.atleast_1d(part)
            digest.update(f"{numbers.dtype.kind} {numbers.shape}".encode())
            digest.update(_rounded(numbers).tobytes())
        else:
            digest.update(part if isinstance(part, bytes) else repr(part).encode())
    return digest.hexdigest()


def _rounded(numbers: ndarray) -> ndarray:
    """The numbers without their last bits."""
    if numbers.dtype.kind != "f":
        return numbers.astype(np.int64)
    mantissa, exponent = np.frexp(numbers.astype(np.float64))
    return np.ldexp(np.round(mantissa * 2.0**BITS), exponent - BITS) + 0.0  # no -0


def _short(value: Any) -> str:
    return f"{value[:12]}..." if isinstance(value, str) and len(value) == 64 else repr(value)
