"""What the demo says: its tables, its comparison with NEURON, its machine-readable summary."""

from __future__ import annotations

import platform

import numpy as np
from rich.table import Table

from tmsjax.core.versions import versions

PACKAGES = ("tmsjax", "jax", "flax", "numpy", "scipy", "nibabel", "neuron")


def layer_table(rows: dict[str, dict], options) -> Table:
    """One line a layer: neurons, thresholds in V/m and A/us, share below the stimulator's maximum."""
    table = Table(title=f"Activation thresholds, {options.pulse} pulse, {options.direction}", title_justify="left")
    table.add_column("layer")
    for heading in ("neurons", "V/m median", "(5-95 %)", "A/µs median", "(5-95 %)"):
        table.add_column(heading, justify="right")
    table.add_column(f"below {options.max_didt_a_per_us:g} A/µs", justify="right")
    table.add_column("in domain", justify="right")
    for layer, row in rows.items():
        table.add_row(
            layer.replace("L23", "L2/3"),
            f"{row['neurons']:,}",
            f"{row['v_per_m_median']:.0f}",
            f"{row['v_per_m_p5']:.0f}-{row['v_per_m_p95']:.0f}",
            f"{row['a_per_us_median']:.0f}",
            f"{row['a_per_us_p5']:.0f}-{row['a_per_us_p95']:.0f}",
            f"{100 * row['share_below_maximum']:.1f} %",
            f"{100 * row['share_in_domain']:.1f} %",
        )
    return table


def verify(layers: dict[str, str], field, populations: dict, results: dict, options, say) -> list[dict]:
    """Simulate randomly chosen neurons in NEURON and set their thresholds beside the predicted ones.

    The neurons are drawn evenly from the layers by ``options.seed``, before anything is known of their error, and
    NEURON's searches (0.2 %) begin at the same amplitude for all: nothing of a prediction reaches its check.
    """
    import tmsjax as tj
    from tmsjax.cortex import compartment_fields

    rng = np.random.default_rng([options.seed, 1])
    names = list(layers)
    counts = {layer: len(range(i, options.verify, len(names))) for i, layer in enumerate(names)}
    verified = []
    for layer, count in counts.items():
        known = np.flatnonzero(np.isfinite(results[layer].a_per_us))
        if count == 0 or len(known) == 0:
            continue
        chosen = rng.choice(known, min(count, len(known)), replace=False)
        cell = tj.cells.load(layers[layer])
        fields = compartment_fields(field, populations[layer][chosen], tj.cells.cable_model(cell).xyz_um)
        truth = tj.simulate.thresholds(cell, fields, pulse=options.pulse, engine="neuron", tolerance=0.002)
        for i, neuron in enumerate(chosen):
            predicted, simulated = float(results[layer].a_per_us[neuron]), float(truth.a_per_us[i])
            verified.append(
                {
                    "layer": layer,
                    "neuron": int(neuron),
                    "predicted_a_per_us": predicted,
                    "simulated_a_per_us": simulated,
                    "error_percent": 100 * (predicted / simulated - 1),
                    "in_domain": bool(results[layer].in_domain[neuron]),
                    "status": truth.why(i),
                }
            )
            say(f"{len(verified)} of {options.verify}")
    return verified


def verify_table(verified: list[dict]) -> Table:
    """Predicted against simulated thresholds, and how many agree within 5 %."""
    errors = np.abs([row["error_percent"] for row in verified])
    within = int((errors <= 5).sum())
    table = Table(
        title=f"Against NEURON: {within} of {len(verified)} within 5 %, median error {np.nanmedian(errors):.1f} %",
        title_justify="left",
    )
    table.add_column("layer")
    for heading in ("neuron", "predicted A/µs", "NEURON A/µs", "error"):
        table.add_column(heading, justify="right")
    for row in verified:
        table.add_row(
            row["layer"].replace("L23", "L2/3"),
            str(row["neuron"]),
            f"{row['predicted_a_per_us']:.1f}",
            f"{row['simulated_a_per_us']:.1f}",
            f"{row['error_percent']:+.1f} %",
        )
    return table


def summary(options, head, coil, pose, target, field, rows, verified, seconds, models) -> dict:
    """Everything that a script needs to know of a run: inputs, versions, seeds, residuals, numbers, timings."""
    import jax

    settings = {k: str(v) if not isinstance(v, int | float | str) else v for k, v in vars(options).items()}
    return {
        "versions": versions(*PACKAGES),
        "machine": {"platform": platform.platform(), "jax_devices": [str(d) for d in jax.devices()]},
        "options": settings,
        "seed": options.seed,
        "head": {"name": head.name, "shape": list(head.labels.shape), "voxel_mm": head.voxel_mm.round(4).tolist()},
        "coil": {"name": coil.name, "matsimnibs": np.asarray(pose.matrix).round(6).tolist()},
        "target_mm": np.asarray(target).round(3).tolist(),
        "field": {
            "status": field.status,
            "residual": float(field.residual),
            "iterations": int(field.iterations),
            "unit": "V/m per A/us",
        },
        "layers": rows,
        "surrogates": {layer: model.card for layer, model in models.items()},
        "verified": verified,
        "seconds": {**seconds, "total": round(sum(seconds.values()), 2)},
    }
