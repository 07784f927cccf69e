"""Engines on a Dask cluster: the same answers, from workers that a scheduler hands out.

Every worker process builds the cell once; fields travel to it a few at a time. Start workers with one thread each
(``dask worker --nthreads 1``): NEURON holds one cell in a process, and threads would wait for each other. On SLURM::

    cluster = dask_jobqueue.SLURMCluster(cores=1, processes=1, memory="4GB", walltime="08:00:00")
    cluster.scale(jobs=200)
    print(cluster.scheduler_address)  # tmsjax simulate RECIPE --out X.zarr --scheduler tcp://...
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from tmsjax.cells.types import Cell
from tmsjax.core.errors import InputError, MissingToolError
from tmsjax.simulate.pulses import Pulse
from tmsjax.simulate.search import Search
from tmsjax.simulate.workers import Answer, in_tasks

FIELDS_PER_TASK = {"neuron": 4, "cable": 64}
TIMEOUT_S = 20


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a worker needs to build its engine."""

    cell: Cell
    pulse: Pulse
    engine: str
    options: dict[str, Any]
    token: str


@contextlib.contextmanager
def connect(scheduler: str) -> Iterator[Any]:
    """A client of the scheduler at an address (tcp://host:8786).

    Raises:
        MissingToolError: Dask is not installed. InputError: nobody answers at the address.
    """
    try:
        from distributed import Client
    except ImportError as error:
        raise MissingToolError("a cluster needs Dask: pip install 'tmsjax[cluster]'") from error
    try:
        client = Client(scheduler, timeout=TIMEOUT_S)
    except (OSError, ValueError) as error:
        raise InputError(
            "the scheduler", got=f"{scheduler}: {error}", expected="the address of a Dask scheduler, tcp://host:port",
            mend="start one: dask scheduler; dask worker --nthreads 1 tcp://host:port",
        ) from error  # fmt: skip
    try:
        yield client
    finally:
        client.close()


@dataclasses.dataclass(frozen=True, eq=False)
class ClusterEngine:
    """Any engine, on the workers of a client."""

    client: Any
    setup: Setup
    source: str

    def search(
        self,
        fields: Float[ndarray, "k n 3"],
        guesses: Float[ndarray, " k"],
        search: Search,
        initiation: bool,
        progress: Callable[[str], None] | None = None,
    ) -> list[Answer]:
        """The threshold of every field (any scale), in V/m at the soma and in the given order."""
        parts = self._tasks("search", fields, guesses, (search, initiation), progress)
        return [answer for part in parts for answer in part]

    def fires(
        self,
        fields: Float[ndarray, "k n 3"],
        amplitudes: Float[ndarray, "k a"],
        progress: Callable[[str], None] | None = None,
    ) -> Bool[ndarray, "k a"]:
        """Whether the cell fires under every field (any scale) at each of its amplitudes (V/m at the soma)."""
        parts = self._tasks("fires", fields, amplitudes, (), progress)
        return np.concatenate([np.zeros((0, amplitudes.shape[1]), bool), *parts])

    def traces(
        self, field: Float[ndarray, "n 3"], amplitude: float, rows: Int[ndarray, " r"]
    ) -> Float[ndarray, "steps_plus_1 r"]:
        """Potentials (mV) of some rows every 5 us under one field (any scale)."""
        executor = self.client.get_executor(pure=False)
        return executor.submit(_on_worker, field, amplitude, self._spread(), "traces", (rows,)).result()

    def _spread(self) -> Any:
        return self.client.scatter(self.setup, broadcast=True, hash=False)

    def _tasks(self, what: str, fields: ndarray, per_field: ndarray, settings: tuple, progress) -> list[Any]:
        size, executor = FIELDS_PER_TASK[self.setup.engine], self.client.get_executor(pure=False)
        return in_tasks(
            executor, _on_worker, size, fields, per_field, self._spread(), what, settings, progress=progress
        )


_lock = threading.Lock()
_built: tuple[str, Any] | None = None


def _on_worker(fields: ndarray, per_field: Any, setup: Setup, what: str, settings: tuple) -> Any:
    """Answer in a worker's process, whose engine is built when its first fields arrive."""
    global _built
    with _lock:
        if _built is None or _built[0] != setup.token:
            _built = None  # NEURON forgets the cell before
            _built = (setup.token, _build(setup))
        return getattr(_built[1], what)(fields, per_field, *settings)


def _build(setup: Setup) -> Any:
    if setup.engine == "neuron":
        return _NeuronHere(setup)
    from tmsjax.simulate.cable.engine import cable_engine
    from tmsjax.simulate.engines import cable_of

    return cable_engine(cable_of(setup.cell), setup.pulse, **setup.options, workers=1)


class _NeuronHere:
    """NEURON in this process as an engine."""

    def __init__(self, setup: Setup) -> None:
        from tmsjax.simulate.workers import Simulator

        self.simulator = Simulator(setup.cell, setup.pulse, **setup.options)

    def search(self, fields: ndarray, guesses: ndarray, search: Search, initiation: bool) -> list[Answer]:
        return [
            self.simulator.threshold(np.asarray(field, float), float(guess), search, initiation)
            for field, guess in zip(fields, guesses, strict=True)
        ]

    def fires(self, fields: ndarray, amplitudes: ndarray) -> ndarray:
        return self.simulator.fires(fields, amplitudes)

    def traces(self, field: ndarray, amplitude: float, rows: ndarray) -> ndarray:
        return self.simulator.traces(field, amplitude, rows)
