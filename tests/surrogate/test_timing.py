"""Seconds against the number of thresholds, by a clock of the test's own."""

import pytest

from tmsjax.core.errors import InputError
from tmsjax.surrogate.evaluation import Method, time_by_count


class Clock:
    """A clock that methods move."""

    def __init__(self):
        self.now, self.asked = 0.0, []

    def method(self, start, each, most=10_000):
        def run(count):
            self.asked.append((most, count))
            self.now += start + each * count

        return Method(run, most)

    def __call__(self):
        return self.now


def test_measured_where_asked_and_in_proportion_beyond():
    clock = Clock()
    methods = {"fast": clock.method(0.5, 0.001), "slow": clock.method(0.0, 2.0, most=10)}
    rows = time_by_count(methods, (1, 10, 100), clock=clock)
    seconds = {(row["method"], row["thresholds"]): row["seconds"] for row in rows}
    assert seconds["fast", 100] == pytest.approx(0.6)
    assert seconds["slow", 10] == pytest.approx(20)
    assert seconds["slow", 100] == pytest.approx(200)
    assert [row["measured"] for row in rows if row["method"] == "slow"] == [True, True, False]
    assert max(count for most, count in clock.asked if most == 10) == 10
    assert {row["method"]: row["per_second"] for row in rows if row["thresholds"] == 1} == pytest.approx(
        {"fast": 1 / 0.501, "slow": 0.5}
    )


def test_what_compiles_first_does_not_count():
    clock, calls = Clock(), []

    def run(count):
        calls.append(count)
        clock.now += 100.0 if len(calls) == 1 else 1.0

    (row,) = time_by_count({"compiled": Method(run)}, (5,), repeats=3, clock=clock)
    assert (row["seconds"], len(calls)) == (1.0, 4)


def test_nothing_to_time_is_refused():
    clock = Clock()
    with pytest.raises(InputError, match="nothing to time"):
        time_by_count({"any": clock.method(0, 1)}, ())
    with pytest.raises(InputError, match="never run"):
        time_by_count({"any": clock.method(0, 1, most=5)}, (10, 100), clock=clock)
