"""A random part of every dataset simulated again by NEURON, which starts from nothing that the cable engine found."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

import tmsjax as tj
from benchmarks.paper import kept, layers, models
from benchmarks.paper.run import Row, cell
from tmsjax.cli.stages import Say, Stages
from tmsjax.surrogate.evaluation import Rows
from tmsjax.surrogate.source import check_fields

EACH = 100
"""Thresholds of a dataset: 200 of a cell and pulse, half on either head."""
TOLERANCE = 0.002
"""Of NEURON's search: less than the datasets' own, which is what the difference is then made of."""
AGREE_PERCENT = 1.0


def run(some: list[tuple[Row, Row]], sources: models.Sources, options: argparse.Namespace, stages: Stages) -> None:
    """Simulate again what is complete and was not simulated again yet."""
    for row in sorted((row for pair in some for row in pair), key=lambda row: row.source):
        out = options.kept / f"oracle_{row.path.stem}.npz"
        if row.done()[0] < row.recipe.thresholds:
            continue
        key = {"dataset": tj.simulate.open_dataset(row.path).content_hash(), "each": EACH, "tolerance": TOLERANCE}
        if not kept.fresh(out, key):
            source = sources[row]
            with stages(f"NEURON {row.path.stem}") as say:
                columns = again(row, source, options, say)
                about = {"cell": row.recipe.cell, "layer": row.recipe.layer, "pulse": row.recipe.pulse}
                kept.save(out, {"key": key, "head": row.recipe.head, **about}, **columns)
                say(f"largest difference {np.abs(_percent(columns)).max():.2g} %")


def again(row: Row, source, options: argparse.Namespace, say: Say) -> dict[str, np.ndarray]:
    """Thresholds of the dataset and NEURON's (V/m at the soma), and where either begins, for a random part.

    Raises:
        InputError: the fields are not those that the dataset was simulated with.
    """
    known = cell(row.recipe.cell, options.reconstructions)
    results = tj.simulate.open_dataset(row.path).results()
    fine = np.flatnonzero(results["status"] == 0)
    rows = np.sort(np.random.default_rng(0).choice(fine, EACH, replace=False))
    check_fields(source.at_soma(rows), results["v_per_m"][rows] / results["factor"][rows])
    fields = source.compartments(rows, tj.cells.cable_model(known).xyz_um)
    truth = tj.simulate.thresholds(known, fields, row.recipe.pulse, tolerance=TOLERANCE, progress=say)
    return {
        "rows": rows,
        "v_per_m": results["v_per_m"][rows],
        "neuron_v_per_m": np.asarray(truth.v_per_m),
        "initiation": results["initiation"][rows],
        "neuron_initiation": np.asarray(truth.initiation),
    }


def table(folder: Path) -> Rows:
    """Differences of every cell and pulse, dataset over NEURON, over both heads."""
    found: dict[tuple[str, str, str], list[dict[str, np.ndarray]]] = {}
    for path in sorted(folder.glob("oracle_*.npz")):
        about, columns = kept.load(path)
        found.setdefault((about["cell"], layers.plain(about["layer"]), about["pulse"]), []).append(columns)
    rows: Rows = []
    for (name, layer, pulse), parts in found.items():
        percent = np.concatenate([_percent(part) for part in parts])
        same = np.concatenate([part["initiation"] == part["neuron_initiation"] for part in parts])
        rows.append(
            {
                "cell": name,
                "layer": layer,
                "pulse": pulse,
                "n": len(percent),
                "median_percent": float(np.median(np.abs(percent))),
                "largest_percent": float(np.abs(percent).max()),
                "mean_percent": float(percent.mean()),
                "agree_1_percent": float((np.abs(percent) <= AGREE_PERCENT).mean()),
                "same_initiation": float(same.mean()),
            }
        )
    return rows


def _percent(columns: dict[str, np.ndarray]) -> np.ndarray:
    return 100 * (columns["v_per_m"] / columns["neuron_v_per_m"] - 1)
