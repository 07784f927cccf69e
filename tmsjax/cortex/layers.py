"""Surfaces of the cortical layers: interpolated between the pial and the white surface at a normalised depth."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from tmsjax.core.errors import InputError
from tmsjax.head import HeadModel, Surface

PAPER_DEPTHS = {
    "ernie": {"L23": 0.40, "L4": 0.50, "L5": 0.75},
    "almi5": {"L23": 0.40, "L4": 0.55, "L5": 0.65},
}
"""Normalised depth of the somata, 0 at the pia and 1 at the white matter, per head model (Aberra 2023, section 2.1.3).

Those of ``ernie`` lie inside the layers' own bounds in the BigBrain (Wagstyl 2020); ``almi5`` puts L4 below them.
"""

HEMISPHERES = ("lh", "rh")

THINNEST_MM = 0.5
"""Thinner columns are no cortex: on the medial wall FreeSurfer's white and pial surfaces are one."""


@dataclasses.dataclass(frozen=True)
class LayerSurface:
    """A layer's surface in both hemispheres: a triangle mesh with the column through each vertex.

    Attributes:
        vertices: (v, 3) mm, world.
        faces: (f, 3) vertex indices.
        columns: (v, 3) mm, from the white to the pial end of the column (its length is the cortical thickness).
        depth: normalised depth of the surface, 0 pial to 1 white.
        hemisphere: (v,) 0 left, 1 right.
    """

    vertices: Float[np.ndarray, "v 3"]
    faces: Int[np.ndarray, "f 3"]
    columns: Float[np.ndarray, "v 3"]
    depth: float
    hemisphere: Int[np.ndarray, " v"]

    @property
    def triangles(self) -> Float[np.ndarray, "f 3 3"]:
        """Corner positions of every face, mm."""
        return self.vertices[self.faces]

    @property
    def face_areas(self) -> Float[np.ndarray, " f"]:
        """Area of every face, mm2."""
        t = self.triangles
        return 0.5 * np.linalg.norm(np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), axis=1)


def is_cortex(surface: LayerSurface) -> np.ndarray:
    """(f,) True for faces whose columns are all at least ``THINNEST_MM`` long."""
    return (np.linalg.norm(surface.columns, axis=1) >= THINNEST_MM)[surface.faces].all(axis=1)


def normalised_depth(layer: str, model: str = "ernie") -> float:
    """Depth of a layer's somata, 0 pial to 1 white; ``L2/3`` and ``L23`` are the same layer."""
    depths = PAPER_DEPTHS[model]
    name = layer.replace("/", "").upper()
    if name not in depths:
        raise InputError("unknown cortical layer", got=repr(layer), expected=f"one of {', '.join(depths)} (or a depth)")
    return depths[name]


def layer_surface(head: HeadModel, depth: float) -> LayerSurface:
    """Interpolate between the pial and white surfaces of a head, at a normalised ``depth`` (0 pial, 1 white).

    Raises InputError if the head has no surfaces or the depth is outside [0, 1].
    """
    if not 0.0 <= depth <= 1.0:
        raise InputError("normalised depth out of range", got=depth, expected="0 (pial) to 1 (white)")
    surfaces: dict[str, Surface] = head.surfaces or {}
    sides = [side for side in HEMISPHERES if f"{side}_pial" in surfaces and f"{side}_white" in surfaces]
    if not sides:
        raise InputError(
            f"head {head.name!r} has no cortical surfaces, so neurons cannot be placed in it",
            got=sorted(surfaces) or "none",
            expected="lh_white and lh_pial, or rh_white and rh_pial",
            mend="give a folder of FreeSurfer or GIFTI surfaces to tmsjax.head.load(..., surfaces=FOLDER)",
        )
    vertices, faces, columns, hemisphere = [], [], [], []
    offset = 0
    for side in sides:
        pial, white = surfaces[f"{side}_pial"], surfaces[f"{side}_white"]
        p, w = np.asarray(pial.vertices, np.float64), np.asarray(white.vertices, np.float64)
        if p.shape != w.shape:
            raise InputError(
                f"the {side} pial and white surfaces do not correspond vertex by vertex",
                got=f"{len(p)} pial and {len(w)} white vertices",
                expected="one column per vertex: surfaces of one FreeSurfer run, decimated together",
            )
        vertices.append(p + depth * (w - p))
        columns.append(p - w)
        faces.append(np.asarray(pial.faces, np.int64) + offset)
        hemisphere.append(np.full(len(p), HEMISPHERES.index(side)))
        offset += len(p)
    return LayerSurface(
        vertices=np.concatenate(vertices),
        faces=np.concatenate(faces),
        columns=np.concatenate(columns),
        depth=float(depth),
        hemisphere=np.concatenate(hemisphere),
    )


def column_axes(
    surface: LayerSurface, faces: Int[np.ndarray, " s"], barycentric: Float[np.ndarray, "s 3"]
) -> tuple[Float[np.ndarray, "s 3"], Float[np.ndarray, " s"]]:
    """Unit vectors along the local column (towards the pia) and the cortical thickness in mm at points of a layer.

    A column is interpolated between the corners of its face; ``is_cortex`` says where there are columns at all.
    """
    corners = surface.columns[surface.faces[faces]]
    column = np.einsum("sc,scd->sd", barycentric, corners)
    thickness = np.linalg.norm(column, axis=1)
    return column / thickness[:, None], thickness
