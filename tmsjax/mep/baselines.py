"""What a network must be shown beside: the mean field, ridge, kernel ridge and nearest neighbours (scikit-learn).

Fields of one coil round one place have a few principal components, so regressions from fifteen numbers to these go far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from tmsjax.core.errors import InputError, MissingToolError
from tmsjax.mep.preprocess import Scaling, scaling
from tmsjax.mep.types import Subject

BASELINES = ("mean_field", "ridge", "kernel_ridge", "nearest")

RIDGE, KERNEL_RIDGE, NEIGHBOURS = np.logspace(-4, 2, 7), np.logspace(-4, 0, 5), 10
"""Candidates of the regularisation, chosen within the training fold, and how many neighbours."""

WIDTHS = (0.3, 1.0, 3.0)
"""Of the kernel: gamma is one of these over the median squared distance of the training responses."""


class Baseline(NamedTuple):
    """A fitted baseline; ``predict(responses (n, m) mV)`` gives fields (n, v) in V/m."""

    name: str
    predict: Callable[[Any], Float[np.ndarray, "n v"]]


def fit_baseline(name: str, subject: Subject, scale: Scaling | None = None) -> Baseline:
    """Fit a baseline to all stimulations of a subject; regressions are of sqrt(responses), which are near Gaussian.

    ``nearest`` is the mean of the 10 nearest stimulations. Raises InputError for an unknown name, and MissingToolError
    where scikit-learn is not installed.
    """
    if name not in BASELINES:
        raise InputError("no such baseline", got=name, expected=", ".join(BASELINES))
    scale = scaling(subject) if scale is None else scale
    mean = subject.fields.mean(0)
    if name == "mean_field":
        return Baseline(name, lambda responses: np.tile(mean, (len(responses), 1)))
    model, top = _estimator(name, subject, scale)
    # 99.99 % of the variance of one coil's fields is in a few dozen components.
    _, sizes, turn = np.linalg.svd(subject.fields - mean, full_matrices=False)
    turn = turn[: max(1, int((sizes > 1e-3 * sizes[0]).sum()))]
    model.fit(top(subject.responses), (subject.fields - mean) @ turn.T)

    def predict(responses: Any) -> np.ndarray:
        found = np.asarray(model.predict(top(responses))).reshape(len(responses), -1)
        return np.maximum(mean + found @ turn, 0.0)  # |E| is not negative

    return Baseline(name, predict)


def _estimator(name: str, subject: Subject, scale: Scaling) -> tuple[Any, Callable[[Any], np.ndarray]]:
    try:
        from sklearn.kernel_ridge import KernelRidge
        from sklearn.linear_model import RidgeCV
        from sklearn.model_selection import GridSearchCV
        from sklearn.neighbors import KNeighborsRegressor
    except ImportError as error:
        raise MissingToolError("baselines need scikit-learn: pip install 'tmsjax[mep]'") from error

    def top(responses: Any) -> np.ndarray:
        return np.sqrt(np.asarray(responses, float) / scale.response_mv)

    if name == "ridge":
        return RidgeCV(RIDGE), top
    if name == "nearest":
        return KNeighborsRegressor(min(NEIGHBOURS, len(subject))), top
    x = top(subject.responses[:: max(1, len(subject) // 300)])
    median = float(np.median(((x[:, None] - x) ** 2).sum(-1)))
    choices = {"alpha": KERNEL_RIDGE, "gamma": [w / max(median, 1e-9) for w in WIDTHS]}
    return GridSearchCV(KernelRidge(kernel="rbf"), choices, cv=min(3, len(subject))), top
