"""What every benchmark shares: timing, a table on the screen, a JSON file with versions, machine and targets."""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tmsjax.core.versions import versions

RESULTS = Path(__file__).parent / "results"
PACKAGES = ("tmsjax", "jax", "jaxlib", "numpy", "scipy", "neuron", "nibabel")


def parse(description: str) -> argparse.Namespace:
    """``--quick`` (smaller cases) and ``--gpu``, as every benchmark takes them."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--quick", action="store_true", help="smaller cases, a minute or two")
    parser.add_argument("--gpu", action="store_true", help="also on the accelerator, where there is one")
    return parser.parse_args()


def timed(function: Callable[[], Any], repeats: int = 1) -> tuple[Any, float]:
    """The function's last result and the median of its wall-clock seconds; the function must block until done."""
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        result = function()
        seconds.append(time.perf_counter() - start)
    return result, statistics.median(seconds)


def target(name: str, value: float, bar: float, *, at_least: bool = False) -> dict[str, Any]:
    """One number that an issue asks for: held if value <= bar (>= with ``at_least``)."""
    held = value >= bar if at_least else value <= bar
    return {"name": name, "value": float(value), "bar": float(bar), "held": bool(held)}


def machine() -> dict[str, Any]:
    """Processor, cores, load and system: times are to be read with these beside them."""
    model = platform.processor()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [
            line.split(":", 1)[1].strip() for line in info.read_text().splitlines() if line.startswith("model name")
        ]
        model = names[0] if names else model
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else None
    return {"cpu": model, "cores": os.cpu_count(), "load_1min": load, "system": platform.platform(terse=True)}


def table(title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Print rows under their columns, numbers with four significant digits."""
    cells = [[f"{c:.4g}" if isinstance(c, float) else str(c) for c in row] for row in rows]
    widths = [max(len(str(x)) for x in column) for column in zip(columns, *cells, strict=True)]
    print(f"\n{title}")
    for row in ([*columns], ["-" * w for w in widths], *cells):
        print("  " + "  ".join(str(c).ljust(w) for c, w in zip(row, widths, strict=True)).rstrip())


def show(targets: list[dict[str, Any]]) -> None:
    """Print the targets and whether each is held."""
    rows = [(t["name"], t["value"], t["bar"], "held" if t["held"] else "MISSED") for t in targets]
    table("targets", ("target", "value", "bar", ""), rows)


def write(name: str, results: dict[str, Any], targets: list[dict[str, Any]], *, quick: bool) -> Path:
    """Write ``results/NAME.json`` (not with ``quick``: ``results/NAME.quick.json``) and print the targets."""
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / (f"{name}.quick.json" if quick else f"{name}.json")
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    content = {"name": name, "date": now, "quick": quick, "versions": versions(*PACKAGES), "machine": machine()}
    path.write_text(json.dumps({**content, "targets": targets, "results": results}, indent=1) + "\n")
    show(targets)
    print(f"\nwritten: {path.relative_to(RESULTS.parent.parent)}")
    return path
