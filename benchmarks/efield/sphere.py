"""Error against the analytic sphere at several places of the grid, from labels alone and with exact shares."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import Any

import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from benchmarks import _common as common
from tests.spheres import RADII, layered_sphere, pose_over

SUBSAMPLES = 4
OFFSETS = ((0.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.25, 0.4, 0.1), (0.3, 0.7, 0.45))
"""Voxels by which the sphere's centre lies off a voxel's."""

FROM_LABELS = "octants from labels"
"""What ``efield.solve`` does."""


def exact_octants(voxel_mm: float, offset: tuple[float, ...]) -> np.ndarray:
    """Means (i, j, k, 8) over 2x2x2 points of each octant of the true spheres: the best that labels could tell."""
    table = np.zeros(6, np.float32)
    table[list(RADII)] = [tj.head.PAPER_CONDUCTIVITY[label] for label in RADII]
    centre = np.asarray(offset) * voxel_mm
    line = ((np.arange(SUBSAMPLES) + 0.5) / SUBSAMPLES - 0.5) * voxel_mm
    out = np.zeros((*layered_sphere(voxel_mm)[0].shape, 8), np.float32)
    for n, octant in enumerate(np.ndindex(2, 2, 2)):
        halves = [line[2 * o : 2 * o + 2] for o in octant]
        for shift in itertools.product(*halves):
            out[..., n] += table[layered_sphere(voxel_mm, shift=tuple(centre + shift))[0]] / 8
    return out


def media(head: tj.head.HeadModel, voxel_mm: float, offset: tuple[float, ...]) -> Iterator[tuple[str, Any]]:
    yield "binary labels", tj.efield.conductivity(head, partial_volume="none")[0]
    yield "voxels from labels", tj.efield.conductivity(head)[0]
    yield FROM_LABELS, tj.efield.conductivity(head, octants=True)[0]
    yield "octants from labels, geometric", tj.efield.conductivity(head, octants=True, partial_volume="geometric")[0]
    exact = exact_octants(voxel_mm, offset)
    yield "exact voxels", exact.mean(-1)
    yield "exact octants", exact


def sphere_errors(voxel_mm: float, offset: tuple[float, ...]) -> list[dict]:
    coil, pose = tj.coil.load("MagVenture_MC_B70"), pose_over()
    labels, affine = layered_sphere(voxel_mm, shift=tuple(np.asarray(offset) * voxel_mm))
    brain = np.isin(labels, (1, 2))
    points = np.argwhere(brain) * voxel_mm + affine[:3, 3]
    reference = np.asarray(tj.efield.sphere_efield(coil, pose, points, np.zeros(3)))
    depth = 78 - np.linalg.norm(points, axis=1)
    near = (depth < 4) & (points @ np.asarray(pose.centre) > 0.88 * 96 * np.linalg.norm(points, axis=1))
    rows = []
    for name, sigma in media(tj.head.from_labels(labels, affine), voxel_mm, offset):
        field = tj.efield.solve_conductivity(jnp.asarray(sigma), labels > 0, affine, coil, pose)
        error = np.asarray(field.values)[brain] - reference
        rows.append(
            {
                "voxel_mm": voxel_mm,
                "offset": list(offset),
                "conductivity": name,
                "brain": float(np.linalg.norm(error) / np.linalg.norm(reference)),
                "outer_4_mm_near_coil": float(np.linalg.norm(error[near]) / np.linalg.norm(reference[near])),
                "iterations": int(field.iterations),
                "residual": float(field.residual),
            }
        )
    return rows


def measure(quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    cases = [(4.0, OFFSETS[0]), *((2.0, o) for o in OFFSETS), *((1.0, o) for o in (() if quick else OFFSETS[::3]))]
    rows = [row for case in cases for row in sphere_errors(*case)]
    common.table(
        "E in the brain of a 92/86/80/78 mm sphere, relative L2 error",
        ("mm", "offset", "conductivity", "brain", "outer 4 mm near coil", "iterations"),
        [
            (r["voxel_mm"], r["offset"], r["conductivity"], r["brain"], r["outer_4_mm_near_coil"], r["iterations"])
            for r in rows
        ],
    )
    targets = []
    for voxel_mm, bar in ((2.0, 0.012),) if quick else ((2.0, 0.012), (1.0, 0.008)):
        ours = [r["brain"] for r in rows if r["voxel_mm"] == voxel_mm and r["conductivity"] == FROM_LABELS]
        name = f"sphere, {voxel_mm:.0f} mm from binary labels, worst of {len(ours)} offsets: E in brain, relative L2"
        targets.append(common.target(name, max(ours), bar))
    return {"rows": rows}, targets
