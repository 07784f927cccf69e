"""Errors of predicted against true positive quantities (thresholds), as numpy in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike

from tmsjax.core.errors import InputError


def percent_errors(predicted: ArrayLike, true: ArrayLike) -> Float[np.ndarray, " b"]:
    """Absolute percent errors, ``100 |p - t| / t``, of predictions (b,) against positive truths (b,)."""
    p, t = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    if p.shape != t.shape or p.ndim != 1 or p.size == 0:
        raise InputError(
            "predictions and truths must pair up", got=(p.shape, t.shape), expected="two arrays (b,), b > 0"
        )
    if not (np.isfinite(t).all() and (t > 0).all()):
        raise InputError("percent errors need positive truths", got=f"minimum {t.min()}", expected="finite and > 0")
    return 100.0 * np.abs(p - t) / t


def mape(predicted: ArrayLike, true: ArrayLike) -> float:
    """Mean absolute percent error, ``mean(100 |p - t| / t)``."""
    return float(percent_errors(predicted, true).mean())


def median_ape(predicted: ArrayLike, true: ArrayLike) -> float:
    """Median absolute percent error, ``median(100 |p - t| / t)``."""
    return float(np.median(percent_errors(predicted, true)))


def percentile_ape(predicted: ArrayLike, true: ArrayLike, q: float) -> float:
    """The ``q``-th percentile (0-100, linear between ranks) of the absolute percent error."""
    return float(np.percentile(percent_errors(predicted, true), q))


def share_within(predicted: ArrayLike, true: ArrayLike, percent: float) -> float:
    """Share (0-1) of predictions with ``100 |p - t| / t <= percent``."""
    return float((percent_errors(predicted, true) <= percent).mean())


def r2(predicted: ArrayLike, true: ArrayLike) -> float:
    """Coefficient of determination, ``1 - sum((t - p)^2) / sum((t - mean(t))^2)``; can be negative.

    NaN where all truths are equal: there is no variance to explain.
    """
    p, t = np.asarray(predicted, np.float64), np.asarray(true, np.float64)
    spread = np.sum((t - t.mean()) ** 2)
    return float(1.0 - np.sum((t - p) ** 2) / spread) if spread > 0 else float("nan")


def summary(predicted: ArrayLike, true: ArrayLike) -> dict[str, Any]:
    """All of the above for one set of predictions, ready for JSON; percent errors in per cent, shares 0-1."""
    errors = percent_errors(predicted, true)
    return {
        "n": int(errors.size),
        "mape_percent": float(errors.mean()),
        "median_ape_percent": float(np.median(errors)),
        "p95_ape_percent": float(np.percentile(errors, 95)),
        "p99_ape_percent": float(np.percentile(errors, 99)),
        "max_ape_percent": float(errors.max()),
        "r2": r2(predicted, true),
        "within_2_percent": float((errors <= 2).mean()),
        "within_5_percent": float((errors <= 5).mean()),
    }
