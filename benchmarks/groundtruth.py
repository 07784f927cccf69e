"""Thresholds a second of one core: NEURON as published, our oracle, the cable engine; and how well they agree.

    python -m benchmarks.groundtruth            # writes benchmarks/results/groundtruth.json
    python -m benchmarks.groundtruth --gpu      # with the cable engine on JAX's default device, in wall-clock seconds

For each cell type, at 2 % tolerance, in random fields with gradients like those in cortex:
(a) NEURON with ``extracellular``, exact rates, whole runs of 1 ms, a cold bisection from 100 V/m, as the published
    pipeline (but its steady state restored between runs, which the pipeline computed again, and crossings counted by
    our mechanism in every section, which injects nothing: it stands for the pipeline's APCount);
(b) our oracle: axial injection, tabulated rates, early stop, a guess from the map of uniform thresholds;
(c) the cable engine with all channels and the same guess, (d) with the reduced membrane. "JAX, CPU" is its other
    backend on the same core, whatever devices there are.
All run pinned to one core, and are timed in seconds of that core: other work on the machine counts little. The cells of
Aberra et al. are measured where ``$TMSJAX_SHARED`` or ``../shared`` has them.
"""

from __future__ import annotations

import concurrent.futures
import multiprocessing
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import parse, table, target, write
from tmsjax import surrogate
from tmsjax.cells import Cell, build_neuron, cable_model, load, load_neuron, steady_state, use_tables
from tmsjax.simulate import Search, find_threshold, on_grid, pulse, thresholds, uniform_thresholds
from tmsjax.simulate.oracle import CROSSINGS, DT_MS
from tmsjax.simulate.quasipotential import quasipotential
from tmsjax.simulate.workers import Simulator

SHARED = Path(os.environ.get("TMSJAX_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "cells" / "aberra2019"
CELLS = {
    "L2/3 PC": ("open/L23_PC_1", "aberra2019/L23_PC_cADpyr229_1"),
    "L4 LBC": ("open/L4_LBC_1", "aberra2019/L4_LBC_cACint209_1"),
    "L5 PC": ("open/L5_PC_1", "aberra2019/L5_TTPC2_cADpyr232_1"),
}
TOLERANCE = 0.02
FIELDS = 200
GRADIENT_PER_UM = 0.15e-3
"""Standard deviation of dE_i/dx_j over |E| (Aberra et al. 2020: up to some 0.3 per mm)."""
MAP_DEG = 15.0
DEVICE_FIELDS = (256, 1024, 4096, 16384)
DEVICE_MODES = (("full", "float32"), ("reduced", "float32"), ("full", "float64"))
PAPER_IN_AN_HOUR = 2.2e6 / 3600
"""Thresholds a second that make a dataset of the published size (Aberra et al. 2023) in an hour."""


def main() -> None:
    options = parse(__doc__.splitlines()[0])
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    results, targets = {}, []
    for kind, names in CELLS.items():
        for name in names:
            if name.startswith("aberra") and not SHARED.is_dir():
                continue
            cell = load(name, root=SHARED if name.startswith("aberra") else None)
            results[name] = {"kind": kind, **measure(cell, quick=options.quick, device=options.gpu)}
            r = results[name]
            print(f"{name}: " + ", ".join(f"{key} {r['per_second'][key]:.3g}/s" for key in r["per_second"]), flush=True)
            targets += [
                target(f"{name}: (b) oracle / (a) NEURON as published", r["oracle_over_published"], 20, at_least=True),
                target(f"{name}: (c) cable / (b) oracle", r["cable_over_oracle"], 3, at_least=True),
                target(f"{name}: cable and oracle differ, median %", r["median_percent"], 0.1),
                target(f"{name}: cable and oracle differ, max %", r["max_percent"], 1.0),
                target(f"{name}: reduced and full differ, max %", r["reduced_max_percent"], 1.0),
            ]
    columns = list(next(iter(results.values()))["per_second"])
    rows = [[name, r["segments"], *r["per_second"].values()] for name, r in results.items()]
    table("thresholds a second of one core, 2 %", ["cell", "segments", *columns], rows)
    batches = list(next(iter(results.values()))["by_batch"])
    rows = [[name, *r["by_batch"].values()] for name, r in results.items()]
    table("(c) by the number of fields given at once", ["cell", *batches], rows)
    if options.gpu:
        rows = [
            [f"{name}, {what}", *speeds.values()] for name, r in results.items() for what, speeds in r["device"].items()
        ]
        table(
            f"JAX on {device_name()}: thresholds a second by fields given at once",
            ["cell", *map(str, DEVICE_FIELDS)],
            rows,
        )
        for name, r in results.items():
            speed = r["device"]["full float32"][DEVICE_FIELDS[-1]]
            targets.append(target(f"{name}: device, thresholds a second", speed, PAPER_IN_AN_HOUR, at_least=True))
    write("groundtruth", results, targets, quick=options.quick)


def device_name() -> str:
    """What JAX computes on by default."""
    import jax

    return jax.devices()[0].device_kind


def measure(cell: Cell, *, quick: bool, device: bool) -> dict[str, Any]:
    """All speeds and differences of one cell."""
    cable = cable_model(cell)
    few, some, many = (1, 4, 64) if quick else (3, 24, 512)
    checked = 10 if quick else FIELDS
    fields = random_fields(cable.xyz_um, max(many, checked))
    grid = surrogate.uniform.directions(MAP_DEG)
    known = uniform_thresholds(cell, grid, engine="cable", tolerance=0.05, initiation=False, workers=1)
    guess = np.asarray(surrogate.uniform.from_table(grid, known.v_per_m, MAP_DEG).predict(fields[:, 0]), float)

    speeds, runs = {}, {}
    speeds["(a) NEURON, extracellular"], runs["a"] = elsewhere(as_published, cell, fields[:few])
    speeds["(b) oracle"], runs["b"] = elsewhere(by_oracle, cell, fields[:some], guess[:some], True)
    speeds["(b) exact rates"], _ = elsewhere(by_oracle, cell, fields[:few], guess[:few], False)
    speeds["(b) cold"], _ = elsewhere(by_oracle, cell, fields[:some], None, True)
    settings = {"engine": "cable", "tolerance": TOLERANCE, "initiation": False, "workers": 1}

    def cable_speed(k: int, **more: Any) -> float:
        thresholds(cell, fields[: min(k, 16)], **{**settings, **more}, guess=guess[: min(k, 16)])  # compiled
        repeats = max(1, (many if more.get("backend") is None else k) // k // 2) if k < many else 1
        start = time.process_time()
        for _ in range(repeats):
            thresholds(cell, fields[:k], **{**settings, **more}, guess=guess[:k])
        return repeats * k / (time.process_time() - start)

    speeds["(c) cable, full"] = cable_speed(many)
    speeds["(d) cable, reduced"] = cable_speed(many, membrane="reduced")
    speeds["(c) float64"] = cable_speed(many, precision="float64")
    speeds["(c) JAX, CPU"] = elsewhere(by_jax, cell, fields[:64], guess[:64], settings, JAX_PLATFORMS="cpu")
    by_batch = {str(k): cable_speed(k) for k in (1, 4, 16, 64, many)}
    by_device: dict[str, dict[int, float]] = {}
    if device:
        for chosen, precision in DEVICE_MODES:
            modes = {**settings, "membrane": chosen, "precision": precision}
            for k in DEVICE_FIELDS:
                more = random_fields(cable.xyz_um, k)
                speed = by_jax(cell, more, np.full(k, np.median(guess)), modes, wall=True)
                by_device.setdefault(f"{chosen} {precision}", {})[k] = speed

    exact = {"tolerance": 5e-4, "initiation": False, "workers": 1}
    full = thresholds(cell, fields[:checked], engine="cable", guess=guess[:checked], **exact)
    reduced = thresholds(cell, fields[:checked], engine="cable", membrane="reduced", guess=full.v_per_m, **exact)
    neuron = thresholds(cell, fields[:checked], guess=full.v_per_m, **exact)
    differ = 100 * np.abs(full.v_per_m / neuron.v_per_m - 1)
    return {
        "segments": cable.n,
        "per_second": speeds,
        "runs_per_threshold": runs,
        "oracle_over_published": speeds["(b) oracle"] / speeds["(a) NEURON, extracellular"],
        "cable_over_oracle": speeds["(c) cable, full"] / speeds["(b) oracle"],
        "by_batch": by_batch,
        "device": by_device,
        "fields": checked,
        "median_percent": float(np.median(differ)),
        "max_percent": float(differ.max()),
        "reduced_median_percent": float(np.median(100 * np.abs(reduced.v_per_m / full.v_per_m - 1))),
        "reduced_max_percent": float(np.max(100 * np.abs(reduced.v_per_m / full.v_per_m - 1))),
        "guess_percent": float(np.median(100 * np.abs(guess[:checked] / full.v_per_m - 1))),
    }


def random_fields(xyz_um: np.ndarray, k: int, seed: int = 0) -> np.ndarray:
    """Fields (k, n, 3) of every direction, |E| = 1 V/m at the soma, with random gradients."""
    rng = np.random.default_rng(seed)
    unit = rng.normal(size=(k, 3))
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    gradient = GRADIENT_PER_UM * rng.normal(size=(k, 3, 3))
    from_soma = xyz_um - xyz_um[0]
    return (unit[:, None] + np.einsum("ni,kij->knj", from_soma, gradient)).astype(np.float32)


def elsewhere(function: Any, *arguments: Any, **environment: str) -> Any:
    """Run in a fresh process on the same core: NEURON holds one cell, and JAX chooses its platform once."""
    before = dict(os.environ)
    os.environ.update(environment)  # a spawned process begins with it
    try:
        with concurrent.futures.ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as executor:
            return executor.submit(function, *arguments).result()
    finally:
        for name in environment:
            if name in before:
                os.environ[name] = before[name]
            else:
                del os.environ[name]


def as_published(cell: Cell, fields: np.ndarray) -> tuple[float, float]:
    """Thresholds a second and runs a threshold with NEURON's extracellular mechanism and a cold bisection."""
    h = load_neuron()
    use_tables(False)
    built = build_neuron(cell)
    for sec in built.sections:
        sec.insert("extracellular")
        sec.insert("QuasiInjection")  # counts the crossings; injects nothing
    steady_state()
    state = h.SaveState()
    state.save()
    cable = cable_model(cell)
    wave = on_grid(pulse("monophasic"))
    middles = (wave[1:] + wave[:-1]) / 2
    outside = h.PtrVector(cable.n)
    for row, seg in enumerate(built.segments):
        outside.pset(row, seg._ref_e_extracellular)

    def fires(amplitude: float) -> bool:
        state.restore(1)
        h.t, h.dt, h.count_QuasiInjection = 0.0, DT_MS, 0.0
        for value in middles:
            outside.scatter(h.Vector(amplitude * value * es))
            h.fadvance()
        return h.count_QuasiInjection >= CROSSINGS

    runs, start = 0, time.process_time()
    for field in fields:
        es = quasipotential(cable, field)
        runs += find_threshold(fires, 100.0, Search(tolerance=TOLERANCE, split=0.5)).runs
    return len(fields) / (time.process_time() - start), runs / len(fields)


def by_oracle(cell: Cell, fields: np.ndarray, guess: np.ndarray | None, tables: bool) -> tuple[float, float]:
    """Thresholds a second and runs a threshold of our oracle."""
    simulator = Simulator(cell, pulse("monophasic"), tables=tables)
    search = Search(tolerance=TOLERANCE, step=2.0 if guess is None else 1.1)
    starts = np.full(len(fields), 100.0) if guess is None else guess
    begun = time.process_time()
    answers = [
        simulator.threshold(np.asarray(field, float), float(start), search, False)
        for field, start in zip(fields, starts, strict=True)
    ]
    return len(fields) / (time.process_time() - begun), float(np.mean([answer.found.runs for answer in answers]))


def by_jax(cell: Cell, fields: np.ndarray, guess: np.ndarray, settings: dict, *, wall: bool = False) -> float:
    """Thresholds a second of the cable engine in JAX, once it is compiled."""
    clock = time.perf_counter if wall else time.process_time
    seconds = 0.0
    for _ in range(2):
        start = clock()
        thresholds(cell, fields, **settings, guess=guess, backend="jax")
        seconds = clock() - start
    return len(fields) / seconds


if __name__ == "__main__":
    main()
