"""A store of simulated thresholds: filled in chunks, resumed after a kill, hashed for the model cards.

A zarr v3 group with the arrays ``v_per_m``, ``factor`` (NaN until done), ``initiation`` and ``status`` (-1 until
done), (k,) each, the recipe's columns under ``recipe/`` (what row i is: coil pose, neuron, azimuth, ...), and
attributes: recipe, cell, pulse, search, seed, versions. The fields are not kept: the recipe makes them again.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Callable, Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from tmsjax.cells.types import Cell
from tmsjax.core.errors import InputError
from tmsjax.core.thresholds import Thresholds
from tmsjax.simulate.engines import open_engine
from tmsjax.simulate.pulses import Pulse
from tmsjax.simulate.pulses import pulse as as_pulse
from tmsjax.simulate.search import Search, Status
from tmsjax.simulate.truth import checked_fields, checked_guesses, search_covered

RESULTS: Mapping[str, tuple[str, float]] = {
    "v_per_m": ("float64", np.nan),
    "factor": ("float64", np.nan),
    "initiation": ("int32", -1),
    "status": ("int8", int(Status.NOT_DONE)),
}
CHUNK = 64
"""Rows that are simulated together: what a kill can lose."""

SHARD = 256 * CHUNK
"""Rows in one file: few files, and little to write again for every chunk (zarr replaces files atomically)."""


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
        """v_per_m, factor, initiation and status, each (k,)."""
        return {name: self._read(self.group[name]) for name in RESULTS}

    def pending(self) -> Int[ndarray, " p"]:
        """Rows that are not simulated yet."""
        return np.flatnonzero(self._read(self.group["status"]) == int(Status.NOT_DONE))

    def _read(self, array: Any) -> ndarray:
        try:
            return np.asarray(array[:])
        except (ValueError, OSError, RuntimeError) as error:
            raise InputError(
                f"dataset {self.path} is damaged",
                got=f"{array.basename}: {error}",
                expected="the arrays that create_dataset made",
                mend="copy it again, or delete it and simulate again",
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
    for name, (dtype, fill) in RESULTS.items():
        group.create_array(name, shape=(k,), chunks=(CHUNK,), shards=(SHARD,), dtype=dtype, fill_value=fill)
    rows = group.create_group("recipe")
    for name, column in columns.items():
        rows.create_array(name, data=column)
    group.attrs.update(
        {
            "cell": cell,
            "pulse": pulse,
            "seed": seed,
            "recipe": dict(description or {}),
            "versions": _versions(),
            "format": 1,
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
        missing = [name for name in (*RESULTS, "recipe") if name not in group]
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
    guess_of: Callable[[Int[ndarray, " c"]], ndarray] | None = None,
    search: Search | None = None,
    initiation: bool = True,
    workers: int | None = None,
    progress: Callable[[str], None] | None = None,
    engine: str = "neuron",
    **engine_options,
) -> None:
    """Simulate what is pending, chunk by chunk; after a kill, call it again: at most one chunk is lost.

    Args:
        dataset: from ``create_dataset`` or ``open_dataset``.
        cell: the cell whose name the store holds.
        fields_of: rows (c,) -> fields (c, n, 3) V/m at the cell's compartments, any scale.
        pulse: the pulse whose name the store holds.
        guess_of: rows (c,) -> V/m at the soma to search from.
        search: tolerance and limits (0.5 % by default).
        initiation: whether to find the first compartment to fire.
        workers: number of processes, one a core by default.
        progress: called with a sentence after every chunk.
        engine, engine_options: as ``thresholds``.
    """
    pulse = as_pulse(pulse)
    for name, given in (("cell", cell.name), ("pulse", pulse.name)):
        if dataset.attrs[name] != given:
            raise InputError(f"dataset {dataset.path}: {name}", got=given, expected=dataset.attrs[name])
    search = (search or Search(step=2.0 if guess_of is None else 1.1)).checked()
    pending = dataset.pending()
    if not len(pending):
        return
    with open_engine(cell, pulse, engine, workers=workers, **engine_options) as opened:
        for chunk in np.unique(pending // CHUNK):
            rows = pending[pending // CHUNK == chunk]
            fields, size, covered = checked_fields(cell, fields_of(rows))
            guesses = checked_guesses(len(rows), None if guess_of is None else guess_of(rows))
            _write(dataset, rows, search_covered(opened, fields, size, covered, guesses, search, initiation))
            if progress is not None:
                progress(f"{len(dataset) - len(dataset.pending())} of {len(dataset)} thresholds of {cell.name}")


def _write(dataset: Dataset, rows: Int[ndarray, " c"], result: Thresholds) -> None:
    """The results first, their status last: a row with a status is whole."""
    for name in RESULTS:
        dataset.group[name].set_orthogonal_selection(rows, getattr(result, name).astype(RESULTS[name][0]))


def _versions() -> dict[str, str]:
    from importlib.metadata import version

    return {name: version(name) for name in ("tmsjax", "neuron", "numpy", "scipy")}
