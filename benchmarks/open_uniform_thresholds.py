"""Uniform-field thresholds of the bundled cells by our NEURON oracle: the numbers that tests/reference holds them to.

    python -m benchmarks.open_uniform_thresholds        # writes tests/reference/open_uniform_thresholds.json

They are a regression reference, not a published one: what our own oracle gave when the file was written.
"""

from __future__ import annotations

import itertools
import json
from importlib.metadata import version
from pathlib import Path

import numpy as np

from tmsjax.cells import load, names
from tmsjax.simulate import uniform_thresholds

CORNERS = np.array([d for d in itertools.product((-1.0, 0.0, 1.0), repeat=3) if any(d)])
DIRECTIONS = CORNERS / np.linalg.norm(CORNERS, axis=1, keepdims=True)
"""From the middle of a cube to its faces, edges and corners: 26 directions."""
CELLS = [name for name in names() if name.startswith("open/")]
FILE = Path(__file__).parents[1] / "tests" / "reference" / "open_uniform_thresholds.json"


def main() -> None:
    thresholds = {}
    for name in CELLS:
        result = uniform_thresholds(load(name), DIRECTIONS, "monophasic", tolerance=1e-3)
        thresholds[name] = [None if np.isnan(value) else round(float(value), 3) for value in result.v_per_m]
        print(name, thresholds[name], [result.why(k) for k in np.flatnonzero(~result.ok)])
    made = {"by": f"tmsjax's own NEURON oracle, NEURON {version('neuron')}", "pulse": "monophasic", "tolerance": 1e-3}
    rows = ",\n".join(f'  "{name}": {json.dumps(values)}' for name, values in thresholds.items())
    directions = ",\n".join(f"  {json.dumps(d)}" for d in np.round(DIRECTIONS, 12).tolist())
    FILE.write_text(
        f'{{\n "made": {json.dumps(made)},\n "directions": [\n{directions}\n ],\n "v_per_m": {{\n{rows}\n }}\n}}\n'
    )


if __name__ == "__main__":
    main()
