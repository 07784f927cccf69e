"""Models of a population's median against the median of its clones' simulated thresholds, on the head never seen."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence

import numpy as np

import tmsjax as tj
from benchmarks.paper import kept, models
from benchmarks.paper.run import CLONES, Row
from tmsjax.cli.stages import Stages
from tmsjax.surrogate import Surrogate
from tmsjax.surrogate.median_train import clone, median_examples
from tmsjax.surrogate.source import Source

FAMILY = "median"


def run(some: list[tuple[Row, Row]], sources: models.Sources, options: argparse.Namespace, stages: Stages) -> None:
    """Judge every population whose clones are all complete and that the zoo has a model of."""
    tests = [row for _, row in some]
    there = tj.surrogate.available(options.zoo)
    for name, pulse in dict.fromkeys((row.recipe.cell.rpartition("_")[0], row.recipe.pulse) for row in tests):
        clones = [row for row in tests if (row.recipe.cell.rpartition("_")[0], row.recipe.pulse) == (name, pulse)]
        complete = [row for row in clones if row.done()[0] == row.recipe.thresholds]
        if len(complete) < len(CLONES) or (name, pulse, FAMILY) not in there:
            continue
        model = tj.surrogate.load(name, pulse, FAMILY, options.zoo)
        datasets = [tj.simulate.open_dataset(row.path) for row in complete]
        key = {"datasets": [dataset.content_hash() for dataset in datasets], "model": model.card["sha256"]}
        out = options.kept / f"median_{name.partition('/')[2]}_{pulse}.npz"
        if kept.fresh(out, key):
            continue
        source, recipe = sources[clones[0]], clones[0].recipe
        with stages(f"medians of {name}") as say:
            results = [dataset.results() for dataset in datasets]
            truth, predicted = of_places(model, source, results, recipe.rotations)
            about = {"key": key, "cell": name, "layer": recipe.layer, "pulse": pulse, "clones": len(datasets)}
            columns = {"v_per_m": truth.astype(np.float32), "by_median": predicted.astype(np.float32)}
            kept.save(out, about, **columns)
            say(f"{len(truth)} places")


def of_places(
    model: Surrogate, source: Source, results: Sequence[Mapping[str, np.ndarray]], azimuths: int
) -> tuple[np.ndarray, np.ndarray]:
    """(simulated, predicted) medians over clones and azimuths at every place, V/m at the centre of its patch."""
    found = median_examples([clone(source, each, model.spec) for each in results], azimuths)
    return found.v_per_m, np.asarray(model.predict(found.patches), np.float64)
