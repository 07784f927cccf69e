"""Active mapping of a muscle, and intervals that are measured and widened."""

import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.mep.coverage import Spread, active_bin, calibrate, coverage
from tmsjax.mep.mapping import MapPrior, believe, estimate, information, map_muscle, update

TICKS = np.arange(-24, 25, 6.0)
PLACES = np.stack(np.meshgrid(TICKS, TICKS), -1).reshape(-1, 2)
HOTSPOT, THRESHOLD = np.array([6.0, -4.0]), 100.0


def responder(seed):
    rng = np.random.default_rng(seed)

    def respond(place, intensity):
        local = THRESHOLD * (1 + 0.5 * (((place - HOTSPOT) / [15.0, 20.0]) ** 2).sum())
        return np.log(intensity / local) + 0.07 * rng.normal() > 0

    return respond


def errors(choice):
    levels = np.arange(60.0, 201.0, 20.0)
    found = [map_muscle(responder(s), PLACES, levels, stimulations=25, choice=choice, seed=s)[-1] for s in range(4)]
    return (
        np.mean([np.linalg.norm(e.hotspot_mm - HOTSPOT) for e in found]),
        np.mean([abs(e.threshold / THRESHOLD - 1) for e in found]),
        found[0],
    )


def test_chosen_stimulations_find_the_hotspot_sooner_than_random_ones():
    place, threshold, last = errors("information")
    random_place, _, _ = errors("random")
    assert place < 4.0
    assert place < 0.8 * random_place
    assert threshold < 0.12
    assert last.stimulations == 25
    assert last.hotspot_sd_mm < 6


def test_no_information_where_the_answer_is_known():
    belief = believe(MapPrior())
    near, never = information(belief, np.zeros((2, 2)), np.array([90.0, 1.0]))
    assert near > 20 * never
    assert never < 0.01


def test_a_response_lowers_the_threshold_and_its_absence_raises_it():
    rng, belief = np.random.default_rng(0), believe()
    before = estimate(belief, 0).threshold
    assert estimate(update(belief, np.zeros(2), 90.0, True, rng), 1).threshold < before
    assert estimate(update(belief, np.zeros(2), 90.0, False, rng), 1).threshold > before


def test_mappings_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="information or random"):
        map_muscle(responder(0), PLACES, [100.0], choice="best")
    with pytest.raises(InputError, match="information or random"):
        map_muscle(responder(0), np.zeros((0, 2)), [100.0])
    with pytest.raises(InputError, match="prior of a mapping"):
        believe(MapPrior(threshold=(100.0, 50.0)))


def made_up(count, seed, short=3.0):
    """Draws whose s.d. is ``short`` times too small for fields that scatter by 1."""
    rng = np.random.default_rng(seed)
    at = rng.normal(size=(40, 3)) * 10
    mean = 5 + rng.random((count, 40))
    true = np.maximum(mean + rng.normal(size=(count, 40)), 0.01)
    responses = (rng.random((count, 10)) < rng.random((count, 1))).astype(float)
    return (
        Spread(mean, np.full((count, 40), 1 / short), np.zeros((count, 3)), np.full(count, 0.05)),
        true,
        at,
        responses,
    )


def test_intervals_that_are_too_narrow_are_found_and_mended():
    inner, true, at, y = made_up(200, 0)
    outer, other, _, z = made_up(300, 1)
    raw = coverage(outer, other, at, z)
    assert raw["voxels"] == pytest.approx(0.42, abs=0.03)  # 1.645/3 s.d. of a normal distribution
    found = calibrate(inner, true, at, y)
    after = coverage(outer, other, at, z, found)
    assert after["voxels"] == pytest.approx(0.9, abs=0.02)
    for what in ("fields", "centres"):
        assert after[what]["low"] < 0.9 < after[what]["high"] or after[what]["share"] > 0.9
    assert after["half_width"] > 2.5 * raw["half_width"]
    assert raw["centres"]["share"] < 0.5


def test_bins_are_of_active_muscles_and_few_stimulations_do_not_calibrate():
    rows = np.zeros((4, 15))
    rows[1, :2], rows[2, :3], rows[3, :8] = 1, 1, 1
    np.testing.assert_array_equal(active_bin(rows), [0, 0, 1, 2])
    few = made_up(5, 0)
    with pytest.raises(InputError, match="to calibrate with"):
        calibrate(*few)
