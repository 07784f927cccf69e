"""Held-out scores of the bundled surrogates, recomputed: `python -m benchmarks.surrogates [--quick]`.

Reads the simulated thresholds in `datasets/`, computes their fields again from the recipe, and scores the shipped
weights on the sites that their training held out (the split is a function of the card's seed), and on coil poses that
it never saw, beside the uniform-field map's score on the held-out sites (from the card).
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tmsjax as tj
from benchmarks import _common
from tmsjax.nn import metrics
from tmsjax.surrogate import Surrogate
from tmsjax.surrogate import source as sources
from tmsjax.surrogate.recipe import Recipe
from tmsjax.surrogate.split import split

DATASETS = Path(__file__).parent / "datasets"
BAR_PERCENT = 2.2
"""Mean absolute percentage error of the worst of the paper's CNNs (Aberra 2023, section 3.1)."""


def unseen(path: Path, model: Surrogate) -> tuple[sources.Examples, np.ndarray]:
    """The examples of a dataset, and which of them the model's training did not see.

    That is all of a dataset made to judge; of the training dataset itself, the sites that were held out.
    """
    dataset = tj.simulate.open_dataset(path)
    source = sources.Source(Recipe.from_dict(dataset.attrs["recipe"]), print)
    data = sources.examples(source, dataset.results(), model.spec.side_mm, model.spec.z_shift_mm)
    if path.name.startswith("unseen"):
        return data, np.arange(len(data.rows))
    if model.card["data_hash"] != dataset.content_hash():
        raise SystemExit(f"{path.name} is not the dataset that {model.spec.cell} was trained on")
    return data, split(len(data.rows), model.card["seed"], groups=data.site).held_out


def main() -> None:
    options = _common.parse(__doc__ or "")
    results, targets = {}, []
    for path in sorted(DATASETS.glob("open_*.zarr"))[: 1 if options.quick else None]:
        cell = tj.simulate.open_dataset(path).attrs["cell"]
        model = tj.surrogate.load(cell)
        results[cell] = {"uniform": model.card["scores"]["uniform"]}
        for name, where in (("held-out sites", path), ("unseen poses", path.with_name(f"unseen_{path.name}"))):
            data, rows = unseen(where, model)
            score = metrics.summary(np.asarray(model.predict(data.patches[rows])), data.v_per_m[rows])
            results[cell][name] = score
            targets.append(_common.target(f"{cell}, {name}: MAPE, %", score["mape_percent"], BAR_PERCENT))
    columns = ("cell", "judged on", "n", "MAPE %", "median %", "p99 %", "R2", "uniform field MAPE %")
    numbers = ("n", "mape_percent", "median_ape_percent", "p99_ape_percent", "r2")
    lines = [
        (cell, name, *(score[name][number] for number in numbers), score["uniform"]["mape_percent"])
        for cell, score in results.items()
        for name in score
        if name != "uniform"
    ]
    _common.table("the bundled surrogates", columns, lines)
    _common.write("surrogates", results, targets, quick=options.quick)


if __name__ == "__main__":
    main()
