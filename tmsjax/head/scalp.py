"""The scalp: the outer surface of a head, and how far points are from it."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from scipy import ndimage
from scipy.spatial import KDTree

from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine
from tmsjax.head.model import HeadModel, Surface
from tmsjax.head.surface_net import surface_net


def scalp_surface(head: HeadModel, *, spacing_mm: float = 2.0, smoothing_mm: float = 1.5) -> Surface:
    """The closed outer boundary of everything that is not air, as triangles that face outwards.

    Gaps up to 3 mm and enclosed air are filled, the largest part is kept and smoothed, and its half level is meshed by
    surface nets (Gibson 1998, MICCAI), one vertex a cell. Where the label map ends in tissue (the neck) the surface is
    cut flat there.

    Args:
        head: the head.
        spacing_mm: size of a cell; never finer than a voxel.
        smoothing_mm: standard deviation of the smoothing; a sphere of radius R shrinks by its square over R.
    """
    voxel = head.voxel_mm
    pad = int(np.ceil((4 * smoothing_mm + 2 * spacing_mm) / voxel.min())) + 1
    tissue = np.pad(np.asarray(head.labels) > 0, pad)
    radius = max(1, round(3.0 / float(voxel.max())))
    tissue = ndimage.binary_closing(tissue, ndimage.generate_binary_structure(3, 1), iterations=radius)
    tissue = np.asarray(ndimage.binary_fill_holes(tissue))
    labelled: Any = ndimage.label(tissue)
    parts, count = labelled
    if count > 1:
        tissue = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    level = ndimage.gaussian_filter(tissue.astype(np.float32), smoothing_mm / voxel) - 0.5
    step = np.maximum(1, np.rint(spacing_mm / voxel).astype(int))
    vertices, faces = surface_net(level[:: step[0], :: step[1], :: step[2]])
    points = apply_affine(np.asarray(head.affine), vertices * step - pad)
    return Surface(vertices=points.astype(np.float32), faces=faces)


def vertex_normals(surface: Surface) -> Float[np.ndarray, "v 3"]:
    """Outward unit normals (v, 3) float32 at the vertices, weighted by the area of the faces around them."""
    points, faces = np.asarray(surface.vertices, np.float64), np.asarray(surface.faces)
    a, b, c = (points[faces[:, n]] for n in range(3))
    each = np.cross(b - a, c - a)
    normals = np.stack(
        [np.bincount(faces.ravel(), np.repeat(each[:, n], 3), minlength=len(points)) for n in range(3)], axis=1
    )
    lengths = np.linalg.norm(normals, axis=1, keepdims=True)
    return (normals / np.maximum(lengths, 1e-12)).astype(np.float32)


def signed_distance(surface: Surface, points_mm: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p"]:  # noqa: UP037
    """Distance (p,) in mm of points from a closed surface: positive outside, negative inside (in the head).

    Exact to the nearest of the 24 triangles whose centres are nearest; meant for evenly meshed surfaces.
    """
    return nearest_on_surface(surface, points_mm)[1]


def nearest_on_surface(
    surface: Surface, points_mm: Float[np.ndarray, "p 3"]
) -> tuple[Float[np.ndarray, "p 3"], Float[np.ndarray, "p"]]:  # noqa: UP037
    """The points (p, 3) mm of a surface, on its triangles, nearest to others, and ``signed_distance`` (p,) from it."""
    points = np.asarray(points_mm, np.float64)
    if not np.isfinite(points).all():
        raise InputError("points have NaN or infinite coordinates", got=f"{points.shape[0]} points", expected="mm")
    vertices, faces = np.asarray(surface.vertices, np.float64), np.asarray(surface.faces)
    normals = vertex_normals(surface).astype(np.float64)
    _, near = KDTree(vertices[faces].mean(1)).query(points, min(24, len(faces)))
    near = near.reshape(len(points), -1)
    best, sign, place = np.full(len(points), np.inf), np.ones(len(points)), points.copy()
    for column in near.T:
        corners = faces[column]
        weights = _nearest_on_triangle(points, *(vertices[corners[:, n]] for n in range(3)))
        nearest = np.einsum("pn,pnx->px", weights, vertices[corners])
        outward = np.einsum("pn,pnx->px", weights, normals[corners])
        away = points - nearest
        distance = np.linalg.norm(away, axis=1)
        closer = distance < best
        best = np.where(closer, distance, best)
        place = np.where(closer[:, None], nearest, place)
        sign = np.where(closer, np.where((away * outward).sum(1) < 0, -1.0, 1.0), sign)
    return place, best * sign


def _nearest_on_triangle(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Barycentric weights (p, 3) of the point of each triangle that is nearest to p."""

    def along(x, y):
        edge = y - x
        return np.clip(((p - x) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-20), 0, 1)

    ab, ac, ap = b - a, c - a, p - a
    normal = np.cross(ab, ac)
    square = np.maximum((normal * normal).sum(1), 1e-20)
    u, v = (np.cross(ap, ac) * normal).sum(1) / square, (np.cross(ab, ap) * normal).sum(1) / square
    s, t, r = along(a, b), along(b, c), along(c, a)
    zero = np.zeros_like(s)
    edges = np.stack([np.stack([1 - s, s, zero], 1), np.stack([zero, 1 - t, t], 1), np.stack([r, zero, 1 - r], 1)], 1)
    corners = np.stack([a, b, c], axis=1)
    gaps = np.linalg.norm(edges @ corners - p[:, None], axis=2)
    edge = np.take_along_axis(edges, gaps.argmin(1)[:, None, None], axis=1)[:, 0]
    inner = np.stack([1 - u - v, u, v], axis=1)
    return np.where(((u >= 0) & (v >= 0) & (u + v <= 1))[:, None], inner, edge)
