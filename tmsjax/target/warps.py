"""Random diffeomorphisms that carry points along with the image: other shapes of one head. All they make is synthetic.

A stationary velocity field is white noise smoothed by a Gaussian; its exponential is taken by scaling and squaring
(Arsigny et al. 2006, MICCAI 4190:924). Two fields, of head shape and of gyri, follow each other, then an affine map.
An image moves by the inverse map and its points by the forward one: image'(y) = image(phi^-1(y)), p' = phi(p).

Sulci keep their pattern: a warped head has the same gyri as its base, and is no new anatomy.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Shaped
from scipy.ndimage import gaussian_filter, map_coordinates

from tmsjax.core.errors import InputError

GRID_MM = 4
"""Spacing of the grid that fields live on; voxels are 1 mm."""

SQUARINGS = 6

FADE_MM = 24.0
"""Over this distance from the border of the cube the velocity falls to nothing."""

LEAST_JACOBIAN = 0.3
"""Warps whose 1st percentile of the Jacobian's determinant is below are drawn again: no head is folded so."""

TRIES = 20

Field = Float[np.ndarray, "3 n n n"]


@dataclasses.dataclass(frozen=True)
class WarpSpec:
    """How heads are varied.

    ``smooth_mm``, ``size_mm``: ranges of the Gaussian's sigma and of the velocity's SD an axis, mm, of the first field
    (shape of the head) and of the second (where gyri lie). ``scale``, ``shear``: SD of the affine part about 1 and 0.
    """

    smooth_mm: tuple[tuple[float, float], tuple[float, float]] = ((20.0, 30.0), (12.0, 16.0))
    size_mm: tuple[tuple[float, float], tuple[float, float]] = ((4.0, 6.0), (1.5, 2.5))
    scale: float = 0.05
    shear: float = 0.02


USUAL_WARPS = WarpSpec()
"""What a synthetic cohort is drawn from if nothing else is said."""


@dataclasses.dataclass(frozen=True, eq=False)
class Warp:
    """A map of a cube of ``side`` mm onto itself: ``backward`` (displacements on a grid) after ``inverse`` (affine).

    Attributes:
        forward, backward: (3, n, n, n) displacements (mm) of the two fields together, and of their inverses.
        matrix: (3, 3) affine part about the cube's middle, applied after the fields.
        side: mm.
    """

    forward: Field
    backward: Field
    matrix: Float[np.ndarray, "3 3"]
    side: int

    def points(self, places: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
        """phi(p) of places (p, 3) in mm of the cube."""
        places = np.asarray(places, np.float64)
        middle = (self.side - 1) / 2
        return (places + _at(self.forward, places) - middle) @ self.matrix.T + middle

    def back(self, places: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
        """phi^-1 of places (p, 3)."""
        middle = (self.side - 1) / 2
        places = (np.asarray(places, np.float64) - middle) @ np.linalg.inv(self.matrix).T + middle
        return places + _at(self.backward, places)

    def image(self, values: Shaped[np.ndarray, "n n n"], order: int = 1) -> Shaped[np.ndarray, "n n n"]:
        """The image at phi^-1(y), interpolated linearly (``order`` 0: nearest voxel, for labels); zero from beyond."""
        coarse = _centres(self.side)
        nodes = np.stack(np.meshgrid(coarse, coarse, coarse, indexing="ij"), -1).reshape(-1, 3)
        back = self.back(nodes).T.reshape(3, *(len(coarse),) * 3).astype(np.float32)
        rise = _upsampling(self.side)
        fine = [_upsampled(component, rise) for component in back]
        return map_coordinates(values, fine, order=order, mode="constant", cval=0.0, prefilter=False)

    def jacobian(self) -> Float[np.ndarray, "n n n"]:
        """Determinant of the forward fields' Jacobian on the grid, without the affine part."""
        gradient = np.stack([np.stack(np.gradient(c, GRID_MM)) for c in self.forward])
        return np.linalg.det(np.moveaxis(gradient, (0, 1), (-2, -1)) + np.eye(3))


def draw(side: int, rng: np.random.Generator, spec: WarpSpec = USUAL_WARPS) -> Warp:
    """A random warp of a cube of ``side`` mm; drawn again while it folds.

    Raises InputError where ``TRIES`` draws have all folded: the spec asks for too much.
    """
    for _ in range(TRIES):
        velocities = [
            _velocity(side, rng.uniform(*smooth), rng.uniform(*size), rng)
            for smooth, size in zip(spec.smooth_mm, spec.size_mm, strict=True)
        ]
        shape, gyri = (exponential(v) for v in velocities)
        shape_back, gyri_back = (exponential(-v) for v in velocities)
        matrix = np.diag(np.exp(rng.normal(0, spec.scale, 3))) + rng.normal(0, spec.shear, (3, 3)) * (1 - np.eye(3))
        # First where gyri lie, then the shape of the head; backwards in the other order.
        warp = Warp(_after(shape, gyri), _after(gyri_back, shape_back), matrix, side)
        if np.percentile(warp.jacobian(), 1) > LEAST_JACOBIAN and np.linalg.det(matrix) > LEAST_JACOBIAN:
            return warp
    raise InputError("every warp folds", got=spec, expected="smoother or smaller fields")


def exponential(velocity: Field) -> Field:
    """Displacement (mm) of the flow of a stationary velocity (mm) over a unit of time, by scaling and squaring."""
    out = velocity / 2**SQUARINGS
    for _ in range(SQUARINGS):
        out = _after(out, out)
    return out


def _after(second: Field, first: Field) -> Field:
    """Displacement of ``first`` and then ``second``: u1(x) + u2(x + u1(x))."""
    at = np.indices(first.shape[1:]) + first / GRID_MM
    return first + np.stack([map_coordinates(c, at, order=1, mode="nearest") for c in second])


def _velocity(side: int, smooth_mm: float, size_mm: float, rng: np.random.Generator) -> Field:
    n = len(_centres(side))
    noise = np.stack([gaussian_filter(rng.standard_normal((n,) * 3), smooth_mm / GRID_MM) for _ in range(3)])
    border = np.minimum(np.arange(n), np.arange(n)[::-1]) * GRID_MM
    fade = np.clip(border / FADE_MM, 0, 1)
    noise *= size_mm / noise.std()
    return noise * fade[:, None, None] * fade[:, None] * fade


def _centres(side: int) -> np.ndarray:
    """Places of the grid's nodes along an axis, mm: one beyond the last voxel, so that all lie between nodes."""
    return np.arange(0, side + GRID_MM, GRID_MM, dtype=np.float64)


def _at(field: Field, places: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
    return np.stack([map_coordinates(c, places.T / GRID_MM, order=1, mode="nearest") for c in field], axis=-1)


def _upsampling(side: int) -> Float[np.ndarray, "s n"]:
    """Weights (side, nodes) of linear interpolation from the nodes to voxels."""
    at = np.arange(side) / GRID_MM
    return np.maximum(0, 1 - abs(at[:, None] - np.arange(len(_centres(side))))).astype(np.float32)


def _upsampled(values: Float[np.ndarray, "n n n"], rise: Float[np.ndarray, "s n"]) -> Float[np.ndarray, "s s s"]:
    """Trilinear interpolation, axis by axis as matrix products."""
    return np.einsum("ia,jb,kc,abc->ijk", rise, rise, rise, values, optimize="greedy")
