"""``tmsjax thresholds --gyrus``: every neuron of a gyrus, streamed and counted."""

from __future__ import annotations

import contextlib
import os
import resource
import time
from pathlib import Path
from typing import Any

import numpy as np

from tmsjax.cli import populations, thresholds_files
from tmsjax.core.errors import InputError, check_number
from tmsjax.response import Recruitment, Stimulator, equivalent_outputs, write_table
from tmsjax.response.gyrus import GYRUS_MM2, NEURONS_PER_MM2, dense_population, hand_knob_region
from tmsjax.response.stream import Tally, stream
from tmsjax.viz import recruitment_figure


def all_cores() -> None:
    """Make a JAX device of every core of a CPU, where JAX has not started yet: neurons are shared among devices."""
    import jax

    with contextlib.suppress(RuntimeError):  # it has
        jax.config.update("jax_num_cpu_devices", len(os.sched_getaffinity(0)))


def per_mm2(density: str) -> float:
    """Neurons under a mm2 of cortex, all cells together: "full", or a number."""
    if density == "full":
        return float(NEURONS_PER_MM2)
    try:
        value = float(density)
    except ValueError as error:
        raise InputError("--density", got=density, expected='"full", or neurons under a mm2 of cortex') from error
    return check_number(value, "--density", above=0.0, high=float(NEURONS_PER_MM2), unit="neurons per mm2")


def region_of(head, options):
    """The ball that stands for the gyrus, of the side that the target is on."""
    return hand_knob_region(head, "right" if (options.target or "").endswith("right") else "left")


def run(
    folder: Path, options, head, field, models, device: Stimulator | None, caption: str, stages
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """Stream the thresholds of every cell's share of the gyrus and write tables and the recruitment figure.

    Cells get equal shares of the neurons: how many of which type there are is not known here. Returns the rows of
    statistics.csv, and what the summary says of the run.
    """
    region, density = region_of(head, options), per_mm2(options.density)
    each = max(1, round(density * GYRUS_MM2 / len(models)))
    tallies: list[tuple[str, str, Tally]] = []
    start = time.perf_counter()
    with stages("thresholds") as say:
        for layer, model in models:
            some = dense_population(head, layer, region, each, options.rotations, options.seed)
            name = model.spec.cell
            out = folder / f"{layer}-{name.replace('/', '_')}.zarr" if options.keep_neurons else None
            tally = stream(
                model,
                field,
                some,
                out=out,
                progress=lambda done, total, name=name: say(f"{name}: {done:,} of {total:,}"),
            )
            tallies.append((layer, name, tally))
        seconds = time.perf_counter() - start
        count = sum(tally.neurons for _, _, tally in tallies)
        say(f"{count:,} neurons, {count / seconds:,.0f} a second")
    rows = [_row(layer, name, tally, device) for layer, name, tally in tallies]
    write_table(folder / "statistics.csv", rows)
    curves = [_curve(layer, name, tally, options) for layer, name, tally in tallies]
    write_table(folder / "recruitment.csv", [row for curve in curves for row in curve.rows()])
    outputs = [
        {"layer": row["layer"], "cell": row["cell"], "share": share, "didt_a_per_us": level, **entry}
        for row in rows
        for share in thresholds_files.SHARES
        if np.isfinite(level := row[f"didt_for_{share:g}"])
        for entry in equivalent_outputs(level, [device] if device else [])
    ]
    if outputs:
        write_table(folder / "stimulator_output.csv", outputs)
    limit, label = (device.max_didt_a_per_us, device.label) if device else (None, "")
    recruitment_figure(folder / "recruitment.png", curves, max_didt_a_per_us=limit, device=label, caption=caption)
    return rows, {
        "gyrus": options.gyrus,
        "stands_for": "the ball round the hand knob with the cortex area of a precentral gyrus",
        "area_mm2": GYRUS_MM2,
        "neurons_per_mm2": density,
        "centre_mm": np.round(region.centre_mm, 3).tolist(),
        "radius_mm": region.radius_mm,
        "neurons": count,
        "neurons_per_second": round(count / seconds),
        "seconds": round(seconds, 2),
        "peak_memory_gib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, 2),
    }


def _row(layer: str, name: str, tally: Tally, device: Stimulator | None) -> dict[str, Any]:
    """A cell's row of the table, as ``statistics`` has it; thresholds to the width of a tally's bin (0.23 %)."""
    known = tally.statuses[0]
    row: dict[str, Any] = {
        "layer": layer,
        "cell": name,
        "neurons": tally.neurons,
        "without_threshold": tally.neurons - known,
        "outside_domain": known - tally.in_domain,
    }
    shares = {"p5": 0.05, "p25": 0.25, "median": 0.5, "p75": 0.75, "p95": 0.95}
    row |= {f"a_per_us_{what}": float(tally.quantile(share)) for what, share in shares.items()}
    for share in thresholds_files.SHARES:
        of_known = share * tally.neurons / known
        level = float(tally.quantile(of_known)) if of_known <= 1 else float("nan")
        row[f"didt_for_{share:g}"] = level
        if device is not None:
            row[f"percent_for_{share:g}"] = float(device.percent(level))
    if device is not None:
        row["active_at_maximum"] = float(tally.recruited(device.max_didt_a_per_us))
    return row


def _curve(layer: str, name: str, tally: Tally, options) -> Recruitment:
    """A cell's recruitment curve; without a band, as there is nothing to draw anew where every neuron is there."""
    at = np.asarray(options.intensities) if options.intensities else np.linspace(0, float(tally.quantile(0.99)), 100)
    none = np.full(len(at), np.nan)
    known = tally.statuses[0]
    return Recruitment(
        intensity=at,
        share=tally.recruited(at),
        low=none,
        high=none,
        neurons=tally.neurons,
        sites=tally.neurons // options.rotations,
        without_threshold=1 - known / tally.neurons,
        outside_domain=1 - tally.in_domain / tally.neurons,
        name=f"{layer} {name}",
    )


def check(options) -> None:
    """What --gyrus does not go with, and what goes with it only."""
    wrong = [f"--{name.replace('_', '-')}" for name in ("target_mm", "mni_mm") if getattr(options, name) is not None]
    if wrong:
        raise InputError(
            "--gyrus has its own place", got=", ".join(wrong), expected="--target hand_knob_left or _right"
        )
    per_mm2(options.density)
    populations.check_counts(options)
