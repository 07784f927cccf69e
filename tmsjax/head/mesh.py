"""Heads as tetrahedral meshes: SimNIBS's .msh, for solving on the mesh itself and for turning into a label map."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from functools import cached_property
from pathlib import Path

import numpy as np
from jaxtyping import Float, Int

from tmsjax.core.arrays import ArrayLike, numbers, whole_numbers
from tmsjax.core.errors import InputError
from tmsjax.head.model import PAPER_CONDUCTIVITY, check_conductivity
from tmsjax.io import Msh, read_msh
from tmsjax.io.reading import checked_path

SIMNIBS_TAGS: dict[int, str] = {
    1: "white matter",
    2: "grey matter",
    3: "cerebrospinal fluid",
    4: "bone",
    5: "scalp",
    6: "eyes",
    7: "compact bone",
    8: "spongy bone",
    9: "blood",
    10: "muscle",
}
"""SimNIBS's tags of tetrahedra; those of surfaces are 1000 more. 1 to 5 are this library's labels too."""

SIMNIBS_CONDUCTIVITY: dict[int, float] = PAPER_CONDUCTIVITY | {6: 0.5, 7: 0.008, 8: 0.025, 9: 0.6, 10: 0.16}
"""S/m of each tag: 1 to 5 as in ``PAPER_CONDUCTIVITY``, 6 to 10 SimNIBS 4's defaults (its documentation, "Standard
conductivities"). SimNIBS's scalp is 0.465 S/m since version 3, the paper's was 0.25: give yours by ``conductivity``."""

FLAT = 1e-9
"""A tetrahedron whose volume is less than this share of its longest edge cubed has none."""


@dataclasses.dataclass(frozen=True, eq=False)
class HeadMesh:
    """A volume conductor of tetrahedra, in the world's mm (scanner RAS+, as SimNIBS's meshes are).

    Attributes:
        nodes: (n, 3) float64, mm.
        tetrahedra: (t, 4) int32 indices of nodes, none of them inverted or flat.
        tags: (t,) int32, the tissue of each (``SIMNIBS_TAGS``).
        conductivity: tag -> S/m for every tag there is.
        triangles: (m, 3) int32, surfaces that came with the mesh; nothing is computed from them.
        triangle_tags: (m,) int32.
        name: what the head is called in reports.
    """

    nodes: Float[np.ndarray, "n 3"]
    tetrahedra: Int[np.ndarray, "t 4"]
    tags: Int[np.ndarray, " t"]
    conductivity: dict[int, float]
    triangles: Int[np.ndarray, "m 3"]
    triangle_tags: Int[np.ndarray, " m"]
    name: str

    @cached_property
    def boxes(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest coordinates (t, 3) of each tetrahedron."""
        columns = [self.nodes[self.tetrahedra[:, corner]] for corner in range(4)]
        return np.minimum.reduce(columns), np.maximum.reduce(columns)

    @cached_property
    def centroids(self) -> Float[np.ndarray, "t 3"]:
        """Centroid (t, 3) of each tetrahedron."""
        return np.add.reduce([self.nodes[self.tetrahedra[:, corner]] for corner in range(4)]) / 4

    @cached_property
    def tissue_nodes(self) -> tuple[Int[np.ndarray, " r"], Int[np.ndarray, "t 4"]]:
        """The pairs of a node and a tissue that it touches: node of each (r,), and the pair at each corner (t, 4)."""
        tags, which = np.unique(self.tags, return_inverse=True)
        key = self.tetrahedra.astype(np.int64) * len(tags) + which[:, None]
        pairs, corners = np.unique(key, return_inverse=True)
        return pairs // len(tags), corners.reshape(key.shape).astype(np.int32)

    @cached_property
    def outer(self) -> Int[np.ndarray, "f 3"]:
        """Triangles (f, 3) that only one tetrahedron has: the surface of the conductor, outward counter-clockwise."""
        faces = self.tetrahedra[:, [[1, 2, 3], [0, 3, 2], [0, 1, 3], [0, 2, 1]]].reshape(-1, 3)
        ranked = np.sort(faces, axis=1).astype(np.int64)
        key = (ranked[:, 0] * len(self.nodes) + ranked[:, 1]) * len(self.nodes) + ranked[:, 2]
        if len(self.nodes) > 2_000_000:  # the key would not fit 64 bits
            _, key = np.unique(ranked, axis=0, return_inverse=True)
        _, first, count = np.unique(key, return_index=True, return_counts=True)
        return faces[first[count == 1]]


def load_mesh(
    path: str | Path,
    *,
    conductivity: Mapping[int, ArrayLike] | None = None,
    reorder: bool = False,
    name: str | None = None,
) -> HeadMesh:
    """Read a head's .msh (gmsh 2.2 or 4.1, as SimNIBS writes it) for ``tmsjax.efield.solve_mesh``.

    Args:
        path: the file.
        conductivity: tag -> S/m; replaces or extends ``SIMNIBS_CONDUCTIVITY``.
        reorder: turn inverted tetrahedra round (exchange two corners) instead of refusing them. For meshes of programs
            that number the corners the other way; inverted ones among others are a damaged mesh.
        name: what to call the head; the file's name if left out.

    Raises:
        InputError: a malformed file (``tmsjax.io.read_msh``), or whatever ``mesh_from_arrays`` refuses.
    """
    path = checked_path(path, "a mesh")
    return mesh_from_msh(read_msh(path), conductivity, reorder=reorder, name=name or path.stem)


def mesh_from_msh(
    mesh: Msh,
    conductivity: Mapping[int, ArrayLike] | None = None,
    *,
    reorder: bool = False,
    name: str = "unnamed",
) -> HeadMesh:
    """``load_mesh`` of a file that has been read."""
    if not len(mesh.tetrahedra):
        others = ", ".join(f"{count} x {kind}" for kind, count in mesh.skipped.items())
        raise InputError(
            "the mesh has no tetrahedra",
            got=f"{name}: {len(mesh.triangles)} triangles{', ' + others if others else ''}",
            expected="linear tetrahedra that fill the head",
            mend="mesh the volume; of elements of second order keep the corners (gmsh -order 1)",
        )
    return mesh_from_arrays(
        mesh.nodes,
        mesh.tetrahedra,
        mesh.tetrahedron_tags,
        conductivity,
        triangles=mesh.triangles,
        triangle_tags=mesh.triangle_tags,
        reorder=reorder,
        name=name,
    )


def mesh_from_arrays(
    nodes: ArrayLike,
    tetrahedra: ArrayLike,
    tags: ArrayLike,
    conductivity: Mapping[int, ArrayLike] | None = None,
    *,
    triangles: ArrayLike | None = None,
    triangle_tags: ArrayLike | None = None,
    reorder: bool = False,
    name: str = "unnamed",
) -> HeadMesh:
    """A head from nodes (n, 3) mm, tetrahedra (t, 4) and their tags (t,); the rest as in ``load_mesh``.

    Raises:
        InputError: wrong shapes, nodes that are not finite or not there, corners or tags that are not whole, tags
            without a conductivity, conductivities that are not positive and finite, tetrahedra that are inverted or
            flat.
    """
    nodes, tetrahedra = numbers(nodes, "nodes"), whole_numbers(tetrahedra, "tetrahedra")
    tags = whole_numbers(tags, "tags")
    triangles = np.zeros((0, 3), np.int32) if triangles is None else whole_numbers(triangles, "triangles")
    if triangles.ndim != 2 or triangles.shape[1] != 3:
        raise InputError("these are no triangles", got=triangles.shape, expected="(m, 3)")
    kinds = np.zeros(len(triangles), np.int32) if triangle_tags is None else whole_numbers(triangle_tags, "tags")
    if kinds.shape != triangles.shape[:1]:
        raise InputError("every triangle needs a tag", got=kinds.shape, expected=triangles.shape[:1])
    shapes = (nodes.shape, tetrahedra.shape, tags.shape)
    if nodes.ndim != 2 or nodes.shape[1] != 3 or tetrahedra.ndim != 2 or tetrahedra.shape[1:] != (4,):
        raise InputError("this is no tetrahedral mesh", got=shapes, expected="(n, 3), (t, 4) and (t,)")
    if tags.shape != tetrahedra.shape[:1] or not len(tetrahedra):
        raise InputError("every tetrahedron needs a tag", got=shapes, expected="(n, 3), (t, 4) and (t,), t >= 1")
    if not np.isfinite(nodes).all():
        raise InputError("the mesh has nodes that are not finite", got="NaN or inf", expected="finite mm")
    for what, corners in (("tetrahedra", tetrahedra), ("triangles", triangles)):
        if corners.size and (corners.min() < 0 or corners.max() >= len(nodes)):
            got = f"{int(corners.min())} to {int(corners.max())}"
            raise InputError(f"{what} of nodes that are not there", got=got, expected=f"0 to {len(nodes) - 1}")
    table = check_conductivity(conductivity, SIMNIBS_CONDUCTIVITY, highest=np.iinfo(np.int32).max)
    _check_tags(tags, table)
    return HeadMesh(
        nodes=nodes,
        tetrahedra=_oriented(nodes, tetrahedra, reorder),
        tags=tags,
        conductivity={tag: table[tag] for tag in np.unique(tags).tolist()},
        triangles=triangles,
        triangle_tags=kinds,
        name=name,
    )


def volumes(nodes: Float[np.ndarray, "n 3"], tetrahedra: Int[np.ndarray, "t 4"]) -> Float[np.ndarray, " t"]:
    """Volume (t,) mm3 of each tetrahedron, negative where it is inverted."""
    origin = nodes[tetrahedra[:, 0]]
    a, b, c = (nodes[tetrahedra[:, corner]] - origin for corner in (1, 2, 3))
    return np.einsum("ij,ij->i", np.cross(a, b), c) / 6


def _check_tags(tags: np.ndarray, table: Mapping[int, float]) -> None:
    values, counts = np.unique(tags, return_counts=True)
    unknown = [(int(v), int(c)) for v, c in zip(values, counts, strict=True) if int(v) not in table]
    if unknown:
        raise InputError(
            "the mesh has unknown tags",
            got=", ".join(f"{v} ({c} tetrahedra)" for v, c in unknown[:12]) + (", ..." if len(unknown) > 12 else ""),
            expected=", ".join(f"{tag} {SIMNIBS_TAGS.get(tag, 'your own')}" for tag in table),
            mend=f"give their conductivity in S/m: conductivity={{{unknown[0][0]}: 0.3, ...}}, or, to head.load, which "
            f"makes voxels, tissues={{{unknown[0][0]}: LABEL}}",
        )


def _oriented(nodes: np.ndarray, tetrahedra: np.ndarray, reorder: bool) -> np.ndarray:
    volume = volumes(nodes, tetrahedra)
    inverted = volume < 0
    if inverted.any() and not reorder:
        raise InputError(
            "the mesh has inverted tetrahedra",
            got=f"{int(inverted.sum())} of {len(tetrahedra)} have a negative volume, the first in row "
            f"{int(np.argmax(inverted))}",
            expected="corners so that the fourth lies on the side that the first three turn round counter-clockwise",
            mend="if the program that made it numbers corners the other way: reorder=True; else mesh it again",
        )
    origin = nodes[tetrahedra[:, 0]]
    longest = np.maximum.reduce([np.linalg.norm(nodes[tetrahedra[:, c]] - origin, axis=1) for c in (1, 2, 3)])
    flat = np.abs(volume) <= FLAT * longest**3
    if flat.any():
        raise InputError(
            "the mesh has flat tetrahedra",
            got=f"{int(flat.sum())} of {len(tetrahedra)} have no volume, the first in row {int(np.argmax(flat))}",
            expected="tetrahedra with a volume",
            mend="mesh it again, or remove them",
        )
    if inverted.any():
        tetrahedra = tetrahedra.copy()
        tetrahedra[inverted] = tetrahedra[inverted][:, [0, 1, 3, 2]]
    return tetrahedra
