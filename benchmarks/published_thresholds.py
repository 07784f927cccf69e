"""Published uniform-field thresholds of Aberra et al. (2020, Brain Stimul 13:175), by both engines.

    python -m benchmarks.published_thresholds            # writes benchmarks/results/published_thresholds.json

Clones 1 to 3 of L2/3 PC, L4 LBC and L5 PC (its main axon terminal disabled, and intact) from their reconstructions, 398
directions, monophasic pulse; all three pulses in 26 directions. The cells, pulses and thresholds may not be shipped:
they are read from ``$TMSJAX_SHARED`` or ``../shared``.
The oracle answers at 0.5 % below and above every monophasic threshold, and of the other pulses in every fourth
direction; it looks for the first compartment in every tenth.
Rows that were published exactly 1 % high by a quirk of the original search (at a time step of 1 us the cell did not
fire twice) are compared without that percent; their number must be the known one of the clone (``KNOWN_HIGH``).
"""

from __future__ import annotations

import csv
import os
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks._common import parse, table, target, write
from tmsjax.cells import cable_model, load
from tmsjax.simulate import fires, recorded, thresholds

FOLDER = Path(os.environ.get("TMSJAX_SHARED", Path(__file__).parents[2] / "shared")) / "data" / "cells" / "aberra2019"
KINDS = {"L23_PC_cADpyr229": ["intact"], "L4_LBC_cACint209": ["intact"], "L5_TTPC2_cADpyr232": ["disabled", "intact"]}
CELLS = [(f"{kind}_{k}", axon) for kind, axons in KINDS.items() for axon in axons for k in (1, 2, 3)]
AXON = {"intact": ("intact", "0"), "disabled": ("main_terminal_disabled", "2")}
"""What the two tables call the variants of the axon."""
PULSES = ("monophasic", "biphasic", "halfsine")
KNOWN_HIGH = {"L23_PC_cADpyr229_5 intact": 17, "L5_TTPC2_cADpyr232_2 disabled": 5}
"""Rows of 398 that were published 1 % high; of all other clones none."""
PUBLISHED_SEARCH_V_PER_M = 0.05
WITHIN = 0.005


def main() -> None:
    options = parse(__doc__.splitlines()[0])
    cells = CELLS[::3] if options.quick else CELLS
    every = 20 if options.quick else 1
    monophasic = {f"{name} {axon}": one_cell(name, axon, every) for name, axon in cells}
    pulses = {f"{name} {axon}": three_pulses(name, axon, 5 if options.quick else 1) for name, axon in cells}
    shown = ("directions", "neuron_within", "neuron_site_equal", "cable_max", "cable_same", "site_equal", "reduced_max")
    rows = [[name, *(r[column] for column in shown)] for name, r in monophasic.items()]
    columns = ["neuron within 0.5 %", "neuron site %", "cable max %", "cable digits", "site %", "reduced max %"]
    table("published thresholds, monophasic", ["cell", "directions", *columns], rows)
    for what, title in (("cable_max", "cable, max %"), ("neuron_within", "oracle, share within 0.5 %")):
        table(f"three pulses, {title}", ["cell", *PULSES], [[n, *r[what].values()] for n, r in pulses.items()])
    sites = float(np.mean([r["site_equal"] for r in monophasic.values()]))
    by_oracle = float(np.mean([r["neuron_site_equal"] for r in monophasic.values()]))
    share = min(min(r["neuron_within"].values()) for r in pulses.values())
    cable_pulses = max(max(r["cable_max"].values()) for r in pulses.values())
    differ = sum(abs(r["published_1_percent_high"] - KNOWN_HIGH.get(name, 0)) for name, r in monophasic.items())
    targets = [
        target("oracle: within 0.5 % of published, share", _least(monophasic, "neuron_within"), 1.0, at_least=True),
        target("oracle: within 0.5 %, three pulses, share", share, 1.0, at_least=True),
        target("oracle: published initiation compartment, all cells, %", by_oracle, 98.0, at_least=True),
        target("cable: largest difference from published, %", _most(monophasic, "cable_max"), 0.5),
        target("cable: published initiation compartment, all cells, %", sites, 98.0, at_least=True),
        target("cable: published compartment, worst cell, %", _least(monophasic, "site_equal"), 98.0, at_least=True),
        target("cable: largest difference, three pulses, %", cable_pulses, 0.5),
        target("reduced: largest difference from published, %", _most(monophasic, "reduced_max"), 1.0),
    ]  # fmt: skip
    if not options.quick:  # which has too few directions for it
        targets.append(target("rows that are 1 % high beside those known", differ, 0))
    write("published_thresholds", {"monophasic": monophasic, "pulses": pulses}, targets, quick=options.quick)


def one_cell(name: str, axon: str, every: int) -> dict[str, Any]:
    """How both engines compare with a cell's published thresholds and initiation compartments."""
    cell = load(f"aberra2019/{name}", root=FOLDER, axon=axon)
    directions, published, first = read(name, axon)
    directions, published, first = directions[::every], published[::every], first[::every]
    pulse = recorded(FOLDER / "waveform_magprox100_monophasic_5MHz.csv", normalise=False)
    fields = np.broadcast_to(directions[:, None], (len(directions), cable_model(cell).n, 3))
    full = thresholds(cell, fields, pulse, "cable", absolute_v_per_m=PUBLISHED_SEARCH_V_PER_M)
    reduced = thresholds(cell, fields, pulse, "cable", membrane="reduced", tolerance=5e-4, initiation=False)
    high = np.abs(published / full.v_per_m - 1.01) < 1e-3
    right = np.where(high, published / 1.01, published)
    fired = fires(cell, fields, right[:, None] * [1 - WITHIN, 1 + WITHIN], pulse)
    some = slice(None, None, 1 if every > 1 else 10)
    # No guess: the published search ends on a grid of amplitudes, and branches that nearly tie change places between.
    oracle = thresholds(cell, fields[some], pulse, absolute_v_per_m=PUBLISHED_SEARCH_V_PER_M)
    print(f"{name}: cable {100 * np.abs(full.v_per_m / right - 1).max():.4f} %", flush=True)
    return {
        "directions": len(directions),
        "published_1_percent_high": int(high.sum()),
        "neuron_within": float((~fired[:, 0] & fired[:, 1]).mean()),
        "neuron_sites": len(first[some]),
        "neuron_site_equal": float(100 * (oracle.initiation == first[some]).mean()),
        "cable_max": float(100 * np.abs(full.v_per_m / right - 1).max()),
        "cable_median": float(100 * np.median(np.abs(full.v_per_m / right - 1))),
        "cable_same": float((np.abs(full.v_per_m - right) < 1e-3).mean()),
        "site_equal": float(100 * (full.initiation == first).mean()),
        "reduced_max": float(100 * np.abs(reduced.v_per_m / right - 1).max()),
        "reduced_median": float(100 * np.median(np.abs(reduced.v_per_m / right - 1))),
    }


def three_pulses(name: str, axon: str, every: int) -> dict[str, dict[str, float]]:
    """Both engines against the thresholds of an independent solver, for each pulse.

    The cable engine's largest difference (%), and the share of every fourth direction in which NEURON is silent at
    0.5 % below and fires at 0.5 % above.
    """
    cell = load(f"aberra2019/{name}", root=FOLDER, axon=axon)
    with open(FOLDER / "uniform_thresholds_three_pulses.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["cell"] == name and row["replace_axon"] == AXON[axon][1]]
    out: dict[str, dict[str, float]] = {"cable_max": {}, "neuron_within": {}}
    for shape in PULSES:
        some = [row for row in rows if row["waveform"] == shape][::every]
        units = unit_vectors([row["theta"] for row in some], [row["phi"] for row in some])
        right = np.array([float(row["threshold_V_per_m"]) for row in some])
        pulse = recorded(FOLDER / f"waveform_magprox100_{shape}_5MHz.csv", normalise=False)
        fields = np.broadcast_to(units[:, None], (len(units), cable_model(cell).n, 3))
        ours = thresholds(cell, fields, pulse, "cable", tolerance=5e-4, initiation=False)
        out["cable_max"][shape] = float(100 * np.abs(ours.v_per_m / right - 1).max())
        fired = fires(cell, fields[::4], right[::4, None] * [1 - WITHIN, 1 + WITHIN], pulse)
        out["neuron_within"][shape] = float((~fired[:, 0] & fired[:, 1]).mean())
    return out


def read(name: str, axon: str) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Directions (k, 3), thresholds (k,) V/m, first rows to fire (k,) as published."""
    with open(FOLDER / "published_uniform_thresholds.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["cell"] == name and row["axon"] == AXON[axon][0]]
    units = unit_vectors([row["theta_deg"] for row in rows], [row["phi_deg"] for row in rows])
    first = np.array([int(row["initiation_compartment_1based"]) for row in rows]) - 1
    return units, np.array([float(row["threshold_V_per_m"]) for row in rows]), first


def unit_vectors(theta_deg: list[str], phi_deg: list[str]) -> np.ndarray:
    theta, phi = np.deg2rad(np.array(theta_deg, float)), np.deg2rad(np.array(phi_deg, float))
    return np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)


def _most(results: dict, name: str) -> float:
    return max(r[name] for r in results.values())


def _least(results: dict, name: str) -> float:
    return min(r[name] for r in results.values())


if __name__ == "__main__":
    main()
