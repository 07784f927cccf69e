"""Every neuron of a piece of cortex, described and not listed: places x azimuths of a layer, made block by block.

At full density a gyrus holds some 10^8 neurons; their rotations alone would fill 5 GB. What is kept is the layer's
surface; the places of a block follow from the seed and the block's number, whatever else is asked for.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Int

from tmsjax.core.errors import InputError
from tmsjax.cortex import LayerSurface, Roi, column_axes, layer_surface
from tmsjax.cortex.layers import is_cortex, normalised_depth
from tmsjax.cortex.place import cell_frames, uniform_barycentric
from tmsjax.head import HeadModel, landmark

NEURONS_PER_MM2, GYRUS_MM2 = 120_000, 1280.0
"""Neurons below a mm2 of cortex, and the cortex of a precentral gyrus: 154 million neurons."""

BLOCK = 2048
"""Places that are made together: parts of a population are whole blocks."""

MIDDLE = 0.5
"""Depth at which the area of a region is measured."""


def hand_knob_region(head: HeadModel, side: str = "left", area_mm2: float = GYRUS_MM2) -> Roi:
    """The ball round the hand knob that holds ``area_mm2`` of one hemisphere's cortex, measured half way down.

    It stands for the precentral gyrus of a head without a parcellation: as much cortex, round the middle of the gyrus,
    of both banks of the central and the precentral sulcus, postcentral cortex among it.
    """
    if side not in ("left", "right"):
        raise InputError("side of the hand knob", got=repr(side), expected="left or right")
    surface, hemisphere = layer_surface(head, MIDDLE), {"left": "lh", "right": "rh"}[side]
    centre = np.asarray(landmark(head, f"hand_knob_{side}"))
    usable = is_cortex(surface) & Roi.ball(centre, 1e3, hemisphere).contains(surface)
    distance = np.linalg.norm(surface.triangles.mean(axis=1) - centre, axis=1)[usable]
    order = np.argsort(distance)
    within = np.cumsum(surface.face_areas[usable][order])
    if not (np.isfinite(area_mm2) and 0 < area_mm2 <= (within[-1] if len(within) else 0.0)):
        held = f"more than 0, at most the {within[-1] if len(within) else 0.0:.0f} mm2 of the hemisphere"
        raise InputError("area of the region", got=f"{area_mm2} mm2", expected=held)
    return Roi.ball(centre, float(distance[order][np.searchsorted(within, area_mm2)]), hemisphere)


@dataclasses.dataclass(frozen=True, eq=False)
class DensePopulation:
    """All neurons of one layer in a region: ``places`` spread evenly over the layer, each with ``azimuths``.

    The first azimuth of a place is random, the others follow in steps of 360/azimuths degrees. ``faces`` are those of
    ``surface`` in the region.
    """

    layer: str
    surface: LayerSurface
    faces: Int[np.ndarray, " f"]
    places: int
    azimuths: int = 12
    seed: int = 0

    def __len__(self) -> int:
        return self.places * self.azimuths

    @property
    def corners_mm(self) -> Float[np.ndarray, "c 3"]:
        """Points between which all places lie."""
        return self.surface.triangles[self.faces].reshape(-1, 3)

    @property
    def blocks(self) -> int:
        """Number of blocks."""
        return -(-self.places // BLOCK)

    def block(self, index: int) -> tuple[Float[np.ndarray, "s 3"], Float[np.ndarray, "s 3 3"]]:
        """Places (mm) of a block and the frames of their first azimuths, float32."""
        count = min(BLOCK, self.places - index * BLOCK)
        rng = np.random.default_rng([self.seed, index])
        areas = np.cumsum(self.surface.face_areas[self.faces])
        quantiles = (index * BLOCK + np.arange(count) + rng.random(count)) / self.places
        chosen = np.minimum(np.searchsorted(areas, quantiles * areas[-1]), len(areas) - 1)
        faces, barycentric = self.faces[chosen], uniform_barycentric(rng, count)
        places = np.einsum("sc,scd->sd", barycentric, self.surface.vertices[self.surface.faces[faces]])
        axes, _ = column_axes(self.surface, faces, barycentric)
        return places.astype(np.float32), cell_frames(axes, rng.uniform(0, 360, count)).astype(np.float32)


def dense_population(
    head: HeadModel,
    layer: str,
    roi: Roi,
    neurons: int,
    azimuths: int = 12,
    seed: int = 0,
    depth: float | None = None,
) -> DensePopulation:
    """``neurons`` of a layer in a region, rounded up to whole places.

    Raises InputError for an unknown layer, no neurons or azimuths, or a region without cortex.
    """
    if neurons < 1 or azimuths < 1:
        raise InputError("size of the population", got=(neurons, azimuths), expected="both at least 1")
    surface = layer_surface(head, normalised_depth(layer) if depth is None else depth)
    faces = np.flatnonzero(is_cortex(surface) & roi.contains(surface))
    if not len(faces):
        raise InputError("the region holds no cortex", got=roi, expected="a region that meets the layer's surface")
    return DensePopulation(layer, surface, faces, -(-neurons // azimuths), azimuths, seed)
