"""Columns of the cortex: from the white surface along the gradient of Laplace's equation to the pia.

Jones, Buchbinder, Aharon 2000 (Hum. Brain Mapp. 11:12). Between two boundaries at potentials 0 and 1 the field lines
neither cross nor branch, meet both boundaries at right angles, and are as long as the cortex is thick.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float

SWEEPS = 80
"""Of successive over-relaxation: the cortex is five to ten nodes thick."""

RELAXATION = 1.6

STRIDE_MM = 0.2
"""Of the field lines (midpoint rule)."""


def laplace(
    inner: Bool[np.ndarray, "i j k"], outer: Bool[np.ndarray, "i j k"], spacing_mm: Float[np.ndarray, 3]
) -> Float[np.ndarray, "i j k"]:
    """Potential (i, j, k) float32 between ``inner``, where it is 0, and ``outer``, where it is 1.

    Nodes that no path joins to ``outer`` stay at 0. The border of the grid must belong to one of the two.
    """
    from tmsjax.head import kernels  # numba takes a second, and only those who ask for columns need it

    potential = outer.astype(np.float32)
    free = ~(inner | outer)
    weights = (1.0 / np.asarray(spacing_mm, np.float64) ** 2).astype(np.float32)
    kernels.sweep(potential, np.ascontiguousarray(free), weights, SWEEPS, np.float32(RELAXATION))
    return potential


def field_lines(
    potential: Float[np.ndarray, "i j k"],
    level: Float[np.ndarray, "i j k"],
    starts: Float[np.ndarray, "v 3"],
    spacing_mm: Float[np.ndarray, 3],
    longest_mm: float,
) -> tuple[Float[np.ndarray, "v 3"], Float[np.ndarray, " v"]]:
    """Ends (v, 3) and lengths (v,) mm of the lines that climb the potential until ``level`` is no longer positive.

    Args:
        potential: from ``laplace``. level: positive between the boundaries, crossing zero at the outer one.
        starts: where the lines begin, in grid indices; so are the ends.
        spacing_mm: (3,) of the grid.
        longest_mm: a line that is longer has length infinity and ends where it was given up; one that does not climb at
            all (no way to the outer boundary) has length 0 and ends where it starts.
    """
    from tmsjax.head import kernels

    starts = np.ascontiguousarray(starts, np.float64)
    ends, lengths = np.empty_like(starts), np.empty(len(starts))
    spacing = np.asarray(spacing_mm, np.float64)
    kernels.climb(potential, level, starts, spacing, STRIDE_MM, longest_mm, ends, lengths)
    return ends, lengths
