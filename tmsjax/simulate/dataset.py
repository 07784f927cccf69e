"""A store of simulated thresholds: filled in chunks, resumed after a kill, checksummed, hashed for the model cards.

A zarr v3 group with the arrays ``v_per_m``, ``factor`` (NaN until done), ``initiation``, ``status`` (-1 until done),
(k,) each, and ``soma`` (k, 3), the field there (as given); the recipe's columns under ``recipe/`` (what row i is: coil
pose, neuron, azimuth, ...), and attributes: recipe, cell, pulse, seed, versions, and what simulated it. The other
fields are not kept: the recipe makes them again. Every chunk carries a CRC-32C, so that a damaged one is noticed.

A row does not depend on the rows that it was simulated with, on the number of workers, or on where a run was
interrupted: the files come out the same to the last byte.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray

from tmsjax.cells.types import Cell
from tmsjax.core.errors import InputError
from tmsjax.core.thresholds import Thresholds
from tmsjax.simulate.engines import open_engine
from tmsjax.simulate.pulses import Pulse
from tmsjax.simulate.pulses import pulse as as_pulse
from tmsjax.simulate.search import Search, Status
from tmsjax.simulate.truth import checked_fields, checked_guesses, search_covered

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

TOGETHER: Mapping[str, int] = {"neuron": CHUNK, "cable": 16 * CHUNK}
"""Rows that are simulated and written together, for each engine a few seconds: what a kill can lose."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An open store."""

    path: Path
    group: Any  # zarr.Group

    def __len__(self) -> int:
        return self.group["status"].shape[0]

    @property
    def attrs(self) -> dict:
        """What the store was made from."""
        return dict(self.group.attrs)

    def recipe(self) -> dict[str, ndarray]:
        """The recipe's columns, each (k, ...)."""
        return {name: self._read(array) for name, array in self.group["recipe"].arrays()}

    def results(self) -> dict[str, ndarray]:
        """v_per_m, factor, initiation, soma and status, each (k,) or (k, 3)."""
        return {name: self._read(self.group[name]) for name in self._results()}

    def pending(self) -> Int[ndarray, " p"]:
        """Rows that are not simulated yet."""
        return np.flatnonzero(self._read(self.group["status"]) == int(Status.NOT_DONE))

    def mend(self) -> Int[ndarray, " c"]:
        """Find chunks of results that are damaged and empty them, so that they are pending again; their numbers.

        Raises:
            InputError: the recipe's columns are damaged: nothing can say what the rows were.
        """
        self.recipe()
        found = set()
        for name in self._results():
            array = self.group[name]
            for start in range(0, len(self), CHUNK):
                try:
                    array[start : start + CHUNK]
                except (ValueError, OSError, RuntimeError):
                    found.add(start // CHUNK)
        for shard in sorted({chunk * CHUNK // SHARD for chunk in found}):
            self._empty(shard, sorted(chunk for chunk in found if chunk * CHUNK // SHARD == shard))
        return np.array(sorted(found), int)

    def _empty(self, shard: int, chunks: list[int]) -> None:
        """Write a shard's files anew without some of its chunks: zarr cannot write into a file that it cannot read."""
        rows = np.arange(shard * SHARD, min((shard + 1) * SHARD, len(self)))
        lost = np.isin(rows // CHUNK, chunks)
        for name in self._results():
            array = self.group[name]
            values = np.full((len(rows), *RESULTS[name][2]), RESULTS[name][1], RESULTS[name][0])
            for start in np.unique(rows[~lost] // CHUNK) * CHUNK:
                some = array[int(start) : int(start) + CHUNK]
                values[start - rows[0] : start - rows[0] + len(some)] = some
            (self.path / array.path / "c" / "/".join([str(shard)] + ["0"] * (array.ndim - 1))).unlink(missing_ok=True)
            array[rows[0] : rows[-1] + 1] = values

    def _results(self) -> list[str]:
        """The results that this store holds (``soma`` came later than the others)."""
        return [name for name in RESULTS if name in self.group]

    def _read(self, array: Any) -> ndarray:
        try:
            return np.asarray(array[:])
        except (ValueError, OSError, RuntimeError) as error:
            raise InputError(
                f"dataset {self.path} is damaged",
                got=f"{array.basename}: {error}",
                expected="the arrays that create_dataset made",
                mend="simulate again with the same recipe: what is damaged is found and done anew",
            ) from error

    def content_hash(self) -> str:
        """sha256 of the recipe, what it was simulated with and the results, in whatever order they came."""
        attrs = {name: value for name, value in self.attrs.items() if name != "versions"}
        digest = hashlib.sha256(json.dumps(attrs, sort_keys=True).encode())
        for name, array in sorted({**self.recipe(), **self.results()}.items()):
            digest.update(f"{name} {array.dtype.str} {array.shape}".encode())
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()


def create_dataset(
    path: str | PathLike,
    recipe: Mapping[str, ndarray],
    *,
    cell: str,
    pulse: str,
    seed: int,
    description: Mapping[str, Any] | None = None,
) -> Dataset:
    """A new store with one row for each row of the recipe's columns; refuses to overwrite one.

    Raises:
        InputError: the folder exists, or the columns differ in length.
    """
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    path = Path(path)
    if path.exists():
        raise InputError(
            f"dataset {path}", got="a folder that exists", expected="a new one", mend="open_dataset resumes it"
        )
    columns = {name: np.asarray(column) for name, column in recipe.items()}
    lengths = {column.shape[0] if column.ndim else 0 for column in columns.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise InputError(
            "dataset recipe", got=f"columns of {sorted(lengths)} rows", expected="columns of one length above 0"
        )
    group = zarr.open_group(path, mode="w-", zarr_format=3)
    (k,) = lengths
    for name, (dtype, fill, more) in RESULTS.items():
        group.create_array(
            name,
            shape=(k, *more),
            chunks=(CHUNK, *more),
            shards=(SHARD, *more),
            dtype=dtype,
            fill_value=fill,
            compressors=[ZstdCodec(), Crc32cCodec()],
        )
    rows = group.create_group("recipe")
    for name, column in columns.items():
        rows.create_array(name, data=column, compressors=[ZstdCodec(), Crc32cCodec()])
    group.attrs.update(
        {
            "cell": cell,
            "pulse": pulse,
            "seed": seed,
            "recipe": dict(description or {}),
            "versions": _versions(),
            "format": 2,
        }
    )
    return open_dataset(path)


def open_dataset(path: str | PathLike) -> Dataset:
    """An existing store, to read or to resume.

    Raises:
        InputError: there is none at this path.
    """
    import zarr

    path = Path(path)
    try:
        group = zarr.open_group(path, mode="r+")
        missing = [name for name in (*RESULTS, "recipe") if name not in group and name != "soma"]
    except (FileNotFoundError, ValueError, OSError) as error:
        raise InputError(
            f"dataset {path}", got=f"{type(error).__name__}: {error}", expected="a folder that create_dataset made"
        ) from error
    missing += [name for name in ("cell", "pulse", "recipe", "versions") if not missing and name not in group.attrs]
    if missing:
        raise InputError(
            f"dataset {path}", got=f"no {', '.join(missing)}", expected="a folder that create_dataset made"
        )
    return Dataset(path, group)


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
        engine, engine_options: as ``thresholds``. All rows of a store come from one: the first run writes it down.

    Raises:
        InputError: another cell, pulse or engine than the store's; another run is at it; the disk is full (nothing is
            half-written: mend it and run again).
    """
    pulse = as_pulse(pulse)
    for name, given in (("cell", cell.name), ("pulse", pulse.name)):
        if dataset.attrs[name] != given:
            raise InputError(f"dataset {dataset.path}: {name}", got=given, expected=dataset.attrs[name])
    search = (search or Search(step=2.0 if guess_of is None else 1.1)).checked()
    with _alone(dataset.path):
        dataset.mend()
        pending = dataset.pending()
        if not len(pending):
            return
        with open_engine(cell, pulse, engine, workers=workers, **engine_options) as opened, _reader() as reader:
            _same_source(dataset, opened.source)
            together = TOGETHER[engine]
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
    try:
        for name in dataset._results():
            values = soma if name == "soma" else getattr(result, name)
            array, span = dataset.group[name], slice(int(rows[0]), int(rows[-1]) + 1)
            block = np.array(array[span])
            block[rows - rows[0]] = values
            array[span] = block
    except OSError as error:
        raise InputError(
            f"dataset {dataset.path} cannot be written",
            got=error.strerror or error,
            expected="a disk with room for it",
            mend="make room and run it again: what was written stays",
        ) from error


def _same_source(dataset: Dataset, source: str) -> None:
    """Write down what simulates a store, or refuse another than wrote its rows."""
    stored = dataset.attrs.get("source")
    if stored is None:
        dataset.group.attrs["source"] = source
    elif stored != source:
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


@contextlib.contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Keep other runs from the same store for as long as the block lasts; the lock dies with the process."""
    try:
        import fcntl
    except ImportError:  # Windows, where NEURON does not run either
        yield
        return
    with open(path / ".lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise InputError(
                f"dataset {path}", got="another run that is at it", expected="one run at a time", mend="wait for it"
            ) from error
        yield


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("tmsjax", "neuron", "numpy", "scipy")}
