"""Regions, nodes and elements of .msh files of version 4.1."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from tmsjax.io.cursor import Cursor
from tmsjax.io.elements import TETRAHEDRON, TRIANGLE, Elements, size_of
from tmsjax.io.types import Msh


def read_regions(cursor: Cursor) -> dict[tuple[int, int], int]:
    """(dimension, entity) -> the first physical tag, of the entities that have one."""
    cursor.numbers()
    counts = cursor.take("size", 4)
    found = {}
    for dimension, count in enumerate(counts):
        for _ in range(int(count)):
            entity = int(cursor.take("int", 1)[0])
            cursor.take("float", 3 if dimension == 0 else 6)
            tags = cursor.take("int", int(cursor.take("size", 1)[0]))
            if len(tags):
                found[dimension, entity] = abs(int(tags[0]))  # the sign says which way the entity is turned
            if dimension:
                cursor.take("int", int(cursor.take("size", 1)[0]))
    cursor.close()
    return found


def read_nodes(cursor: Cursor) -> tuple[np.ndarray, np.ndarray]:
    """Numbers (n,) and places (n, 3) of the nodes."""
    cursor.numbers()
    blocks, total = (int(v) for v in cursor.take("size", 4)[:2])
    numbers, places = [np.zeros(0, np.int64)], [np.zeros((0, 3))]
    for _ in range(blocks):
        dimension, _, parametric = (int(v) for v in cursor.take("int", 3))
        if not 0 <= dimension <= 3:
            raise cursor.fail(f"nodes of dimension {dimension}", "0 to 3")
        count = int(cursor.take("size", 1)[0])
        numbers.append(cursor.take("size", count))
        width = 3 + (dimension if parametric else 0)
        places.append(cursor.take("float", count * width).reshape(count, width)[:, :3])
    cursor.close()
    if sum(map(len, numbers)) != total:
        raise cursor.fail(f"{sum(map(len, numbers))} nodes in the blocks", f"{total}, as announced")
    return np.concatenate(numbers), np.concatenate(places)


def read_elements(cursor: Cursor) -> list[Elements]:
    """Elements in blocks of one kind and entity."""
    cursor.numbers()
    blocks, total = (int(v) for v in cursor.take("size", 4)[:2])
    found = []
    for _ in range(blocks):
        dimension, entity, kind = (int(v) for v in cursor.take("int", 3))
        count, size = int(cursor.take("size", 1)[0]), size_of(cursor, kind)
        table = cursor.take("size", count * (1 + size)).reshape(count, 1 + size)
        found.append(Elements(kind, table[:, 0], table[:, 1:], None, (dimension, entity)))
    cursor.close()
    if sum(len(part.numbers) for part in found) != total:
        raise cursor.fail(
            f"{sum(len(part.numbers) for part in found)} elements in the blocks", f"{total}, as announced"
        )
    return found


def written(mesh: Msh, binary: bool) -> Iterator[bytes]:
    """The sections $Entities, $Nodes and $Elements, with one entity for each tag.

    Elements of one tag stand together as the format asks, but keep their numbers; the nodes are all put into the first
    entity, as gmsh needs each node in one only.
    """
    parts = [
        (dimension, kind, int(tag), np.flatnonzero(tags == tag), corners, first)
        for dimension, kind, corners, tags, first in (
            (2, TRIANGLE, mesh.triangles, mesh.triangle_tags, 1),
            (3, TETRAHEDRON, mesh.tetrahedra, mesh.tetrahedron_tags, 1 + len(mesh.triangles)),
        )
        for tag in np.unique(tags)
    ]
    box = np.concatenate([mesh.nodes.min(0), mesh.nodes.max(0)]) if len(mesh.nodes) else np.zeros(6)
    total, nodes = len(mesh.triangles) + len(mesh.tetrahedra), len(mesh.nodes)
    out = _Out(binary)
    dimensions = [dimension for dimension, *_ in parts]
    yield b"$Entities\n" + out("size", [0, 0, dimensions.count(2), dimensions.count(3)], end=True)
    for _, _, tag, *_ in parts:
        yield out("int", [tag]) + out("float", box) + out("size", [1]) + out("int", [tag]) + out("size", [0], end=True)
    yield out.last + b"$EndEntities\n$Nodes\n"
    yield out("size", [int(bool(parts)), nodes, min(nodes, 1), nodes], end=True)
    if parts:
        yield out("int", [parts[-1][0], parts[-1][2], 0]) + out("size", [nodes], end=True)
        yield out("size", np.arange(1, nodes + 1), rows=True) + out("float", mesh.nodes, rows=True)
    yield out.last + b"$EndNodes\n$Elements\n"
    yield out("size", [len(parts), total, min(total, 1), total], end=True)
    for dimension, kind, tag, which, corners, first in parts:
        yield out("int", [dimension, tag, kind]) + out("size", [len(which)], end=True)
        yield out("size", np.column_stack([which + first, corners[which] + 1]), rows=True)
    yield out.last + b"$EndElements\n"


class _Out:
    """Numbers as bytes or as text: on one line, or a row a line."""

    def __init__(self, binary: bool) -> None:
        self.binary, self.last = binary, b"\n" if binary else b""

    def __call__(self, kind: str, values, *, end: bool = False, rows: bool = False) -> bytes:
        if self.binary:
            return np.asarray(values).astype({"int": "<i4", "size": "<u8", "float": "<f8"}[kind]).tobytes()
        number = repr if kind == "float" else str
        table = np.asarray(values, float if kind == "float" else np.int64)
        if rows:
            return "".join(" ".join(map(number, np.atleast_1d(row).tolist())) + "\n" for row in table).encode()
        return (" ".join(map(number, table.tolist())) + ("\n" if end else " ")).encode()
