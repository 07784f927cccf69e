"""Train the surrogates of the paper's table: `python -m benchmarks.paper.train --datasets FOLDER --zoo FOLDER`.

For every training dataset of `benchmarks.paper.run` that is complete: the uniform-field map, the support function, the
network and the average model of its cell and pulse, each on the layer's grid, saved as ZOO/CELL/PULSE/FAMILY; and,
where all clones are complete, the model of their median as ZOO/CELL without its number/PULSE/median. Run it again to go
on after an interruption: models of the same datasets are left as they are, a network goes on at its epoch. The fields
of a recipe are solved once for all of its clones.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console

import tmsjax as tj
from benchmarks.paper.run import CLONES, HERE, SHARED, Row, cell, rows
from tmsjax.cli.stages import Say, Stages
from tmsjax.surrogate import Surrogate, UniformMap, polarisation, polarised
from tmsjax.surrogate.cnn_train import SHORT_MODEL, SHORT_TRAINING
from tmsjax.surrogate.grid import recommended
from tmsjax.surrogate.median_train import clone, median_examples
from tmsjax.surrogate.source import Examples, Source, examples

LICENCE = "CC-BY-NC-SA-4.0"
ORIGIN = "thresholds of reconstructions of the Blue Brain Project, scaled and myelinated after Aberra et al. (2018)"
FAMILIES = ("uniform", "support", "weise", "cnn")
MEDIAN = "median"
EPOCHS = 25
"""Of the network, on 24,500 thresholds: as many steps as 40 epochs of 15,000."""


def train(row: Row, families: list[str], source: Callable[[], Source], options: argparse.Namespace) -> None:
    """Train and save what the row's cell lacks, in one pass over its patches."""
    dataset = tj.simulate.open_dataset(row.path)
    home = options.zoo.joinpath(*row.recipe.cell.split("/"), row.recipe.pulse)
    stages = Stages(options.console)
    table = _map(row, home, options, stages)
    kept: dict[int, Examples] = {}
    for family in families:
        grid = recommended(row.recipe.layer, family)
        if grid.n not in kept:
            with stages(f"samples {grid.n}") as say:
                kept[grid.n] = examples(source(), dataset.results(), *grid)
                say(f"{len(kept[grid.n].rows)} of {len(dataset)} thresholds have a patch within the tissue")
        data = kept[grid.n]
        with stages(family) as say:
            model, report = _fitted(family, row, data, table, options, say)
            about = {
                "recipe": row.recipe.as_dict(),
                "thresholds": len(data.rows),
                "versions": dataset.attrs["versions"],
            }
            _keep(model, report, home / family, dataset.content_hash(), about, say)


def _keep(model: Surrogate, report: dict[str, Any], folder: Path, digest: str, about: dict[str, Any], say: Say) -> None:
    data = {**model.card.get("data", {}), **about, "origin": ORIGIN}
    tj.surrogate.save(model, folder, card={"data_hash": digest, "data": data, "licence": LICENCE})
    score = report["scores"]["surrogate"]
    say(f"held-out sites: {score['mape_percent']:.3g} %, median {score['median_ape_percent']:.3g} %")


def train_median(clones: list[Row], source: Callable[[], Source], options: argparse.Namespace) -> None:
    """Train and save the median over the clones of a recipe, unless it is there."""
    recipe = clones[0].recipe
    name, digest = recipe.cell.rpartition("_")[0], _digest(clones)
    folder = options.zoo.joinpath(*name.split("/"), recipe.pulse, MEDIAN)
    if _of(folder) == digest:
        return
    grid = recommended(recipe.layer, MEDIAN)
    where = {"n": grid.n, "side_mm": grid.side_mm, "z_shift_mm": grid.z_shift_mm}
    start = tj.surrogate.MedianSpec(degrees=(2, 3))
    spec = tj.surrogate.SurrogateSpec(name, recipe.pulse, **where, model=start, family=MEDIAN)
    stages = Stages(options.console)
    with stages(f"clones of {name}"):
        results = [tj.simulate.open_dataset(row.path).results() for row in clones]
        some = median_examples([clone(source(), each, spec) for each in results], recipe.rotations)
    with stages(MEDIAN) as say:
        model, report = tj.surrogate.train_median(some, spec, 0, progress=say)
        about = {"recipe": recipe.as_dict(), "clones": [row.recipe.cell for row in clones], "places": len(some.place)}
        _keep(model, report, folder, digest, about, say)


def _map(row: Row, home: Path, options: argparse.Namespace, stages: Stages) -> UniformMap:
    if (home / "uniform" / "card.json").exists():
        return tj.surrogate.to_uniform(tj.surrogate.load(home / "uniform"))
    with stages("uniform map") as say:
        grid = tj.surrogate.uniform.directions()
        how: dict[str, Any] = {"engine": "cable", "tolerance": 0.005, "initiation": False, "progress": say}
        known = cell(row.recipe.cell, options.reconstructions)
        truth = tj.simulate.uniform_thresholds(known, grid, row.recipe.pulse, **how)
        return tj.surrogate.uniform.from_table(grid, truth.v_per_m)


def _fitted(
    family: str, row: Row, data: Examples, table: UniformMap, options: argparse.Namespace, say: Say
) -> tuple[Surrogate, dict[str, Any]]:
    grid = recommended(row.recipe.layer, family)
    model: Any = {
        "support": tj.surrogate.SupportSpec,
        "cnn": lambda: SHORT_MODEL,
        "uniform": tj.surrogate.UniformSpec,
        "weise": tj.surrogate.WeiseSpec,
    }[family]()
    where = {"n": grid.n, "side_mm": grid.side_mm, "z_shift_mm": grid.z_shift_mm}
    spec = tj.surrogate.SurrogateSpec(row.recipe.cell, row.recipe.pulse, **where, model=model, family=family)
    how: dict[str, Any] = {"groups": data.site, "uniform": table}
    if family == "support":
        sites = polarisation.of_patches(cell(row.recipe.cell, options.reconstructions), row.recipe.pulse, *_place(grid))
        how |= {"initiation": data.initiation, "training": polarised.TRAINING}
        return tj.surrogate.train(data.patches, data.v_per_m, spec, 0, sites=sites, progress=say, **how)
    if family == "cnn":
        folder = options.zoo / ".runs" / row.path.stem
        training = dataclasses.replace(SHORT_TRAINING, epochs=options.epochs)
        return tj.surrogate.train_cnn(
            data.patches, data.v_per_m, spec, 0, training=training, folder=folder, progress=say, **how
        )
    return tj.surrogate.train_baseline(data.patches, data.v_per_m, spec, 0, **how)


def _place(grid: Any) -> tuple[int, float, float]:
    return grid.n, grid.side_mm, grid.z_shift_mm


def lacking(row: Row, families: list[str], zoo: Path) -> list[str]:
    """The families that the zoo has no model of, or one of another dataset."""
    digest = tj.simulate.open_dataset(row.path).content_hash()
    return [f for f in families if _of(zoo.joinpath(*row.recipe.cell.split("/"), row.recipe.pulse, f)) != digest]


def _of(folder: Path) -> str | None:
    """Hash of the datasets that the model in a folder was trained on."""
    card = folder / "card.json"
    return json.loads(card.read_text())["data_hash"] if card.exists() else None


def _digest(clones: list[Row]) -> str:
    """Of several datasets together."""
    hashes = [tj.simulate.open_dataset(row.path).content_hash() for row in clones]
    return hashlib.sha256("\n".join(hashes).encode()).hexdigest()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--datasets", type=Path, default=HERE / "datasets")
    parser.add_argument("--zoo", type=Path, required=True, help="folder of the surrogates")
    parser.add_argument("--families", nargs="+", default=[*FAMILIES, MEDIAN], choices=[*FAMILIES, MEDIAN])
    parser.add_argument("--cells", nargs="+", default=[], help="ends of cells' names")
    parser.add_argument("--pulses", nargs="+", help="only these pulses")
    parser.add_argument("--epochs", type=int, default=EPOCHS, help="of the network")
    parser.add_argument("--reconstructions", type=Path, default=SHARED / "cells" / "aberra2019")
    options = parser.parse_args()
    options.console = Console()
    some = [row for row in rows(options.datasets, options.cells) if row.recipe.head == "S1"]
    some = [row for row in some if row.done()[0] == row.recipe.thresholds]
    some = [row for row in some if not options.pulses or row.recipe.pulse in options.pulses]
    some.sort(key=lambda row: (row.recipe.pulse != "monophasic", row.source))
    sources: dict[str, Source] = {}
    for number, row in enumerate(some, 1):
        families = lacking(row, [f for f in options.families if f != MEDIAN], options.zoo)
        clones = [other for other in some if other.source == row.source]
        whole = MEDIAN in options.families and len(clones) == len(CLONES) and row is clones[-1]
        if not families and not whole:
            continue
        options.console.rule(f"{number} of {len(some)}: {row.recipe.cell}, {row.recipe.pulse}")

        def source(row: Row = row) -> Source:
            if row.source not in sources:
                sources.clear()
                sources[row.source] = Source(row.recipe)
            return sources[row.source]

        if families:
            train(row, families, source, options)
        if whole:
            train_median(clones, source, options)


if __name__ == "__main__":
    main()
