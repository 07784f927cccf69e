"""An evaluation as the paper reports it: tables 2 to 5, as rows of plain values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from tmsjax.target import evaluation
from tmsjax.target.cohort import Cohort
from tmsjax.target.evaluation import Predictions

Row = dict[str, Any]


def table_2(
    cohort: Cohort,
    places: Predictions,
    others: Mapping[str, Float[np.ndarray, "b p 3"]] | None = None,
    raters: Mapping[str, Sequence[float]] | None = None,
) -> list[Row]:
    """Errors of the network (all repetitions), its dispersion, errors of ``others`` and of raters, mm, by point.

    Each entry is (mean, SD, n) over images, and ``anatomies`` the mean, SD and n after averaging within each anatomy.
    """
    error = evaluation.errors(places, cohort.places)
    spread = evaluation.dispersion(places) if len(places) > 1 else None
    rows = []
    for k, point in enumerate(cohort.points):
        row: Row = {"point": point}
        columns = {"network": error[..., k].reshape(-1)}
        for name, values in (others or {}).items():
            columns[name] = evaluation.errors(values, cohort.places)[:, k]
        for name, column in columns.items():
            if np.isfinite(column).any():
                bases = list(cohort.bases) * (len(column) // len(cohort))
                found = evaluation.summary(column, bases)
                row[name] = (found.mean, found.sd, found.n)
                row[f"{name} anatomies"] = (found.anatomy_mean, found.anatomy_sd, found.anatomies)
        if spread is not None:
            row["dispersion"] = _three(spread[:, k])
        if raters and raters.get(point):
            row["raters"] = _three(np.asarray(raters[point]))
        rows.append(row)
    return rows


def table_3(
    cohort: Cohort, places: Predictions, others: Mapping[str, Float[np.ndarray, "b p 3"]]
) -> list[evaluation.Test]:
    """Paired tests of the network against each of ``others``, by anatomy."""
    table = {"network": evaluation.by_anatomy(evaluation.errors(places, cohort.places), cohort.bases)}
    for name, values in others.items():
        table[name] = evaluation.by_anatomy(evaluation.errors(values, cohort.places), cohort.bases)
    return evaluation.compare(table, cohort.points, [("network", name) for name in others])


def table_4(cohort: Cohort, variants: Mapping[str, Predictions]) -> list[Row]:
    """Errors (mean, SD, n) of variants of the network, each with its ensemble, by point."""
    rows = []
    for k, point in enumerate(cohort.points):
        row: Row = {"point": point}
        for name, places in variants.items():
            row[name] = _three(evaluation.errors(places, cohort.places)[..., k].reshape(-1))
            row[f"{name} ensemble"] = _three(evaluation.errors(evaluation.ensemble(places), cohort.places)[:, k])
        rows.append(row)
    return rows


def table_5(cohort: Cohort, variants: Mapping[str, Predictions]) -> list[evaluation.Test]:
    """Paired tests, by anatomy: every variant against its ensemble, and variants against each other, of either kind."""
    table = {}
    for name, places in variants.items():
        alone, together = (evaluation.errors(p, cohort.places) for p in (places, evaluation.ensemble(places)))
        table[name] = evaluation.by_anatomy(alone, cohort.bases)
        table[f"{name} ensemble"] = evaluation.by_anatomy(together, cohort.bases)
    names = list(variants)
    pairs = [(f"{name} ensemble", name) for name in names]
    for end in (" ensemble", ""):
        pairs += [(a + end, b + end) for i, a in enumerate(names) for b in names[i + 1 :]]
    return evaluation.compare(table, cohort.points, pairs)


def _three(values: np.ndarray) -> tuple[float, float, int]:
    found = values[np.isfinite(values)]
    if not len(found):
        return (float("nan"), float("nan"), 0)
    return (float(found.mean()), float(found.std(ddof=1)) if len(found) > 1 else 0.0, len(found))
