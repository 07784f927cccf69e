"""The files and tables of ``tmsjax evaluate``."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tmsjax.core.errors import InputError
from tmsjax.core.versions import versions
from tmsjax.head import HeadModel, scalp_surface
from tmsjax.surrogate import Surrogate, to_uniform
from tmsjax.surrogate.evaluation import (
    Judged,
    Rows,
    cortex_map,
    electrodes,
    error_percentiles,
    flagged,
    place_medians,
    point_source_patches,
    regress,
    score_table,
    uniform_field_test,
)

PACKAGES = ("tmsjax", "jax", "flax", "numpy", "scipy")

PREDICTORS = ("gradient_per_mm", "initiation_error_percent", "initiation_angle_deg")
"""What errors are regressed on, where it is known (section 2.2.2)."""

HEADINGS = {
    "estimator": "",
    "n": "n",
    "mape_percent": "MAPE %",
    "median_ape_percent": "median %",
    "p95_ape_percent": "p95 %",
    "p99_ape_percent": "p99 %",
    "max_ape_percent": "max %",
    "r2": "R²",
    "within_2_percent": "within 2 %",
    "flagged_share": "flagged",
    "tms_flagged_share": "dataset's fields flagged",
    "auc": "area under ROC",
}
"""Columns of the tables on the screen; the files hold more."""

PLACE = ("site", "pose", "sign")
"""What the azimuths of a neuron share."""

ELECTRODE_STEP_MM = 0.3
"""Spacing of the point sources that the in-domain score must flag: about 500 of them within 1.5 mm."""


def write(
    folder: Path,
    about: Mapping[str, Any],
    models: Mapping[str, Surrogate],
    judged: Judged,
    explained: Judged,
    patches: Mapping[str, np.ndarray],
    head: HeadModel,
    depth: float,
    figures: bool,
    say: Callable[[str], None],
) -> list[Table]:
    """Write tables, summary.json and figures to ``folder``; returns the tables to print.

    ``head`` and ``depth`` (normalised, of the layer) are where the maps are drawn.
    """
    first, model = next(iter(models.items()))
    tables: dict[str, Rows] = {
        "scores": score_table(judged),
        "by_depth": _by_number(score_table(judged, by=("depth_range_mm",)), "depth_range_mm"),
        "by_pose": score_table(judged, by=("pose", "sign")),
        "in_domain": score_table(judged, by=("in_domain",)),
        "scores_of_azimuth_medians": score_table(place_medians(judged, PLACE, of="thresholds")),
        "error_percentiles": error_percentiles(judged),
        "error_percentiles_of_places": error_percentiles(place_medians(judged, PLACE)),
    }
    fits, left_out = _regressions(explained, models)
    tables["error_sources"] = [
        {"estimator": name, **row, "r2": fit.r2, "adjusted_r2": fit.adjusted_r2, "n": fit.n, "left_out": fit.left_out}
        for name, fit in fits.items()
        for row in fit.rows
    ]
    places = electrodes(step_mm=ELECTRODE_STEP_MM)
    away = np.linalg.norm(places, axis=1)
    tables["point_sources"] = flagged(model, patches[first], point_source_patches(model, places), away)
    directions = {}
    if "uniform" in models:
        truth = to_uniform(models["uniform"])
        found = {name: uniform_field_test(m, truth) for name, m in models.items() if name != "uniform"}
        tables["uniform_fields"] = [row for rows, _ in found.values() for row in rows]
        directions = {name: columns for name, (_, columns) in found.items()}
    tables = {name: rows for name, rows in tables.items() if rows}
    for name, rows in tables.items():
        write_csv(folder / f"{name}.csv", rows)
    predictions = {f"{name}_v_per_m": values for name, values in judged.predicted.items()}
    write_columns(folder / "thresholds.csv", {**judged.columns, "v_per_m": judged.v_per_m, **predictions})
    cards = {name: m.card for name, m in models.items()}
    summary = {**about, "n": len(judged), "versions": versions(*PACKAGES), "tables": tables, "surrogates": cards}
    if left_out:
        summary["error_sources_left_out"] = left_out
    (folder / "summary.json").write_text(json.dumps(summary, indent=1) + "\n")
    if figures:
        say("figures")
        _figures(folder, models, judged, explained, fits, tables, directions, places)
        _maps(folder, judged, head, depth)
    return [
        rich_table(f"{len(judged)} thresholds", tables["scores"]),
        rich_table("Point sources, flagged by the in-domain score", tables["point_sources"][:1]),
    ]


def write_csv(path: Path, rows: Rows) -> None:
    """One line a row, numbers in full."""
    with path.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, list(dict.fromkeys(key for row in rows for key in row)))
        writer.writeheader()
        writer.writerows(rows)


def write_columns(path: Path, columns: Mapping[str, np.ndarray]) -> None:
    """Columns of one length; numbers with six digits."""
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(columns)
        plain = [np.asarray(values).tolist() for values in columns.values()]
        writer.writerows([f"{x:.6g}" if isinstance(x, float) else x for x in row] for row in zip(*plain, strict=True))


def rich_table(title: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    """What fits a screen of a table, numbers with three significant digits."""
    table = Table(title=title, title_justify="left")
    shown = [key for key in rows[0] if key in HEADINGS]
    for key in shown:
        table.add_column(HEADINGS[key], justify="right")
    for row in rows:
        table.add_row(*(f"{row[key]:.3g}" if isinstance(row[key], float) else str(row[key]) for key in shown))
    return table


def _regressions(explained: Judged, models: Mapping[str, Surrogate]) -> tuple[dict[str, Any], dict[str, str]]:
    """Regressions of every estimator's absolute percent error on what is known, robust to shared sites; why not."""
    known = {name: explained.columns[name] for name in PREDICTORS if name in explained.columns}
    fits, left_out = {}, {}
    for name in models:
        try:
            fits[name] = regress(np.abs(explained.errors(name)), known, explained.columns["site"])
        except InputError as error:  # too few sites, or nothing that varies: the other tables stand
            left_out[name] = str(error)
    return fits, left_out


def _by_number(rows: Rows, column: str) -> Rows:
    return sorted(rows, key=lambda row: float(row[column].split("-")[0]))


def _maps(folder: Path, judged: Judged, head: HeadModel, depth: float) -> None:
    """Figure 3 for each direction of the current under the first pose."""
    from tmsjax import viz

    outwards = np.stack([judged.columns[f"{axis}_mm"] for axis in "xyz"], -1).mean(axis=0)
    outwards = outwards - np.asarray(scalp_surface(head).vertices, np.float64).mean(axis=0)
    pose = int(np.min(judged.columns["pose"]))
    for sign in np.unique(judged.columns["sign"][judged.columns["pose"] == pose]):
        vertices, faces, values = cortex_map(judged, head, depth, pose, int(sign))
        title = f"pose {pose}, dI/dt {'above' if sign > 0 else 'below'} 0: medians over azimuths"
        viz.cortex_figure(
            folder / f"cortex_{'plus' if sign > 0 else 'minus'}.png", vertices, faces, values, outwards, title
        )


def _figures(folder, models, judged, explained, fits, tables, directions, places) -> None:
    from tmsjax import viz

    model = next(iter(models.values()))
    title = f"{model.spec.cell}, {model.spec.pulse}"
    viz.predictions_figure(folder / "predictions.png", judged.v_per_m, judged.predicted, title)
    errors = {name: judged.errors(name) for name in judged.predicted}
    viz.distribution_figure(folder / "errors.png", errors, title)
    viz.scores_figure(folder / "by_depth.png", tables["by_depth"], "depth_range_mm", title=title)
    for name, fit in fits.items():
        known = {row["predictor"]: explained.columns[row["predictor"]] for row in fit.rows}
        path = folder / f"error_sources_{name}.png"
        viz.error_sources_figure(path, np.abs(explained.errors(name)), known, fit.rows, fit.r2)
    for name, columns in directions.items():
        viz.directions_figure(folder / f"uniform_fields_{name}.png", columns, f"{title}: {name}")
    point = np.asarray(model.domain_distance(point_source_patches(model, places)))
    distances = np.asarray(judged.columns["domain_distance"])
    away = np.linalg.norm(places, axis=1)
    viz.domain_figure(folder / "point_sources.png", distances, point, away, float(model.domain.limit))
