"""Published uniform-field thresholds of Aberra et al. (2020, Brain Stimul 13:175), from the .asc through our own cells.

398 directions a cell, monophasic MagPro X100 pulse, clones 1 to 3 of the three types, L5 with its main axon terminal
disabled and intact. Some published rows are exactly 1 % high by a quirk of the original search: ``KNOWN_HIGH``.
NEURON answers for the first clones in all directions and for the others in a sample; the cable engine for all of them.
benchmarks/published_thresholds.py does the whole table with both.
"""

import csv

import numpy as np
import pytest

from tmsjax.cells import cable_model, load
from tmsjax.simulate import fires, recorded, thresholds

CELLS = (
    ("L23_PC_cADpyr229_1", "intact"),
    ("L4_LBC_cACint209_1", "intact"),
    ("L5_TTPC2_cADpyr232_1", "disabled"),
)
OTHERS = (
    ("L23_PC_cADpyr229_2", "intact"),
    ("L23_PC_cADpyr229_3", "intact"),
    ("L4_LBC_cACint209_2", "intact"),
    ("L4_LBC_cACint209_3", "intact"),
    ("L5_TTPC2_cADpyr232_1", "intact"),
    ("L5_TTPC2_cADpyr232_2", "disabled"),
    ("L5_TTPC2_cADpyr232_2", "intact"),
    ("L5_TTPC2_cADpyr232_3", "disabled"),
    ("L5_TTPC2_cADpyr232_3", "intact"),
)
KNOWN_HIGH = {("L5_TTPC2_cADpyr232_2", "disabled"): 5}
WITHIN = np.array([0.995, 1.005])


def _published(folder, name, axon):
    """Directions (k, 3), thresholds (k,) V/m, first rows to fire (k,)."""
    with open(folder / "published_uniform_thresholds.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["cell"] == name]
    rows = [row for row in rows if row["axon"] == {"intact": "intact", "disabled": "main_terminal_disabled"}[axon]]
    assert len(rows) == 398
    theta = np.deg2rad([float(row["theta_deg"]) for row in rows])
    phi = np.deg2rad([float(row["phi_deg"]) for row in rows])
    direction = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
    threshold = np.array([float(row["threshold_V_per_m"]) for row in rows])
    first = np.array([int(row["initiation_compartment_1based"]) for row in rows]) - 1
    return direction, threshold, first


def _uniform(cell, directions):
    return np.repeat(directions[:, None].astype(np.float32), cable_model(cell).n, axis=1)


def _case(shared, name, axon, some=slice(None)):
    """Cell, its fields, published thresholds and compartments in some of the directions, and the pulse."""
    folder = shared / "cells/aberra2019"
    cell = load(f"aberra2019/{name}", root=folder, axon=axon)
    directions, published, first = (values[some] for values in _published(folder, name, axon))
    pulse = recorded(folder / "waveform_magprox100_monophasic_5MHz.csv", normalise=False)
    return cell, _uniform(cell, directions), published, first, pulse


@pytest.mark.shared
@pytest.mark.parametrize(("name", "axon"), CELLS)
def test_neuron_has_every_published_threshold(shared, name, axon):
    """Silent at 0.995 times the published threshold, firing at 1.005 times it, in all 398 directions."""
    cell, fields, published, _, pulse = _case(shared, name, axon)
    np.testing.assert_array_equal(fires(cell, fields, published[:, None] * WITHIN, pulse), [[False, True]] * 398)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "axon"), OTHERS)
def test_neuron_has_the_other_clones_too(shared, name, axon):
    """The same in every 40th direction, none of which was published 1 % high."""
    cell, fields, published, _, pulse = _case(shared, name, axon, slice(3, None, 40))
    np.testing.assert_array_equal(fires(cell, fields, published[:, None] * WITHIN, pulse), [[False, True]] * 10)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "axon"), CELLS)
def test_thresholds_and_initiation_sites(shared, name, axon):
    """The published search in a sample of directions: the same number, and nearly always the same compartment first.

    Over all 398 directions of the L5 cell the compartment agrees in 394: two branches that tie are told apart by
    rounding.
    """
    cell, fields, published, first, pulse = _case(shared, name, axon, slice(5, None, 40))
    ours = thresholds(cell, fields, pulse, absolute_v_per_m=0.05)
    np.testing.assert_allclose(ours.v_per_m, published, rtol=3e-4)
    assert (ours.initiation == first).sum() >= len(first) - 1


@pytest.mark.shared
@pytest.mark.parametrize(("name", "axon"), CELLS + OTHERS)
def test_the_cable_engine_has_every_published_threshold(shared, name, axon):
    """Within 0.5 % in all 398 directions but those published 1 % high, which fire within 0.5 % of a percent below."""
    cell, fields, published, _, pulse = _case(shared, name, axon)
    fired = fires(cell, fields, published[:, None] * WITHIN, pulse, "cable")
    wrong = np.flatnonzero((fired != [False, True]).any(axis=1))
    assert len(wrong) == KNOWN_HIGH.get((name, axon), 0)
    if len(wrong):
        below = published[wrong, None] / 1.01 * WITHIN
        np.testing.assert_array_equal(fires(cell, fields[wrong], below, pulse, "cable"), [[False, True]] * len(wrong))


@pytest.mark.shared
@pytest.mark.parametrize(("name", "axon"), CELLS)
def test_the_reduced_membrane_is_within_one_percent(shared, name, axon):
    cell, fields, published, _, pulse = _case(shared, name, axon)
    fired = fires(cell, fields, published[:, None] * [0.99, 1.01], pulse, "cable", membrane="reduced")
    np.testing.assert_array_equal(fired, [[False, True]] * 398)


@pytest.mark.shared
@pytest.mark.parametrize(("name", "axon"), CELLS)
def test_the_cable_engine_reproduces_the_published_digits(shared, name, axon):
    """In double precision the published search gives the published number, and the published compartment fires first.

    benchmarks/published_thresholds.py does it in single precision for all directions and clones.
    """
    cell, fields, published, first, pulse = _case(shared, name, axon, slice(5, None, 40))
    ours = thresholds(cell, fields.astype(float), pulse, "cable", absolute_v_per_m=0.05, precision="float64")
    np.testing.assert_allclose(ours.v_per_m, published, rtol=1e-6)
    assert (ours.initiation == first).sum() >= len(first) - 1


@pytest.mark.shared
@pytest.mark.parametrize("shape", ["biphasic", "halfsine"])
@pytest.mark.parametrize(("name", "axon"), CELLS)
def test_other_pulses(shared, name, axon, shape):
    """Against an independent solver: the cable engine in 26 directions, NEURON in every sixth of them."""
    folder = shared / "cells/aberra2019"
    with open(folder / "uniform_thresholds_three_pulses.csv") as file:
        rows = [row for row in csv.DictReader(file) if (row["cell"], row["waveform"]) == (name, shape)]
    rows = [row for row in rows if row["replace_axon"] == {"intact": "0", "disabled": "2"}[axon]]
    assert len(rows) == 26
    theta, phi = (np.deg2rad([float(row[angle]) for row in rows]) for angle in ("theta", "phi"))
    directions = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta)], axis=1)
    cell = load(f"aberra2019/{name}", root=folder)
    pulse = recorded(folder / f"waveform_magprox100_{shape}_5MHz.csv", normalise=False)
    right = np.array([float(row["threshold_V_per_m"]) for row in rows])
    fields = _uniform(cell, directions)
    np.testing.assert_array_equal(fires(cell, fields, right[:, None] * WITHIN, pulse, "cable"), [[False, True]] * 26)
    np.testing.assert_array_equal(fires(cell, fields[::6], right[::6, None] * WITHIN, pulse), [[False, True]] * 5)
