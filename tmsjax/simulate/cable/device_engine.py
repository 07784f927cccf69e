"""The cable engine in JAX: searches over lanes that live on one device or are spread over several."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int
from numpy import ndarray

from tmsjax.simulate.cable import queue
from tmsjax.simulate.cable.device import Model, State, at_rest, model, potentials, step
from tmsjax.simulate.cable.engine import CableEngine
from tmsjax.simulate.oracle import DT_MS
from tmsjax.simulate.search import Found, Search, Status
from tmsjax.simulate.workers import Answer

LANES = {"cpu": 64}
MANY_LANES = 4096
"""Lanes of a device: enough to fill an accelerator; on a processor more only leave its cache."""
FIELDS_A_LANE = 4
"""Searches that a lane does one after the other before results are handed back."""
STEPS = 25
"""Steps between two looks at the lanes: a lane that ends waits half as many on average."""


@dataclasses.dataclass(frozen=True, eq=False)
class DeviceEngine:
    """``CableEngine`` (whose waves and currents it shares) with its runs on JAX's devices, sharded over the lanes."""

    host: CableEngine
    lanes: int | None = None

    @property
    def source(self) -> str:
        """What makes the numbers, in words."""
        platform = jax.default_backend()
        return f"cable engine, {self.host.membrane} membrane, JAX {self.host.precision} on {platform}"

    @property
    def rows_together(self) -> int:
        """Fields to be given at once: with a few for every lane, those that end early do not leave it idle."""
        return FIELDS_A_LANE * self._most_lanes()

    def search(
        self,
        fields: Float[ndarray, "k n 3"],
        guesses: Float[ndarray, " k"],
        search: Search,
        initiation: bool,
        progress: Callable[[str], None] | None = None,
    ) -> list[Answer]:
        """The threshold of every field (any scale), in V/m at the soma and in the given order."""
        current = self.host.unit_currents(fields)
        if self.host.fires_at_rest():
            return [Answer(Found(float("nan"), 0.0, Status.FIRES_AT_REST, 1), -1)] * len(fields)
        whole, number = self._queue(queue.FIRST, current, np.arange(len(fields)), guesses, search, progress)
        rows = np.full(len(fields), -1)
        found = np.flatnonzero(whole[:, 0] == int(Status.OK))
        if initiation and len(found):
            rows[found] = self._queue(queue.SITE, current, found, number[found, 0], None)[0][:, 2]
        return [
            Answer(Found(float(high), float(low), Status(int(status)), int(runs)), int(row))
            for (high, low), (status, runs, _), row in zip(number, whole, rows, strict=True)
        ]

    def fires(
        self,
        fields: Float[ndarray, "k n 3"],
        amplitudes: Float[ndarray, "k a"],
        progress: Callable[[str], None] | None = None,
    ) -> Bool[ndarray, "k a"]:
        """Whether the cell fires under every field (any scale) at each of its amplitudes (V/m at the soma)."""
        which = np.repeat(np.arange(len(fields)), amplitudes.shape[1])
        whole, _ = self._queue(
            queue.RUN, self.host.unit_currents(fields), which, amplitudes.ravel(), None, progress
        )  # fmt: skip
        return whole[:, 0].reshape(amplitudes.shape) >= queue.CROSSINGS

    def traces(
        self, field: Float[ndarray, "n 3"], amplitude: float, rows: Int[ndarray, " r"]
    ) -> Float[ndarray, "steps_plus_1 r"]:
        """Potentials (mV) of some rows at t = 0, 5 us, ... 1 ms under one field (any scale)."""
        with _precision(self.host.precision):
            dtype, lanes = self.host.precision, len(rows)
            cell = model(self.host.cable, self.host.membrane, DT_MS)
            current = jnp.asarray(self.host.unit_currents(np.asarray(field)[None])[0], dtype)
            out = _potentials(
                cell,
                jnp.broadcast_to(current[:, None], (len(current), lanes)),
                jnp.full(lanes, amplitude, dtype),
                jnp.asarray(self.host.run_wave, dtype),
                jnp.asarray(rows, jnp.int32),
            )
            return np.concatenate([cell.rest_mv[rows][None], np.asarray(out, float)])

    def _queue(
        self,
        kind: int,
        current: Float[ndarray, "k n"],
        which: ndarray | list[int],
        start: ndarray | list[float],
        search: Search | None,
        progress: Callable[[str], None] | None = None,
    ) -> tuple[Int[ndarray, "i 3"], Float[ndarray, "i 2"]]:
        """Work through items as ``queue.run_queue`` does: status or crossings, runs, first row; high and low."""
        precision = "float64" if kind == queue.SITE else self.host.precision
        dt, wave = (
            (float(self.host.site.dt[0]), self.host.site_wave) if kind == queue.SITE else (DT_MS, self.host.run_wave)
        )
        lanes = self._lanes(len(which))
        with _precision(precision):
            cell = model(self.host.cable, self.host.membrane, dt)
            place = _sharding(lanes)
            currents = jax.device_put(jnp.asarray(current.T, precision), NamedSharding(place.mesh, PartitionSpec()))
            waves = jax.device_put(jnp.asarray(wave, precision), NamedSharding(place.mesh, PartitionSpec()))
            state = jax.device_put(at_rest(cell, lanes, precision), _along_lanes(place))
            work = _Work(kind, np.asarray(which), np.asarray(start, float), search, lanes)
            time = jax.device_put(jnp.zeros(lanes, jnp.int32), place)
            begin = np.ones(lanes, bool)
            while work.left:
                state, time = _advance(
                    cell, STEPS, state, time, *(jax.device_put(x, place) for x in work.lanes(precision)),
                    jax.device_put(begin, place), currents, waves,
                )  # fmt: skip
                begin = work.judge(
                    np.asarray(state.crossings), np.asarray(state.first_row), np.asarray(time), len(wave)
                )
                if progress is not None:
                    progress(f"{work.finished} of {len(which)} fields")
        return work.whole, work.number

    def _lanes(self, items: int) -> int:
        """As many lanes as the devices like, but no more than there is work for; a multiple of the devices."""
        devices = jax.device_count()
        return devices * max(1, -(-min(self._most_lanes(), items) // devices))

    def _most_lanes(self) -> int:
        return self.lanes or jax.device_count() * LANES.get(jax.default_backend(), MANY_LANES)


class _Work:
    """What every lane is at, on the host: the search of ``queue`` for thousands of lanes."""

    def __init__(self, kind: int, which: ndarray, start: ndarray, search: Search | None, lanes: int) -> None:
        self.kind, self.which, self.start = kind, which, start
        self.settings = queue.settings(search or Search())
        self.phase = np.zeros(lanes, np.int64)
        self.item = np.zeros(lanes, np.int64)
        self.runs = np.zeros(lanes, np.int64)
        self.state = np.zeros((lanes, 4))
        self.number = np.full((len(which), 2), np.nan)
        self.whole = np.full((len(which), 3), -1, np.int64)
        self.begun = self.finished = 0
        for lane in range(lanes):
            self._next(lane)

    @property
    def left(self) -> bool:
        return self.finished < len(self.which)

    def lanes(self, dtype: str) -> tuple[ndarray, ndarray]:
        """The column of the currents and the amplitude of every lane."""
        field = self.which[self.item] if len(self.which) else self.item
        amplitude = np.where(self.phase != queue.IDLE, self.state[:, queue.AMPLITUDE], 0.0)
        return field.astype(np.int32), amplitude.astype(dtype)

    def judge(self, count: ndarray, first_row: ndarray, time: ndarray, steps: int) -> ndarray:
        """Take in how far the lanes are; the lanes (L,) that begin a run next."""
        ended = (self.phase != queue.IDLE) & ((count >= queue.CROSSINGS) | (time >= steps))
        for lane in np.flatnonzero(ended).tolist():
            self.runs[lane] += 1
            fired = bool(count[lane] >= queue.CROSSINGS)
            status = queue.judge(lane, fired, self.phase, self.runs, self.state, self.settings)
            if status != queue.NOT_DONE:
                k = self.item[lane]
                self.number[k] = self.state[lane, queue.HIGH], self.state[lane, queue.LOW]
                crossings = min(int(count[lane]), queue.CROSSINGS)
                self.whole[k] = (
                    crossings if self.kind == queue.RUN else status,
                    self.runs[lane],
                    first_row[lane] if fired else -1,
                )
                self.finished += 1
                self._next(lane)
        return ended

    def _next(self, lane: int) -> None:
        if self.begun == len(self.which):
            self.phase[lane] = queue.IDLE
            return
        queue.begin(
            self.kind, self.begun, lane, self.start, self.settings, self.phase, self.item, self.runs, self.state
        )
        self.begun += 1


@functools.partial(jax.jit, static_argnums=(0, 1), donate_argnums=(2, 3))
def _advance(
    cell: Model,
    steps: int,
    state: State,
    time: Int[Array, " L"],
    field: Int[Array, " L"],
    amplitude: Float[Array, " L"],
    begin: Bool[Array, " L"],
    currents: Float[Array, "n k"],
    wave: Float[Array, " t"],
) -> tuple[State, Int[Array, " L"]]:
    """Some steps of all lanes; those that begin start from rest, those that have ended stand still in their counts."""
    fresh = at_rest(cell, state.u.shape[1], state.u.dtype)
    state = jax.tree.map(lambda new, old: jnp.where(begin, new, old), fresh, state)
    time = jnp.where(begin, 0, time)
    unit = currents[:, field]

    def one(carry: tuple[State, Array], _: None) -> tuple[tuple[State, Array], None]:
        state, time = carry
        runs = (state.crossings < queue.CROSSINGS) & (time < len(wave))
        value = wave[jnp.minimum(time, len(wave) - 1)]
        new = step(cell, state, unit * jnp.where(runs, amplitude * value, 0.0))
        new = new._replace(
            crossings=jnp.where(runs, new.crossings, state.crossings),
            first_row=jnp.where(runs, new.first_row, state.first_row),
        )
        return (new, time + runs.astype(time.dtype)), None

    return jax.lax.scan(one, (state, time), None, length=steps)[0]


_potentials = jax.jit(potentials, static_argnums=0)


@contextlib.contextmanager
def _precision(precision: str) -> Iterator[None]:
    with jax.enable_x64(precision == "float64"):
        yield


def _sharding(lanes: int) -> NamedSharding:
    """Lanes spread evenly over all devices."""
    return NamedSharding(Mesh(np.array(jax.devices()), ("lanes",)), PartitionSpec("lanes"))


def _along_lanes(place: NamedSharding) -> State:
    """The sharding of a state: its last axis is the lanes'."""

    def last(rank: int) -> NamedSharding:
        return NamedSharding(place.mesh, PartitionSpec(*[None] * (rank - 1), "lanes"))

    return State(u=last(2), gates=last(3), calcium=last(2), inward=last(2), crossings=last(1), first_row=last(1))  # type: ignore[arg-type]
