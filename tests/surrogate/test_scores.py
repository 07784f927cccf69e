"""Tables of scores, by groups whose numbers are known by hand."""

import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.surrogate.evaluation import Judged, binned, error_percentiles, joined, place_medians, score_table


@pytest.fixture
def judged():
    truth = np.array([100.0, 200.0, 100.0, 200.0, 400.0, 400.0])
    return Judged(
        truth,
        {"good": truth * 1.01, "bad": truth * np.array([1.1, 0.9, 1.2, 0.8, 1.3, 0.6])},
        {"layer": np.array(["L5", "L5", "L4", "L4", "L5", "L5"]), "site": np.array([0, 0, 1, 1, 2, 2])},
    )


def test_every_estimator_on_all_rows(judged):
    rows = {row["estimator"]: row for row in score_table(judged)}
    assert rows["good"]["mape_percent"] == pytest.approx(1.0)
    assert rows["bad"]["mape_percent"] == pytest.approx((10 + 10 + 20 + 20 + 30 + 40) / 6)
    assert rows["bad"]["n"] == 6


def test_groups_in_the_order_they_come(judged):
    rows = score_table(judged, by=("layer", "site"))
    assert [(r["layer"], r["site"], r["estimator"]) for r in rows] == [
        (layer, site, e) for layer, site in (("L5", 0), ("L4", 1), ("L5", 2)) for e in ("good", "bad")
    ]
    np.testing.assert_allclose([r["mape_percent"] for r in rows if r["estimator"] == "bad"], [10, 20, 35])
    assert isinstance(rows[0]["site"], int)


def test_signed_percentiles(judged):
    row = error_percentiles(judged, percentiles=(0, 50, 100))[1]
    assert row["p0_percent"] == pytest.approx(-40)
    assert row["p50_percent"] == pytest.approx(0)
    assert row["p100_percent"] == pytest.approx(30)


def test_medians_at_a_place(judged):
    """Of the threshold, and of the percent error, which is not the error of the medians."""
    found = place_medians(judged, place=("site",))
    np.testing.assert_allclose(found.v_per_m, [150, 150, 400])
    np.testing.assert_allclose(found.errors("bad"), [0, 0, -5], atol=1e-9)
    np.testing.assert_allclose(found.errors("good"), 1.0)
    np.testing.assert_array_equal(found.columns["site"], [0, 1, 2])


def test_joined_parts_score_as_one(judged):
    whole = joined([judged[:2], judged[2:]])
    assert score_table(whole) == score_table(judged)
    assert len(whole) == 6


def test_bins_hold_about_as_many():
    values = np.random.default_rng(0).exponential(size=1000)
    labels = binned(values, 4)
    names, counts = np.unique(labels, return_counts=True)
    assert len(names) == 4
    assert (np.abs(counts - 250) <= 1).all()
    for name in names:
        low, high = map(float, name.split("-"))
        assert low - 0.01 <= values[labels == name].min()
        assert values[labels == name].max() <= high + 0.01
    assert set(binned(np.full(5, 2.5))) == {"2.5"}


def test_bad_tables_are_refused(judged):
    with pytest.raises(InputError, match="group by"):
        score_table(judged, by=("depth",))
    with pytest.raises(InputError, match="pair up"):
        score_table(Judged(judged.v_per_m, {"short": judged.v_per_m[:3]}))
    with pytest.raises(InputError, match="positive"):
        score_table(Judged(np.array([1.0, 0.0]), {"a": np.ones(2)}))
    with pytest.raises(InputError, match="other estimators"):
        joined([judged, Judged(judged.v_per_m, {"good": judged.v_per_m})])
    with pytest.raises(InputError, match="bin"):
        binned(np.array([1.0, np.nan]))
