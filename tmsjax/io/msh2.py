"""Nodes and elements of .msh files of version 2.2."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tmsjax.io.cursor import Cursor
from tmsjax.io.elements import TETRAHEDRON, TRIANGLE, Elements, size_of
from tmsjax.io.types import Msh


def read_nodes(cursor: Cursor) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (n,) and places (n, 3) of the nodes."""
    count = cursor.whole("how many nodes there are")
    cursor.numbers()
    found = cursor.rows(3, count)
    cursor.close()
    return found


def read_elements(cursor: Cursor) -> list[Elements]:
    """Elements in runs of the same kind, in the file's order.

    Text: number, kind, how many tags, tags, nodes. Binary: kind, how many follow, how many tags, and then number, tags
    and nodes of each; some programs write such a header before every element, so runs of equal headers are one array.
    The first tag is the region.
    """
    left = cursor.whole("how many elements there are")
    cursor.numbers()
    flat = cursor.remaining()
    runs, place = [], 0
    while left > 0:
        if place + 3 > len(flat):
            raise cursor.cut_off()
        if cursor.binary:
            kind, several, tags = (int(v) for v in flat[place : place + 3])
            same = {0: kind, 1: several, 2: tags}
        else:
            _, kind, tags = (int(v) for v in flat[place : place + 3])
            several, same = 1, {1: kind, 2: tags}
        width = tags + size_of(cursor, kind)
        if several < 1 or several > left or tags < 1:
            raise cursor.fail(
                f"{several} elements with {tags} tags each, of {left} to come", "as announced, and a tag on each"
            )
        header = 3 if cursor.binary else 2  # in text the element's number stands before kind and tags
        step = header + several * (1 + width)
        count = min(_run(flat[place:], step, same, left // several), (len(flat) - place) // step)
        if count == 0:
            raise cursor.cut_off()
        table = flat[place : place + count * step].reshape(count, step)
        if cursor.binary:
            table = table[:, 3:].reshape(count * several, 1 + width)
            numbers, rest = table[:, 0], table[:, 1:]
        else:
            numbers, rest = table[:, 0], table[:, 3:]
        runs.append(Elements(kind, numbers.astype(np.int64), rest[:, tags:].astype(np.int64), rest[:, 0], (0, 0)))
        place += count * step
        left -= count * several
    cursor.skip(place)
    cursor.close()
    return _joined(runs)


def _run(flat: np.ndarray, step: int, same: dict[int, int], limit: int) -> int:
    """How many records of ``step`` numbers follow each other with the same header, at most ``limit``."""
    count, block = 0, 64
    while count < limit:
        stop = min(limit, count + block)
        differs = np.zeros(stop - count, bool)
        for offset, value in same.items():
            column = flat[offset + count * step : offset + stop * step : step]
            differs[: len(column)] |= column != value
            differs[len(column) :] = True  # beyond the end
        if differs.any():
            return count + int(np.argmax(differs))
        count, block = stop, 8 * block
    return count


def _joined(runs: list[Elements]) -> list[Elements]:
    """Runs of one kind as one, so that files with alternating kinds stay fast."""
    kinds = dict.fromkeys(run.kind for run in runs)
    joined = []
    for kind in kinds:
        parts = [run for run in runs if run.kind == kind]
        numbers, nodes, tags = (
            np.concatenate([getattr(run, name) for run in parts]) for name in ("numbers", "nodes", "tags")
        )
        joined.append(Elements(kind, numbers, nodes, tags, (0, 0)))
    return joined


def written(mesh: Msh, binary: bool) -> Iterator[bytes]:
    """The sections $Nodes and $Elements; each tag is written as physical and as geometrical one."""
    yield f"$Nodes\n{len(mesh.nodes)}\n".encode()
    if binary:
        rows = np.empty(len(mesh.nodes), [("number", "<i4"), ("place", "<f8", (3,))])
        rows["number"], rows["place"] = np.arange(1, len(mesh.nodes) + 1), mesh.nodes
        yield rows.tobytes() + b"\n"
    else:
        yield "".join(f"{n} {x!r} {y!r} {z!r}\n" for n, (x, y, z) in enumerate(mesh.nodes.tolist(), 1)).encode()
    yield f"$EndNodes\n$Elements\n{len(mesh.triangles) + len(mesh.tetrahedra)}\n".encode()
    first = 1
    for kind, corners, tags in (
        (TRIANGLE, mesh.triangles, mesh.triangle_tags),
        (TETRAHEDRON, mesh.tetrahedra, mesh.tetrahedron_tags),
    ):
        if not len(corners):
            continue
        numbers = np.arange(first, first + len(corners))
        columns = [numbers, tags, tags, corners + 1]
        if binary:
            yield np.array([kind, len(corners), 2], "<i4").tobytes()
            yield np.column_stack(columns).astype("<i4").tobytes()
        else:
            fixed = np.column_stack([numbers, np.full_like(numbers, kind), np.full_like(numbers, 2), *columns[1:]])
            yield "".join(" ".join(map(str, row)) + "\n" for row in fixed.tolist()).encode()
        first += len(corners)
    yield b"\n$EndElements\n" if binary else b"$EndElements\n"
