"""Rows of the paper's table with the models that are judged by them."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import tmsjax as tj
from benchmarks.paper.run import Row, rows
from tmsjax.cli.stages import Stages
from tmsjax.core.errors import InputError
from tmsjax.surrogate import Surrogate
from tmsjax.surrogate.source import Source

FAMILIES = ("support", "cnn", "uniform", "weise")


def pairs(options: argparse.Namespace) -> list[tuple[Row, Row]]:
    """(training row, test row) of every cell and pulse that was asked for."""
    found: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows(options.datasets, options.cells):
        found.setdefault((row.recipe.cell, row.recipe.pulse), {})[row.recipe.head] = row
    both = [(pair.pop("S1"), next(iter(pair.values()))) for pair in found.values()]
    return [pair for pair in both if not options.pulses or pair[1].recipe.pulse in options.pulses]


def of(row: Row, zoo: Path, training: Row | None = None) -> dict[str, Surrogate]:
    """The zoo's models of a row's cell and pulse, by family.

    Raises:
        InputError: a model that was trained on another dataset than the one that is there.
    """
    name, pulse = row.recipe.cell, row.recipe.pulse
    there = {family for cell, course, family in tj.surrogate.available(zoo) if (cell, course) == (name, pulse)}
    found = {f: tj.surrogate.load(name, pulse, f, zoo) for f in FAMILIES if f in there}
    if training is not None and training.path.exists():
        digest = tj.simulate.open_dataset(training.path).content_hash()
        other = {f: m.card["data_hash"][:12] for f, m in found.items() if m.card["data_hash"] != digest}
        if other:
            raise InputError(
                f"models of {name} were trained on another dataset than {training.path.name}",
                got=other,
                expected=digest[:12],
                mend="train them again: python -m benchmarks.paper.train",
            )
    return found


def key(digest: str, found: dict[str, Surrogate]) -> dict[str, Any]:
    """What a row's result is made of: the dataset and the weights."""
    return {"dataset": digest, "models": {family: model.card["sha256"] for family, model in found.items()}}


def labels(row: Row, options: argparse.Namespace) -> Path | None:
    """The label file of a row's head, where that is not bundled."""
    return options.head if row.recipe.head_sha256 else None


class Sources:
    """The fields of recipes, solved when they are first asked for: they are the same for all clones of a layer."""

    def __init__(self, options: argparse.Namespace, stages: Stages) -> None:
        self.options, self.stages = options, stages
        self.found: dict[str, Source] = {}

    def __getitem__(self, row: Row) -> Source:
        if row.source not in self.found:
            with self.stages(f"fields {row.source}") as say:
                self.found[row.source] = Source(row.recipe, say, labels(row, self.options))
        return self.found[row.source]
