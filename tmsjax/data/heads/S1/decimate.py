"""Decimate a hemisphere's white and pial surfaces together, keeping original vertices and their correspondence."""

from __future__ import annotations

import fast_simplification
import numpy as np
from scipy.spatial import KDTree


def decimate_hemisphere(
    white: np.ndarray, pial: np.ndarray, faces: np.ndarray, vertices: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, dict]:
    """White, pial and faces with about ``vertices`` vertices, and how far they are from the originals.

    The collapses are those of the mid-surface; each new vertex is the original vertex nearest to where its collapses
    ended, so every column (white to pial) is one of the original's.
    """
    white, pial = white.astype(np.float64), pial.astype(np.float64)
    middle = (white + pial) / 2
    _, _, collapses = fast_simplification.simplify(
        middle.astype(np.float32), faces.astype(np.int32), target_count=2 * vertices, return_collapses=True
    )
    points, small, cluster = fast_simplification.replay_simplification(
        middle.astype(np.float32), faces.astype(np.int32), collapses
    )
    order = np.lexsort((np.linalg.norm(middle - points[cluster], axis=1), cluster))
    kept = order[np.r_[True, np.diff(cluster[order]) > 0]]
    facts = {"vertices_before": len(white), "vertices": len(kept), "faces": len(small)}
    for name, surface in (("white", white), ("pial", pial)):
        away = distance_to_mesh(surface, surface[kept], small)
        facts[f"{name}_distance_mm"] = {
            "mean": round(float(away.mean()), 4),
            "p95": round(float(np.percentile(away, 95)), 4),
            "max": round(float(away.max()), 4),
        }
        normals = vertex_normals(surface, faces)[kept]
        facing = (face_normals(surface[kept], small) * normals[small].sum(1)).sum(1)
        facts[f"{name}_folded_faces"] = int((facing < 0).sum())
    thickness = np.linalg.norm(pial - white, axis=1)
    for name, values in (("before", thickness), ("after", thickness[kept])):
        facts[f"thickness_mm_{name}"] = np.round(np.percentile(values, [5, 50, 95]), 3).tolist()
    sample = np.linspace(0, len(kept) - 1, 500).astype(int)
    before = winding_number(white[kept][sample], pial, faces)
    after = winding_number(white[kept][sample], pial[kept], small)
    facts["white_inside_pial_share_of_500"] = {
        "before": round(float((before > 0.5).mean()), 4),
        "after": round(float((after > 0.5).mean()), 4),
    }
    return white[kept], pial[kept], small, facts


def face_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(f, 3) outward normals, twice the area long."""
    a, b, c = (vertices[faces[:, k]] for k in range(3))
    return np.cross(b - a, c - a)


def vertex_normals(vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(v, 3) area-weighted normals."""
    each = face_normals(vertices, faces)
    out = np.zeros_like(vertices)
    for k in range(3):
        np.add.at(out, faces[:, k], each)
    return out


def distance_to_mesh(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray, near: int = 24) -> np.ndarray:
    """(p,) distance to the nearest of the ``near`` triangles whose centres are nearest."""
    _, index = KDTree(vertices[faces].mean(1)).query(points, near)
    best = np.full(len(points), np.inf)
    for j in range(near):
        a, b, c = (vertices[faces[index[:, j], k]] for k in range(3))
        best = np.minimum(best, point_triangle(points, a, b, c))
    return best


def point_triangle(p: np.ndarray, a: np.ndarray, b: np.ndarray, c: np.ndarray) -> np.ndarray:
    """Distance of each point from its triangle."""

    def segment(x, y):
        edge = y - x
        t = np.clip(((p - x) * edge).sum(1) / np.maximum((edge * edge).sum(1), 1e-20), 0, 1)
        return np.linalg.norm(p - x - t[:, None] * edge, axis=1)

    ab, ac, ap = b - a, c - a, p - a
    normal = np.cross(ab, ac)
    square = np.maximum((normal * normal).sum(1), 1e-20)
    u, v = (np.cross(ap, ac) * normal).sum(1) / square, (np.cross(ab, ap) * normal).sum(1) / square
    plane = np.abs((ap * normal).sum(1)) / np.sqrt(square)
    edges = np.minimum(np.minimum(segment(a, b), segment(b, c)), segment(a, c))
    return np.where((u >= 0) & (v >= 0) & (u + v <= 1), plane, edges)


def winding_number(points: np.ndarray, vertices: np.ndarray, faces: np.ndarray) -> np.ndarray:
    """(p,) generalised winding number: 1 inside a closed outward mesh, 0 outside (van Oosterom & Strackee 1983)."""
    corners = vertices[faces].astype(np.float32)
    out = np.empty(len(points))
    for n, point in enumerate(points.astype(np.float32)):
        a, b, c = (corners[:, k] - point for k in range(3))
        la, lb, lc = (np.linalg.norm(x, axis=1) for x in (a, b, c))
        ab, bc, ca = ((x * y).sum(1) for x, y in ((a, b), (b, c), (c, a)))
        volume = (a * np.cross(b, c)).sum(1)
        out[n] = np.arctan2(volume, la * lb * lc + ab * lc + bc * la + ca * lb).sum() / (2 * np.pi)
    return out
