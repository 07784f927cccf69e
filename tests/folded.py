"""A synthetic head with sulci, for tests of fields near folded borders: no anatomy, but its numbers.

A layered sphere whose brain is cut by winding sheets of CSF, 3.5 mm wide and rounded at the bottom, between gyri with
rounded crowns; grey matter is 2.8 mm thick. Surfaces are implicit functions, so that labels and exact shares can be had
at any voxel size.
"""

import dataclasses
import itertools

import numpy as np

from tmsjax.head import PAPER_CONDUCTIVITY

TABLE = np.array([0.0, *(PAPER_CONDUCTIVITY[label] for label in range(1, 6))], np.float32)
"""S/m by label."""


@dataclasses.dataclass(frozen=True)
class Folded:
    """Radii and lengths in mm; ``period`` from sulcus to sulcus along x, up to a fifth less where sheets wind."""

    scalp: float = 60.0
    skull: float = 55.0
    csf: float = 49.0
    brain: float = 47.0
    bottom: float = 35.0
    period: float = 16.0
    sulcus: float = 3.5
    cortex: float = 2.8
    crown: float = 3.0

    def depth(self, x, y, z):
        """About the distance (mm) from the pial surface, positive in the brain."""
        ky, kz = 2 * np.pi / 28, 2 * np.pi / 33
        along = x + 3 * np.sin(ky * y) + 2 * np.sin(kz * z) + 1.0
        slope = np.sqrt(1 + (3 * ky * np.cos(ky * y)) ** 2 + (2 * kz * np.cos(kz * z)) ** 2)
        sheet = np.abs(along - self.period * np.round(along / self.period)) / slope
        r = np.sqrt(x * x + y * y + z * z)
        crown = self.brain - r
        wall = np.hypot(sheet, np.maximum(self.bottom - r, 0)) - self.sulcus / 2
        c = self.crown  # where a crown meets a wall, the radius of the edge
        rounded = c - np.hypot(np.maximum(c - crown, 0), np.maximum(c - wall, 0))
        return np.where((crown < c) & (wall < c), rounded, np.minimum(crown, wall))

    def labels_at(self, x, y, z):
        """Labels (uint8) at mm, arrays that broadcast."""
        depth = self.depth(x, y, z)
        r = np.sqrt(x * x + y * y + z * z)
        out = np.zeros(r.shape, np.uint8)
        for label, within in (
            (5, r < self.scalp),
            (4, r < self.skull),
            (3, r < self.csf),
            (2, depth > 0),
            (1, depth > self.cortex),
        ):
            out[within] = label
        return out

    def axis(self, voxel_mm, shift=0.0):
        """Voxel centres in mm along an axis, ``shift`` voxels off the middle."""
        n = int(np.ceil((self.scalp + 2) / voxel_mm))
        return ((np.arange(-n, n + 1) + shift) * voxel_mm).astype(np.float32)

    def labels(self, voxel_mm, shift=(0.0, 0.0, 0.0)):
        """Labels (i, j, k) and affine."""
        axes = [self.axis(voxel_mm, s) for s in shift]
        affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
        affine[:3, 3] = [a[0] for a in axes]
        return _by_slabs(self.labels_at, axes), affine

    def filled(self, label, voxel_mm):
        """Voxels (i, j, k) that a tissue fills, as far as points near their corners tell."""
        axis = self.axis(voxel_mm)
        corners = itertools.product(np.array([-0.45, 0.45], np.float32) * voxel_mm, repeat=3)
        return np.logical_and.reduce([_by_slabs(self.labels_at, [axis + d for d in c]) == label for c in corners])

    def octants(self, voxel_mm, shift=(0.0, 0.0, 0.0), points=2):
        """Conductivity (i, j, k, 8) S/m, the mean over ``points``^3 of each octant."""
        halves = [
            (self.axis(voxel_mm, s)[:, None] + np.array([-0.25, 0.25], np.float32) * voxel_mm).ravel() for s in shift
        ]
        labels = _by_slabs(self.labels_at, halves)
        sigma = TABLE[labels]
        mixed = np.flatnonzero(_near_border(labels))
        offsets = (((np.arange(points) + 0.5) / points - 0.5) * voxel_mm / 2).astype(np.float32)
        for start in range(0, len(mixed), 1_000_000):
            part = mixed[start : start + 1_000_000]
            x, y, z = (h[n] for h, n in zip(halves, np.unravel_index(part, labels.shape), strict=True))
            inside = [TABLE[self.labels_at(x + a, y + b, z + c)] for a in offsets for b in offsets for c in offsets]
            sigma.ravel()[part] = np.mean(inside, axis=0)
        i, j, k = (n // 2 for n in labels.shape)
        return sigma.reshape(i, 2, j, 2, k, 2).transpose(0, 2, 4, 1, 3, 5).reshape(i, j, k, 8)


def _by_slabs(function, axes):
    x, y, z = axes
    slabs = [function(x[n : n + 32, None, None], y[None, :, None], z[None, None]) for n in range(0, len(x), 32)]
    return np.concatenate(slabs)


def _near_border(labels):
    """Whether a neighbour, or a neighbour's neighbour along an axis, differs."""
    near = np.zeros(labels.shape, bool)
    for axis in range(3):
        a, out = np.moveaxis(labels, axis, 0), np.moveaxis(near, axis, 0)
        differ = a[1:] != a[:-1]
        out[1:] |= differ
        out[:-1] |= differ
    grown = near.copy()
    for axis in range(3):
        a, out = np.moveaxis(near, axis, 0), np.moveaxis(grown, axis, 0)
        out[1:] |= a[:-1]
        out[:-1] |= a[1:]
    return grown
