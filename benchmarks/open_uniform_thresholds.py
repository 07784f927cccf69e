"""Uniform-field thresholds of the bundled cells by our NEURON oracle: the numbers that tests/reference holds them to.

    python -m benchmarks.open_uniform_thresholds        # writes tests/reference/open_uniform_thresholds.json

They are a regression reference, not a published one: what our own oracle gave when the file was written.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tmsjax.cells import load
from tmsjax.simulate import uniform_thresholds

DIRECTIONS = np.concatenate([np.eye(3), -np.eye(3)])
CELLS = ("open/L23_PC_1", "open/L4_LBC_1", "open/L5_PC_1")
FILE = Path(__file__).parents[1] / "tests" / "reference" / "open_uniform_thresholds.json"


def main() -> None:
    thresholds = {}
    for name in CELLS:
        result = uniform_thresholds(load(name), DIRECTIONS, "monophasic", tolerance=1e-3)
        thresholds[name] = [None if np.isnan(value) else round(float(value), 3) for value in result.v_per_m]
        print(name, thresholds[name], [result.why(k) for k in np.flatnonzero(~result.ok)])
    made = {"by": f"tmsjax's own NEURON oracle, NEURON {version('neuron')}", "pulse": "monophasic", "tolerance": 1e-3}
    FILE.write_text(
        json.dumps({"made": made, "directions": DIRECTIONS.tolist(), "v_per_m": thresholds}, indent=1) + "\n"
    )


if __name__ == "__main__":
    main()
