"""The engines behind one interface: NEURON's worker processes, and the batched cable solver on processor or device."""

from __future__ import annotations

import contextlib
import functools
import uuid
from collections.abc import Callable, Iterator
from typing import Protocol, runtime_checkable

from jaxtyping import Bool, Float, Int
from numpy import ndarray

from tmsjax.cells.types import CableModel, Cell
from tmsjax.core.errors import InputError
from tmsjax.simulate import workers as neuron_workers
from tmsjax.simulate.pulses import Pulse
from tmsjax.simulate.quasipotential import RULES
from tmsjax.simulate.search import Search
from tmsjax.simulate.workers import Answer

ENGINES = ("neuron", "cable")


@runtime_checkable
class Engine(Protocol):
    """A cell under one pulse that answers for fields (k, n, 3) of any scale; amplitudes are V/m at the soma."""

    @property
    def source(self) -> str:
        """What makes the numbers, in words."""
        ...

    def search(
        self,
        fields: Float[ndarray, "k n 3"],
        guesses: Float[ndarray, " k"],
        search: Search,
        initiation: bool,
        progress: Callable[[str], None] | None = None,
    ) -> list[Answer]:
        """The threshold of every field, in the given order."""
        ...

    def fires(
        self,
        fields: Float[ndarray, "k n 3"],
        amplitudes: Float[ndarray, "k a"],
        progress: Callable[[str], None] | None = None,
    ) -> Bool[ndarray, "k a"]:
        """Whether the cell fires under every field at each of its amplitudes."""
        ...

    def traces(
        self, field: Float[ndarray, "n 3"], amplitude: float, rows: Int[ndarray, " r"]
    ) -> Float[ndarray, "steps_plus_1 r"]:
        """Membrane potential (mV) of some rows at t = 0, 5 us, ... 1 ms under one field."""
        ...


@functools.lru_cache(maxsize=8)
def cable_of(cell: Cell) -> CableModel:
    """The compartments of a cell, the same object every time: its resting state and compiled programs stay with it."""
    from tmsjax.cells import cable_model

    return cable_model(cell)


@contextlib.contextmanager
def open_engine(
    cell: Cell,
    pulse: Pulse,
    engine: str = "neuron",
    *,
    workers: int | None = None,
    rule: str = "tree",
    tables: bool = True,
    membrane: str = "full",
    backend: str = "numba",
    precision: str = "float32",
    scheduler: str | None = None,
) -> Iterator[Engine]:
    """An engine that is ready to simulate this cell under this pulse, for as long as the block lasts.

    Args:
        cell: from ``cells.load``. pulse: the time course of all fields.
        engine: "neuron", the reference: processes with one cell each. "cable": the batched solver of the same
            equations, about ten times as fast on the same core (``benchmarks/groundtruth.py``).
        workers: processes or threads, one a core by default.
        rule: how quasipotentials are integrated, "tree" or "aberra2019" (see ``quasipotential``).
        tables: of NEURON: whether rates are interpolated in tables of 0.1 mV (half the time, the same thresholds
            within 0.03 %).
        membrane: of the cable engine: "full", or "reduced" to the axon's NaTa_t and SKv3_1, with all other channels as
            they rest: faster, within 1 %.
        backend: of the cable engine: "numba" on the processor, "jax" on any device that JAX sees.
        precision: of the cable engine: "float32" or "float64".
        scheduler: address of a Dask scheduler (tcp://host:port), whose workers then simulate instead of this machine.

    Raises:
        InputError: workers below 1, a name that does not exist, an option of another engine, a channel that the
            cable engine does not know.
    """
    workers = neuron_workers.checked_workers(workers)
    for what, given, known in (
        ("unknown engine", engine, ENGINES),
        ("rule of quasipotentials", rule, RULES),
        ("membrane", membrane, ("full", "reduced")),
        ("backend", backend, ("numba", "jax")),
        ("precision", precision, ("float32", "float64")),
    ):
        if given not in known:
            raise InputError(what, got=repr(given), expected=f"one of {', '.join(map(repr, known))}")
    if engine == "neuron":
        for name, given, only in (("membrane", membrane, "full"), ("backend", backend, "numba")):
            if given != only:
                raise InputError(f"{name} of engine='neuron'", got=repr(given), expected="engine='cable' for it")
        if scheduler is not None:
            with _on_cluster(scheduler, cell, pulse, engine, {"rule": rule, "tables": tables}) as client:
                yield client(neuron_workers.neuron_source(tables))
            return
        with neuron_workers.pool(cell, pulse, workers, rule=rule, tables=tables) as executor:
            yield neuron_workers.NeuronEngine(executor, tables)
        return
    from tmsjax.simulate.cable.engine import cable_engine

    if scheduler is not None and backend == "jax":
        raise InputError("backend on a cluster", got=repr(backend), expected="'numba'")
    on_host = cable_engine(cable_of(cell), pulse, membrane, precision, rule, workers)
    if backend == "jax":
        from tmsjax.simulate.cable.device_engine import DeviceEngine

        yield DeviceEngine(on_host)
    elif scheduler is not None:
        settings = {"membrane": membrane, "precision": precision, "rule": rule}
        with _on_cluster(scheduler, cell, pulse, engine, settings) as client:
            yield client(on_host.source)
    else:
        yield on_host


@contextlib.contextmanager
def _on_cluster(
    scheduler: str, cell: Cell, pulse: Pulse, engine: str, options: dict
) -> Iterator[Callable[[str], Engine]]:
    """What makes an engine on the scheduler's workers of the words that say what simulates."""
    from tmsjax.simulate.cluster import ClusterEngine, Setup, connect

    with connect(scheduler) as client:
        setup = Setup(cell, pulse, engine, options, uuid.uuid4().hex)
        yield lambda source: ClusterEngine(client, setup, source)
