"""A closed surface of a level set on a grid, as triangles."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def surface_net(
    level: Float[np.ndarray, "i j k"],
) -> tuple[Float[np.ndarray, "v 3"], Int[np.ndarray, "f 3"]]:
    """Vertices (v, 3) in grid indices and faces (f, 3) of the zero level; positive is inside, faces look outwards.

    One vertex a cell that the level crosses, at the mean of the crossings of its edges (Gibson 1998, MICCAI). The
    surface is open where the level is positive at the border of the grid.
    """
    inside = level > 0
    shape = np.array(level.shape)
    total, count = np.zeros((*(shape - 1), 3), np.float32), np.zeros(shape - 1, np.uint8)
    crossings = []
    for axis in range(3):
        low, high = _ends(level, axis)
        cross = np.argwhere(_ends(inside, axis)[0] != _ends(inside, axis)[1])
        at = tuple(cross.T)
        point = cross.astype(np.float32)
        point[:, axis] += low[at] / (low[at] - high[at])
        others = [other for other in range(3) if other != axis]
        for first in (0, 1):
            for second in (0, 1):
                cell = cross.copy()
                cell[:, others[0]] -= first
                cell[:, others[1]] -= second
                np.add.at(total, tuple(cell.T), point)
                np.add.at(count, tuple(cell.T), 1)
        crossings.append((axis, cross, low[at] > 0))
    used = count > 0
    index = np.full(used.shape, -1, np.int32)
    index[used] = np.arange(used.sum(), dtype=np.int32)
    faces = []
    for axis, cross, outward in crossings:
        b, c = (axis + 1) % 3, (axis + 2) % 3
        ring = []
        for db, dc in ((1, 1), (0, 1), (0, 0), (1, 0)):
            cell = cross.copy()
            cell[:, b] -= db
            cell[:, c] -= dc
            ring.append(index[tuple(cell.T)])
        quad = np.stack(ring, axis=1)
        quad = np.where(outward[:, None], quad, quad[:, ::-1])
        faces += [quad[:, [0, 1, 2]], quad[:, [0, 2, 3]]]
    return total[used] / count[used][:, None], np.concatenate(faces).astype(np.int32)


def _ends(grid: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    """Both ends of every grid edge along an axis."""
    cut = [slice(None)] * 3
    low, high = list(cut), list(cut)
    low[axis], high[axis] = slice(None, -1), slice(1, None)
    return grid[tuple(low)], grid[tuple(high)]
