"""A motor strip that stands for Brodmann area 4 in heads without a parcellation, and heads that are warped.

The strip is the grey matter within a tube round a line over the cortex, by default from the foot's over the hand's to
the face's landmark: both banks of the central sulcus and the gyrus before it, in one box of voxels.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.ndimage import map_coordinates

from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine
from tmsjax.head import HeadModel, Surface, from_labels, landmark
from tmsjax.head.model import GREY

TUBE_MM, REACH_MM = 10.0, 28.0
"""Radius of the tube, and how far the strip goes to either side of the hand."""


@dataclasses.dataclass(frozen=True, eq=False)
class Strip:
    """A line of points (k, 3) mm from medial to lateral; ``hand`` is the index of the one over the hand."""

    points_mm: Any
    hand: int

    def nearest(self, points_mm: Float[np.ndarray, "p 3"]) -> tuple[np.ndarray, np.ndarray]:
        """Position (p,) mm along the strip, 0 at the hand and positive laterally, and distance (p,) mm from it."""
        line = np.asarray(self.points_mm, float)
        start, step = line[:-1], np.diff(line, axis=0)
        length = np.linalg.norm(step, axis=1)
        along = np.einsum("psc,sc->ps", points_mm[:, None] - start, step) / length**2
        # The ends go on straight.
        low, high = np.zeros(len(step)), np.ones(len(step))
        low[0], high[-1] = -np.inf, np.inf
        along = np.clip(along, low, high)
        away = np.linalg.norm(points_mm[:, None] - start - along[..., None] * step, axis=2)
        best = away.argmin(axis=1)
        at = np.concatenate([[0.0], np.cumsum(length)])
        rows = np.arange(len(points_mm))
        return at[best] + along[rows, best] * length[best] - at[self.hand], away[rows, best]


def motor_strip(head: HeadModel, side: str = "left") -> Strip:
    """The line over the foot's, hand's and face's landmarks of one side, which scatter by some 6 mm between heads."""
    return Strip(np.array([landmark(head, f"{part}_{side}") for part in ("foot", "hand_knob", "face")]), 1)


def strip_mask(
    head: HeadModel, strip: Strip, *, side: int = 64, voxel_mm: float = 1.0, tube_mm: float = TUBE_MM,
    reach_mm: float = REACH_MM,
) -> tuple[np.ndarray, np.ndarray]:  # fmt: skip
    """(mask (side, side, side), affine) of the grey matter along a strip, in a box of RAS axes round the hand.

    Raises InputError where there is none, or the box is too small for the strip.
    """
    centre = np.asarray(strip.points_mm, float)[strip.hand]
    affine = np.diag([voxel_mm] * 3 + [1.0])
    affine[:3, 3] = np.round(centre) - voxel_mm * (side // 2 - 0.5)
    points = apply_affine(affine, np.stack(np.unravel_index(np.arange(side**3), (side,) * 3), 1).astype(float))
    index = np.rint(apply_affine(np.linalg.inv(np.asarray(head.affine)), points)).astype(int)
    labels = np.asarray(head.labels)
    within = ((index >= 0) & (index < labels.shape)).all(1)
    grey = np.zeros(len(points), bool)
    grey[within] = labels[tuple(index[within].T)] == GREY
    along, away = strip.nearest(points)
    near = np.linalg.norm(points - centre, axis=1) <= reach_mm
    mask = (grey & near & (away <= tube_mm) & (np.abs(along) <= reach_mm)).reshape((side,) * 3)
    if not mask.any():
        raise InputError("the strip holds no grey matter", got=f"tube of {tube_mm:g} mm", expected="a line over cortex")
    return mask, affine


def warped(head: HeadModel, seed: int, *, size_mm: float = 4.0, scale: float = 0.05) -> HeadModel:
    """Another head: this one scaled by some per cent along each axis and bent by a smooth field of ``size_mm``.

    Labels are taken from where the inverse leads (nearest neighbour), surfaces and registration go along. It is no
    measured anatomy, and is to be called warped wherever it appears.
    """
    rng = np.random.default_rng([seed, 2])
    labels, affine = np.asarray(head.labels), np.asarray(head.affine, float)
    centre = apply_affine(affine, np.argwhere(labels > 0).mean(0)[None])[0]
    factor = 1 + rng.uniform(-scale, scale, 3)
    wave = rng.normal(size=(6, 3)) / 60.0
    phase, amplitude = rng.uniform(0, 2 * np.pi, 6), rng.normal(size=(6, 3)) * size_mm / np.sqrt(6)

    def bend(points: np.ndarray) -> np.ndarray:
        away = points - centre
        return centre + factor * away + np.sin(away @ wave.T + phase) @ amplitude

    def back(points: np.ndarray) -> np.ndarray:
        found = points.copy()
        for _ in range(12):  # contracts: the bend's slope is below a half
            found -= bend(found) - points
        return found

    coarse = 4
    grid = [np.arange(0, n + coarse, coarse) for n in labels.shape]
    nodes = np.stack(np.meshgrid(*grid, indexing="ij"), -1).reshape(-1, 3).astype(float)
    source = apply_affine(np.linalg.inv(affine), back(apply_affine(affine, nodes))).reshape(*map(len, grid), 3)
    out = np.zeros_like(labels)
    for i in range(labels.shape[0]):
        at = np.stack(np.meshgrid([i], *map(np.arange, labels.shape[1:]), indexing="ij")).reshape(3, -1) / coarse
        where = np.stack([map_coordinates(source[..., c], at, order=1) for c in range(3)], 1)
        out[i] = map_coordinates(labels, where.T, order=0).reshape(labels.shape[1:])
    surfaces = {
        name: Surface(bend(np.asarray(s.vertices, float)).astype(np.float32), s.faces)
        for name, s in (head.surfaces or {}).items()
    }
    linear = np.eye(4)
    linear[:3, :3] = np.diag(factor)
    linear[:3, 3] = centre - factor * centre
    return from_labels(
        out, affine, surfaces=surfaces or None, name=f"{head.name}-warped-{seed}",
        mni_to_head=None if head.mni_to_head is None else linear @ np.asarray(head.mni_to_head),
    )  # fmt: skip
