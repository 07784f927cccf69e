"""Uniform-field thresholds of the bundled cells: a regression reference by our own oracle (see its "made" entry)."""

import json
from pathlib import Path

import numpy as np
import pytest

from tmsjax.cells import cable_model, load
from tmsjax.simulate import fires

REFERENCE = json.loads((Path(__file__).parent / "open_uniform_thresholds.json").read_text())


@pytest.mark.parametrize("name", sorted(REFERENCE["v_per_m"]))
def test_uniform_thresholds_of_the_bundled_cells(name):
    """Silent half a percent below the reference, firing half a percent above it."""
    cell = load(name)
    directions = np.array(REFERENCE["directions"])
    threshold = np.array(REFERENCE["v_per_m"][name], float)
    assert np.isfinite(threshold).all()
    fields = np.repeat(directions[:, None], cable_model(cell).n, axis=1)
    fired = fires(cell, fields, threshold[:, None] * [0.995, 1.005], REFERENCE["made"]["pulse"])
    np.testing.assert_array_equal(fired, [[False, True]] * len(directions))
