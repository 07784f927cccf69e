"""Damaged stores: which chunks cannot be trusted, and emptying them so that they are simulated again.

A kill at any moment leaves a store that can be mended: the status is emptied before anything else, so that no row
counts as done whose results are gone, and every file is replaced by a whole one in one step.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Int
from numpy import ndarray

from tmsjax.simulate.layout import CHUNK, LEFTOVER, RESULTS, SHARD, UNREADABLE, writing
from tmsjax.simulate.search import Status


def mend(path: Path, group: Any, *, initiation: bool) -> Int[ndarray, " c"]:
    """Empty the chunks of a store's results that are damaged or gone; their numbers. Only who has the lock may.

    ``initiation`` says whether the store's rows have a first compartment to fire.

    Raises:
        InputError: the folder cannot be written to.
    """
    with writing(path):
        _clear(path)
    names = [name for name in RESULTS if name in group]
    found, values = set(), {}
    for name in names:
        values[name], lost = _readable(group[name], name)
        found |= lost
    wrong = _unfounded(path, group, values, initiation)
    found |= set((np.flatnonzero(wrong) // CHUNK).tolist())
    chunks = np.array(sorted(found), int)
    if len(chunks):
        lost = np.isin(np.arange(len(wrong)) // CHUNK, chunks)
        with writing(path):
            for name in sorted(names, key=lambda name: name != "status"):  # the status first: see above
                values[name][lost] = RESULTS[name][1]
                for shard in np.unique(chunks * CHUNK // SHARD).tolist():
                    _replace(path, group[name], values[name], shard)
            _clear(path)
    return chunks


def shard_file(path: Path, array: Any, shard: int) -> Path:
    """Where an array's file number ``shard`` is (zarr writes none where all is as before it is known)."""
    return path / array.path / "c" / "/".join([str(shard)] + ["0"] * (array.ndim - 1))


def _readable(array: Any, name: str) -> tuple[ndarray, set[int]]:
    """What can be read of a result (the rest as before it is known), and the chunks that cannot."""
    _, fill, more = RESULTS[name]
    values, lost = np.full((array.shape[0], *more), fill, array.dtype), set()
    for first in range(0, len(values), SHARD):
        try:
            values[first : first + SHARD] = array[first : first + SHARD]
        except UNREADABLE:
            for start in range(first, min(first + SHARD, len(values)), CHUNK):
                try:
                    values[start : start + CHUNK] = array[start : start + CHUNK]
                except UNREADABLE:
                    lost.add(start // CHUNK)
    return values, lost


def _unfounded(path: Path, group: Any, values: dict[str, ndarray], initiation: bool) -> Bool[ndarray, " k"]:
    """Rows whose status says more than their results hold, as after the loss of a file."""
    status = values["status"]
    ok = status == int(Status.OK)
    wrong = ok & ~(np.isfinite(values["v_per_m"]) & np.isfinite(values["factor"]))
    if "soma" in values:
        known = (status != int(Status.NOT_DONE)) & (status != int(Status.NOT_COVERED))
        wrong |= known & ~np.isfinite(values["soma"]).all(axis=1)
    if initiation:
        for shard in range(-(-len(status) // SHARD)):
            if not shard_file(path, group["initiation"], shard).exists():
                wrong[shard * SHARD : (shard + 1) * SHARD] |= ok[shard * SHARD : (shard + 1) * SHARD]
    return wrong


def _replace(path: Path, array: Any, values: ndarray, shard: int) -> None:
    """Put a file of these values in the place of a shard: made aside, for zarr cannot write into a damaged one."""
    import zarr

    aside = path / f"mend{LEFTOVER}" / array.path
    aside.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(path / array.path / "zarr.json", aside / "zarr.json")
    rows = slice(shard * SHARD, (shard + 1) * SHARD)
    zarr.open_array(aside, mode="r+")[rows] = values[rows]
    made, place = shard_file(aside.parent, array, shard), shard_file(path, array, shard)
    if made.exists():
        place.parent.mkdir(parents=True, exist_ok=True)
        made.replace(place)
    else:
        place.unlink(missing_ok=True)


def _clear(path: Path) -> None:
    """Remove what killed processes left half-written."""
    for left in sorted(path.rglob(f"*{LEFTOVER}")):
        if left.is_dir():
            shutil.rmtree(left)
        else:
            left.unlink(missing_ok=True)
