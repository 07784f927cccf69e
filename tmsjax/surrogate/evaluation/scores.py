"""Scores of several estimators on the same simulated thresholds, as tables: by cell, layer, depth, or anything else.

Aberra et al. (2023), section 3.1, figures 3, 4, S3 and S4.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tmsjax.core.errors import InputError
from tmsjax.nn import metrics

Rows = list[dict[str, Any]]
"""A table: one dict of numbers and names for each line, the same keys in all."""

PERCENTILES = (1, 5, 25, 50, 75, 95, 99)
"""Of signed percent errors; 1 to 99 is the 98 % of the paper's violins."""


@dataclasses.dataclass(frozen=True)
class Judged:
    """Simulated thresholds and what estimators make of them, k of each.

    Attributes:
        v_per_m: (k,) simulated, V/m at the soma.
        predicted: estimator -> (k,), V/m at the soma.
        columns: name -> (k,): what there is to group by (cell, layer, site, pose, ...) and to set errors against.
    """

    v_per_m: Float[ndarray, " k"]
    predicted: Mapping[str, ndarray]
    columns: Mapping[str, ndarray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.v_per_m)

    def check(self) -> Judged:
        """Return self, or raise InputError where a column has another length or a threshold is not positive."""
        given = {**self.predicted, **self.columns}
        wrong = {name: np.shape(column) for name, column in given.items() if np.shape(column)[:1] != (len(self),)}
        if wrong or not self.predicted or not len(self):
            raise InputError(
                "thresholds and predictions do not pair up", got=wrong or "none", expected=f"({len(self)},) of each"
            )
        if not (np.isfinite(self.v_per_m).all() and (self.v_per_m > 0).all()):
            raise InputError(
                "thresholds must be positive",
                got=f"{(~(self.v_per_m > 0)).sum()} that are not",
                expected="finite, V/m > 0",
                mend="leave out rows without a threshold",
            )
        return self

    def __getitem__(self, rows: Any) -> Judged:
        """Some of the rows: any index that selects along the first axis."""
        return Judged(
            self.v_per_m[rows],
            {name: values[rows] for name, values in self.predicted.items()},
            {name: np.asarray(values)[rows] for name, values in self.columns.items()},
        )

    def with_columns(self, **columns: ndarray) -> Judged:
        """The same with further columns (k,)."""
        return dataclasses.replace(self, columns={**self.columns, **columns}).check()

    def errors(self, estimator: str) -> Float[ndarray, " k"]:
        """Signed percent errors, ``100 (predicted - simulated) / simulated``."""
        return 100 * (np.asarray(self.predicted[estimator], np.float64) / self.v_per_m - 1)


def joined(parts: Sequence[Judged]) -> Judged:
    """Several of them, one after the other: clones, layers or heads; columns that all of them have."""
    if not parts or any(set(part.predicted) != set(parts[0].predicted) for part in parts):
        raise InputError(
            "judged by other estimators", got=[sorted(part.predicted) for part in parts], expected="the same in all"
        )
    shared = [name for name in parts[0].columns if all(name in part.columns for part in parts)]
    return Judged(
        np.concatenate([part.v_per_m for part in parts]),
        {name: np.concatenate([part.predicted[name] for part in parts]) for name in parts[0].predicted},
        {name: np.concatenate([np.asarray(part.columns[name]) for part in parts]) for name in shared},
    )


def score_table(judged: Judged, by: Sequence[str] = ()) -> Rows:
    """MAPE, median APE, percentiles, R2 (``tmsjax.nn.metrics.summary``) of every estimator, by groups of columns."""
    return [
        {**key, "estimator": name, **metrics.summary(some.predicted[name], some.v_per_m)}
        for key, some in _groups(judged.check(), by)
        for name in judged.predicted
    ]


def error_percentiles(judged: Judged, by: Sequence[str] = (), percentiles: Sequence[float] = PERCENTILES) -> Rows:
    """Percentiles of the signed percent errors of every estimator, by groups of columns."""
    rows = []
    for key, some in _groups(judged.check(), by):
        for name in judged.predicted:
            values = np.percentile(some.errors(name), percentiles)
            shares = {f"p{q:g}_percent": float(v) for q, v in zip(percentiles, values, strict=True)}
            rows.append({**key, "estimator": name, "n": len(some), **shares})
    return rows


def place_medians(
    judged: Judged, place: Sequence[str] = ("layer", "site", "pose", "sign"), of: str = "errors"
) -> Judged:
    """Medians over clones and azimuths at each place.

    ``of="errors"``: of the percent errors (figures 3B and S3B); the predictions returned are those that have them, so
    that ``errors`` gives them. ``of="thresholds"``: of the predicted thresholds, each estimator's (figure 3A): what a
    model of the population's median is to be judged by.
    """
    if of not in ("errors", "thresholds"):
        raise InputError("medians of what", got=of, expected="errors or thresholds")
    thresholds, predicted, columns = [], {name: [] for name in judged.predicted}, {name: [] for name in place}
    for key, some in _groups(judged.check(), place):
        threshold = float(np.median(some.v_per_m))
        thresholds.append(threshold)
        for name in predicted:
            share = 1 + np.median(some.errors(name)) / 100
            predicted[name].append(threshold * share if of == "errors" else float(np.median(some.predicted[name])))
        for name in place:
            columns[name].append(key[name])
    return Judged(
        np.array(thresholds),
        {name: np.array(values) for name, values in predicted.items()},
        {name: np.array(values) for name, values in columns.items()},
    )


def binned(values: ndarray, bins: int = 5) -> ndarray:
    """Labels (k,) of bins with about as many values each, e.g. "12.0-14.5", in rising order when sorted by number."""
    values = np.asarray(values, np.float64)
    if bins < 1 or not np.isfinite(values).all():
        raise InputError("values to bin", got=f"{bins} bins, {(~np.isfinite(values)).sum()} not finite", expected="1+")
    edges = np.unique(np.quantile(values, np.linspace(0, 1, bins + 1)))
    if len(edges) == 1:
        return np.full(len(values), f"{edges[0]:.3g}")
    place = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)
    names = np.array([f"{low:.3g}-{high:.3g}" for low, high in pairwise(edges)])
    return names[place]


def _groups(judged: Judged, by: Sequence[str]):
    """(name -> value, rows of it) for every combination of the columns' values, in the order they come."""
    missing = [name for name in by if name not in judged.columns]
    if missing:
        raise InputError("nothing to group by", got=missing, expected=f"of {sorted(judged.columns)}")
    if not by:
        yield {}, judged
        return
    codes = [np.unique(np.asarray(judged.columns[name]), return_inverse=True) for name in by]
    flat = np.ravel_multi_index([inverse for _, inverse in codes], [len(names) for names, _ in codes])
    order = np.argsort(flat, kind="stable")
    starts = np.flatnonzero(np.diff(flat[order], prepend=-1))
    groups = sorted(np.split(order, starts[1:]), key=lambda rows: rows[0])
    for rows in groups:
        yield {name: _plain(judged.columns[name][rows[0]]) for name in by}, judged[rows]


def _plain(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value
