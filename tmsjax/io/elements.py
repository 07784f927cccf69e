"""Elements as gmsh numbers them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from tmsjax.io.cursor import Cursor

TRIANGLE, TETRAHEDRON = 2, 4

KINDS: dict[int, tuple[str, int]] = {
    1: ("line", 2),
    TRIANGLE: ("triangle", 3),
    3: ("quadrangle", 4),
    TETRAHEDRON: ("tetrahedron", 4),
    5: ("hexahedron", 8),
    6: ("prism", 6),
    7: ("pyramid", 5),
    8: ("line of order 2", 3),
    9: ("triangle of order 2", 6),
    10: ("quadrangle of order 2", 9),
    11: ("tetrahedron of order 2", 10),
    12: ("hexahedron of order 2", 27),
    13: ("prism of order 2", 18),
    14: ("pyramid of order 2", 14),
    15: ("point", 1),
    16: ("quadrangle of order 2, 8 nodes", 8),
    17: ("hexahedron of order 2, 20 nodes", 20),
    18: ("prism of order 2, 15 nodes", 15),
    19: ("pyramid of order 2, 13 nodes", 13),
}
"""gmsh's kinds of elements: name and nodes of each."""


class Elements(NamedTuple):
    """Elements of one kind, numbered as in the file: ``tags`` (k,), or the (dimension, tag) of their ``entity``."""

    kind: int
    numbers: np.ndarray
    nodes: np.ndarray
    tags: np.ndarray | None
    entity: tuple[int, int]


def size_of(cursor: Cursor, kind: int) -> int:
    """Nodes of an element of this kind; an error if there is none such."""
    if kind not in KINDS:
        raise cursor.fail(
            f"elements of kind {kind}", f"gmsh's kinds 1 to {max(KINDS)}", "write it with linear elements"
        )
    return KINDS[kind][1]


def index_of(cursor: Cursor, numbers: np.ndarray, wanted: np.ndarray, what: str) -> np.ndarray:
    """Index (int32) in ``numbers`` (sorted) of each number wanted."""
    if not wanted.size:
        return np.zeros(wanted.shape, np.int32)
    low, high = int(wanted.min()), int(wanted.max())
    if not len(numbers) or low < numbers[0] or high > numbers[-1]:
        raise cursor.fail(f"{what} {low} to {high}", f"{what} that are there")
    first, last = int(numbers[0]), int(numbers[-1])
    if last - first < 8 * len(numbers) + 1000:  # few gaps: a table is much faster than a search
        table = np.full(last - first + 1, -1, np.int32)
        table[numbers - first] = np.arange(len(numbers), dtype=np.int32)
        found = table[wanted - first]
    else:
        place = np.searchsorted(numbers, wanted)
        found = np.where(numbers[place] == wanted, place, -1).astype(np.int32)
    missing = found < 0
    if missing.any():
        raise cursor.fail(f"{what} {np.unique(wanted[missing])[:5].tolist()}", f"{what} that are there")
    return found
