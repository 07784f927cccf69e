"""Error against the analytic sphere: conductivities from binary labels, from labels' partial volumes, exact ones."""

from __future__ import annotations

import itertools
from typing import Any

import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from benchmarks import _common as common
from tests.spheres import RADII, layered_sphere, pose_over

SUBSAMPLES = 4


def exact_conductivity(voxel_mm: float) -> np.ndarray:
    """Voxel means over 4x4x4 points of the true spheres: the best that partial volumes can be."""
    table = np.zeros(6, np.float32)
    table[list(RADII)] = [tj.head.PAPER_CONDUCTIVITY[label] for label in RADII]
    offsets = ((np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5) * voxel_mm
    total = np.zeros(layered_sphere(voxel_mm)[0].shape, np.float32)
    for shift in itertools.product(offsets, repeat=3):
        total += table[layered_sphere(voxel_mm, shift=shift)[0]]
    return total / SUBSAMPLES**3


def sphere_errors(voxel_mm: float) -> list[dict]:
    coil, pose = tj.coil.load("MagVenture_MC_B70"), pose_over()
    labels, affine = layered_sphere(voxel_mm)
    head = tj.head.from_labels(labels, affine)
    brain = np.isin(labels, (1, 2))
    points = np.argwhere(brain) * voxel_mm + affine[0, 3]
    reference = np.asarray(tj.efield.sphere_efield(coil, pose, points, np.zeros(3)))
    depth = 78 - np.linalg.norm(points, axis=1)
    near = (depth < 4) & (points @ np.asarray(pose.centre) > 0.88 * 96 * np.linalg.norm(points, axis=1))
    media = {
        "binary labels": tj.efield.conductivity(head, partial_volume=False)[0],
        "partial volume from labels": tj.efield.conductivity(head)[0],
        "exact partial volume": jnp.asarray(exact_conductivity(voxel_mm)),
    }
    rows = []
    for name, sigma in media.items():
        field = tj.efield.solve_conductivity(sigma, labels > 0, affine, coil, pose)
        error = np.asarray(field.values)[brain] - reference
        rows.append(
            {
                "voxel_mm": voxel_mm,
                "conductivity": name,
                "brain": float(np.linalg.norm(error) / np.linalg.norm(reference)),
                "outer_4_mm_near_coil": float(np.linalg.norm(error[near]) / np.linalg.norm(reference[near])),
                "iterations": int(field.iterations),
                "residual": float(field.residual),
            }
        )
    return rows


def measure(quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    rows = [row for h in ((4.0, 2.0) if quick else (4.0, 2.0, 1.0)) for row in sphere_errors(h)]
    common.table(
        "E in the brain of a 92/86/80/78 mm sphere, relative L2 error",
        ("mm", "conductivity", "brain", "outer 4 mm near coil", "iterations"),
        [(r["voxel_mm"], r["conductivity"], r["brain"], r["outer_4_mm_near_coil"], r["iterations"]) for r in rows],
    )
    from_labels = next(
        r["brain"] for r in rows if r["voxel_mm"] == 2.0 and r["conductivity"] == "partial volume from labels"
    )
    return {"rows": rows}, [
        common.target("sphere, 2 mm from binary labels: E in brain, relative L2", from_labels, 0.015)
    ]
