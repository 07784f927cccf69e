"""Batches of solves that a killed run need not repeat."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

BATCH = 8
"""Solves in one compiled call."""

Batch = dict[str, np.ndarray]


class Work:
    """A folder of finished batches of one request (None: nothing is kept). Files of other requests are left alone."""

    def __init__(self, folder: str | Path | None, request: Sequence[Any], points_mm: np.ndarray) -> None:
        self.folder = None if folder is None else Path(folder)
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
        if not path.is_file():
            batch = compute()
            self.folder.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f".{os.getpid()}-{name}")
            with open(part, "wb") as file:
                np.savez(file, **batch)  # pyright: ignore[reportArgumentType]
            os.replace(part, path)
            return batch
        with np.load(path, allow_pickle=False) as stored:
            return {key: stored[key] for key in stored.files}
