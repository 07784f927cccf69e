"""Metrics, folds, baselines, and the cross-validation of a subject that is made up."""

import numpy as np
import pytest
from made_up_subject import subject

from tmsjax.core.errors import InputError
from tmsjax.mep import (
    against_responses,
    blocked_folds,
    clean,
    cross_validate,
    fit_baseline,
    random_folds,
    scores,
    summary,
    tabulated,
)
from tmsjax.mep.scores import METRICS


@pytest.fixture(scope="module")
def one():
    return clean(subject(160)).subject


def test_scores_are_equations_12_to_15():
    at = np.array([[0.0, 0, 0], [2, 0, 0], [0, 4, 0]])
    true, found = np.array([[1.0, 2.0, 3.0]]), np.array([[2.0, 2.0, 2.0]])
    s = scores(found, true, at)
    assert s["nrmse"][0] == pytest.approx(np.sqrt(2 / 14))
    assert s["r2"][0] == pytest.approx(1 - 2 / 2)
    assert s["cog_mm"][0] == pytest.approx(np.hypot(4 / 6 - 4 / 6, 12 / 6 - 8 / 6))
    assert np.isnan(s["corr2"][0])  # a constant prediction has no correlation
    doubled = scores(2 * true, true, at)
    assert doubled["nrmse"][0] == pytest.approx(1.0)
    assert doubled["shape"][0] == pytest.approx(0.0, abs=1e-12)
    assert doubled["cog_mm"][0] == pytest.approx(0.0, abs=1e-12)
    assert doubled["corr2"][0] == pytest.approx(1.0)


def test_a_zero_prediction_has_no_centre_and_a_constant_truth_is_refused():
    at = np.eye(3)
    assert np.isnan(scores(np.zeros((1, 3)), np.array([[1.0, 2, 3]]), at)["cog_mm"][0])
    with pytest.raises(InputError, match="constant"):
        scores(np.ones((1, 3)), np.ones((1, 3)), at)
    with pytest.raises(InputError, match="expected"):
        scores(np.ones((1, 3)), np.ones((1, 4)), at)


def test_summary_has_both_kinds_of_standard_error():
    values, fold = np.array([1.0, 3.0, 2.0, 6.0]), np.array([0, 0, 1, 1])
    s = summary({"x": values}, fold, np.array([110.0, 110, 120, 120]))
    assert s["x"]["mean"] == 3.0
    assert s["x"]["sem"] == pytest.approx(1.96 * values.std() / 2)
    assert s["x"]["sem_folds"] == pytest.approx(1.96 * 1.0 / np.sqrt(2))
    assert s["by_intensity"]["120"]["x"]["mean"] == 4.0


def test_random_folds_are_stratified_by_intensity(one):
    fold = random_folds(one.intensity_percent, 5)
    for level in np.unique(one.intensity_percent):
        counts = np.bincount(fold[one.intensity_percent == level], minlength=5)
        assert np.ptp(counts) <= 1
    with pytest.raises(InputError, match="folds"):
        random_folds([110.0], 5)


def test_blocked_folds_are_patches(one):
    places = one.poses[:, :3, 3]
    fold = blocked_folds(places, 4)
    centres = np.stack([places[fold == k].mean(0) for k in range(4)])
    nearest = np.linalg.norm(places[:, None] - centres, axis=2).argmin(1)
    assert (nearest == fold).mean() > 0.95


def test_baselines_rank_as_they_must(one):
    fold = random_folds(one.intensity_percent, 5)
    runs = {name: cross_validate(one, name, fold) for name in ("mean_field", "ridge", "kernel_ridge", "nearest")}
    table = tabulated(runs, fold, one.intensity_percent)
    error = {name: row["nrmse"]["mean"] for name, row in table.items()}
    assert error["kernel_ridge"] < error["ridge"] < error["mean_field"]
    assert error["nearest"] < error["mean_field"]
    assert table["ridge"]["folds"] == 5
    assert set(table["ridge"]["by_intensity"]) == {"110", "120", "140"}
    assert set(METRICS) <= set(table["ridge"])
    five = against_responses(one, runs["kernel_ridge"]["mean"])
    assert len(five["columns"]["nrmse"]) == len(one)
    assert -1 <= five["spearman"]["active"] <= 1


def test_scaling_by_all_stimulations_is_another_run(one, tmp_path):
    fold = random_folds(one.intensity_percent, 5)
    first = cross_validate(one, "ridge", fold, only=[1], folder=tmp_path / "r")["mean"]
    again = cross_validate(one, "ridge", fold, only=[1], folder=tmp_path / "r")["mean"]
    np.testing.assert_array_equal(first.found["nrmse"], again.found["nrmse"])
    assert np.isnan(first.found["nrmse"][fold != 1]).all()
    with pytest.raises(InputError, match="another scale"):
        cross_validate(one, "ridge", fold, only=[1], scale_on="all", folder=tmp_path / "r")


def test_unknown_names_are_refused(one):
    with pytest.raises(InputError, match="one of ae_decoder"):
        cross_validate(one, "magic", random_folds(one.intensity_percent, 3))
    with pytest.raises(InputError, match="mean_field, ridge"):
        fit_baseline("magic", one)
