"""Which tetrahedron of a mesh holds a point, for points anywhere and for the voxels of a grid.

A point on a face, edge or corner that several tetrahedra share belongs to the one with the lowest tag (of SimNIBS's
tissues the innermost: white matter before grey before CSF), and among these to the first in the mesh.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float, Int, Shaped

from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine, check_finite
from tmsjax.head.mesh import HeadMesh

ON_FACE = 1e-6
"""Barycentric coordinates as low as minus this still count as inside: neighbours leave no gap between them."""

PAIRS = 2_000_000
"""Pairs of points and tetrahedra, or rows of voxels, tested at once."""


def locate(mesh: HeadMesh, points_mm: Float[np.ndarray, "p 3"]) -> Int[np.ndarray, " p"]:
    """Index (p,) int32 of the tetrahedron that holds each point, -1 where none does or a coordinate is not finite.

    The points are sorted into bins about as large as a tetrahedron; each tetrahedron is then tested against the points
    in the bins that its box touches. That is exact, whatever the shapes and sizes of the tetrahedra.
    """
    points = np.asarray(points_mm, np.float64)
    found = np.full(len(points), -1, np.int32)
    finite = np.flatnonzero(np.isfinite(points).all(axis=1))
    if not len(finite):
        return found
    low, high = mesh.boxes
    touched = np.flatnonzero(
        (high >= points[finite].min(0)).all(axis=1) & (low <= points[finite].max(0)).all(axis=1)
    ).astype(np.int32)
    if not len(touched):
        return found
    touched = touched[np.argsort(mesh.tags[touched], kind="stable")]  # the first that holds a point keeps it
    low, high = low[touched], high[touched]
    start, size, shape = _bins(points[finite], low, high)
    number = np.ravel_multi_index(tuple(_bin(points[finite], start, size, shape).T), shape)
    order = np.argsort(number, kind="stable")
    members, count = finite[order], np.bincount(number, minlength=int(np.prod(shape)))
    first = np.concatenate([[0], np.cumsum(count)])
    lowest, highest = _bin(low, start, size, shape), _bin(high, start, size, shape)
    filled = _filled(count.reshape(shape), lowest, highest)
    keep = np.flatnonzero(filled)
    for part in _parts(keep, filled[keep]):
        tetra, bins = _boxes_to_bins(part, lowest, highest, shape)
        tetra, bins = tetra[count[bins] > 0], bins[count[bins] > 0]
        which, step = _ragged(count[bins])
        tetra, point = tetra[which], members[first[bins[which]] + step]
        close = ((points[point] >= low[tetra]) & (points[point] <= high[tetra])).all(axis=1) & (found[point] < 0)
        tetra, point = tetra[close], point[close]
        inside = weights(mesh, touched[tetra], points[point]).min(axis=1) >= -ON_FACE
        tetra, point = tetra[inside], point[inside]
        held, index = np.unique(point, return_index=True)  # the first tetrahedron of each, as ``tetra`` ascends
        found[held] = touched[tetra[index]]
    return found


def weights(
    mesh: HeadMesh, index: Int[np.ndarray, " p"], points_mm: Float[np.ndarray, "p 3"]
) -> Float[np.ndarray, "p 4"]:
    """Barycentric coordinates (p, 4) of points in the tetrahedra of these indices; they sum to 1."""
    corners = mesh.tetrahedra[index]
    origin = mesh.nodes[corners[:, 0]]
    a, b, c = (mesh.nodes[corners[:, k]] - origin for k in (1, 2, 3))
    p = points_mm - origin
    bc, ca, ab = np.cross(b, c), np.cross(c, a), np.cross(a, b)
    volume = np.einsum("ij,ij->i", a, bc)
    rest = np.stack([np.einsum("ij,ij->i", p, face) / volume for face in (bc, ca, ab)], axis=1)
    return np.column_stack([1 - rest.sum(axis=1), rest])


def rasterise(
    mesh: HeadMesh, affine: Float[np.ndarray, "4 4"], shape: tuple[int, int, int]
) -> Int[np.ndarray, "i j k"]:
    """Index (i, j, k) int32 of the tetrahedron that holds each voxel's centre, -1 where none does.

    Every row of voxels along the last axis that a tetrahedron's box touches is cut by its four planes.
    """
    affine = check_finite(affine, (4, 4), "affine of the grid")
    if abs(np.linalg.det(affine)) < 1e-12:
        raise InputError("the affine of the grid is singular", got=affine.tolist(), expected="voxels with a volume")
    voxels = apply_affine(np.linalg.inv(affine), mesh.nodes)
    out = np.full(shape, -1, np.int32)
    flat = out.reshape(-1)
    # What is written last stays: the lowest tag, and of it the first.
    order = np.lexsort((np.arange(len(mesh.tags)), mesh.tags))[::-1]
    corners = voxels[mesh.tetrahedra]
    low = np.maximum(np.ceil(corners.min(axis=1) - ON_FACE), 0).astype(np.int64)
    high = np.minimum(np.floor(corners.max(axis=1) + ON_FACE), np.asarray(shape) - 1).astype(np.int64)
    extent = high - low + 1
    order = order[(extent[order] > 0).all(axis=1)]
    for part in _parts(order, extent[order, 0] * extent[order, 1]):
        which, step = _ragged(extent[part, 0] * extent[part, 1])
        tetra = part[which]
        i, j = low[tetra, 0] + step // extent[tetra, 1], low[tetra, 1] + step % extent[tetra, 1]
        start, stop = _cut(corners[part], which, i, j, low[tetra, 2], high[tetra, 2])
        which, step = _ragged(np.maximum(stop - start + 1, 0))
        flat[(i[which] * shape[1] + j[which]) * shape[2] + start[which] + step] = tetra[which]
    return out


def grid_round(mesh: HeadMesh, voxel_mm: float, margin: int = 3) -> tuple[np.ndarray, tuple[int, int, int]]:
    """Affine and shape of a grid along the world's axes that holds the mesh with ``margin`` voxels of air round it.

    Voxel centres lie at multiples of ``voxel_mm``.
    """
    used = mesh.nodes[np.unique(mesh.tetrahedra)]
    first = np.floor(used.min(axis=0) / voxel_mm).astype(int) - margin
    last = np.ceil(used.max(axis=0) / voxel_mm).astype(int) + margin
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = first * voxel_mm
    i, j, k = (int(n) for n in last - first + 1)
    return affine, (i, j, k)


def grid_conductivity(
    mesh: HeadMesh,
    affine: Float[np.ndarray, "4 4"],
    shape: tuple[int, int, int],
    *,
    subsamples: int = 4,
    octants: bool = False,
    conductivity: Float[np.ndarray, " t"] | None = None,
) -> tuple[Float[np.ndarray, "i j k *o"], Shaped[np.ndarray, "i j k"]]:
    """Conductivity in S/m and tissue mask (i, j, k) of a grid, for ``tmsjax.efield.solve_conductivity``.

    The mean over ``subsamples``^3 points of each voxel (i, j, k), or with ``octants`` of each octant (i, j, k, 8), air
    counting as 0: partial volumes as exact as the mesh is, where those from labels are recovered. ``mask`` is True
    where at least half of a voxel's points are in the mesh. ``conductivity`` (t,) S/m of each tetrahedron; the mesh's
    own if left out.
    """
    if subsamples < 1 or (octants and subsamples % 2):
        raise InputError("subsamples", got=subsamples, expected="1 or more, an even number for octants")
    values = element_conductivity(mesh) if conductivity is None else conductivity
    table = np.append(values, 0.0).astype(np.float32)  # the last for points outside, whose index is -1
    n = subsamples
    sigma, mask = np.zeros((*shape, 8) if octants else shape, np.float32), np.zeros(shape, bool)
    layers = max(1, 30_000_000 // (n**3 * shape[1] * shape[2]))
    for start in range(0, shape[0], layers):
        count = min(layers, shape[0] - start)
        fine = affine.copy()
        fine[:3, :3] /= n
        fine[:3, 3] += affine[:3, :3] @ (np.array([start, 0, 0]) + (1 / n - 1) / 2)
        index = rasterise(mesh, fine, (count * n, shape[1] * n, shape[2] * n))
        blocks = index.reshape(count, n, shape[1], n, shape[2], n)
        if octants:
            eighths = table[index].reshape(count, 2, n // 2, shape[1], 2, n // 2, shape[2], 2, n // 2)
            eighths = eighths.mean(axis=(2, 5, 8)).transpose(0, 2, 4, 1, 3, 5)
            sigma[start : start + count] = eighths.reshape(count, shape[1], shape[2], 8)
        else:
            sigma[start : start + count] = table[blocks].mean(axis=(1, 3, 5))
        mask[start : start + count] = (blocks >= 0).mean(axis=(1, 3, 5)) >= 0.5
    return sigma, mask


def element_conductivity(mesh: HeadMesh) -> Float[np.ndarray, " t"]:
    """S/m of each tetrahedron (t,), from its tag."""
    tags, which = np.unique(mesh.tags, return_inverse=True)
    return np.array([mesh.conductivity[int(tag)] for tag in tags])[which]


def _cut(corners: np.ndarray, which: np.ndarray, i, j, lowest, highest) -> tuple[np.ndarray, np.ndarray]:
    """First and last voxel k of the rows (i, j, :) that lie in the tetrahedra ``corners[which]``."""
    inverse = np.linalg.inv(corners[:, 1:] - corners[:, :1])  # coordinate n of p is (p - corner 0) @ inverse[:, n - 1]
    slopes = np.concatenate([-inverse.sum(axis=2, keepdims=True), inverse], axis=2)
    base = -np.einsum("ta,tan->tn", corners[:, 0], slopes)
    base[:, 0] += 1
    start, stop = lowest.astype(float), highest.astype(float)
    for n in range(4):
        slope = slopes[which, :, n]
        at_zero = base[which, n] + slope[:, 0] * i + slope[:, 1] * j + ON_FACE
        with np.errstate(divide="ignore", invalid="ignore"):
            crossing = -at_zero / slope[:, 2]
        start = np.where(slope[:, 2] > 0, np.maximum(start, np.ceil(crossing)), start)
        stop = np.where(slope[:, 2] < 0, np.minimum(stop, np.floor(crossing)), stop)
        stop = np.where((slope[:, 2] == 0) & (at_zero < 0), start - 1, stop)
    # Planes almost along the row cross it anywhere, even at infinity.
    return np.minimum(start, highest + 1).astype(np.int64), np.maximum(stop, lowest - 1).astype(np.int64)


def _bins(points: np.ndarray, low: np.ndarray, high: np.ndarray) -> tuple[np.ndarray, np.ndarray, tuple[int, ...]]:
    """Origin, size and number of bins: half a tetrahedron's box, or larger where points are few; at most 4 million."""
    start, span = points.min(axis=0), points.max(axis=0) - points.min(axis=0)
    size = np.maximum(np.median(high - low, axis=0) / 2, 1e-9)
    size = size * max(1.0, (np.prod(np.floor(span / size) + 1.0) / min(4e6, len(points) + 1.0)) ** (1 / 3))
    i, j, k = (int(n) for n in np.floor(span / size) + 1)
    return start, size, (i, j, k)


def _bin(points: np.ndarray, start: np.ndarray, size: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    return np.clip(np.floor((points - start) / size), 0, np.asarray(shape) - 1).astype(np.int64)


def _filled(count: np.ndarray, lowest: np.ndarray, highest: np.ndarray) -> np.ndarray:
    """How many points lie in the bins lowest..highest of each row (a summed-area table)."""
    table = np.zeros(tuple(n + 1 for n in count.shape), np.int64)
    table[1:, 1:, 1:] = count.cumsum(0).cumsum(1).cumsum(2)
    total = np.zeros(len(lowest), np.int64)
    for corner in np.ndindex(2, 2, 2):
        at = np.where(np.asarray(corner, bool), highest + 1, lowest)
        total += (-1) ** (3 - sum(corner)) * table[tuple(at.T)]
    return total


def _boxes_to_bins(rows: np.ndarray, lowest: np.ndarray, highest: np.ndarray, shape) -> tuple[np.ndarray, np.ndarray]:
    """Every bin that the boxes of ``rows`` touch: (row, flat number of the bin) of each pair."""
    extent = highest[rows] - lowest[rows] + 1
    which, step = _ragged(extent.prod(axis=1))
    extent, corner = extent[which], lowest[rows[which]]
    i = corner[:, 0] + step // (extent[:, 1] * extent[:, 2])
    j = corner[:, 1] + step // extent[:, 2] % extent[:, 1]
    k = corner[:, 2] + step % extent[:, 2]
    return rows[which], (i * shape[1] + j) * shape[2] + k


def _ragged(counts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For counts (2, 0, 3): rows (0, 0, 2, 2, 2) and steps (0, 1, 0, 1, 2)."""
    which = np.repeat(np.arange(len(counts)), counts)
    step = np.arange(len(which)) - np.repeat(np.cumsum(counts) - counts, counts)
    return which, step


def _parts(rows: np.ndarray, costs: np.ndarray) -> Iterator[np.ndarray]:
    """The rows in order, in parts that cost about ``PAIRS`` each."""
    if len(rows):
        yield from np.split(rows, np.flatnonzero(np.diff(np.cumsum(costs) // PAIRS)) + 1)
