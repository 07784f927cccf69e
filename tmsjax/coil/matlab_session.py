"""Poses of a SimNIBS session (.mat), read in a process of its own: run as a program, with the file's path.

SciPy's reader, which is compiled, can crash the process on a damaged file: one altered byte was enough for a
segmentation fault in 2 % of cases. Here that ends the child only. It prints one JSON object: "poses", each with its
name, didt (A/s) and matrix (4, 4); or "error". It imports nothing of this library, so that it starts fast.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import numpy as np
import scipy.io


def read_session(path: str) -> list[dict[str, Any]]:
    """Entries of ``poslist{..}.pos(..)`` that have a 4x4 ``matsimnibs``, or the file's own."""
    content: Any = scipy.io.loadmat(path, simplify_cells=True)
    entries = [entry for block in _items(content.get("poslist")) for entry in _items(_field(block, "pos"))]
    poses = []
    for index, entry in enumerate(entries or [content]):
        matrix = np.asarray(_field(entry, "matsimnibs"), dtype=object)
        if matrix.shape != (4, 4):
            continue  # a position by centre and direction, which only the mesh turns into a matrix
        name, didt = _field(entry, "name"), _field(entry, "didt")
        poses.append(
            {
                "index": index,
                "name": name if isinstance(name, str) else "",
                "didt": float(didt) if isinstance(didt, int | float) else None,
                "matrix": matrix.astype(float).tolist(),
            }
        )
    return poses


def _items(value: Any) -> list[Any]:
    """Cells or structs of a .mat file as a list: one of them comes alone."""
    if value is None:
        return []
    return list(value) if isinstance(value, list | np.ndarray) and np.ndim(value) else [value]


def _field(entry: Any, key: str) -> Any:
    return entry.get(key) if isinstance(entry, dict) else None


if __name__ == "__main__":
    warnings.simplefilter("ignore")
    try:
        answer: dict[str, Any] = {"poses": read_session(sys.argv[1])}
    except Exception as error:  # whatever a damaged file raises is told, not shown
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer))
