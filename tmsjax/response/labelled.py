"""Labelled arrays in zarr, as xarray opens them: named dimensions, coordinates, attributes.

A zarr v3 group. An array's dimensions are its ``dimension_names``, what one dimension is called is its coordinate, and
the group's attribute ``coordinates`` names the others: ``xarray.open_zarr(path, consolidated=False)``. Every chunk has
a CRC-32C, so that a damaged one is noticed. Written by zarr alone: xarray is needed for reading at most.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_folder


@dataclasses.dataclass(frozen=True, eq=False)
class Labelled:
    """An array with the names of its dimensions, its attributes (units, long_name), and the chunks it is stored in."""

    dims: tuple[str, ...]
    values: Any
    attrs: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    chunks: tuple[int, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Empty:
    """What a labelled array is to be, before its values are there: NaN or the largest integer until written."""

    shape: tuple[int, ...]
    dtype: Any


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Arrays by name, coordinates among them apart, and what is said of all of them."""

    variables: Mapping[str, Labelled]
    coordinates: Mapping[str, Labelled]
    attrs: Mapping[str, Any]


def write_labelled(path: str | Path, group: Group, inner: Mapping[str, Group] | None = None) -> Path:
    """Write a group of arrays to the folder ``path``, and groups within it by name, whole or not at all.

    ``values`` of a variable may be ``Empty``, to be filled by who opens it with zarr (a chunk at a time).

    Raises InputError for a path that exists, dimensions of two lengths, or attributes that JSON cannot hold.
    """
    import zarr

    path = Path(path)
    if path.exists():
        raise InputError("nothing is overwritten", got=f"{path} exists", expected="a new folder")
    groups = {"": group, **(inner or {})}
    for one in groups.values():
        _check({**one.variables, **one.coordinates})
        try:
            json.dumps(dict(one.attrs))
        except (TypeError, ValueError) as error:
            raise InputError("attributes of a zarr group", got=error, expected="what JSON can hold") from error
    with staged_folder(path) as stage:
        root = zarr.open_group(stage, mode="w", zarr_format=3)
        for name, one in groups.items():
            target = root.create_group(name) if name else root
            for array, labelled in {**one.coordinates, **one.variables}.items():
                _write(target, array, labelled)
            beside = [array for array, labelled in one.coordinates.items() if labelled.dims != (array,)]
            target.attrs.update({**one.attrs, **({"coordinates": " ".join(beside)} if beside else {})})
    return path


def read_labelled(path: str | Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """All arrays and the attributes of what ``write_labelled`` wrote; InputError for a folder that is damaged."""
    import zarr

    try:
        group = zarr.open_group(Path(path), mode="r")
        arrays = {name: np.asarray(array[...]) for name, array in group.arrays()}
        text = {name: np.array(values.tolist()) for name, values in arrays.items() if values.dtype.kind in "OT"}
        return arrays | text, dict(group.attrs)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise InputError("this folder cannot be read", got=f"{path}: {error}", expected="a zarr group") from error


def _write(group: Any, name: str, array: Labelled) -> None:
    from zarr.codecs import Crc32cCodec, ZstdCodec

    empty = isinstance(array.values, Empty)
    values: Any = array.values if empty else np.asarray(array.values)
    kind = np.dtype(values.dtype).kind
    stored = group.create_array(
        name,
        shape=values.shape,
        dtype=str if kind in "UOT" else values.dtype,
        chunks=array.chunks or "auto",
        fill_value=_unwritten(values.dtype) if empty else None,
        dimension_names=list(array.dims),
        compressors=[ZstdCodec(), Crc32cCodec()],
    )
    if not empty:
        stored[...] = values.astype(object) if kind == "U" else values
    stored.attrs.update(array.attrs)


def _unwritten(dtype: Any) -> Any:
    dtype = np.dtype(dtype)
    return float("nan") if dtype.kind == "f" else int(np.iinfo(dtype).max)


def _check(arrays: Mapping[str, Labelled]) -> None:
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        shape = array.values.shape if isinstance(array.values, Empty) else np.shape(array.values)
        if len(shape) != len(array.dims):
            raise InputError(f"dimensions of {name}", got=f"{array.dims} of shape {shape}", expected="a name for each")
        for dim, size in zip(array.dims, shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                raise InputError(f"dimension {dim} of {name}", got=size, expected=f"{sizes[dim]}, as elsewhere")
