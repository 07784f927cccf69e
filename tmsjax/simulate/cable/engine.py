"""The cable engine on the processor: one cell, its programs, and threads that work through fields."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
from collections.abc import Callable, Iterator

import numpy as np
import scipy.sparse
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from tmsjax.cells.types import CableModel
from tmsjax.core.errors import InputError
from tmsjax.simulate.cable import queue, step
from tmsjax.simulate.cable.program import Program, compile_program
from tmsjax.simulate.cable.simd import LANES, table
from tmsjax.simulate.oracle import DT_MS, INITIATION_DT_MS, INITIATION_WINDOW_MS
from tmsjax.simulate.pulses import WINDOW_MS, Pulse, on_grid
from tmsjax.simulate.quasipotential import current_matrix
from tmsjax.simulate.search import Found, Search, Status
from tmsjax.simulate.workers import Answer

PRECISIONS = ("float32", "float64")
BATCH = 256
"""Fields that one thread works through before it takes the next ones: what bounds memory, and what a Ctrl-C loses."""
_POLL_S = 0.2


@dataclasses.dataclass(frozen=True, eq=False)
class CableEngine:
    """A cell under one pulse: ``run`` for 1 ms at 5 us, ``site`` for 2 ms at 1 us (where does it begin?)."""

    cable: CableModel
    membrane: str
    precision: str
    run: Program
    site: Program
    run_wave: Float[ndarray, " t"]
    site_wave: Float[ndarray, " s"]
    matrix: scipy.sparse.csr_array
    workers: int | None

    @property
    def source(self) -> str:
        """What makes the numbers, in words."""
        return f"cable engine, {self.membrane} membrane, numba {self.precision}"

    def search(
        self,
        fields: Float[ndarray, "k n 3"],
        guesses: Float[ndarray, " k"],
        search: Search,
        initiation: bool,
        progress: Callable[[str], None] | None = None,
    ) -> list[Answer]:
        """The threshold of every field (any scale) in V/m at the soma, of which ``search_covered`` makes a result."""
        if self.fires_at_rest():
            return [Answer(Found(float("nan"), 0.0, Status.FIRES_AT_REST, 1), -1)] * len(fields)
        settings = queue.settings(search)

        def work(rows: slice, control: Int[ndarray, " 2"]) -> list[Answer]:
            current = self.unit_currents(fields[rows])
            which = np.arange(len(current))
            number, whole = self._queue(queue.FIRST, current, which, guesses[rows], settings, control)
            first = np.full(len(current), -1)
            found = np.flatnonzero(whole[:, 0] == int(Status.OK))
            if initiation and not control[0]:
                aside = np.zeros(2, np.int64)
                first[found] = self._queue(queue.SITE, current, found, number[found, 0], settings, aside)[1][:, 2]
            return [
                Answer(Found(float(high), float(low), Status(int(status)), int(runs)), int(row))
                for (high, low), (status, runs, _), row in zip(number, whole, first, strict=True)
            ]

        return [answer for some in self._threads(work, len(fields), progress) for answer in some]

    def fires(
        self,
        fields: Float[ndarray, "k n 3"],
        amplitudes: Float[ndarray, "k a"],
        progress: Callable[[str], None] | None = None,
    ) -> Bool[ndarray, "k a"]:
        """Whether the cell fires under every field (any scale) at each of its amplitudes (V/m at the soma)."""

        def work(rows: slice, control: Int[ndarray, " 2"]) -> Bool[ndarray, "c a"]:
            some = amplitudes[rows]
            which = np.repeat(np.arange(len(some)), some.shape[1])
            current = self.unit_currents(fields[rows])
            _, whole = self._queue(queue.RUN, current, which, some.ravel(), np.zeros(6), control)
            return whole[:, 0].reshape(some.shape) >= queue.CROSSINGS

        parts = list(self._threads(work, len(fields), progress))
        return np.concatenate(parts) if parts else np.zeros(amplitudes.shape, bool)

    def traces(
        self, field: Float[ndarray, "n 3"], amplitude: float, rows: Int[ndarray, " r"]
    ) -> Float[ndarray, "steps_plus_1 r"]:
        """Membrane potential (mV) of some rows at t = 0, 5 us, ... 1 ms under one field (any scale)."""
        p, dtype = self.run, self.run.dt.dtype
        u, unit, r, d = (table(len(p.capacity), dtype) for _ in range(4))
        gates, scale = table(len(p.resting), dtype), table(1, dtype)
        gates[:] = p.resting[:, None]
        unit[: self.cable.n, 0] = self.unit_currents(np.asarray(field)[None])[0]
        nothing = [np.zeros(LANES, np.int64) for _ in range(4)]
        rest = -p.crossing[rows]
        out = [rest]
        for value in self.run_wave:
            scale[0, 0] = amplitude * value
            step.membrane(p, u, gates, unit, scale, r, d)
            step.solve(p, u, unit, scale, r, d, *nothing)
            out.append(rest + u[rows, 0])
        return np.array(out, float)

    def fires_at_rest(self) -> bool:
        """Whether the cell fires without any field."""
        zero = np.zeros((1, self.cable.n))
        _, whole = self._queue(queue.RUN, zero, np.zeros(1, int), np.zeros(1), np.zeros(6), np.zeros(2, np.int64))
        return bool(whole[0, 0] >= queue.CROSSINGS)

    def unit_currents(self, fields: Float[ndarray, "c n 3"]) -> Float[ndarray, "c n"]:
        """Injected currents (nA) at 1 V/m at the soma."""
        fields = np.asarray(fields, float)
        unit = fields / np.linalg.norm(fields[:, 0], axis=-1)[:, None, None]
        return (self.matrix @ unit.reshape(len(unit), -1).T).T

    def _queue(self, kind, current, which, start, settings, control) -> tuple[ndarray, ndarray]:
        program, wave = (self.site, self.site_wave) if kind == queue.SITE else (self.run, self.run_wave)
        nodes, dtype = len(program.capacity), program.dt.dtype
        number = np.full((len(which), 2), np.nan)
        whole = np.full((len(which), 3), -1, np.int64)
        u, unit, r, d = (table(nodes, dtype) for _ in range(4))
        queue.run_queue(
            program, wave, kind, np.ascontiguousarray(current, dtype), np.asarray(which, np.int64),
            np.asarray(start, float), settings, number, whole, control,
            u, table(len(program.resting), dtype), unit, table(1, dtype), r, d,
        )  # fmt: skip
        return number, whole

    def _threads(self, work: Callable, k: int, progress) -> Iterator:
        """``work`` on batches of k fields in threads (one a core), in order; Ctrl-C ends them within a step."""
        workers = self.workers or os.cpu_count() or 1
        size = max(1, min(BATCH, -(-k // workers)))
        batches = [slice(start, min(start + size, k)) for start in range(0, k, size)]
        controls = [np.zeros(2, np.int64) for _ in batches]
        executor = concurrent.futures.ThreadPoolExecutor(max(1, min(workers, len(batches))))
        futures = [executor.submit(work, rows, control) for rows, control in zip(batches, controls, strict=True)]
        try:
            said = -1
            for future in futures:
                while True:
                    waiting = concurrent.futures.wait([future], timeout=_POLL_S).not_done
                    done = min(k, sum(int(control[1]) for control in controls))
                    if progress is not None and done != said:
                        progress(f"{done} of {k} fields")
                        said = done
                    if not waiting:
                        break
                yield future.result()
        finally:
            for control in controls:
                control[0] = 1
            executor.shutdown(wait=True, cancel_futures=True)


def cable_engine(
    cable: CableModel,
    pulse: Pulse,
    membrane: str = "full",
    precision: str = "float32",
    rule: str = "tree",
    workers: int | None = None,
) -> CableEngine:
    """Make a cell ready to be simulated.

    Args:
        cable: the cell's compartments. pulse: the time course of all fields.
        membrane: "full" moves all channels; "reduced" moves the axon's NaTa_t and SKv3_1 and keeps the others as they
            rest (thresholds within 1 % of the full membrane's).
        precision: of the state. "float32" agrees with "float64" within 0.03 %, and is twice as fast. Where an action
            potential begins is found in float64 either way: ties of branches are told apart by rounding.
        rule: how quasipotentials are integrated (see ``quasipotential``). workers: threads, one a core by default.

    Raises:
        InputError: an unknown channel, membrane or precision.
    """
    if precision not in PRECISIONS:
        raise InputError("precision", got=repr(precision), expected='"float32" or "float64"')
    wave = on_grid(pulse, DT_MS, INITIATION_WINDOW_MS)
    times = DT_MS * np.arange(len(wave))
    run_times = DT_MS * (np.arange(round(WINDOW_MS / DT_MS)) + 0.5)
    site_times = INITIATION_DT_MS * (np.arange(round(INITIATION_WINDOW_MS / INITIATION_DT_MS)) + 0.5)
    return CableEngine(
        cable=cable,
        membrane=membrane,
        precision=precision,
        run=compile_program(cable, membrane, DT_MS, precision),
        site=compile_program(cable, membrane, INITIATION_DT_MS, "float64"),  # rounding tells ties of branches apart
        run_wave=np.interp(run_times, times, wave),
        site_wave=np.interp(site_times, times, wave),
        matrix=current_matrix(cable, rule),
        workers=workers,
    )
