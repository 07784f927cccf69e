"""Figure 7 on one core: NEURON as published, the oracle, the cable engine, the network and the support functions.

All in CPU-seconds of one pinned core, methods taking turns. Simulations are asked for a few thresholds and go on in
proportion, as in the paper; surrogates do what the figure says, from patches of the field that are there. The network's
weights are the zoo's, or untrained ones, which are as fast (and the table says so).
"""

from __future__ import annotations

import argparse
import os
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import tmsjax as tj
from benchmarks import _common, groundtruth
from benchmarks.paper import kept
from benchmarks.paper.run import cell
from tmsjax.cli.stages import Stages
from tmsjax.core.versions import versions
from tmsjax.surrogate import Surrogate, SurrogateSpec
from tmsjax.surrogate.cnn import CnnSpec, network
from tmsjax.surrogate.evaluation.timing import COUNTS, Method, time_by_count
from tmsjax.surrogate.grid import recommended

CELLS = ("L23_PC_cADpyr229_1", "L4_LBC_cACint209_1", "L5_TTPC2_cADpyr232_1")
LAYERS = ("L2/3", "L4", "L5")
SIMULATED = {"NEURON, as published": 2, "NEURON, oracle": 12}
"""Thresholds that a simulation in a process of its own is timed on."""
MOST = {"cable engine": 1000, "cnn": 1000, "support": 10_000}
"""Thresholds that are found at most; more go on in proportion."""


def run(options: argparse.Namespace, stages: Stages) -> None:
    """Time all methods for one cell of every layer."""
    before = os.sched_getaffinity(0)
    for name, layer in zip(CELLS, LAYERS, strict=True):
        out = options.kept / f"timing_{name}.npz"
        key = {"cell": name, "counts": list(COUNTS), "tmsjax": versions("tmsjax"), "cpu": _common.machine()["cpu"]}
        if kept.fresh(out, key):
            continue
        os.sched_setaffinity(0, {min(before)})
        with stages(f"timing {name}") as say:
            rows, notes = measure(name, layer, options, say)
        os.sched_setaffinity(0, before)
        kept.save(out, {"key": key, "rows": rows, "notes": notes, "machine": _common.machine()})


def measure(
    name: str, layer: str, options: argparse.Namespace, say: Any
) -> tuple[list[dict[str, Any]], dict[str, str]]:
    """Rows of ``time_by_count``, and where the weights are from."""
    known = cell(f"aberra2019/{name}", options.reconstructions)
    cable = tj.cells.cable_model(known)
    fields = groundtruth.random_fields(cable.xyz_um, MOST["cable engine"])
    grid = tj.surrogate.uniform.directions(groundtruth.MAP_DEG)
    rough = tj.simulate.uniform_thresholds(known, grid, engine="cable", tolerance=0.05, initiation=False, workers=1)
    table = tj.surrogate.uniform.from_table(grid, rough.v_per_m, groundtruth.MAP_DEG)
    guess = np.asarray(table.predict(fields[:, 0]), float)

    say("NEURON")
    few, some = SIMULATED.values()
    slow, _ = groundtruth.elsewhere(groundtruth.as_published, known, fields[:few])
    oracle, _ = groundtruth.elsewhere(groundtruth.by_oracle, known, fields[:some], guess[:some], True)
    settings = {"engine": "cable", "tolerance": groundtruth.TOLERANCE, "initiation": False, "workers": 1}
    families, notes = surrogates(name, layer, options.zoo)
    patches = {model.spec.n: _patches(model.spec.n) for model in families.values()}

    def cable_engine(count: int) -> Any:
        return tj.simulate.thresholds(known, fields[:count], guess=guess[:count], **settings)

    run = {"cable engine": cable_engine}
    run |= {family: partial(_predict, model, patches[model.spec.n]) for family, model in families.items()}
    say("cable engine and surrogates")
    rows = time_by_count({name: Method(each, MOST[name]) for name, each in run.items()}, repeats=1)
    for method, rate in zip(SIMULATED, (slow, oracle), strict=True):
        rows += [
            {
                "method": method,
                "thresholds": k,
                "seconds": k / rate,
                "per_second": rate,
                "measured": k == SIMULATED[method],
            }
            for k in COUNTS
        ]
    return [{"cell": name, "layer": layer, **row} for row in rows], notes


def surrogates(name: str, layer: str, zoo: Path) -> tuple[dict[str, Surrogate], dict[str, str]]:
    """The network and the support functions of a cell, and where their weights are from."""
    import jax

    there = {
        family
        for cell, pulse, family in tj.surrogate.available(zoo)
        if (cell, pulse) == (f"aberra2019/{name}", "monophasic")
    }
    found, notes = {}, {}
    for family in ("cnn", "support"):
        if family in there:
            found[family] = tj.surrogate.load(f"aberra2019/{name}", "monophasic", family, zoo)
            notes[family] = "trained"
    if "cnn" not in found and "support" in found:
        side, shift, n = recommended(layer, "cnn")
        model = CnnSpec(unit_v_per_m=200.0)
        spec = SurrogateSpec(name, n=n, side_mm=side, z_shift_mm=shift, model=model, family="cnn")
        found["cnn"] = Surrogate(network(model, n).init(jax.random.key(0)), found["support"].domain, spec)
        notes["cnn"] = "untrained"
    return found, notes


def _predict(model: Surrogate, patches: np.ndarray, count: int) -> np.ndarray:
    return np.asarray(model.predict(patches[:count]))


def _patches(n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(max(COUNTS), 1, 1, 1, 3))
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    return (mean + 0.1 * rng.normal(size=(max(COUNTS), n, n, n, 3))).astype(np.float32)
