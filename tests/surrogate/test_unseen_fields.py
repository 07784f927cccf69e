"""Uniform and point-source fields, which no training set holds."""

import numpy as np
import pytest
from synthetic_thresholds import fields, hidden_functionals, thresholds

from tmsjax import cells, surrogate
from tmsjax.core.errors import InputError
from tmsjax.surrogate import uniform
from tmsjax.surrogate.evaluation import (
    area_under_curve,
    electrodes,
    flagged,
    point_source_field,
    point_source_patches,
    point_source_test,
    simulate_point_sources,
    uniform_field_test,
    uniform_patches,
)

WEIGHTS = hidden_functionals()


def test_uniform_fields_of_the_hidden_model(model):
    """Trained on fields with gradients, the surrogate knows the threshold of the zeroth order (figure 6)."""
    grid = uniform.directions(10.0)
    truth = thresholds(uniform_patches(grid, 9), WEIGHTS)
    (row,), columns = uniform_field_test(model, truth, grid)
    assert row["n"] == len(grid) == len(columns["error_percent"])
    assert row["mape_percent"] < 1.5
    assert row["lowest_percent"] == columns["error_percent"].min() < 0 < row["highest_percent"]
    np.testing.assert_allclose(
        columns["error_percent"], 100 * (columns["predicted_v_per_m"] / columns["simulated_v_per_m"] - 1)
    )
    theta, phi = np.deg2rad(columns["polar_deg"]), np.deg2rad(columns["azimuth_deg"])
    np.testing.assert_allclose(np.sin(theta) * np.sin(phi), grid[:, 1], atol=1e-9)


def test_a_map_can_be_the_truth(model):
    grid = uniform.directions()
    truth = thresholds(uniform_patches(grid, 9), WEIGHTS)
    (one,), _ = uniform_field_test(model, truth)
    (other,), _ = uniform_field_test(model, uniform.from_table(grid, truth))
    assert one["mape_percent"] == pytest.approx(other["mape_percent"], rel=1e-3)


def test_the_field_of_a_point_source():
    """1 mA in 0.276 S/m at 1 mm: 288 V/m outwards, falling with the square of the distance."""
    field = point_source_field(np.array([[1.0, 0, 0], [0, 0, 2.0]]), np.zeros((1, 3)))[0]
    strength = 1e-3 / (4 * np.pi * 0.276 * 1e-6)
    np.testing.assert_allclose(field, [[strength, 0, 0], [0, 0, strength / 4]], rtol=1e-12)
    moved = point_source_field(np.array([[1.5, 0, 0]]), np.array([[0.5, 0, 0], [1.5, 0, 0]]))
    np.testing.assert_allclose(moved[0], [[strength, 0, 0]])
    assert not np.isfinite(moved[1]).any()


def test_electrodes_fill_a_ball_without_its_centre():
    places = electrodes(0.5, 0.1)
    assert np.linalg.norm(places, axis=1).max() <= 0.5
    assert np.linalg.norm(places, axis=1).min() == pytest.approx(0.05 * 3**0.5)
    assert len(places) == pytest.approx(4 / 3 * np.pi * 5**3, rel=0.1)
    with pytest.raises(InputError, match="electrodes"):
        electrodes(0.1, 0.5)


def test_point_sources_are_flagged_and_like_fields_are_not(model):
    places = electrodes(1.5, 0.3)
    patches = point_source_patches(model, places)
    rows = flagged(model, fields(300, seed=31), patches, np.linalg.norm(places, axis=1), bins=3)
    assert rows[0]["distance_mm"] == "all"
    assert sum(row["n"] for row in rows[1:]) == rows[0]["n"] == len(places)
    assert rows[0]["auc"] > 0.999
    assert rows[0]["flagged_share"] > 0.99
    assert rows[0]["tms_flagged_share"] < 0.03
    far = point_source_patches(model, 60 * places / np.linalg.norm(places, axis=1, keepdims=True))
    assert flagged(model, fields(300, seed=31), far)[0]["flagged_share"] < 0.01


def test_distances_agree_with_the_flags(model):
    mixed = np.concatenate(
        [fields(50, seed=1), fields(50, seed=2, gradient=1.0), np.zeros((1, 9, 9, 9, 3), np.float32)]
    )
    distance = np.asarray(model.domain_distance(mixed))
    np.testing.assert_array_equal(distance <= float(model.domain.limit), model.in_domain(mixed))
    assert np.isinf(distance[-1])
    np.testing.assert_allclose(model.domain_distance(1e3 * mixed[:50]), distance[:50], rtol=1e-4)
    assert 0.5 < np.median(distance[:50]) < 1.5


def test_errors_fall_with_distance(model):
    """The hidden law in a point source's field: within reach far away, off near by (figure S8D)."""
    rng = np.random.default_rng(5)
    away = rng.normal(size=(300, 3))
    away *= rng.uniform(0.9, 6, (300, 1)) / np.linalg.norm(away, axis=1, keepdims=True)
    patches = point_source_patches(model, away)
    truth = thresholds(patches, WEIGHTS) / np.linalg.norm(patches[:, 4, 4, 4].astype(float), axis=-1)
    truth[0] = np.nan
    table, columns = point_source_test(model, away, truth, bins=3)
    assert table[0]["n"] == 299
    near, middle, far = (row["mape_percent"] for row in table[1:])
    assert near > 5 * far
    assert near > middle > far
    assert [row["flagged_share"] for row in table[1:]] == sorted([r["flagged_share"] for r in table[1:]], reverse=True)
    assert columns["distance_mm"].shape == columns["domain_distance"].shape == (299,)


def test_area_under_the_curve_by_hand():
    assert area_under_curve([2, 3], [0, 1]) == 1.0
    assert area_under_curve([1, 3], [2, 0]) == 0.75
    assert area_under_curve([1, 1], [1, 1]) == 0.5
    assert area_under_curve([np.inf, 3], [2, 0]) == 1.0
    with pytest.raises(InputError):
        area_under_curve([], [1])


def test_a_simulated_neuron_near_and_far_from_electrodes():
    """The bundled basket cell: far sources are predicted, near ones flagged, one missed, one in the cell left out."""
    model = surrogate.load("open/L4_LBC_1")
    places = np.array([[0, 0, 0.01], [0.55, 0.55, 0.55], [0.3, 0.2, -0.4], [0, 6.0, 0], [8.0, 0, 0]])
    kept, truth = simulate_point_sources(cells.load("open/L4_LBC_1"), places, tolerance=0.01, initiation=False)
    np.testing.assert_array_equal(kept, places[1:])
    assert truth.ok.all()
    assert truth.factor[1] < truth.factor[0] < truth.factor[2:].min() / 5
    _, columns = point_source_test(model, kept, truth.factor)
    known = columns["domain_distance"] <= float(model.domain.limit)
    np.testing.assert_array_equal(known, [False, False, True, True])
    assert np.abs(columns["error_percent"][known]).max() < 5
    assert np.abs(columns["error_percent"][~known]).max() > 20
    with pytest.raises(InputError, match="no electrode"):
        simulate_point_sources(cells.load("open/L4_LBC_1"), places[:1])
