"""Held-out scores of the bundled surrogates, recomputed: `python -m benchmarks.surrogates [--quick]`.

Reads the simulated thresholds in `datasets/`, computes their fields again from the recipe, and scores the shipped
weights on the sites that their training held out (the split is a function of the card's seed), beside the uniform-field
map as the card has it.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

import tmsjax as tj
from benchmarks import _common
from tmsjax.nn import metrics
from tmsjax.surrogate import recipe as recipes
from tmsjax.surrogate.split import split

DATASETS = Path(__file__).parent / "datasets"
BAR_PERCENT = 2.2
"""Mean absolute percentage error of the worst of the paper's CNNs (Aberra 2023, section 3.1)."""


def main() -> None:
    options = _common.parse(__doc__ or "")
    results, targets = {}, []
    for path in sorted(DATASETS.glob("*.zarr"))[: 1 if options.quick else None]:
        dataset = tj.simulate.open_dataset(path)
        cell, pulse = dataset.attrs["cell"], dataset.attrs["pulse"]
        model = tj.surrogate.load(cell, pulse=pulse)
        card = model.card
        if card["data_hash"] != dataset.content_hash():
            raise SystemExit(f"{path.name} is not the dataset that {cell} was trained on")
        source = recipes.Source(recipes.Recipe.from_dict(dataset.attrs["recipe"]), print)
        data = recipes.examples(source, dataset.results(), model.spec.side_mm, model.spec.z_shift_mm)
        unseen = split(len(data.rows), card["seed"], groups=data.site).held_out
        score = metrics.summary(np.asarray(model.predict(data.patches[unseen])), data.v_per_m[unseen])
        results[cell] = {"surrogate": score, "uniform": card["scores"]["uniform"]}
        targets.append(_common.target(f"{cell}: MAPE on held-out sites, %", score["mape_percent"], BAR_PERCENT))
    columns = ("cell", "n", "MAPE %", "median %", "p99 %", "R2", "uniform MAPE %")
    names = ("n", "mape_percent", "median_ape_percent", "p99_ape_percent", "r2")
    lines = [(c, *(r["surrogate"][n] for n in names), r["uniform"]["mape_percent"]) for c, r in results.items()]
    _common.table("held-out sites", columns, lines)
    _common.write("surrogates", results, targets, quick=options.quick)


if __name__ == "__main__":
    main()
