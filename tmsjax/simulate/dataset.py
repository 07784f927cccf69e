"""A store of simulated thresholds: filled in chunks, resumed after a kill, checksummed, hashed for the model cards.

A zarr v3 group with the arrays ``v_per_m``, ``factor`` (NaN until done), ``initiation``, ``status`` (-1 until done),
(k,) each, and ``soma`` (k, 3), the field there (as given); the recipe's columns under ``recipe/`` (what row i is: coil
pose, neuron, azimuth, ...), and attributes: recipe, cell, pulse, seed, versions, and what simulated it. The other
fields are not kept: the recipe makes them again. Every chunk carries a CRC-32C, so that a damaged one is noticed.

A row does not depend on the rows that it was simulated with, on the number of workers, or on where a run was
interrupted: the files come out the same to the last byte.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Int
from numpy import ndarray

from tmsjax.core.errors import InputError
from tmsjax.core.versions import versions
from tmsjax.simulate import mending
from tmsjax.simulate.layout import CHUNK, LEFTOVER, RESULTS, SHARD, UNREADABLE, alone, writing
from tmsjax.simulate.search import Status

PACKAGES = ("tmsjax", "neuron", "numba", "jax", "zarr", "numpy", "scipy")
"""What has a say in the numbers or the files, where it is installed."""


@dataclasses.dataclass(frozen=True)
class Dataset:
    """An open store."""

    path: Path
    group: Any  # zarr.Group

    def __len__(self) -> int:
        return self.group["status"].shape[0]

    @property
    def attrs(self) -> dict:
        """What the store was made from, as it is written now: another process may have begun it."""
        import zarr

        return dict(zarr.open_group(self.path, mode="r").attrs)

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
        """Find chunks of results that are damaged or gone and empty them: pending again; their numbers.

        ``run_dataset`` does so itself.

        Raises:
            InputError: another run is at it; the folder cannot be written to; the recipe's columns are damaged:
                nothing can say what the rows were.
        """
        with alone(self.path):
            return self._mend()

    def _mend(self) -> Int[ndarray, " c"]:
        """``mend`` for who has the lock."""
        self.recipe()
        made_by = self.attrs.get("simulation", {})
        return mending.mend(self.path, self.group, initiation=made_by.get("initiation", False))

    def _results(self) -> list[str]:
        """The results that this store holds (``soma`` came later than the others)."""
        return [name for name in RESULTS if name in self.group]

    def _read(self, array: Any) -> ndarray:
        try:
            return np.asarray(array[:])
        except UNREADABLE as error:
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

    A kill or a full disk leaves no folder of this name.

    Raises:
        InputError: the folder exists or cannot be made; columns that differ in length, are no numbers or text, or have
            a name that is no file's; a description that is no JSON.
    """
    path = Path(path)
    if path.exists():
        raise InputError(
            f"dataset {path}", got="a folder that exists", expected="a new one", mend="open_dataset resumes it"
        )
    columns = _checked_columns(recipe)
    attributes = {"cell": cell, "pulse": pulse, "seed": seed, "recipe": dict(description or {})}
    try:
        json.dumps(attributes)
    except (TypeError, ValueError) as error:
        raise InputError(
            f"dataset {path}: description", got=error, expected="what JSON can hold: text, numbers, lists, mappings"
        ) from error
    stage = path.with_name(f".{path.name}-{uuid.uuid4().hex}{LEFTOVER}")
    try:
        with writing(path):
            _fill(stage, columns, {**attributes, "versions": versions(*PACKAGES), "format": 3})
            stage.rename(path)
    finally:
        shutil.rmtree(stage, ignore_errors=True)
    return open_dataset(path)


def _checked_columns(recipe: Mapping[str, ndarray]) -> dict[str, ndarray]:
    """The recipe's columns as arrays of one length, under names that zarr can give to folders."""
    columns = {}
    for name, column in recipe.items():
        if not (isinstance(name, str) and re.fullmatch(r"[^\W_][\w .-]*", name)):
            raise InputError("dataset recipe: name of a column", got=repr(name), expected="letters, digits, _ - .")
        try:
            columns[name] = np.asarray(column)
        except ValueError as error:  # a ragged list
            raise InputError(f"dataset recipe: column {name}", got=error, expected="an array") from error
        if columns[name].dtype.kind not in "biufU":
            raise InputError(
                f"dataset recipe: column {name}", got=f"dtype {columns[name].dtype}", expected="real numbers or text"
            )
    lengths = {column.shape[0] if column.ndim else 0 for column in columns.values()}
    if len(lengths) != 1 or lengths == {0}:
        raise InputError(
            "dataset recipe", got=f"columns of {sorted(lengths)} rows", expected="columns of one length above 0"
        )
    return columns


def _fill(path: Path, columns: Mapping[str, ndarray], attributes: Mapping[str, Any]) -> None:
    """Write a whole new store."""
    import zarr
    from zarr.codecs import Crc32cCodec, ZstdCodec

    group = zarr.open_group(path, mode="w-", zarr_format=3)
    k = len(next(iter(columns.values())))
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
    group.attrs.update(attributes)


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
