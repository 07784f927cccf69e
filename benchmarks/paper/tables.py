"""The committed tables of the paper's results: small text files, and .npz files of what is drawn; none of the fields.

They are made of what `benchmarks.paper.judge` kept. `manifest.json` says of which datasets and weights, and holds the
sha256 of every file, so that a table that was edited, or is of another dataset, does not go unnoticed.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper import kept, layers, oracle, unseen
from benchmarks.paper.files import MANIFEST, file_hash, write_rows
from benchmarks.paper.layers import Part
from tmsjax.cli.stages import Stages
from tmsjax.core.files import staged_file
from tmsjax.core.versions import versions
from tmsjax.nn import metrics
from tmsjax.surrogate.evaluation import Rows, error_percentiles, regress, score_table

DRAWN = 600
"""Thresholds of a clone that scatter plots show."""
PREDICTORS = ("gradient_per_mm", "initiation_error_percent", "initiation_angle_deg")
GRID_QUANTILES = (5, 25, 50, 75, 95)


def write(options: argparse.Namespace, stages: Stages) -> None:
    """Make every table of what is kept; a table of which there is nothing is left out."""
    folder: Path = options.tables
    folder.mkdir(parents=True, exist_ok=True)
    with stages("tables") as say:
        parts = layers.parts(options.kept)
        texts: dict[str, Callable[[], Rows]] = {
            "scores": lambda: scores(parts),
            "population": lambda: [row for layer in layers.grouped(parts) for row in layers.population(layer)],
            "medians": lambda: medians(options.kept),
            "error_quantiles": lambda: [row for layer in layers.grouped(parts) for row in layers.quantiles(layer)],
            "regressions": lambda: regressions(parts, options.kept),
            "oracle": lambda: oracle.table(options.kept),
            "grids": lambda: grids(options.kept),
            "represented": lambda: represented(options.kept),
            "uniform_fields": lambda: uniform_fields(options.kept),
            "directions": lambda: directions(options.kept),
            "published": lambda: unseen.published(options),
            "point_sources": lambda: point_sources(options.kept),
            "timing": lambda: timing(options.kept),
        }
        made = {}
        for name, make in texts.items():
            say(name)
            rows = make()
            if rows:
                made[write_rows(folder / f"{name}.csv", rows).name] = len(rows)
        for name, columns in drawn(parts, options.kept).items():
            say(name)
            kept.save(folder / f"{name}.npz", {"of": name}, **columns)
            made[f"{name}.npz"] = None
        manifest = {
            "rows": {part.stem: part.about["key"] for part in parts},
            "judged": {part.stem: [part.about["judged"], part.about["thresholds"]] for part in parts},
            "files": {name: file_hash(folder / name) for name in sorted(made)},
            "versions": versions("tmsjax", "jax", "numpy", "scipy"),
        }
        with staged_file(folder / MANIFEST) as stage:
            stage.write_text(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        for old in folder.iterdir():  # of an earlier run
            if old.suffix in (".csv", ".npz") and old.name not in made and old.name != "paper.csv":
                old.unlink()
        say(f"{len(made)} files of {len(parts)} rows")


def scores(parts: Sequence[Part]) -> Rows:
    """Scores of every clone, pulse and estimator, with percentiles of the signed errors."""
    rows = []
    for part in parts:
        for score, shares in zip(score_table(part.judged), error_percentiles(part.judged), strict=True):
            family = score["estimator"]
            about = {
                "cell": part.about["cell"],
                "layer": part.layer,
                "clone": part.clone,
                "pulse": part.about["pulse"],
                "head": part.about["head"],
                "trained_on": part.about["trained_on"][family],
                "samples": part.about["grids"][family][2],
                "in_domain": float(np.mean(part.judged.columns["in_domain"])),
                "dataset": part.about["key"]["dataset"][:16],
            }
            rows.append({**about, **score, **{k: v for k, v in shares.items() if k.endswith("_percent")}})
    return rows


def regressions(parts: Sequence[Part], folder: Path) -> Rows:
    """Absolute errors regressed on what is known of each field: of every clone, of one by number of samples."""
    rows: Rows = []
    for part in parts:
        for family in part.explained.predicted:
            about = {"study": "clones", "cell": part.about["cell"], "layer": part.layer, "pulse": part.about["pulse"]}
            rows += _regressed(about | {"samples": part.about["regressed_on"]["samples"]}, part.explained, family)
    for path in sorted(folder.glob("grids_*.npz")):
        about, columns = kept.load(path)
        for n in _samples(columns):
            found = kept.to_judged(columns, f"n{n}__")
            same = {"study": "samples", "cell": about["cell"], "layer": layers.plain(about["layer"])}
            rows += _regressed({**same, "pulse": "monophasic", "samples": n}, found, "support")
    return rows


def _regressed(about: dict[str, Any], found: Any, family: str) -> Rows:
    known = {name: found.columns[name] for name in PREDICTORS if name in found.columns}
    fit = regress(np.abs(found.errors(family)), known, found.columns["site"])
    whole = {"r2": fit.r2, "adjusted_r2": fit.adjusted_r2, "n": fit.n, "left_out": fit.left_out}
    return [{**about, "estimator": family, **row, **whole} for row in fit.rows]


def _samples(columns: dict[str, np.ndarray]) -> list[int]:
    return sorted({int(name.partition("__")[0][1:]) for name in columns if "__" in name})


def medians(folder: Path) -> Rows:
    """Models of a population's median."""
    rows = []
    for path in sorted(folder.glob("median_*.npz")):
        about, columns = kept.load(path)
        score = metrics.summary(columns["by_median"], columns["v_per_m"])
        same = {"cell": about["cell"], "layer": layers.plain(about["layer"]), "pulse": about["pulse"]}
        rows.append({**same, "clones": about["clones"], "estimator": "median", **score})
    return rows


def grids(folder: Path) -> Rows:
    """Scores by side and by samples a side."""
    found = [kept.load(path)[0] for path in sorted(folder.glob("grids_*.npz"))]
    return [
        {"cell": about["cell"], "layer": layers.plain(about["layer"]), "estimator": "support", **row}
        for about in found
        for row in about["ablation"]
    ]


def represented(folder: Path) -> Rows:
    """What grids of few samples know of a field (figure 5D): quantiles over thresholds."""
    rows = []
    for path in sorted(folder.glob("grids_*.npz")):
        about, columns = kept.load(path)
        for n in _samples(columns):
            for name in ("seen_gradient_per_mm", *PREDICTORS[1:]):
                values = columns[f"n{n}__{name}"].astype(np.float64)
                known = values[np.isfinite(values)]
                shares = {
                    f"p{q}": float(v) for q, v in zip(GRID_QUANTILES, np.percentile(known, GRID_QUANTILES), strict=True)
                }
                rows.append({"cell": about["cell"], "samples": n, "quantity": name, "n": len(known), **shares})
    return rows


def uniform_fields(folder: Path) -> Rows:
    """Models in uniform fields, which no training set holds."""
    rows = []
    for path in sorted(folder.glob("uniform_*.npz")):
        about, columns = kept.load(path)
        truth = _at_directions(columns["table"])
        for name, values in columns.items():
            if name.startswith("by_"):
                error = 100 * (values.astype(np.float64) / truth - 1)
                ends = {"lowest_percent": float(error.min()), "highest_percent": float(error.max())}
                rows.append({**_who(about), "estimator": name[3:], **ends, **metrics.summary(values, truth)})
    return rows


def directions(folder: Path) -> Rows:
    """Thresholds in uniform fields by polar angle: mean and range over azimuths, V/m; 0 deg is towards the pia."""
    rows = []
    for path in sorted([*folder.glob("uniform_*.npz"), *folder.glob("intact_*.npz")]):
        about, columns = kept.load(path)
        table = columns["table"].astype(np.float64)
        axon = "disabled" if about["layer"] == "L5" and path.stem.startswith("uniform") else "intact"
        for angle, ring in zip(np.linspace(0, 180, len(table)), table, strict=True):
            values = {"mean_v_per_m": float(ring.mean()), "lowest_v_per_m": float(ring.min())}
            values |= {"highest_v_per_m": float(ring.max()), "median_v_per_m": float(np.median(ring))}
            rows.append({**_who(about), "axon": axon, "polar_deg": float(angle), **values})
    return rows


def point_sources(folder: Path) -> Rows:
    """Models by electrodes: all, and by the distance from where firing begins."""
    rows = []
    edges = np.array([0, 0.1, 0.2, 0.4, 0.8, 1.6, np.inf])
    for path in sorted(folder.glob("points_*.npz")):
        about, columns = kept.load(path)
        truth, away = columns["milliampere"].astype(np.float64), columns["distance_mm"]
        for family in sorted(name[3:] for name in columns if name.startswith("by_")):
            guess = columns[f"by_{family}"].astype(np.float64)
            finite = np.isfinite(guess)  # no functional is driven: a model that says that it never fires
            ranges = [("all", np.ones(len(truth), bool))]
            ranges += [(f"{a:g}-{b:g}", (away >= a) & (away < b)) for a, b in pairwise(edges)]
            for name, some in ranges:
                if (some & finite).any():
                    score = metrics.summary(guess[some & finite], truth[some & finite])
                    shares = {
                        "flagged": float(columns[f"flagged_{family}"][some].mean()),
                        "never": float((~finite)[some].mean()),
                    }
                    rows.append({**_who(about), "estimator": family, "distance_mm": name, **shares, **score})
    return rows


def timing(folder: Path) -> Rows:
    """Seconds by method and number of thresholds."""
    rows = []
    for path in sorted(folder.glob("timing_*.npz")):
        about, _ = kept.load(path)
        for row in about["rows"]:
            weights = about["notes"].get(row["method"], "")
            rows.append(
                {
                    **row,
                    "layer": layers.plain(row["layer"]),
                    "weights": weights,
                    "cpu": about["machine"]["cpu"],
                    "load": about["machine"]["load_1min"],
                }
            )
    return rows


def drawn(parts: Sequence[Part], folder: Path) -> dict[str, dict[str, np.ndarray]]:
    """Arrays that figures are drawn from, by name of the file: see README.md beside the tables."""
    found: dict[str, dict[str, np.ndarray]] = {}
    for layer in layers.grouped(parts):
        first = layer[0]
        found[f"map_{first.layer}_{first.about['pulse']}"] = layers.site_map(layer)
    points = {}
    for part in parts:
        some = slice(None, None, max(1, len(part.judged) // DRAWN))
        name = f"{part.about['cell'].partition('/')[2]}_{part.about['pulse']}"
        points[f"{name}__simulated"] = part.judged.v_per_m[some].astype(np.float32)
        points |= {f"{name}__{f}": v[some].astype(np.float32) for f, v in part.judged.predicted.items()}
    if points:
        found["points"] = points
    maps, electrodes, sources = {}, {}, {}
    for path in sorted(folder.glob("uniform_*_1_*.npz")):
        about, columns = kept.load(path)
        name = path.stem.partition("_")[2]
        maps[f"{name}__simulated"] = _at_directions(columns["table"]).astype(np.float32)
        maps |= {f"{name}__{k[3:]}": v.astype(np.float32) for k, v in columns.items() if k.startswith("by_")}
    for path in sorted(folder.glob("points_*.npz")):
        about, columns = kept.load(path)
        some = slice(None, None, max(1, len(columns["milliampere"]) // DRAWN))
        name = about["cell"].partition("/")[2]
        electrodes |= {f"{name}__{k}": v[some] for k, v in columns.items() if not k.startswith("flagged")}
    for path in sorted(folder.glob("grids_*.npz")):
        about, columns = kept.load(path)
        for n in _samples(columns):
            judged = kept.to_judged(columns, f"n{n}__")
            some = slice(None, None, max(1, len(judged) // DRAWN))
            sources[f"n{n}__error"] = np.abs(judged.errors("support"))[some].astype(np.float32)
            sources |= {f"n{n}__{p}": np.asarray(judged.columns[p])[some].astype(np.float32) for p in PREDICTORS}
    found |= {"uniform_maps": maps, "electrodes": electrodes, "error_sources": sources}
    return {name: columns for name, columns in found.items() if columns}


def _at_directions(table: np.ndarray) -> np.ndarray:
    """Thresholds in the 2,522 directions of ``uniform.directions()``."""
    return np.concatenate([table[0, :1], table[1:-1].reshape(-1), table[-1, :1]]).astype(np.float64)


def _who(about: dict[str, Any]) -> dict[str, Any]:
    layer = layers.plain(about["layer"])
    return {"cell": about["cell"], "layer": layer, "clone": int(about["cell"][-1]), "pulse": about["pulse"]}
