"""The files of ``tmsjax thresholds``, and what it prints."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from tmsjax import response
from tmsjax.cli import populations
from tmsjax.coil import save_poses
from tmsjax.response import Response, Stimulator
from tmsjax.viz import recruitment_figure, threshold_maps_figure
from tmsjax.viz.response import layer_name

SHARES = (0.1, 0.5)
"""Of a layer, whose intensity is given."""


def write(
    folder: Path, options, head, field, pose, roi, responses: list[Response], device: Stimulator | None, caption: str
) -> list[dict[str, Any]]:
    """Write thresholds.csv, .zarr, statistics, recruitment, outputs, GIFTI maps of each layer, two figures, pose.txt.

    Returns the layers' rows of statistics.csv with the intensities for ``SHARES``.
    """
    response.write_neurons(folder / "thresholds.csv", responses)
    facts = {"head": head.name, "field": field.status, "direction": options.direction}
    response.save_responses(folder / "thresholds.zarr", responses, facts)
    layers = populations.by_layer(responses)
    rows = [{**row, **_levels(layers[row["layer"]], device)} for row in response.statistics(responses)]
    response.write_table(folder / "statistics.csv", rows)
    response.write_table(folder / "statistics_cells.csv", response.statistics(responses, ["layer", "cell"]))
    response.write_table(
        folder / "statistics_azimuths.csv", response.statistics(responses, ["layer", "cell", "azimuth_deg"])
    )
    curves = [
        response.recruitment(
            clones, options.intensities or None, bootstrap=options.bootstrap, seed=options.seed, name=layer
        )
        for layer, clones in layers.items()
    ]
    response.write_table(folder / "recruitment.csv", [row for curve in curves for row in curve.rows()])
    outputs = [
        {"layer": row["layer"], "share": share, "didt_a_per_us": row[f"didt_for_{share:g}"], **entry}
        for row in rows
        for share in SHARES
        if np.isfinite(row[f"didt_for_{share:g}"])
        for entry in response.equivalent_outputs(row[f"didt_for_{share:g}"], [device] if device else [])
    ]
    if outputs:
        response.write_table(folder / "stimulator_output.csv", outputs)
    if pose is not None:
        save_poses(pose, folder / "pose.txt", "matsimnibs")
    surfaces = populations.surfaces_of(head, responses)
    meshes, values = {}, {}
    for layer, clones in layers.items():
        response.write_maps(folder, clones, surfaces[layer], layer)
        meshes[layer], per_face = populations.map_of(surfaces[layer], roi, clones)
        values[layer] = {"": per_face}
    limit, name = (device.max_didt_a_per_us, device.label) if device else (None, "")
    recruitment_figure(folder / "recruitment.png", curves, max_didt_a_per_us=limit, device=name, caption=caption)
    towards = np.asarray(roi.centre_mm) - np.concatenate([mesh[0] for mesh in meshes.values()]).mean(axis=0)
    seen_from = -np.asarray(pose.rotation)[:, 2] if pose is not None else towards
    threshold_maps_figure(folder / "map.png", meshes, values, seen_from, caption=caption)
    return rows


def _levels(clones: list[Response], device: Stimulator | None) -> dict[str, float]:
    """dI/dt (and % of output) at which shares of a layer are active."""
    a = np.concatenate([r.thresholds.a_per_us for r in clones])
    weight = np.concatenate([np.asarray(r.population.weight) for r in clones])
    row: dict[str, float] = {}
    for share in SHARES:
        level = response.intensity_for(a, share, weight)
        row[f"didt_for_{share:g}"] = level
        if device is not None:
            row[f"percent_for_{share:g}"] = float(device.percent(level))
    if device is not None:
        row["active_at_maximum"] = float(response.active_share(a, device.max_didt_a_per_us, weight)[0])
    return row


def table(rows: list[dict[str, Any]], options, device: Stimulator | None) -> Table:
    """One line a layer: neurons, thresholds, what activates a tenth and a half of them."""
    table = Table(title=f"Activation thresholds, {options.pulse} pulse, {options.direction}", title_justify="left")
    table.add_column("layer")
    for heading in ("neurons", "unknown", "unlike", "A/µs", "(5-95 %)", "10 % at", "50 % at"):
        table.add_column(heading, justify="right")
    for row in rows:
        levels = []
        for share in SHARES:
            level = row[f"didt_for_{share:g}"]
            output = f" ({row[f'percent_for_{share:g}']:.0f} %)" if device and np.isfinite(level) else ""
            levels.append(f"{level:.0f}{output}" if np.isfinite(level) else "never")
        table.add_row(
            layer_name(row["layer"]),
            f"{row['neurons']:,}",
            f"{row['without_threshold']:,}",
            f"{row['outside_domain']:,}",
            f"{row['a_per_us_median']:.0f}",
            f"{row['a_per_us_p5']:.0f}-{row['a_per_us_p95']:.0f}",
            *levels,
        )
    said = "A/µs: median. unknown: no threshold, unlike: fields unlike the training's."
    if device is not None:
        said += f"\n% of the output of {device.label}, {device.max_didt_a_per_us:g} A/µs ({device.source})"
    table.caption = said
    return table
