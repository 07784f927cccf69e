"""Error in the grey matter of a synthetic folded head, against the same head on a finer grid with exact shares."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from benchmarks import _common as common
from tests.folded import TABLE, Folded
from tests.spheres import pose_over
from tmsjax.efield import EField, within_tissue
from tmsjax.efield.one_sided import refill
from tmsjax.head import HeadModel

REFERENCE_MM = 0.5
CHECK_MM = 2 / 3
"""Of the solve that tells, by Richardson's rule, how far the reference itself is from the truth."""

OFFSETS = ((0.0, 0.0, 0.0), (0.5, 0.25, 0.4))
TYPICAL = "gyri of 9-12 mm"
GEOMETRIES = {TYPICAL: Folded(), "gyri of 6-9 mm": Folded(period=13.0)}
POINTS = 20_000


def grey_points(geometry: Folded) -> np.ndarray:
    """Points (p, 3) mm in the upper half, 0.5-2.5 mm under the pial surface."""
    rng = np.random.default_rng(0)
    points = rng.uniform(-1, 1, (12 * POINTS, 3)) * geometry.brain
    points = points[points[:, 2] > 0.4 * geometry.brain]
    return points[_deep(geometry, points)][:POINTS].astype(np.float32)


def _deep(geometry: Folded, points: np.ndarray) -> np.ndarray:
    depth = geometry.depth(*points.T)
    return (depth > 0.5) & (depth < 2.5)


def solve(sigma, mask: np.ndarray, affine: np.ndarray) -> EField:
    pose = pose_over((0.1, 0.25, 0.95), 64.0)
    return tj.efield.solve_conductivity(sigma, mask, affine, tj.coil.load("MagVenture_MC_B70"), pose)


def fine_field(geometry: Folded, voxel_mm: float) -> EField:
    """With exact shares of octants; in grey matter alone, one-sided at its borders, where it converges faster."""
    labels, affine = geometry.labels(voxel_mm)
    field = solve(geometry.octants(voxel_mm), labels > 0, affine)
    grey = jnp.asarray(labels == 2)
    whole = jnp.asarray(geometry.filled(2, voxel_mm))
    return dataclasses.replace(field, values=refill(field.values, whole & grey, grey), mask=grey)


def media(head: HeadModel, geometry: Folded, voxel_mm: float, offset: tuple[float, float, float]) -> dict[str, Any]:
    """Conductivities by name: of labels, of shares recovered from them, of exact shares."""
    exact = geometry.octants(voxel_mm, offset, points=3)
    conductivity = tj.efield.conductivity
    return {
        "binary labels": TABLE[np.asarray(head.labels)],
        "voxels from labels": conductivity(head)[0],
        "octants from labels": conductivity(head, octants=True)[0],
        "octants from labels, geometric": conductivity(head, octants=True, partial_volume="geometric")[0],
        "exact voxels": exact.mean(-1),
        "exact octants": exact,
    }


def errors(name: str, voxel_mm: float, offset: tuple[float, float, float], at_points: np.ndarray, fine: EField) -> list:
    """A row for each medium: relative L2 at voxel centres, at points, at points with the tissue's own field."""
    geometry = GEOMETRIES[name]
    labels, affine = geometry.labels(voxel_mm, offset)
    head = tj.head.from_labels(labels, affine)
    points = grey_points(geometry)
    centres = np.argwhere(labels == 2) @ affine[:3, :3].T + affine[:3, 3]
    keep = _deep(geometry, centres) & (centres[:, 2] > 0.4 * geometry.brain)
    at_centres = np.asarray(fine.at(centres[keep].astype(np.float32), outside="nan"))
    rows = []
    for medium, sigma in media(head, geometry, voxel_mm, offset).items():
        field = solve(jnp.asarray(sigma), labels > 0, affine)
        rows.append(
            {
                "head": name,
                "voxel_mm": voxel_mm,
                "offset": list(offset),
                "conductivity": medium,
                "voxel_centres": error(np.asarray(field.values)[labels == 2][keep], at_centres),
                "points": error(field.at(points), at_points),
                "points_within_tissue": error(within_tissue(field, head).at(points, outside="nan"), at_points),
                "residual": float(field.residual),
            }
        )
    return rows


def error(found, expected) -> float:
    """Relative L2 where both are known: a few points lie in voxels that hold no grey matter."""
    found, expected = np.asarray(found), np.asarray(expected)
    known = np.isfinite(found).all(1) & np.isfinite(expected).all(1)
    if known.mean() < 0.97:
        raise RuntimeError(f"only {known.mean():.1%} of the points have a field")
    return float(np.linalg.norm((found - expected)[known]) / np.linalg.norm(expected[known]))


def measure(quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rows, checks = [], {}
    for name in list(GEOMETRIES)[: 1 if quick else None]:
        points = grey_points(GEOMETRIES[name])
        fine = fine_field(GEOMETRIES[name], CHECK_MM if quick else REFERENCE_MM)
        at_points = np.asarray(fine.at(points, outside="nan"))
        for voxel_mm, offset in ((1.0, OFFSETS[0]),) if quick else (*((1.0, o) for o in OFFSETS), (2.0, OFFSETS[0])):
            rows += errors(name, voxel_mm, offset, at_points, fine)
        del fine
        if not quick:
            checks[name] = error(fine_field(GEOMETRIES[name], CHECK_MM).at(points, outside="nan"), at_points)
    common.table(
        "E in grey matter 0.5-2.5 mm deep of a synthetic folded head, relative L2 error",
        ("head", "mm", "offset", "conductivity", "voxel centres", "points", "points, within_tissue"),
        [
            (r["head"], r["voxel_mm"], r["offset"], r["conductivity"], r["voxel_centres"], r["points"],
             r["points_within_tissue"])
            for r in rows
        ],
    )  # fmt: skip
    for name, difference in checks.items():
        print(f"{name}: {CHECK_MM:.2f} mm against {REFERENCE_MM} mm: {difference:.4f}")
    # The field at any point of grey matter as within_tissue gives it; and, plainly interpolated, at voxel centres.
    wanted = (
        ("octants from labels", "points_within_tissue", "any points, within_tissue"),
        ("octants from labels", "voxel_centres", "voxel centres"),
        ("octants from labels, geometric", "voxel_centres", "voxel centres, geometric partial volumes"),
    )
    targets = []
    for medium, key, where in wanted:
        ours = [r[key] for r in rows if (r["head"], r["voxel_mm"], r["conductivity"]) == (TYPICAL, 1.0, medium)]
        name = f"folded head, 1 mm from labels: E in grey matter 0.5-2.5 mm deep, {where}, relative L2"
        targets.append(common.target(name, max(ours), 0.05))
    return {"rows": rows, "reference_mm": REFERENCE_MM, "check_mm": CHECK_MM, "checks": checks}, targets
