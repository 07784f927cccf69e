"""Meshes of gmsh and SimNIBS: .msh files of version 2.2 and 4.1, text and binary.

The format is gmsh's (gmsh reference manual, "MSH file format" and "MSH file format version 2"). SimNIBS writes version
2.2 in binary, with the values of triangles and tetrahedra in one ElementData section, and 4.1.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.io import msh2, msh4
from tmsjax.io.cursor import Cursor, is_whole
from tmsjax.io.elements import KINDS, TETRAHEDRON, TRIANGLE, Elements, index_of
from tmsjax.io.reading import checked_path
from tmsjax.io.types import Msh

FORMATS = {"2.2": msh2, "2.1": msh2, "2": msh2, "2.0": msh2, "4.1": msh4}
"""How versions are read; ``write_msh`` writes 2.2 and 4.1."""

COMPONENTS = (1, 3, 9)
"""Numbers an entry of gmsh's data may have: scalar, vector, tensor."""


def read_msh(path: str | Path) -> Msh:
    """Read a .msh file of version 2.x or 4.1, text or binary, of either byte order.

    Nodes and elements may be numbered with gaps and in any order; they are returned in the order of their numbers. A
    data section whose name comes again is called "NAME [2]", unless it fills what the first left open. Elements that
    are neither triangles nor tetrahedra are counted in ``skipped`` and left out. Nothing is mended: an inverted
    tetrahedron stays inverted (``tmsjax.head.load_mesh`` refuses it).

    Raises:
        InputError: a file that is missing, of another version, cut off or malformed (a number that is no number, nodes
            numbered twice or not finite, elements of nodes or data of elements that are not there, unknown elements).
    """
    cursor = Cursor(checked_path(path, "a mesh"))
    layout = _format(cursor)
    nodes = numbers = elements = None
    names: dict[tuple[int, int], str] = {}
    regions: dict[tuple[int, int], int] = {}
    data: dict[str, list[tuple[str, np.ndarray, np.ndarray]]] = {"NodeData": [], "ElementData": []}
    while (section := cursor.open()) is not None:
        if section == "PhysicalNames":
            names |= _names(cursor)
        elif section == "Entities" and layout is msh4:
            regions = msh4.read_regions(cursor)
        elif section == "Nodes":
            numbers, nodes = layout.read_nodes(cursor)
        elif section == "Elements":
            elements = layout.read_elements(cursor)
        elif section in data:
            data[section].append(_data(cursor))
        elif section == "PartitionedEntities":
            raise cursor.fail("the mesh is partitioned", "one part", "merge the parts: gmsh FILE.msh -save -part 0")
        else:
            cursor.pass_over()
    cursor.section = ""
    if nodes is None or numbers is None or elements is None:
        raise cursor.fail("no nodes or no elements", "the sections $Nodes and $Elements")
    return _assemble(cursor, nodes, numbers, elements, names, regions, data)


def _format(cursor: Cursor):
    """Read $MeshFormat: version, text or binary, byte order."""
    if cursor.open() != "MeshFormat":
        raise cursor.fail(f"it begins with ${cursor.section}", "$MeshFormat", "gmsh can convert it: -format msh22")
    words = (cursor.line() or "").split()
    if len(words) < 3 or words[1] not in ("0", "1") or words[2] not in ("4", "8"):
        raise cursor.fail(f"{' '.join(words)[:60]!r}", 'version, 0 (text) or 1 (binary), size, as in "2.2 1 8"')
    if words[0] not in FORMATS:
        raise cursor.fail(
            f"version {words[0]}", "2.2 or 4.1", "convert it: gmsh FILE.msh -save -format msh22 -o NEW.msh"
        )
    layout = FORMATS[words[0]]
    cursor.binary, cursor.size = words[1] == "1", f"u{words[2]}"
    if layout is msh2 and words[2] != "8":
        raise cursor.fail(f"numbers of {words[2]} bytes", "8-byte floats")
    if cursor.binary:
        one = cursor.peek(np.dtype("<i4"), 1)[0]
        if one not in (1, 1 << 24):
            raise cursor.fail("no 1 that tells the byte order", "a binary 1 in $MeshFormat", "is it damaged?")
        cursor.order = "<" if one == 1 else ">"
        cursor.skip(1)
    cursor.close()
    return layout


def _names(cursor: Cursor) -> dict[tuple[int, int], str]:
    """Names of regions, which are text in binary files too: dimension, tag, "name"."""
    found = {}
    for _ in range(cursor.whole("how many names there are")):
        line = cursor.line() or ""
        words = line.split(maxsplit=2)
        if len(words) != 3 or not is_whole(words[0]) or not is_whole(words[1].removeprefix("-")):
            raise cursor.fail(f"{line[:60]!r}", 'dimension, tag and "name"')
        found[int(words[0]), int(words[1])] = words[2].strip('"')
    cursor.pass_over()
    return found


def _data(cursor: Cursor) -> tuple[str, np.ndarray, np.ndarray]:
    """A data section: its name, the numbers (k,) of nodes or elements, their values (k, c)."""
    texts = cursor.texts("how many strings there are")
    cursor.texts("how many real tags there are")
    tags = cursor.texts("how many integer tags there are")
    if len(tags) < 3 or not all(map(is_whole, tags[:3])):
        raise cursor.fail(f"integer tags {tags}", "time step, components, entries")
    components, entries = int(tags[1]), int(tags[2])
    if components not in COMPONENTS:
        raise cursor.fail(f"{components} components", "one, three or nine")
    cursor.numbers()
    numbers, values = cursor.rows(components, entries)
    cursor.close()
    return (texts[0].strip('"') if texts else "unnamed"), numbers, values


def _assemble(cursor: Cursor, nodes, numbers, elements: list[Elements], names, regions, data) -> Msh:
    """Numbers of the file become indices."""
    if not np.isfinite(nodes).all():
        raise cursor.fail("nodes that are not finite", "finite mm")
    numbers, nodes = _ranked(numbers, nodes)
    if (np.diff(numbers) == 0).any():
        raise cursor.fail("nodes of the same number", "each number once")
    kept, skipped, left_out = {TRIANGLE: [], TETRAHEDRON: []}, {}, []
    for part in elements:
        if part.kind in kept:
            kept[part.kind].append(part)
        else:
            skipped[KINDS[part.kind][0]] = skipped.get(KINDS[part.kind][0], 0) + len(part.numbers)
            left_out.append(part.numbers)
    corners, tags, own = {}, {}, []
    for kind, parts in kept.items():
        none = np.zeros(0, np.int64)
        number = np.concatenate([none, *(part.numbers for part in parts)])
        region = np.concatenate([none, *(_tags(part, regions) for part in parts)])
        corner = np.concatenate([np.zeros((0, KINDS[kind][1]), np.int64), *(part.nodes for part in parts)])
        number, region, corner = _ranked(number, region, corner)
        corners[kind] = index_of(cursor, numbers, corner, "nodes")
        if len(region) and max(-int(region.min()), int(region.max())) > np.iinfo(np.int32).max:
            raise cursor.fail("tags beyond 32 bits", f"tags up to {np.iinfo(np.int32).max}")
        tags[kind] = region.astype(np.int32)
        own.append(number)
    own, left_out = np.concatenate(own), np.concatenate([np.zeros(0, np.int64), *left_out])
    cursor.section = "ElementData"
    element_data = _fields(cursor, data["ElementData"], own, left_out)
    cursor.section = "NodeData"
    return Msh(
        nodes=nodes,
        tetrahedra=corners[TETRAHEDRON],
        tetrahedron_tags=tags[TETRAHEDRON],
        triangles=corners[TRIANGLE],
        triangle_tags=tags[TRIANGLE],
        names=names,
        node_data=_fields(cursor, data["NodeData"], numbers, np.zeros(0, np.int64)),
        element_data=element_data,
        skipped=skipped,
    )


def _ranked(numbers: np.ndarray, *columns: np.ndarray) -> tuple[np.ndarray, ...]:
    """All of them in the order of the numbers."""
    if (np.diff(numbers) >= 0).all():
        return numbers, *columns
    order = np.argsort(numbers, kind="stable")
    return tuple(column[order] for column in (numbers, *columns))


def _tags(part: Elements, regions: dict[tuple[int, int], int]) -> np.ndarray:
    """The regions' tags (k,): physical ones where the file says which, else those of the geometry."""
    if part.tags is not None:
        return part.tags
    return np.full(len(part.numbers), regions.get(part.entity, part.entity[1]))


def _fields(cursor: Cursor, sections, numbers: np.ndarray, left_out: np.ndarray) -> dict[str, np.ndarray]:
    """Values by name, one row for each of ``numbers``; values of what was left out go."""
    found: dict[str, np.ndarray] = {}
    order = np.argsort(numbers, kind="stable")
    if sections and (np.diff(numbers[order]) == 0).any():
        raise cursor.fail("data of elements of the same number", "each number once")
    for name, rows, values in sections:
        keep = ~np.isin(rows, left_out) if len(left_out) else slice(None)
        rows, values = rows[keep], values[keep]
        index = order[index_of(cursor, numbers[order], rows, "nodes or elements")]
        table = np.full((len(numbers), values.shape[1]), np.nan)
        table[index] = values
        table = table[:, 0] if values.shape[1] == 1 else table
        key, copies = name, 1
        while key in found and not _fills(found[key], table):
            copies += 1
            key = f"{name} [{copies}]"
        found[key] = np.where(np.isnan(table), found[key], table) if key in found else table
    return found


def _fills(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether no entry has a value in both."""
    return first.shape == second.shape and not (~np.isnan(first) & ~np.isnan(second)).any()


def write_msh(path: str | Path, mesh: Msh, *, version: str = "2.2", binary: bool = True) -> Path:
    """Write a .msh file, whole or not at all; triangles first, everything numbered from 1 without gaps.

    Version 2.2 in binary is what SimNIBS reads and writes. Rows of NaN are left out of data sections. A file of that
    name is replaced.

    Raises:
        InputError: a version that is not written, arrays that do not fit each other, data of other than 1, 3 or 9
            components, or a folder that cannot be written to.
    """
    if version not in ("2.2", "4.1"):
        raise InputError("this version of .msh is not written", got=version, expected='"2.2" or "4.1"')
    _check(mesh)
    path = checked_path(path, "a mesh")
    with staged_file(path) as stage, stage.open("wb") as file:
        file.write(f"$MeshFormat\n{version} {int(binary)} 8\n".encode())
        file.write(np.int32(1).tobytes() + b"\n" if binary else b"")
        file.write(b"$EndMeshFormat\n")
        if mesh.names:
            rows = [f'{dimension} {tag} "{name}"' for (dimension, tag), name in sorted(mesh.names.items())]
            file.write("\n".join(["$PhysicalNames", str(len(rows)), *rows, "$EndPhysicalNames\n"]).encode())
        for part in (msh2 if version == "2.2" else msh4).written(mesh, binary):
            file.write(part)
        for section, fields in (("NodeData", mesh.node_data), ("ElementData", mesh.element_data)):
            for name, values in fields.items():
                for part in _written(section, name, values, binary):
                    file.write(part)
    return path


def _check(mesh: Msh) -> None:
    if not len(mesh.triangles) + len(mesh.tetrahedra):
        raise InputError("the mesh is empty", got="no elements", expected="triangles or tetrahedra")
    sizes = {"node_data": len(mesh.nodes), "element_data": len(mesh.triangles) + len(mesh.tetrahedra)}
    for corners, tags in ((mesh.triangles, mesh.triangle_tags), (mesh.tetrahedra, mesh.tetrahedron_tags)):
        if len(corners) != len(tags):
            raise InputError("every element needs a tag", got=(len(corners), len(tags)), expected="equal lengths")
        if len(corners) and (corners.min() < 0 or corners.max() >= len(mesh.nodes)):
            raise InputError("elements of nodes that are not there", got=int(corners.max()), expected=len(mesh.nodes))
    for what, size in sizes.items():
        for name, values in getattr(mesh, what).items():
            if np.ndim(values) not in (1, 2) or len(values) != size or (values.shape[1:] or (1,))[0] not in COMPONENTS:
                raise InputError(
                    f"{what} {name!r} has the wrong shape",
                    got=np.shape(values),
                    expected=f"({size},) or ({size}, c) with c in {COMPONENTS}",
                )
            if '"' in name or "\n" in name:
                raise InputError(
                    f"{what}: a name that cannot be written", got=repr(name), expected="no quotes, one line"
                )


def _written(section: str, name: str, values: np.ndarray, binary: bool) -> Iterable[bytes]:
    table = np.asarray(values, np.float64).reshape(len(values), -1)
    keep = np.flatnonzero(~np.isnan(table).all(axis=1))
    table = table[keep]
    yield f'${section}\n1\n"{name}"\n1\n0\n3\n0\n{table.shape[1]}\n{len(table)}\n'.encode()
    if binary:
        rows = np.empty(len(table), [("number", "<i4"), ("value", "<f8", (table.shape[1],))])
        rows["number"], rows["value"] = keep + 1, table
        yield rows.tobytes() + b"\n"
    else:
        lines = (f"{n + 1} {' '.join(map(repr, row))}\n" for n, row in zip(keep.tolist(), table.tolist(), strict=True))
        yield "".join(lines).encode()
    yield f"$End{section}\n".encode()
