"""Worker processes, each with one cell in its NEURON: spawned, interruptible, and without JAX."""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import multiprocessing
import os
import signal
import sys
import threading
import types
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from tmsjax.cells.types import Cell
from tmsjax.core.errors import InputError
from tmsjax.simulate.pulses import Pulse
from tmsjax.simulate.search import Found, Search, Status, find_threshold

FIELDS_PER_TASK = 4


def checked_workers(workers: Any) -> int | None:
    """The number of processes or threads, None for one a core; InputError for what is no whole number from 1."""
    if workers is None:
        return None
    if isinstance(workers, bool) or not isinstance(workers, int | np.integer) or workers < 1:
        raise InputError("workers", got=repr(workers), expected="a whole number from 1, or None for one a core")
    return int(workers)


@dataclasses.dataclass(frozen=True)
class Answer:
    """A worker's answer for one field: the search's result (V/m at the soma) and the first row to fire (or -1)."""

    found: Found
    initiation: int


@contextlib.contextmanager
def pool(
    cell: Cell, pulse: Pulse, workers: int | None = None, *, rule: str = "tree", tables: bool = True
) -> Iterator[concurrent.futures.Executor]:
    """Processes (one a core by default) that simulate this cell with this pulse, as a concurrent.futures executor.

    Leaving the block, by Ctrl-C too, drops what has not begun and waits for what has (about a second).
    """
    executor = concurrent.futures.ProcessPoolExecutor(
        workers or os.cpu_count() or 1,
        mp_context=multiprocessing.get_context("spawn"),
        initializer=_start,
        initargs=(cell, pulse, rule, tables),
    )
    try:
        yield executor
    finally:
        executor.shutdown(wait=True, cancel_futures=True)


def neuron_source(tables: bool) -> str:
    """What makes NEURON's numbers, in words."""
    from importlib.metadata import version

    return f"NEURON {version('neuron')}, {'tabulated' if tables else 'exact'} rates"


@dataclasses.dataclass(frozen=True)
class NeuronEngine:
    """NEURON's worker processes as an engine (see ``engines.Engine``)."""

    executor: concurrent.futures.Executor
    tables: bool

    @property
    def source(self) -> str:
        """What makes the numbers, in words."""
        return neuron_source(self.tables)

    def search(
        self,
        fields: Float[ndarray, "k n 3"],
        guesses: Float[ndarray, " k"],
        search: Search,
        initiation: bool,
        progress: Callable[[str], None] | None = None,
    ) -> list[Answer]:
        """The threshold of every field (any scale), in V/m at the soma and in the given order."""
        tasks = in_tasks(
            self.executor, _search_task, FIELDS_PER_TASK, fields, guesses, search, initiation, progress=progress
        )
        return [answer for task in tasks for answer in task]

    def fires(
        self,
        fields: Float[ndarray, "k n 3"],
        amplitudes: Float[ndarray, "k a"],
        progress: Callable[[str], None] | None = None,
    ) -> Bool[ndarray, "k a"]:
        """Whether the cell fires under every field (any scale) at each of its amplitudes (V/m at the soma)."""
        if not len(fields):
            return np.zeros(amplitudes.shape, bool)
        return np.concatenate(
            in_tasks(self.executor, _fires_task, FIELDS_PER_TASK, fields, amplitudes, progress=progress)
        )

    def traces(
        self, field: Float[ndarray, "n 3"], amplitude: float, rows: Int[ndarray, " r"]
    ) -> Float[ndarray, "steps_plus_1 r"]:
        """Potentials (mV) of some rows every 5 us under one field (any scale; amplitude in V/m at the soma)."""
        with _empty_main():
            return self.executor.submit(_traces_task, np.asarray(field, float), amplitude, rows).result()


def in_tasks(
    executor: concurrent.futures.Executor,
    task: Callable[..., Any],
    size: int,
    fields: ndarray,
    per_field: ndarray,
    *settings: Any,
    progress: Callable[[str], None] | None = None,
) -> list[Any]:
    """``task(fields, per_field, *settings)`` for ``size`` fields at a time, results in order; local or on a cluster."""
    futures = {}
    with _empty_main():  # the processes start here
        for start in range(0, len(fields), size):
            rows = slice(start, start + size)
            futures[executor.submit(task, fields[rows], per_field[rows], *settings)] = start
    results = {}
    done = 0
    for future in concurrent.futures.as_completed(futures):
        results[futures[future]] = future.result()
        done += len(results[futures[future]])
        if progress is not None:
            progress(f"{done} of {len(fields)} fields")
    return [results[start] for start in sorted(results)]


def _start(cell: Cell, pulse: Pulse, rule: str, tables: bool) -> None:
    """Build the cell in this new process and bring it to its steady state."""
    global _simulator
    threading.Thread(target=_end_with_parent, daemon=True).start()
    try:
        _simulator = Simulator(cell, pulse, rule, tables)
    except Exception as error:  # an error here would break the pool without a word; the first task raises it
        _simulator = error
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the parent ends the work


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


class Simulator:
    """One cell in this process's NEURON with one pulse: fields in, thresholds out."""

    def __init__(self, cell: Cell, pulse: Pulse, rule: str = "tree", tables: bool = True) -> None:
        from tmsjax.cells import build_neuron, cable_model, use_tables
        from tmsjax.simulate.oracle import Oracle
        from tmsjax.simulate.quasipotential import current_matrix

        self.cable = cable_model(cell)
        self._matrix = current_matrix(self.cable, rule)
        use_tables(tables)
        self.oracle = Oracle(build_neuron(cell).segments)
        self.oracle.set_pulse(pulse)
        self.fires_at_rest = self.oracle.fires(0.0)

    def set_field(self, efield_v_per_m: Float[ndarray, "n 3"]) -> None:
        """Use this field from now on."""
        self.oracle.set_currents(self._matrix @ np.ravel(efield_v_per_m))

    def threshold(
        self, efield_v_per_m: Float[ndarray, "n 3"], guess: float, search: Search, initiation: bool
    ) -> Answer:
        """The threshold of one field of any scale, in V/m at the soma."""
        if self.fires_at_rest:
            return Answer(Found(float("nan"), 0.0, Status.FIRES_AT_REST, 1), -1)
        self.set_field(efield_v_per_m / np.linalg.norm(efield_v_per_m[0]))
        found = find_threshold(self.oracle.fires, guess, search)
        return Answer(found, self.initiation(found.high) if initiation and found.status == Status.OK else -1)

    def fires(self, fields: Float[ndarray, "k n 3"], amplitudes: Float[ndarray, "k a"]) -> Bool[ndarray, "k a"]:
        """Whether the cell fires under every field (any scale) at each of its amplitudes (V/m at the soma)."""
        out = np.zeros(amplitudes.shape, bool)
        for k, field in enumerate(np.asarray(fields, float)):
            self.set_field(field / np.linalg.norm(field[0]))
            out[k] = [self.oracle.fires(float(amplitude)) for amplitude in amplitudes[k]]
        return out

    def traces(
        self, field: Float[ndarray, "n 3"], amplitude: float, rows: Int[ndarray, " r"]
    ) -> Float[ndarray, "steps_plus_1 r"]:
        """Potentials (mV) of some rows every 5 us under one field (any scale)."""
        self.set_field(np.asarray(field, float) / np.linalg.norm(field[0]))
        return self.oracle.traces(float(amplitude), [int(row) for row in rows])

    def initiation(self, amplitude: float) -> int:
        """The row that fires first at the threshold; the finer time step may need up to 5 % more."""
        for percent in range(6):
            row = self.oracle.initiation(amplitude * 1.01**percent)
            if row >= 0:
                return row
        return -1


_simulator: Simulator | Exception


def _search_task(fields: ndarray, guesses: ndarray, search: Search, initiation: bool) -> list[Answer]:
    if isinstance(_simulator, Exception):
        raise _simulator
    return [
        _simulator.threshold(field, float(guess), search, initiation)
        for field, guess in zip(np.asarray(fields, float), guesses, strict=True)
    ]


def _fires_task(fields: ndarray, amplitudes: ndarray) -> ndarray:
    if isinstance(_simulator, Exception):
        raise _simulator
    return _simulator.fires(fields, amplitudes)


def _traces_task(field: ndarray, amplitude: float, rows: ndarray) -> ndarray:
    if isinstance(_simulator, Exception):
        raise _simulator
    return _simulator.traces(field, amplitude, rows)


@contextlib.contextmanager
def _empty_main() -> Iterator[None]:
    """Spawned processes run the user's script again, and import JAX with it; let them find an empty one."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = types.ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
