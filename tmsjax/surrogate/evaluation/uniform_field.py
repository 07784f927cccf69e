"""Uniform fields of every direction, which no training set holds (Aberra et al. 2023, figure 6)."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tmsjax.nn import metrics
from tmsjax.surrogate import uniform
from tmsjax.surrogate.evaluation.scores import Rows
from tmsjax.surrogate.types import Surrogate


def uniform_patches(unit_vectors: Float[ndarray, "d 3"], n: int) -> Float[ndarray, "d n n n 3"]:
    """Patches of uniform fields along unit vectors in the cell's frame (no memory until they are written to)."""
    vectors = np.asarray(unit_vectors, np.float32)
    return np.broadcast_to(vectors[:, None, None, None], (len(vectors), n, n, n, 3))


def uniform_field_test(
    model: Surrogate, thresholds_v_per_m: Any, unit_vectors: Any = None
) -> tuple[Rows, dict[str, ndarray]]:
    """A surrogate against thresholds simulated in uniform fields.

    Args:
        thresholds_v_per_m: (d,) V/m, or a ``UniformMap``.
        unit_vectors: (d, 3) in the cell's frame; the 2,522 of the paper unless given.

    Returns:
        (table, columns): one row of scores with the lowest and highest error in percent and the share within 2 %; and
        polar and azimuthal angles (deg), simulated and predicted thresholds and percent errors, (d,) each.
    """
    vectors = uniform.directions() if unit_vectors is None else np.asarray(unit_vectors, np.float64)
    if isinstance(thresholds_v_per_m, uniform.UniformMap):
        thresholds_v_per_m = thresholds_v_per_m.predict(vectors)
    truth = np.asarray(thresholds_v_per_m, np.float64)
    predicted = np.asarray(model.predict(uniform_patches(vectors, model.spec.n)), np.float64)
    summary = metrics.summary(predicted, truth)
    error = 100 * (predicted / truth - 1)
    columns = {
        "polar_deg": np.rad2deg(np.arccos(np.clip(vectors[:, 2], -1, 1))),
        "azimuth_deg": np.rad2deg(np.arctan2(vectors[:, 1], vectors[:, 0])) % 360,
        "simulated_v_per_m": truth,
        "predicted_v_per_m": predicted,
        "error_percent": error,
    }
    ends = {"lowest_percent": float(error.min()), "highest_percent": float(error.max())}
    return [{"cell": model.spec.cell, "family": model.spec.family, **ends, **summary}], columns
