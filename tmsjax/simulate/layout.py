"""How a store of thresholds lies on disk, who may write to it, and what a failed write is called."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np

from tmsjax.core.errors import InputError
from tmsjax.simulate.search import Status

RESULTS: Mapping[str, tuple[str, float, tuple[int, ...]]] = {
    "v_per_m": ("float64", np.nan, ()),
    "factor": ("float64", np.nan, ()),
    "initiation": ("int32", -1, ()),
    "soma": ("float32", np.nan, (3,)),
    "status": ("int8", int(Status.NOT_DONE), ()),
}
"""Type, value before it is known, and further axes of every result; the status is written last."""
CHUNK = 64
"""Rows with a checksum of their own: what a damaged place costs."""

SHARD = 256 * CHUNK
"""Rows in one file: few files, and little to write again for every chunk (zarr replaces files atomically)."""

LEFTOVER = ".partial"
"""How names end of what a killed process leaves behind: zarr's files before they replace others, and our own."""

UNREADABLE = (ValueError, OSError, RuntimeError)
"""What zarr and its codecs raise for damaged chunks."""


@contextlib.contextmanager
def alone(path: Path) -> Iterator[None]:
    """Keep other runs from the same store for as long as the block lasts; the lock dies with the process."""
    try:
        import fcntl
    except ImportError:  # Windows, where NEURON does not run either
        yield
        return
    with writing(path):
        file = open(path / ".lock", "w")  # noqa: SIM115 - closed below
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"dataset {path}", got="another run that is at it", expected="one run at a time", mend="wait for it"
            ) from error
        yield


@contextlib.contextmanager
def writing(path: Path) -> Iterator[None]:
    """Say in words what a full disk or a folder without permission means for a store."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"dataset {path} cannot be written",
            got=error.strerror or error,
            expected="a folder that can be written to, on a disk with room for it",
            mend="make room and run it again: what was written stays",
        ) from error
