"""The share of each tissue in every voxel, recovered from labels alone, for ``tmsjax.efield.conductivity``.

Steps of voxel labels are the largest error of a finite-difference field: in a sphere of 2 mm voxels 4.8 % of the field
in the brain, 1.0 % with exact shares of a voxel, 0.8 % with exact shares of its eight octants; 1.0-1.1 % with
shares of octants recovered here. In folded grey matter at 1 mm shares recovered from labels leave 5 %, exact ones 4 %.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int, UInt8
from scipy import ndimage

from tmsjax.head.model import CSF, GREY, SCALP, SKULL, WHITE

INSIDE_OUT = (WHITE, GREY, CSF, SKULL, SCALP)
"""Each tissue lies around those before it; the boundary of each cumulated set is reconstructed by itself."""

NARROW_VOXELS, WIDE_VOXELS = 0.9, (3.2, 6.5)
"""Standard deviations of the smoothings. Wider ones leave less of the voxel steps, narrower ones keep gyri."""

PROBE_VOXELS, AGREE_VOXELS = 1.4, 0.3
"""A wide smoothing is used where it moves the boundary by less than ``AGREE_VOXELS`` from where another one has it,
which is free enough of steps to be compared with."""

SHEET = 12
"""Thin voxels within 5x5x5 that make a sheet or blade; those of a sphere's poles are fewer."""

SUBSAMPLES = 4
"""Points a voxel and axis, half of them in each octant."""

PER_OCTANT = (SUBSAMPLES // 2) ** 3
CHUNK = 100_000


def fractions(labels: UInt8[np.ndarray, "i j k"]) -> Iterator[tuple[int, np.ndarray]]:
    """Yield (label, share of it in each voxel (i, j, k) float32 from 0 to 1) for every tissue present, air left out."""
    for label, where, counts in octants(labels):
        share = (labels == label).astype(np.float32)
        share.ravel()[where] = counts.mean(axis=1, dtype=np.float32) / PER_OCTANT
        yield label, share


def octants(
    labels: UInt8[np.ndarray, "i j k"],
) -> Iterator[tuple[int, Int[np.ndarray, " n"], UInt8[np.ndarray, "n 8"]]]:
    """Yield (label, flat indices of voxels, points of it in their octants) for every tissue present, air left out.

    The n voxels are those whose shares are not what their label says: everywhere else a voxel of the label is all of
    the tissue and another has none. Octants have ``PER_OCTANT`` points and are in the order of ``np.ndindex(2, 2, 2)``.

    Tissues are taken from the inside out. The union of the first n of them has one boundary, which is smoothed and
    interpolated to 4x4x4 points a voxel; a tissue's share is the difference of two unions, so a thin layer (skull, CSF)
    between two smooth boundaries keeps its thickness. Smooth places are smoothed widely, folded ones narrowly; where a
    union, or its complement, is at most two voxels thick along an axis (sulci, gyral blades), not at all.
    """
    present = [int(v) for v in np.unique(labels) if v]
    order = [v for v in present if v not in INSIDE_OUT] + [v for v in INSIDE_OUT if v in present]
    before = np.zeros((labels.size, 8), np.uint8)
    member = np.zeros(256, bool)
    for label in order:
        member[label] = True
        within = np.maximum(_points_in_set(member[labels]), before)
        counts = within - before
        plain = np.where(labels.ravel() == label, np.uint8(PER_OCTANT), np.uint8(0))
        where = np.flatnonzero((counts != plain[:, None]).any(axis=1))
        yield label, where, counts[where]
        before = within


def _points_in_set(inside: np.ndarray) -> np.ndarray:
    """Points of each voxel's octants (i j k, 8) that lie in the set, from its indicator."""
    padded = np.pad(inside, 2, mode="edge")
    edge, thin = _boundary(padded)
    flat = _level(padded.astype(np.float32), edge, thin).ravel()
    where = np.flatnonzero(edge)
    strides = np.array([padded.shape[1] * padded.shape[2], padded.shape[2], 1])
    steps = np.stack(np.meshgrid(*[[-1, 0, 1]] * 3, indexing="ij"), -1).reshape(27, 3) @ strides
    weights = _interpolation(SUBSAMPLES)
    i, j, k = (axis - 2 for axis in np.unravel_index(where, padded.shape))
    own = np.ravel_multi_index((i, j, k), inside.shape)
    points = np.repeat(inside.reshape(-1, 1) * np.uint8(PER_OCTANT), 8, axis=1)
    half = SUBSAMPLES // 2
    for start in range(0, len(where), CHUNK):
        part = slice(start, start + CHUNK)
        found = flat[where[part, None] + steps] @ weights > 0
        found = found.reshape(-1, 2, half, 2, half, 2, half).sum(axis=(2, 4, 6), dtype=np.uint8)
        points[own[part]] = found.reshape(-1, 8)
    return points


def _level(indicator: np.ndarray, edge: np.ndarray, thin: np.ndarray) -> np.ndarray:
    """About the distance (voxels) from the set's boundary, positive inside, good near the boundary only.

    A smoothing G of s.d. s gives a plane the slope 1 / (s sqrt(2 pi)) and moves a sphere's surface in by s^2 / R; GG
    (s.d. s sqrt 2) by twice as much. 3.414 G - 2.414 GG leaves a sphere where it is, at the cost of noise, and 2 G - GG
    is a compromise for narrow smoothings.
    """
    probe = _smooth(indicator, PROBE_VOXELS, 2.0)
    level = _smooth(indicator, NARROW_VOXELS, 2.0)
    np.copyto(level, 2 * indicator - 1, where=thin)
    for s in WIDE_VOXELS:
        wide = _smooth(indicator, s, 2.0 + np.sqrt(2.0))
        folded = thin | (edge & (np.abs(probe) < 0.9) & (np.abs(wide - probe) > AGREE_VOXELS))
        folded = ndimage.maximum_filter(folded, 2 * round(0.75 * s) + 1)
        np.copyto(level, wide, where=np.logical_not(folded))
    return level


def _smooth(indicator: np.ndarray, s: float, weight: float) -> np.ndarray:
    """``weight`` G - (weight - 1) GG of an indicator, less its value 1/2 on a plane, over the slope there."""
    once = ndimage.gaussian_filter(indicator, s, mode="nearest", truncate=3)
    # Not G of G: what the border repeats would have been smoothed once already, and shares would depend on the padding.
    twice = ndimage.gaussian_filter(indicator, s * np.sqrt(2), mode="nearest", truncate=3)
    slope = (weight - (weight - 1) / np.sqrt(2)) / (s * np.sqrt(2 * np.pi))
    return ((weight * once - (weight - 1) * twice - 0.5) / slope).astype(np.float32)


def _boundary(padded: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a padded indicator: voxels whose 3x3x3 neighbours differ (in the unpadded part), and thin places."""
    edge = ndimage.maximum_filter(padded, 3) != ndimage.minimum_filter(padded, 3)
    core = np.zeros_like(edge)
    core[2:-2, 2:-2, 2:-2] = edge[2:-2, 2:-2, 2:-2]
    thin = np.zeros(padded.shape, bool)
    for axis in range(3):
        p, t = np.moveaxis(padded, axis, 0), np.moveaxis(thin, axis, 0)
        here = p[2:-2]
        below, above = p[1:-3] != here, p[3:-1] != here
        t[2:-2] |= (below & (above | (p[4:] != here))) | (above & (p[:-4] != here))
    crowd = ndimage.uniform_filter(thin.astype(np.float32), 5) * 125
    return core, ndimage.binary_dilation(thin & (crowd > SHEET))  # a few alone are the poles of something round


def _interpolation(n: int) -> np.ndarray:
    """(27, n**3) weights of trilinear interpolation from the 3x3x3 neighbours to n x n x n points of a voxel."""
    at = (np.arange(n) + 0.5) / n - 0.5
    line = np.stack([np.maximum(-at, 0), 1 - np.abs(at), np.maximum(at, 0)])
    return np.einsum("ax,by,cz->abcxyz", line, line, line).reshape(27, n**3).astype(np.float32)
