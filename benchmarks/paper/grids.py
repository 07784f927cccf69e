"""What the sampling grid costs: side and samples of the support functions' grid, and what their errors then go with.

Figures 5B to D, S6 and S7 of Aberra et al. (2023), of the support-function model, which trains in a minute: a network
a setting would take ten CPU-minutes each, and its coordinates (figures 5A, S5) are not varied here. Trained on the
first TRAINED thresholds of a training dataset and judged on TESTED of the head never seen, the same in every setting:
those whose patch stays within the tissue on the widest grid.
"""

from __future__ import annotations

import argparse
import dataclasses

import numpy as np

import tmsjax as tj
from benchmarks.paper import kept, models
from benchmarks.paper.run import Row, cell
from tmsjax.cells import cable_model
from tmsjax.cli.stages import Stages
from tmsjax.surrogate import Surrogate, SurrogateSpec, polarisation, polarised
from tmsjax.surrogate.evaluation import (
    Data,
    ablation,
    directional_gradients,
    error_sources,
    judge,
    sample_cases,
    side_cases,
)
from tmsjax.surrogate.evaluation.ablation import SIDES_MM
from tmsjax.surrogate.source import Source, examples

TRAINED, TESTED = 9_000, 6_000
LAYER = "L5"
SPEC = SurrogateSpec("", n=9, side_mm=1.5, model=tj.surrogate.SupportSpec(degrees=(), samples=1))
EXAMPLE = "L5_TTPC2_cADpyr232_1"
"""The clone whose samples are varied (the paper's too); sides are, of every clone."""


def run(some: list[tuple[Row, Row]], sources: models.Sources, options: argparse.Namespace, stages: Stages) -> None:
    """Train and judge every setting of the L5 clones whose datasets are complete; the fields are solved once."""
    for training, test in some:
        recipe = test.recipe
        if recipe.layer != LAYER or recipe.pulse != "monophasic":
            continue
        if training.done()[0] < training.recipe.thresholds or test.done()[0] < recipe.thresholds:
            continue
        hashes = [tj.simulate.open_dataset(row.path).content_hash() for row in (training, test)]
        key = {"datasets": hashes, "trained": TRAINED, "tested": TESTED}
        cases = side_cases(dataclasses.replace(SPEC, cell=recipe.cell, n=5))
        cases += sample_cases(dataclasses.replace(SPEC, cell=recipe.cell)) if recipe.cell.endswith(EXAMPLE) else []
        study = None
        for case in cases:
            out = options.kept / f"grids_{recipe.cell.partition('/')[2]}_{case.name}_{case.value}.npz"
            if kept.fresh(out, key):
                continue
            study = study or Study(training, test, sources[training], sources[test], options)
            with stages(f"{recipe.cell}, {case.name} {case.value}") as say:
                rows = ablation([case], study.fit, study.training, study.test, say)
                columns = study.explained(case.spec.n) if case.name == "n" else {}
            about = {"key": key, "cell": recipe.cell, "layer": recipe.layer, "ablation": rows}
            kept.save(out, about, **columns)


class Study:
    """One clone's data on any grid, and the models trained on them."""

    def __init__(self, training: Row, test: Row, learned: Source, unseen: Source, options: argparse.Namespace) -> None:
        self.sources = learned, unseen
        self.results = [tj.simulate.open_dataset(row.path).results() for row in (training, test)]
        self.cell = cell(test.recipe.cell, options.reconstructions)
        self.models: dict[tuple[int, float], Surrogate] = {}
        widest = max(SIDES_MM)
        self.rows = examples(unseen, _first(self.results[1], 2 * TESTED), widest, 0.0, 3).rows[:TESTED]
        self.learned = examples(learned, _first(self.results[0], 2 * TRAINED), widest, 0.0, 3).rows[:TRAINED]

    def training(self, spec: SurrogateSpec) -> Data:
        """Patches and thresholds of training on the grid of a spec."""
        return self._data(0, self.learned, spec)

    def test(self, spec: SurrogateSpec) -> Data:
        """The same of the head never seen."""
        return self._data(1, self.rows, spec)

    def _data(self, which: int, rows: np.ndarray, spec: SurrogateSpec) -> Data:
        patches = self.sources[which].patches(rows, spec.side_mm, spec.z_shift_mm, spec.n)
        middle = slice((spec.n - 1) // 2, spec.n // 2 + 1)
        centre = np.linalg.norm(patches[:, middle, middle, middle].mean((1, 2, 3)), axis=-1)
        results = self.results[which]
        return Data(
            patches, results["factor"][rows] * centre, self.sources[which].site[rows], results["initiation"][rows]
        )

    def fit(self, data: Data, spec: SurrogateSpec) -> Surrogate:
        """The support-function model of a grid, started from the cell's polarisation."""
        sites = polarisation.of_patches(self.cell, spec.pulse, spec.n, spec.side_mm, spec.z_shift_mm)
        model = dataclasses.replace(spec.model, degrees=(), samples=1)  # type: ignore[type-var]
        found, _ = tj.surrogate.train(
            data.patches,
            data.v_per_m,
            dataclasses.replace(spec, model=model),
            0,
            groups=data.site,
            initiation=data.initiation,
            sites=sites,
            training=polarised.TRAINING,
        )
        self.models[spec.n, spec.side_mm] = found
        return found

    def explained(self, n: int) -> dict[str, np.ndarray]:
        """Errors with n samples a side, the gradient that the grid sees, and its field where firing begins."""
        source, xyz = self.sources[1], cable_model(self.cell).xyz_um
        results = _first(self.results[1], 0, self.rows)
        judged, patches = judge({"support": self.models[n, SPEC.side_mm]}, source, results)
        found = error_sources(judged, source, results, xyz, SPEC.side_mm, 0.0, n, most=TESTED)
        seen = directional_gradients(patches["support"], SPEC.side_mm)[0].astype(np.float32)
        return {**kept.of_judged(found, f"n{n}__"), f"n{n}__seen_gradient_per_mm": seen}


def _first(results: dict[str, np.ndarray], count: int, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Results of which only the first ``count``, or some, rows have a threshold."""
    some = np.zeros(len(results["status"]), bool)
    some[:count] = True
    if rows is not None:
        some[rows] = True
    return results | {"status": np.where(some, results["status"], -1).astype(np.int8)}
