"""What errors go with: single and multiple linear regression, as in figure S7 of Aberra et al. (2023)."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import stats

from tmsjax.core.errors import InputError
from tmsjax.surrogate.evaluation.scores import Rows


@dataclasses.dataclass(frozen=True)
class Regression:
    """A least-squares fit of a quantity to an intercept and standardised predictors.

    ``rows``, one for each predictor: ``per_sd``, the change of the quantity for one standard deviation of the
    predictor, with its 95 % confidence interval ``low`` to ``high`` and its ``p``; ``beta``, the same in standard
    deviations of the quantity; ``single_r2``, of a regression on this predictor alone. The paper's coefficients
    (above 1 beside an R2 of 0.3) are ``per_sd``, in percent error.
    """

    rows: Rows
    r2: float
    adjusted_r2: float
    n: int
    left_out: int


def regress(quantity: Any, predictors: Mapping[str, Any], groups: Any = None) -> Regression:
    """Regress a quantity (k,) on predictors (k,) by name; rows with a NaN anywhere are left out and counted.

    With ``groups`` (k,) the confidence intervals are robust to errors that go together within a group (the azimuths of
    a site see almost the same field), by the sandwich estimator with t quantiles of groups - 1.

    Raises
    ------
    InputError
        Lengths that differ, fewer rows or groups than coefficients, a predictor that does not vary or that the others
        give away.
    """
    y, x = np.asarray(quantity, np.float64), np.stack([np.asarray(v, np.float64) for v in predictors.values()], 1)
    labels = np.arange(len(y)) if groups is None else np.asarray(groups)
    if len(x) != len(y) or labels.shape != y.shape:
        raise InputError("rows do not pair up", got=(y.shape, x.shape, labels.shape), expected="one length")
    known = np.isfinite(y) & np.isfinite(x).all(axis=1)
    y, x = y[known], x[known]
    _, cluster = np.unique(labels[known], return_inverse=True)
    n, p = x.shape
    clusters = len(np.unique(cluster))
    if min(n, clusters) < p + 2:
        raise InputError("too few rows to regress on", got=f"{n} in {clusters} groups", expected=f"{p + 2} or more")
    spread = x.std(axis=0)
    if not (spread > 0).all() or not y.std() > 0:
        flat = [name for name, s in zip(predictors, spread, strict=True) if not s > 0]
        raise InputError("nothing varies", got=flat or "the quantity", expected="values that differ")
    z = np.column_stack([np.ones(n), (x - x.mean(axis=0)) / spread])
    if np.linalg.cond(z) > 1e8:
        raise InputError("the predictors give each other away", got=list(predictors), expected="independent ones")
    inverse = np.linalg.inv(z.T @ z)
    coefficients = inverse @ (z.T @ y)
    residual = y - z @ coefficients
    if groups is None:
        covariance, freedom = inverse * (residual @ residual) / (n - p - 1), n - p - 1
    else:
        scores = np.zeros((clusters, p + 1))
        np.add.at(scores, cluster, z * residual[:, None])
        small = clusters / (clusters - 1) * (n - 1) / (n - p - 1)
        covariance, freedom = small * inverse @ (scores.T @ scores) @ inverse, clusters - 1
    error = np.sqrt(np.diag(covariance))[1:]
    reach = stats.t.ppf(0.975, freedom) * error
    r2 = 1 - residual @ residual / np.sum((y - y.mean()) ** 2)
    rows = [
        {
            "predictor": name,
            "per_sd": float(b),
            "low": float(b - r),
            "high": float(b + r),
            "beta": float(b / y.std()),
            "p": float(2 * stats.t.sf(abs(b) / e, freedom)) if e > 0 else 0.0,
            "single_r2": float(np.corrcoef(column, y)[0, 1] ** 2),
        }
        for name, b, r, e, column in zip(predictors, coefficients[1:], reach, error, z[:, 1:].T, strict=True)
    ]
    adjusted = 1 - (1 - r2) * (n - 1) / (n - p - 1)
    return Regression(rows, float(r2), float(adjusted), n, int((~known).sum()))
