"""Neurons per second of a whole gyrus: `python -m benchmarks.population [--quick] [--gpu] [--full]`.

The region is that of ``response.gyrus.hand_knob_region`` in head S1 (1,280 mm2 of cortex), at 120,000 neurons per mm2:
154 million in three layers, from the bundled models of 64 samples a neuron (family "fast", as `tmsjax thresholds
--gyrus`), in the field of an MC-B70 over the left hand knob. Throughput is measured against the number of neurons,
against the size of the blocks and against the number of devices (one virtual CPU device a core), wall-clock and
CPU-seconds, with the process's peak memory. The time of the whole gyrus is the sum over its layers at the rate of the
largest run, unless --full runs it.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import _common

CELLS = {"L23": "open/L23_PC_1", "L4": "open/L4_LBC_1", "L5": "open/L5_PC_1"}
NEURONS = 120_000 * 1280
BLOCK = 2048
MINUTES, GIB = 6.0, 4.0


def solve(path: Path) -> None:
    """The coil's field in S1, to a file that every worker reads."""
    import numpy as np

    import tmsjax as tj

    head, coil = tj.head.load("S1"), tj.coil.load("MagVenture_MC_B70")
    target = tj.head.landmark(head, "hand_knob_left")
    field = tj.efield.solve(head, coil, tj.coil.pose_on_scalp(head, target, handle_deg=45.0, gap_mm=2.0))
    np.savez(path, values=np.asarray(field.values, np.float32), mask=np.asarray(field.mask), affine=field.affine)


def worker(path: Path, devices: int, jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Run ``jobs`` (layer, neurons, blocks_at_once) on so many devices of this process."""
    import jax

    if devices > 1 and os.environ.get("JAX_PLATFORMS") == "cpu":
        jax.config.update("jax_num_cpu_devices", devices)
    import jax.numpy as jnp
    import numpy as np

    import tmsjax as tj
    from tmsjax.efield import EField
    from tmsjax.response.gyrus import dense_population, hand_knob_region
    from tmsjax.response.stream import stream

    arrays = np.load(path)
    values, mask, affine = (jnp.asarray(arrays[name]) for name in ("values", "mask", "affine"))
    field = EField(values, mask, affine, jnp.float32(np.nan), jnp.asarray(0), 0.0)
    head = tj.head.load("S1")
    region = hand_knob_region(head)
    rows = []
    for job in jobs:
        model = tj.surrogate.load(CELLS[job["layer"]], family="fast")
        some = dense_population(head, job["layer"], region, job["neurons"], seed=1)
        few = dense_population(head, job["layer"], region, 1, seed=1)
        stream(model, field, few, job["blocks_at_once"])  # compiles
        start, cpu = time.perf_counter(), time.process_time()
        tally = stream(model, field, some, job["blocks_at_once"])
        wall, cpu = time.perf_counter() - start, time.process_time() - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
        p5, p50, p95 = tally.quantile(np.array([0.05, 0.5, 0.95]))
        rows.append(
            {
                **job,
                "devices": len(jax.devices()),
                "wall s": round(wall, 2),
                "neurons per second": round(len(some) / wall),
                "neurons per CPU-second": round(len(some) / cpu),
                "peak GiB": round(peak, 2),
                "share with a threshold": tally.statuses[0] / tally.neurons,
                "A/us p5, median, p95": [round(float(x), 1) for x in (p5, p50, p95)],
            }
        )
    return rows


def run(path: Path, devices: int, jobs: list[dict[str, Any]], platform: str = "cpu") -> list[dict[str, Any]]:
    """``worker`` in a process of its own: devices are counted before JAX starts, memory from nothing."""
    command = [sys.executable, "-m", "benchmarks.population", "--worker", str(path), str(devices), json.dumps(jobs)]
    environment = {**os.environ, "JAX_PLATFORMS": platform}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--gpu", action="store_true", help="also on JAX's CUDA device")
    parser.add_argument("--full", action="store_true", help="run all 154 million neurons, on all cores")
    parser.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        path, devices, jobs = options.worker
        print(json.dumps(worker(Path(path), int(devices), json.loads(jobs))))
        return
    cores = len(os.sched_getaffinity(0))
    blocks = [1, 4] if options.quick else [1, 2, 4, 8, 16]
    whole = cores * blocks[-1] * BLOCK * 12  # of every size of blocks, so that no device waits for another
    numbers = [whole, 2 * whole] if options.quick else [whole, 2 * whole, 4 * whole]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "field.npz"
        solve(path)
        growing = [run(path, cores, [job("L5", n)])[0] for n in numbers]
        sizes = run(path, cores, [job("L5", numbers[0], b) for b in blocks])
        single = run(path, 1, [job("L5", numbers[0])])
        each = NEURONS // len(CELLS) if options.full else numbers[-1]
        layers = run(path, cores, [job(layer, each) for layer in CELLS])
        device = (
            run(path, 1, [job(layer, NEURONS // len(CELLS), 512) for layer in CELLS], "cuda") if options.gpu else []
        )
    results = {
        "neurons": growing,
        "blocks": sizes,
        "one device": single,
        "layers": layers,
        "gpu": device,
        "cores": cores,
        "measured in full": options.full,
    }
    for title in ("neurons", "blocks", "one device", "layers", "gpu"):
        if results[title]:
            lines = [list(row.values()) for row in results[title]]
            _common.table(title, list(results[title][0]), lines)
    _common.write("population", results, targets(results), quick=options.quick)


def job(layer: str, neurons: int, blocks_at_once: int = 4) -> dict[str, Any]:
    return {"layer": layer, "neurons": neurons, "blocks_at_once": blocks_at_once}


def targets(results: dict[str, Any]) -> list[dict[str, Any]]:
    growing, cores = results["neurons"], results["cores"]
    minutes = sum(NEURONS / len(CELLS) / row["neurons per second"] for row in results["layers"]) / 60
    busy = sum(NEURONS / len(CELLS) / row["neurons per CPU-second"] for row in results["layers"]) / 60 / cores
    slowest = min(row["neurons per CPU-second"] for row in growing) / growing[0]["neurons per CPU-second"]
    peak = max(row["peak GiB"] for title in ("neurons", "layers") for row in results[title])
    found = [
        _common.target(f"154 million neurons on {cores} cores, minutes (wall)", minutes, MINUTES),
        _common.target(f"154 million neurons on {cores} cores, CPU-minutes per core", busy, MINUTES),
        _common.target("peak memory, GiB", peak, GIB),
        _common.target("rate of many neurons over that of few", slowest, 0.8, at_least=True),
        _common.target(
            "growth of memory with the number of neurons, GiB", growing[-1]["peak GiB"] - growing[0]["peak GiB"], 0.3
        ),
    ]
    if results["gpu"]:
        found.append(_common.target("154 million neurons on a GPU, s", sum(r["wall s"] for r in results["gpu"]), 10.0))
    return found


if __name__ == "__main__":
    main()
