"""Where a pose model's dipoles, fit points and harmonic sources lie: surfaces parallel to the scalp, thinned."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from tmsjax.core.errors import InputError
from tmsjax.head import HeadModel, scalp_surface, signed_distance, vertex_normals

OFF_SURFACE_MM = 0.6
"""A displaced vertex this far off its distance from the scalp lies in a fold, and is left out."""

FOCUS_POINTS = 500


@dataclasses.dataclass(frozen=True)
class Spacing:
    """Distance between neighbouring points: ``slope`` x (distance to the region), between ``least`` and ``most`` mm."""

    slope: float
    least: float
    most: float


NOISE = Spacing(0.3, 5.0, 20.0)
FIT = Spacing(0.2, 3.5, 12.0)
CHECK = Spacing(0.3, 7.0, 25.0)
SOURCES = Spacing(0.3, 6.0, 18.0)


class Shells:
    """Surfaces parallel to a head's scalp, with points that are densest near a region (p, 3) mm."""

    def __init__(self, head: HeadModel, region_mm: Float[np.ndarray, "p 3"]) -> None:
        self.scalp = scalp_surface(head)
        self.vertices = np.asarray(self.scalp.vertices, float)
        self.normals = vertex_normals(self.scalp).astype(float)
        step = max(1, len(region_mm) // FOCUS_POINTS)
        self.focus = KDTree(region_mm[::step])

    def points(
        self, offset_mm: float, spacing: Spacing, seed: int
    ) -> tuple[Float[np.ndarray, "n 3"], Float[np.ndarray, " n"]]:
        """Points (n, 3) at ``offset_mm`` outside the scalp (negative: inside), and the spacing (n,) mm at each.

        Vertices of the scalp are displaced along their normals; those that end up nearer to another part of it are
        dropped. Of the rest, taken in random order, none is kept within its spacing of one that is.
        """
        at = self.vertices + offset_mm * self.normals
        at = at[np.abs(signed_distance(self.scalp, at) - offset_mm) < OFF_SURFACE_MM]
        if not len(at):
            raise InputError("the scalp has no surface at this distance", got=f"{offset_mm:g} mm", expected="a few mm")
        radius = np.clip(spacing.slope * self.focus.query(at)[0], spacing.least, spacing.most)
        tree, free, kept = KDTree(at), np.ones(len(at), bool), []
        for row in np.random.default_rng(seed).permutation(len(at)):
            if free[row]:
                kept.append(row)
                free[tree.query_ball_point(at[row], radius[row])] = False
        return at[kept], radius[kept]
