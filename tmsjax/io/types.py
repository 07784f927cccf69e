"""What a mesh file holds."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int


@dataclasses.dataclass(frozen=True, eq=False)
class Msh:
    """The triangles and tetrahedra of a mesh file, with the values given on them.

    Attributes:
        nodes: (n, 3) float64, mm.
        tetrahedra: (t, 4) int32 indices of nodes, from 0.
        tetrahedron_tags: (t,) int32, the region of each (in SimNIBS the tissue, ``tmsjax.head.SIMNIBS_TAGS``).
        triangles: (m, 3) int32 indices of nodes, from 0.
        triangle_tags: (m,) int32 (in SimNIBS 1000 more than the tissue that the surface encloses).
        names: (dimension, tag) -> name of a region.
        node_data: name -> (n,) or (n, c) float64; NaN where the file gives none.
        element_data: name -> (m + t,) or (m + t, c) float64, triangles first; NaN where the file gives none.
        skipped: kind of element -> how many of it the file has that are neither triangles nor tetrahedra.
    """

    nodes: Float[np.ndarray, "n 3"]
    tetrahedra: Int[np.ndarray, "t 4"]
    tetrahedron_tags: Int[np.ndarray, " t"]
    triangles: Int[np.ndarray, "m 3"] = dataclasses.field(default_factory=lambda: np.zeros((0, 3), np.int32))
    triangle_tags: Int[np.ndarray, " m"] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int32))
    names: dict[tuple[int, int], str] = dataclasses.field(default_factory=dict)
    node_data: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    element_data: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)
    skipped: dict[str, int] = dataclasses.field(default_factory=dict)

    def on_tetrahedra(self, name: str) -> np.ndarray:
        """The rows of an element field that belong to the tetrahedra, (t,) or (t, c)."""
        return self.element_data[name][len(self.triangles) :]
