"""The threshold search on predicates whose threshold is known."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmsjax.core.errors import InputError
from tmsjax.simulate import Search, Status, find_threshold


@given(
    threshold=st.floats(0.5, 4000),
    guess=st.floats(0.2, 4500),
    tolerance=st.floats(1e-4, 0.1),
    step=st.floats(1.01, 3),
    split=st.floats(0.2, 0.9),
)
def test_brackets_the_threshold(threshold, guess, tolerance, step, split):
    tested = {}

    def fires(amplitude):
        tested[amplitude] = amplitude >= threshold
        return tested[amplitude]

    found = find_threshold(fires, guess, Search(tolerance=tolerance, step=step, split=split))
    assert found.status == Status.OK
    assert found.low < threshold <= found.high
    assert found.high - found.low <= tolerance * found.low * (1 + 1e-12)
    assert tested[found.high]
    assert not tested[found.low]
    assert found.runs >= len(tested)


def test_the_published_search_is_reproduced_to_the_digit():
    """Aberra et al. (2020) publish 306.2988 V/m for L23_PC_cADpyr229_1 at theta 0: a number of this search's grid."""
    found = find_threshold(lambda a: a >= 306.26, 100.0, Search(absolute_v_per_m=0.05, split=0.5))
    assert found.high - found.low <= 0.05
    assert found.high == 306.298828125


def test_a_good_guess_saves_runs():
    truth = 250.0
    cold = find_threshold(lambda a: a >= truth, 100.0, Search())
    warm = [find_threshold(lambda a: a >= truth, truth * f, Search(step=1.1)).runs for f in np.linspace(0.92, 1.08, 17)]
    assert np.mean(warm) < 0.75 * cold.runs


@pytest.mark.parametrize(
    ("threshold", "status"), [(np.inf, Status.NOT_REACHED), (5001.0, Status.NOT_REACHED), (0.0, Status.FIRES_AT_LOWEST)]
)
def test_statuses(threshold, status):
    found = find_threshold(lambda a: a >= threshold, 100.0, Search())
    assert found.status == status
    assert np.isnan(found.high)
    assert found.runs < 20
    assert len(found.status.sentence) > 20


@pytest.mark.parametrize(
    "wrong",
    [
        {"tolerance": 0.0},
        {"tolerance": float("nan")},
        {"absolute_v_per_m": -1.0},
        {"step": 1.0},
        {"split": 1.0},
        {"highest_v_per_m": 0.01},
    ],
)
def test_bad_settings(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        Search(**wrong).checked()


@pytest.mark.parametrize("value", ["a", None, float("nan"), float("inf"), 0.0, True])
@pytest.mark.parametrize("name", ["tolerance", "step", "split", "lowest_v_per_m", "highest_v_per_m"])
def test_what_is_no_number_is_named(name, value):
    search = Search()
    object.__setattr__(search, name, value)  # past the tests' own checks of types
    with pytest.raises(InputError, match=name):
        search.checked()
