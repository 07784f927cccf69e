"""Limits of a search: kept, and refused where no pose meets them."""

import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.optimize import Variables
from tmsjax.optimize.search import SearchPlan, distance, distinct, scan


@pytest.mark.parametrize(
    ("limits", "said"),
    [
        ({"gap_mm": (5.0, 2.0)}, "contradict each other"),
        ({"clear_mm": 6.0}, "contradict each other"),
        ({"gap_mm": (-1.0, 2.0)}, "gap of the search"),
        ({"radius_mm": 0.0}, "radius of the search"),
        ({"radius_mm": float("nan")}, "radius of the search"),
        ({"tilt_deg": 90.0}, "largest tilt"),
        ({"polarities": ()}, "polarities"),
        ({"polarities": (1, 2)}, "polarities"),
        ({"polarities": (1, 1)}, "polarities"),
    ],
)
def test_contradictory_limits_are_refused(limits, said):
    with pytest.raises(InputError, match=said):
        Variables(**limits).checked()


def test_angles_are_modulo_360_and_places_are_held_radially():
    limits = Variables(radius_mm=10.0, gap_mm=(2.0, 5.0), tilt_deg=8.0)
    held = limits.held(np.array([[30.0, 40.0, 350.0, 9.0, -20.0, 3.0], [1.0, 2.0, -190.0, 3.0, 0.0, 0.0]]))
    np.testing.assert_allclose(held, [[6.0, 8.0, -10.0, 5.0, -8.0, 3.0], [1.0, 2.0, 170.0, 3.0, 0.0, 0.0]])
    assert limits.free.tolist() == [True] * 6
    assert Variables().free.tolist() == [True, True, True, False, False, False]


def test_borders_are_named():
    limits = Variables(radius_mm=10.0, gap_mm=(2.0, 5.0), tilt_deg=8.0)
    assert limits.borders(np.array([1.0, 2, 100, 2, 1, 1])) == []
    found = limits.borders(np.array([6.0, 8, 100, 5, -8, 1]))
    assert len(found) == 3
    assert "10 mm" in found[0]


def test_the_scan_covers_the_search_and_all_angles():
    x = scan(Variables(radius_mm=20.0), 25, 12)
    assert x.shape == (300, 6)
    assert np.linalg.norm(x[:, :2], axis=1).max() < 20.0
    places = np.unique(x[:, :2].round(6), axis=0)
    assert len(places) == 25
    nearest = np.linalg.norm(places[:, None] - places, axis=2) + 99 * np.eye(25)
    assert nearest.min(1).max() < 8.0
    assert np.diff(np.sort(x[:, 2])).max() < 5.0


def test_a_turned_coil_with_its_current_reversed_is_near():
    a, b = np.array([1.0, 2, 30, 2, 0, 0]), np.array([1.0, 2, -150, 2, 0, 0])
    assert distance(a, b) == pytest.approx(45.0)
    assert distance(a, b, flip=True) == pytest.approx(0.0)
    rows = distinct(np.stack([a, b, a + 20]), np.array([1, -1, 1]), np.array([0.1, 0.0, 0.2]), 3)
    assert rows.tolist() == [1, 2]


@pytest.mark.parametrize("plan", [{"starts": 0}, {"adam": -2}, {"tau": (0.01, 0.1)}, {"step": float("nan")}])
def test_a_plan_that_is_none(plan):
    with pytest.raises(InputError):
        SearchPlan(**plan).checked()
