"""Which rows train, and how often."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmsjax.surrogate.split import balanced, split


@given(st.integers(20, 400), st.integers(0, 5))
def test_every_row_has_one_part_and_sites_stay_whole(n, seed):
    sites = np.arange(n) // 3
    parts = split(n, seed, groups=sites)
    rows = [parts.train, parts.validation, parts.held_out]
    assert np.array_equal(np.sort(np.concatenate(rows)), np.arange(n))
    found = [set(sites[some]) for some in rows]
    assert not found[0] & found[1] | found[0] & found[2] | found[1] & found[2]


def test_group_minus_one_trains_and_changes_nothing_else():
    sites = np.arange(60) // 3
    alone, more = split(60, 1, groups=sites), split(64, 1, groups=[*sites, -1, -1, -1, -1])
    assert np.array_equal(more.held_out, alone.held_out)
    assert np.array_equal(more.validation, alone.validation)
    assert np.array_equal(more.train, [*alone.train, 60, 61, 62, 63])


def test_rare_places_count_as_a_share_of_the_rows():
    """10 of 1,000 begin at place 7 and are to count as 30; 1 at place 8, which 20 times is enough for."""
    initiation = np.full(1200, 3)
    initiation[:10], initiation[10], initiation[1000:] = 7, 8, 9
    rows = balanced(np.arange(1000), initiation)
    assert [int((initiation[rows] == place).sum()) for place in (3, 7, 8, 9)] == [989, 30, 20, 0]
    assert np.array_equal(np.unique(rows), np.arange(1000))


@pytest.mark.parametrize("initiation", [np.full(50, -1), np.repeat([4, 5], 25)])
def test_nothing_is_repeated_where_nothing_is_known_or_rare(initiation):
    rows = np.arange(0, 50, 2)
    assert np.array_equal(balanced(rows, initiation), rows)
