"""Tables of thresholds by layer, clone, azimuth and region, and their CSV."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import KDTree

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.cortex import Population
from tmsjax.response.types import Response, checked

GROUPS = ("layer", "cell", "pulse", "azimuth_deg", "region")
"""What neurons can be grouped by; ``cell`` is the clone."""

PERCENTILES = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}


def statistics(responses: Response | Iterable[Response], by: Sequence[str] = ("layer",)) -> list[dict[str, Any]]:
    """One row for every group of neurons, by any of ``GROUPS`` in the order given (none: all neurons in one row).

    A row has the group's names, ``neurons``, ``sites``, ``area_mm2`` (the neurons' weights), ``without_threshold`` and
    ``outside_domain`` (how many), and of ``v_per_m`` and ``a_per_us``: lowest, 5th to 95th percentile and median over
    the neurons that have a threshold, weighted by the area they stand for; NaN where none has one. The median is the
    lowest intensity that activates half of them.

    Raises InputError for an unknown group, or "region" of responses without.
    """
    found, by = checked(responses), list(by)
    unknown = [name for name in by if name not in GROUPS]
    if unknown:
        raise InputError("neurons cannot be grouped by this", got=unknown, expected=f"some of {', '.join(GROUPS)}")
    if "region" in by and any(r.region is None for r in found):
        raise InputError("these responses have no regions", got="None", expected="Response(..., region=labels)")
    columns = {name: np.concatenate([_column(r, name) for r in found]) for name in (*by, "layer")}
    site = np.concatenate([np.asarray(r.population.site) for r in found])
    weight = np.concatenate([np.asarray(r.population.weight, float) for r in found])
    inside = np.concatenate([r.in_domain for r in found])
    values = {
        name: np.concatenate([np.asarray(getattr(r.thresholds, name), float) for r in found])
        for name in ("v_per_m", "a_per_us")
    }
    codes = [np.unique(columns[name], return_inverse=True) for name in by]
    number = np.stack([code.ravel() for _, code in codes], 1) if codes else np.zeros((len(site), 0), int)
    rows = []
    for key in np.unique(number, axis=0):
        mine = np.flatnonzero((number == key).all(axis=1))
        known = np.isfinite(values["a_per_us"][mine])
        places = {*zip(columns["layer"][mine].tolist(), site[mine].tolist(), strict=True)}
        row: dict[str, Any] = {name: codes[i][0][key[i]].item() for i, name in enumerate(by)}
        row |= {
            "neurons": len(mine),
            "sites": len(places),
            "area_mm2": float(weight[mine].sum()),
            "without_threshold": int((~known).sum()),
            "outside_domain": int((known & ~inside[mine]).sum()),
        }
        for name, every in values.items():
            row |= {f"{name}_{what}": value for what, value in _spread(every[mine[known]], weight[mine[known]]).items()}
        rows.append(row)
    return rows


def regions(
    population: Population,
    vertices_mm: Float[ndarray, "v 3"],
    labels: Int[ndarray, " n"],
    names: Mapping[int, str] | None = None,
) -> ndarray:
    """(p,) label of the vertex nearest to each soma: what ``Response.region`` takes.

    Args:
        population: p neurons.
        vertices_mm: (v, 3) of a cortical surface in the head's world, e.g. a ``layer_surface``'s.
        labels: (v,), one a vertex, of its parcellation. names: label -> name; labels stay numbers where it is None.
    """
    if len(vertices_mm) != len(labels):
        raise InputError("a label for every vertex", got=(len(vertices_mm), len(labels)), expected="equal numbers")
    nearest = np.asarray(labels)[KDTree(vertices_mm).query(np.asarray(population.positions, float))[1]]
    return nearest if names is None else np.array([names.get(int(label), str(label)) for label in nearest])


def write_table(path: str | Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows as CSV, whole or not at all: the first row's keys are the columns; NaN is left empty."""
    if not rows:
        raise InputError("a table without rows", got="none", expected="at least one")
    with staged_file(path) as stage, stage.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.DictWriter(handle, list(rows[0]))
        writer.writeheader()
        writer.writerows({key: _text(value) for key, value in row.items()} for row in rows)
    return Path(path)


def _column(response: Response, name: str) -> np.ndarray:
    if name == "azimuth_deg":
        return np.asarray(response.population.azimuth_deg, float).round(3)
    if name == "region":
        return np.asarray(response.region)
    return np.full(len(response), getattr(response, name))


def _spread(values: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    if not len(values):
        return dict.fromkeys(("lowest", *PERCENTILES), float("nan"))
    at = np.quantile(values, list(PERCENTILES.values()), weights=weights, method="inverted_cdf")
    return {"lowest": float(values.min()), **dict(zip(PERCENTILES, map(float, at), strict=True))}


def _text(value: ArrayLike) -> Any:
    """Numbers with six digits, NaN as nothing."""
    if isinstance(value, float | np.floating):
        return "" if np.isnan(value) else f"{value:.6g}"
    return value
