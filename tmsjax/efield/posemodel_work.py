"""Batches of solves that a killed run need not repeat."""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np

from tmsjax.core.errors import InputError
from tmsjax.io.reading import checked_path

BATCH = 8
"""Solves in one compiled call."""

UNREADABLE = (OSError, EOFError, ValueError, zipfile.BadZipFile)
"""What NumPy raises for a damaged file."""

Batch = dict[str, np.ndarray]


class Work:
    """A folder of finished batches of one request (None: nothing is kept). Files of other requests are left alone."""

    def __init__(self, folder: str | Path | None, request: Sequence[Any], points_mm: np.ndarray) -> None:
        self.folder = None if folder is None else checked_path(folder, "the folder of finished batches")
        if self.folder is not None:
            with _writing(self.folder):
                self.folder.mkdir(parents=True, exist_ok=True)
        digest = hashlib.sha256(np.ascontiguousarray(points_mm, np.float64).tobytes())
        digest.update(json.dumps(list(request)).encode())
        self.name = digest.hexdigest()[:16]

    def batches(
        self, what: str, total: int, compute: Callable[[int, int], Batch], report: Callable[[str, int, int], None]
    ) -> list[Batch]:
        """``compute(start, count)`` over all of ``total``, in order; what an earlier run finished is read instead."""
        out = []
        for start in range(0, total, BATCH):
            count = min(BATCH, total - start)
            out.append(self._one(f"{self.name}-{what.split()[0]}-{start}.npz", lambda: compute(start, count)))  # noqa: B023
            report(what, start + count, total)
        return out

    def _one(self, name: str, compute: Callable[[], Batch]) -> Batch:
        if self.folder is None:
            return compute()
        path = self.folder / name
        if path.is_file():
            try:
                with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
                    return {key: stored[key] for key in stored.files}
            except UNREADABLE:  # damaged: computed again
                pass
        batch = compute()
        part = path.with_name(f".{os.getpid()}-{name}")
        with _writing(self.folder):
            try:
                with open(part, "wb") as file:
                    np.savez(file, **batch)  # pyright: ignore[reportArgumentType]
                os.replace(part, path)
            finally:
                part.unlink(missing_ok=True)
        return batch


@contextmanager
def _writing(folder: Path) -> Iterator[None]:
    """A disk that is full, or a folder that may not be written, as an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            "finished batches of the pose model cannot be kept",
            got=f"{folder}: {error}",
            expected="a folder that can be written, with room for them",
            mend="free some space or give another work=FOLDER; what is finished is read again",
        ) from error
