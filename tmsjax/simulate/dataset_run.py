"""Simulating what a store lacks: in units that are written as they are done, by one simulation for all rows."""

from __future__ import annotations

import concurrent.futures
import contextlib
import time
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from tmsjax.cells.types import Cell
from tmsjax.core.errors import InputError
from tmsjax.core.thresholds import Thresholds
from tmsjax.simulate.dataset import Dataset
from tmsjax.simulate.engines import open_engine
from tmsjax.simulate.fingerprint import differences, fingerprint
from tmsjax.simulate.layout import CHUNK, alone, writing
from tmsjax.simulate.pulses import Pulse
from tmsjax.simulate.pulses import pulse as as_pulse
from tmsjax.simulate.search import Search
from tmsjax.simulate.truth import checked_fields, checked_guesses, search_covered

TOGETHER: Mapping[str, int] = {"neuron": CHUNK, "cable": 16 * CHUNK}
"""Rows that are simulated and written together, for each engine a few seconds: what a kill can lose. An engine whose
lanes want more says so itself (``rows_together``)."""


def run_dataset(
    dataset: Dataset,
    cell: Cell,
    fields_of: Callable[[Int[ndarray, " c"]], ndarray],
    *,
    pulse: str | PathLike | Pulse = "monophasic",
    guess_of: Callable[[Float[ndarray, "c 3"]], ndarray] | None = None,
    search: Search | None = None,
    initiation: bool = True,
    workers: int | None = None,
    progress: Callable[[str], None] | None = None,
    engine: str = "neuron",
    **engine_options,
) -> None:
    """Simulate what is pending; after a kill, call it again: what was written stays, and is not done twice.

    Args:
        dataset: from ``create_dataset`` or ``open_dataset``. Damaged chunks are found first, and done anew.
        cell: the cell whose name the store holds.
        fields_of: rows (c,) -> fields (c, n, 3) V/m at the cell's compartments, any scale; called in another thread,
            for the next rows while some are simulated.
        pulse: the pulse whose name the store holds.
        guess_of: fields at the soma (c, 3) -> V/m there to search from.
        search: tolerance and limits (0.5 % by default).
        initiation: whether to find the first compartment to fire.
        workers: number of processes or threads, one a core by default.
        progress: called with a sentence (how many, how fast, how long still) as rows are written.
        engine, engine_options: as ``thresholds``.

    All rows of a store come from one simulation: the first run writes down a fingerprint of the cell's compartments,
    the waveform, the search, the engine and its options, and another is refused. A store of an earlier version, which
    has none, can be read, but not gone on with.

    Raises:
        InputError: another simulation than the store's; another run is at it; the disk is full (nothing is
            half-written: make room and run again).
    """
    pulse = as_pulse(pulse)
    for name, given in (("cell", cell.name), ("pulse", pulse.name)):
        if dataset.attrs[name] != given:
            raise InputError(f"dataset {dataset.path}: {name}", got=given, expected=dataset.attrs[name])
    search = (search or Search(step=2.0 if guess_of is None else 1.1)).checked()
    simulation = fingerprint(
        cell,
        pulse,
        search,
        initiation=initiation,
        guessed=guess_of is not None,
        engine=engine,
        options=engine_options,
    )
    with alone(dataset.path):
        _same(dataset, simulation)
        dataset._mend()
        pending = dataset.pending()
        if not len(pending):
            return
        with open_engine(cell, pulse, engine, workers=workers, **engine_options) as opened, _reader() as reader:
            _sign(dataset, simulation, opened.source)
            together = getattr(opened, "rows_together", TOGETHER[engine])
            units = [pending[pending // together == unit] for unit in np.unique(pending // together)]

            def read(rows: Int[ndarray, " c"]) -> tuple:
                fields, size, covered = checked_fields(cell, fields_of(rows))
                guesses = None if guess_of is None else np.where(covered, guess_of(fields[:, 0]), 1.0)
                return fields, size, covered, checked_guesses(len(rows), guesses)

            begun, before, done = time.monotonic(), len(dataset) - len(pending), 0
            ahead = reader.submit(read, units[0])
            for k, rows in enumerate(units):
                fields, size, covered, guesses = ahead.result()
                if k + 1 < len(units):
                    ahead = reader.submit(read, units[k + 1])
                result = search_covered(opened, fields, size, covered, guesses, search, initiation)
                _write(dataset, rows, result, fields[:, 0])
                done += len(rows)
                if progress is not None:
                    counts = f"{before + done} of {len(dataset)} thresholds of {cell.name}"
                    progress(counts + _pace(done, len(pending) - done, time.monotonic() - begun))


def _pace(done: int, left: int, seconds: float) -> str:
    """How fast it goes and how long it still takes, in words."""
    rate = done / max(seconds, 1e-9)
    minutes = left / rate / 60
    still = (
        f"{minutes * 60:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
    )
    return f", {rate:.3g} a second, {still} left" if left else f", {rate:.3g} a second"


def _write(dataset: Dataset, rows: Int[ndarray, " c"], result: Thresholds, soma: ndarray) -> None:
    """The results first, their status last: a row with a status is whole."""
    with writing(dataset.path):
        for name in dataset._results():
            values = soma if name == "soma" else getattr(result, name)
            array, span = dataset.group[name], slice(int(rows[0]), int(rows[-1]) + 1)
            block = np.array(array[span])
            block[rows - rows[0]] = values
            array[span] = block


def _same(dataset: Dataset, simulation: Mapping[str, Any]) -> None:
    """Refuse another simulation than made a store's rows."""
    stored = dataset.attrs.get("simulation")
    given, expected = ("", "") if stored is None else differences(stored, simulation)
    if given:
        raise InputError(
            f"dataset {dataset.path}: another simulation made it",
            got=given,
            expected=expected,
            mend="one dataset, one simulation: give a new folder",
        )


def _sign(dataset: Dataset, simulation: Mapping[str, Any], source: str) -> None:
    """Write down what simulates a store, or refuse one whose rows come from elsewhere."""
    stored = dataset.attrs.get("source")
    if stored is None:
        with writing(dataset.path):
            dataset.group.attrs.update({"simulation": dict(simulation), "source": source})
        return
    if "simulation" not in dataset.attrs:
        raise InputError(
            f"dataset {dataset.path}: rows of an earlier version of tmsjax",
            got="no word of what simulated them",
            expected="rows of one known simulation",
            mend="it can be read and trained from; for the rows that lack, give a new folder",
        )
    if stored != source:
        raise InputError(
            f"dataset {dataset.path}: engine",
            got=source,
            expected=stored,
            mend="one dataset, one engine: give a new folder",
        )


@contextlib.contextmanager
def _reader() -> Iterator[concurrent.futures.Executor]:
    """One thread that makes the next fields."""
    executor = concurrent.futures.ThreadPoolExecutor(1)
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)
