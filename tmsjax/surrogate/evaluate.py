"""Scores of a surrogate, and of the uniform-field estimator beside it, on thresholds it has not seen."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.nn import metrics
from tmsjax.surrogate import features
from tmsjax.surrogate.types import Surrogate
from tmsjax.surrogate.uniform import UniformMap


def evaluate(
    model: Surrogate, patches: Any, thresholds_v_per_m: Any, uniform: UniformMap | None = None
) -> dict[str, Any]:
    """Scores on simulated thresholds (b,), V/m at the centre of patches (b, n, n, n, 3).

    Returns a dict for JSON: ``surrogate`` and, where a map is given, ``uniform`` (``tmsjax.nn.metrics.summary``:
    MAPE, median, p95, p99, R2, shares within 2 and 5 %), ``in_domain_share``, and ``surrogate_in_domain`` where some
    patches are outside.
    """
    truth = np.asarray(thresholds_v_per_m, np.float64)
    predicted = np.asarray(model.predict(patches))
    inside = np.asarray(model.in_domain(patches))
    scores: dict[str, Any] = {
        "surrogate": metrics.summary(predicted, truth),
        "in_domain_share": float(inside.mean()),
    }
    if inside.any() and not inside.all():
        scores["surrogate_in_domain"] = metrics.summary(predicted[inside], truth[inside])
    if uniform is not None:
        scores["uniform"] = uniform_scores(uniform, patches, truth)
    return scores


def uniform_scores(uniform: UniformMap, patches: Any, thresholds_v_per_m: Any) -> dict[str, Any]:
    """Scores of the uniform-field estimator, which sees only the field at the centre of the patches."""
    n = np.shape(patches)[1]
    middle = slice((n - 1) // 2, n // 2 + 1)
    centres = jax.vmap(features.centre_field)(jnp.asarray(np.asarray(patches[:, middle, middle, middle]), jnp.float32))
    return metrics.summary(np.asarray(uniform.predict(centres)), thresholds_v_per_m)
