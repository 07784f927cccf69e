"""Fields unlike any coil's: uniform ones of every direction, and those of electrodes; and published thresholds."""

from __future__ import annotations

import argparse
from typing import Any

import numpy as np

import tmsjax as tj
from benchmarks import published_thresholds
from benchmarks.paper import kept, models
from benchmarks.paper.run import Row, cell
from tmsjax.cells import Cell, cable_model
from tmsjax.cli.stages import Stages
from tmsjax.surrogate import Surrogate, UniformMap, polarisation
from tmsjax.surrogate.evaluation import electrodes, point_source_test, simulate_point_sources, uniform_field_test

HOW: dict[str, Any] = {"engine": "cable", "tolerance": 0.005, "initiation": False}
"""How maps are simulated, as those of `benchmarks.paper.train`."""

STEP_MM, REACH_MM = 0.2, 1.5
"""Electrodes: the paper has 0.1 mm round the whole cell; these are 1,800 within 1.5 mm of the soma."""

POINT_LAYER = "L5"


def uniform_fields(some: list[tuple[Row, Row]], options: argparse.Namespace, stages: Stages) -> None:
    """The threshold-direction map of every cell, the zoo's or simulated, and the other models in uniform fields."""
    for training, row in some:
        out = options.kept / f"uniform_{_stem(row)}.npz"
        found = models.of(row, options.zoo, training)
        key = models.key("simulated", found)
        if kept.fresh(out, key):
            continue
        with stages(f"uniform {_stem(row)}") as say:
            table = _known_map(out, found)
            if table is None:
                table = _simulated(cell(row.recipe.cell, options.reconstructions), row.recipe.pulse, say)
            columns = {}
            for family, model in found.items():
                if family != "uniform":
                    columns[f"by_{family}"] = uniform_field_test(model, table)[1]["predicted_v_per_m"]
            about = {"key": key, "cell": row.recipe.cell, "layer": row.recipe.layer, "pulse": row.recipe.pulse}
            kept.save(out, about, table=np.asarray(table.table, np.float32), **_single(columns))


def intact_maps(some: list[tuple[Row, Row]], options: argparse.Namespace, stages: Stages) -> None:
    """Maps of the L5 cells whose main axon's last terminal is left as it is: what others may have simulated."""
    for _, row in some:
        out = options.kept / f"intact_{_stem(row)}.npz"
        if row.recipe.layer != POINT_LAYER or row.recipe.pulse != "monophasic" or out.exists():
            continue
        with stages(f"intact {_stem(row)}") as say:
            table = _simulated(
                tj.cells.load(row.recipe.cell, root=options.reconstructions, axon="intact"), "monophasic", say
            )
            about = {"cell": row.recipe.cell, "layer": row.recipe.layer, "pulse": row.recipe.pulse}
            kept.save(out, about, table=np.asarray(table.table, np.float32))


def _simulated(known: Cell, pulse: str, say: Any) -> UniformMap:
    grid = tj.surrogate.uniform.directions()
    truth = tj.simulate.uniform_thresholds(known, grid, pulse, **HOW, progress=say)
    return tj.surrogate.uniform.from_table(grid, truth.v_per_m)


def _known_map(out: Any, found: dict[str, Surrogate]) -> UniformMap | None:
    if "uniform" in found:
        return tj.surrogate.to_uniform(found["uniform"])
    return UniformMap(kept.load(out)[1]["table"]) if out.exists() else None


def point_sources(some: list[tuple[Row, Row]], options: argparse.Namespace, stages: Stages) -> None:
    """Thresholds of electrodes round the L5 cells (figure S8), simulated once, and by every model that sees gradients.

    As there, electrodes that make a dendrite or the soma fire first are left out.
    """
    for training, row in some:
        found = models.of(row, options.zoo, training)
        found = {f: m for f, m in found.items() if f in ("support", "cnn")}
        if row.recipe.layer != POINT_LAYER or row.recipe.pulse != "monophasic" or not found:
            continue
        truth = options.kept / f"electrodes_{_stem(row)}.npz"
        how = {"cell": row.recipe.cell, "step_mm": STEP_MM, "reach_mm": REACH_MM}
        known = cell(row.recipe.cell, options.reconstructions)
        if not kept.fresh(truth, how):
            with stages(f"electrodes {_stem(row)}") as say:
                at = electrodes(REACH_MM, STEP_MM)
                places, result = simulate_point_sources(known, at, "monophasic", tolerance=0.005, progress=say)
                columns = {"places": places, "milliampere": result.factor, "initiation": result.initiation}
                kept.save(truth, {"key": how}, **columns)
        out = options.kept / f"points_{_stem(row)}.npz"
        key = models.key(kept.load(truth)[0]["key"], found)
        if not kept.fresh(out, key):
            with stages(f"points {_stem(row)}"):
                about = {"key": key, "cell": row.recipe.cell, "layer": row.recipe.layer, "pulse": row.recipe.pulse}
                kept.save(out, about, **_single(_points(found, kept.load(truth)[1], cable_model(known))))


def _points(found: dict[str, Surrogate], known: dict[str, np.ndarray], cable: Any) -> dict[str, np.ndarray]:
    first = known["initiation"]
    axon = np.isfinite(known["milliampere"]) & (first >= 0) & np.isin(cable.region[first], polarisation.AXON)
    tests = {f: point_source_test(m, known["places"], known["milliampere"])[1] for f, m in found.items()}
    usable = np.isfinite(known["milliampere"])
    away = np.linalg.norm(known["places"] - cable.xyz_um[first] / 1e3, axis=1)
    columns = {"milliampere": known["milliampere"][axon], "distance_mm": away[axon]}
    for family, test in tests.items():
        if len(test["simulated_ma"]) != usable.sum():
            raise SystemExit(f"{family}: an electrode lies on a sample of its grid; choose another step")
        columns[f"by_{family}"] = test["predicted_ma"][axon[usable]]
        columns[f"distance_{family}"] = test["domain_distance"][axon[usable]]
        columns[f"flagged_{family}"] = test["domain_distance"][axon[usable]] > float(found[family].domain.limit)
    return columns


def published(options: argparse.Namespace) -> list[dict[str, Any]]:
    """Our uniform maps against the published thresholds of clones 1 to 3 (Aberra et al. 2020), in their directions.

    Rows that were published 1 % high by a quirk of the original search are counted, and compared without that percent.
    """
    out = []
    for path in sorted(options.kept.glob("uniform_*_monophasic.npz")):
        about, columns = kept.load(path)
        name = about["cell"].partition("/")[2]
        axon = "disabled" if about["layer"] == "L5" else "intact"
        directions, right, _ = published_thresholds.read(name, axon)
        if not len(right):
            continue
        ours = np.asarray(UniformMap(columns["table"]).predict(directions), np.float64)
        off = 100 * (ours / right - 1)
        high = _one_percent_high(name, axon, options, directions, right)
        off[high] = 100 * (ours[high] / (right[high] / 1.01) - 1)
        out.append(
            {
                "cell": about["cell"],
                "axon": axon,
                "directions": len(right),
                "published_high": int(high.sum()),
                "median_abs_percent": float(np.median(np.abs(off))),
                "mean_percent": float(off.mean()),
                "largest_abs_percent": float(np.abs(off).max()),
                "within_0.5_percent": float((np.abs(off) <= 0.5).mean()),
            }
        )
    return out


def _one_percent_high(
    name: str, axon: str, options: argparse.Namespace, directions: np.ndarray, right: np.ndarray
) -> np.ndarray:
    """Which of the known number of rows: those where the map is lowest against them."""
    count = published_thresholds.KNOWN_HIGH.get(f"{name} {axon}", 0)
    found = np.zeros(len(right), bool)
    if count:
        table = kept.load(options.kept / f"uniform_{name}_monophasic.npz")[1]["table"]
        ours = np.asarray(UniformMap(table).predict(directions), np.float64)
        found[np.argsort(ours / right)[:count]] = True
    return found


def _single(columns: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in columns.items()}


def _stem(row: Row) -> str:
    return f"{row.recipe.cell.partition('/')[2]}_{row.recipe.pulse}"
