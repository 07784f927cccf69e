"""The magnetic flux density of dipoles, straight from its definition: what -dA/dt must be the curl of."""

import numpy as np


def flux_density(positions_mm, moments, points_mm):
    """B (p, 3) in T per A at points (p, 3) mm of dipoles (d, 3) mm with moments (d, 3) A.m2 per A, float64."""
    q, m, r = (np.asarray(a, float) for a in (positions_mm, moments, points_mm))
    d = (r[:, None] - q) * 1e-3
    length = np.linalg.norm(d, axis=2, keepdims=True)
    return 1e-7 * (3 * d * (d * m).sum(2, keepdims=True) / length**5 - m / length**3).sum(1)
