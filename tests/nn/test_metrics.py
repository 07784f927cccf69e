"""Scores against numbers worked out by hand."""

import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.nn import metrics

TRUE = np.array([100.0, 200.0, 400.0, 500.0])
PREDICTED = np.array([101.0, 190.0, 400.0, 550.0])  # 1, 5, 0 and 10 %


def test_by_hand():
    assert metrics.mape(PREDICTED, TRUE) == pytest.approx(4.0)
    assert metrics.median_ape(PREDICTED, TRUE) == pytest.approx(3.0)
    assert metrics.percentile_ape(PREDICTED, TRUE, 100) == pytest.approx(10.0)
    assert metrics.share_within(PREDICTED, TRUE, 5.0) == 0.75
    residual, spread = 1 + 100 + 2500, 200**2 + 100**2 + 100**2 + 200**2  # about the mean of 300
    assert metrics.r2(PREDICTED, TRUE) == pytest.approx(1 - residual / spread)


def test_summary_agrees_with_its_parts():
    s = metrics.summary(PREDICTED, TRUE)
    assert s["n"] == 4
    assert s["mape_percent"] == metrics.mape(PREDICTED, TRUE)
    assert s["p95_ape_percent"] == metrics.percentile_ape(PREDICTED, TRUE, 95)
    assert (s["within_2_percent"], s["within_5_percent"], s["max_ape_percent"]) == (0.5, 0.75, pytest.approx(10.0))


def test_perfect_and_mean_predictions_bound_r2():
    assert metrics.r2(TRUE, TRUE) == 1.0
    assert metrics.r2(np.full(4, TRUE.mean()), TRUE) == 0.0
    assert np.isnan(metrics.r2(TRUE, np.full(4, 7.0)))


@pytest.mark.parametrize("true", [[1.0, -2.0], [1.0, np.nan], [1.0], [[1.0, 2.0]], []])
def test_bad_truths_are_refused(true):
    with pytest.raises(InputError):
        metrics.mape([1.0, 2.0], true)
