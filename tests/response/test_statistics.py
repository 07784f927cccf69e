"""Tables of thresholds by layer, clone, azimuth and region; devices."""

import csv

import numpy as np
import pytest
from synthetic import response

import tmsjax as tj
from tmsjax.coil.library import BUNDLED
from tmsjax.core.errors import InputError
from tmsjax.response import (
    Stimulator,
    active_share,
    equivalent_outputs,
    regions,
    statistics,
    stimulator,
    stimulators,
    write_table,
)


def layers():
    return [response(), response(seed=1, cell="synthetic/b"), response(20, 6, layer="L23", seed=2, median=300.0)]


def test_one_row_a_group_and_every_neuron_in_one():
    found = layers()
    by_layer = statistics(found)
    assert [row["layer"] for row in by_layer] == ["L23", "L5"]
    assert [row["neurons"] for row in by_layer] == [120, 400]
    assert [row["sites"] for row in by_layer] == [20, 50]
    assert by_layer[1]["area_mm2"] == pytest.approx(1000.0)
    assert [row["cell"] for row in statistics(found, ["cell"])] == ["synthetic/a", "synthetic/b"]
    by_clone = statistics(found, ["layer", "cell", "azimuth_deg"])
    assert len(by_clone) == 6 + 4 + 4
    assert sum(row["neurons"] for row in by_clone) == 520
    assert statistics(found, [])[0]["neurons"] == 520


def test_numbers_of_a_row_are_those_of_the_thresholds():
    found = response()
    (row,) = statistics(found)
    a = np.asarray(found.thresholds.a_per_us, float)
    assert row["a_per_us_lowest"] == pytest.approx(a.min())
    assert row["a_per_us_median"] == pytest.approx(np.median(a), rel=0.02)
    assert active_share(a, row["a_per_us_p25"])[0] == pytest.approx(0.25)
    order = [row[f"a_per_us_{what}"] for what in ("lowest", "p5", "p25", "median", "p75", "p95")]
    assert order == sorted(order)
    assert row["v_per_m_p95"] == pytest.approx(1.2 * row["a_per_us_p95"], rel=1e-5)


def test_neurons_without_a_threshold_are_counted_and_left_out():
    a = response().thresholds.a_per_us.copy()
    a[:4] = np.nan  # all azimuths of the first site
    found = response(a_per_us=a)
    (row,) = statistics(found)
    assert (row["neurons"], row["without_threshold"], row["outside_domain"]) == (200, 4, 0)
    assert row["a_per_us_lowest"] == pytest.approx(np.nanmin(a))
    none = statistics(response(a_per_us=np.full(200, np.nan)))[0]
    assert none["without_threshold"] == 200
    assert np.isnan(none["a_per_us_median"])


def test_a_region_is_that_of_the_nearest_vertex():
    found = response()
    vertices = np.array([[40.0, 0, 0], [-40.0, 0, 0]])
    labels = regions(found.population, vertices, np.array([7, 9]), {7: "right", 9: "left"})
    right = np.asarray(found.population.positions)[:, 0] > 0
    assert (labels == np.where(right, "right", "left")).all()
    rows = statistics(response(region=labels), ["region"])
    assert {row["region"]: row["neurons"] for row in rows} == {"right": right.sum(), "left": (~right).sum()}
    assert set(regions(found.population, vertices, np.array([7, 9]))) == {7, 9}


def test_the_table_makes_the_round_trip_through_csv(tmp_path):
    rows = statistics(layers(), ["layer", "cell"])
    with write_table(tmp_path / "t.csv", rows).open(newline="") as handle:
        back = list(csv.DictReader(handle))
    assert [row["cell"] for row in back] == [row["cell"] for row in rows]
    for read, row in zip(back, rows, strict=True):
        assert float(read["a_per_us_median"]) == pytest.approx(row["a_per_us_median"], rel=1e-5)
    nothing = statistics(response(a_per_us=np.full(200, np.nan)))
    with write_table(tmp_path / "t.csv", nothing).open(newline="") as handle:
        assert next(csv.DictReader(handle))["a_per_us_median"] == ""
    assert [item.name for item in tmp_path.iterdir()] == ["t.csv"]


def test_percent_of_output_and_back():
    device = Stimulator("mine", 150.0, "measured with a pick-up coil")
    np.testing.assert_allclose(device.percent([75.0, 300.0, np.nan]), [50.0, 200.0, np.nan])
    np.testing.assert_allclose(device.a_per_us(device.percent([10.0, 90.0])), [10.0, 90.0])


def test_listed_devices_say_their_source_and_fit_bundled_coils():
    assert len(stimulators()) >= 10
    assert all("doi:" in device.source and device.coil for device in stimulators())
    for name in BUNDLED:
        assert len(stimulators(name)) <= 1
    (device,) = stimulators(tj.coil.load("MagVenture_MC_B70").name)
    assert device == stimulator("magpro x100", "MC-B70")
    rows = equivalent_outputs(device.max_didt_a_per_us)
    (row,) = [row for row in rows if row["coil"] == "MC-B70"]
    assert row["percent"] == pytest.approx(100)
    assert row["within_reach"]
    assert not next(row for row in rows if row["coil"] == "DCC")["within_reach"]


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: stimulator("Zapper 9000"), "not documented"),
        (lambda: stimulator("MagPro X100"), "which coil"),
        (lambda: stimulator("MagPro X100", "D70"), "not documented"),
        (lambda: Stimulator("mine", 0.0, "?"), "largest dI/dt"),
        (lambda: Stimulator("mine", 100.0, "?").percent(-3.0), "negative"),
        (lambda: Stimulator("mine", 100.0, "?").a_per_us([50.0, -1.0]), "negative"),
        (lambda: statistics(response(), ["colour"]), "cannot be grouped"),
        (lambda: statistics(response(), ["region"]), "no regions"),
        (lambda: statistics([]), "no responses"),
        (lambda: regions(response().population, np.zeros((2, 3)), np.zeros(3, int)), "label for every vertex"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()
