"""What an evaluation says: errors, dispersion, paired tests and their correction, folds that are gone through once."""

import numpy as np
import pytest
from blobs import SPEC, cohort
from scipy.stats import wilcoxon

from tmsjax.core.errors import InputError
from tmsjax.target import evaluation, report
from tmsjax.target.train import SHORT_TRAINING

rng = np.random.default_rng(0)
COHORT = cohort(9, seed=4, bases=["a"] * 3 + ["b"] * 3 + ["c"] * 3)


def test_errors_are_distances_and_absent_points_have_none():
    truth = np.array([[[0.0, 0, 0], [np.nan] * 3]])
    found = np.array([[[[3.0, 4, 0], [1, 1, 1]]], [[[0.0, 0, 2], [1, 1, 1]]]])
    np.testing.assert_array_equal(evaluation.errors(found, truth), [[[5, np.nan]], [[2, np.nan]]])


def test_dispersion_is_equation_3():
    """Two repetitions 6 mm apart lie 3 mm from their mean; five random ones fall short by sqrt(4/5)."""
    two = np.array([0.0, 6.0])[:, None, None, None] * np.array([1.0, 0, 0])
    np.testing.assert_allclose(evaluation.dispersion(two), [[3.0]])
    np.testing.assert_allclose(evaluation.ensemble(two), [[[3.0, 0, 0]]])
    many = rng.normal(size=(5, 4000, 1, 3))
    expected = np.sqrt(4 / 5) * 2 * np.sqrt(2 / np.pi)  # of a normal in three dimensions
    assert evaluation.dispersion(many).mean() == pytest.approx(expected, rel=0.02)
    with pytest.raises(InputError, match="repetitions"):
        evaluation.dispersion(two[:1])


def test_images_and_anatomies_are_averaged_apart():
    """Ten warps of one head and one of another: two anatomies, not eleven."""
    found = evaluation.summary(np.array([2.0] * 10 + [8.0]), ["a"] * 10 + ["b"])
    assert found.mean == pytest.approx(28 / 11)
    assert (found.n, found.anatomy_mean, found.anatomies) == (11, 5.0, 2)
    assert found.anatomy_sd == pytest.approx(np.std([2, 8], ddof=1))
    some = evaluation.summary(np.array([1.0, np.nan, 3.0]), ["a", "a", "b"])
    assert (some.mean, some.n) == (2.0, 2)
    with pytest.raises(InputError, match="to summarise"):
        evaluation.summary(np.array([np.nan]), ["a"])


def test_holms_correction():
    """Worked by hand: 4 x 0.005, 3 x 0.01, 2 x 0.03, 0.04 raised to what came before."""
    np.testing.assert_allclose(evaluation.holm([0.01, 0.04, 0.03, 0.005]), [0.03, 0.06, 0.06, 0.02])
    np.testing.assert_allclose(evaluation.holm([0.5, np.nan, 0.9]), [1.0, np.nan, 1.0])


def test_paired_tests_are_scipys_and_pair_by_anatomy():
    a = np.abs(rng.normal(5, 1, (24, 2)))
    b = a + np.array([2.0, 0.0]) + rng.normal(0, 0.5, (24, 2))
    first, second = evaluation.compare({"ours": a, "theirs": b}, ["LOFC", "ROFC"], [("ours", "theirs")])
    own = [wilcoxon(a[:, k] - b[:, k], method="approx") for k in (0, 1)]
    assert first.z == pytest.approx(abs(own[0].zstatistic))
    assert first.p == pytest.approx(2 * own[0].pvalue)
    assert (first.stars, first.better, first.n) == ("***", "ours", 24)
    assert second.p == pytest.approx(min(1, max(own[1].pvalue, 2 * own[0].pvalue)))
    assert second.stars == ""


def test_three_anatomies_are_too_few_for_a_test():
    a = np.ones((3, 1))
    (test,) = evaluation.compare({"x": a, "y": a + 1}, ["LOFC"], [("x", "y")])
    assert np.isnan(test.z)
    assert np.isnan(test.p)
    assert (test.better, test.n, test.stars) == ("x", 3, "")


def test_averages_within_anatomies_come_first():
    error = np.arange(18.0).reshape(1, 9, 2)
    np.testing.assert_allclose(evaluation.by_anatomy(error, COHORT.bases), [[2, 3], [8, 9], [14, 15]])


@pytest.fixture
def without_training(monkeypatch):
    """Networks that say the mean of what they were trained on, which tells what they have seen."""
    calls = []

    def train(learn, choose, spec, seed, training, **_):
        assert not set(learn.names) & set(choose.names)
        calls.append((sorted({*learn.bases, *choose.bases}), seed))
        return np.concatenate([learn.places, choose.places]).mean(0), {}

    monkeypatch.setattr(evaluation, "train", train)
    monkeypatch.setattr(evaluation, "predict", lambda spec, mean, held: np.stack([mean] * len(held)))
    return calls


def test_every_anatomy_is_held_out_once_in_a_repetition(without_training, tmp_path):
    places = evaluation.cross_validate(COHORT, SPEC, SHORT_TRAINING, repetitions=2, folder=tmp_path)
    assert without_training == [(list(pair), r) for r in (0, 1) for pair in ("bc", "ac", "ab")]
    for start in (0, 3, 6):
        others = np.delete(COHORT.places, np.s_[start : start + 3], axis=0).mean(0)
        np.testing.assert_allclose(places[:, start : start + 3], np.broadcast_to(others, (2, 3, 2, 3)), atol=1e-5)
    again = evaluation.cross_validate(COHORT, SPEC, SHORT_TRAINING, repetitions=3, folder=tmp_path)
    assert len(without_training) == 9  # the third repetition's three alone
    np.testing.assert_array_equal(again[:2], places)
    with pytest.raises(InputError, match="repetitions"):
        evaluation.cross_validate(COHORT, SPEC, SHORT_TRAINING, repetitions=0)


def test_the_tables_of_the_paper():
    truth = COHORT.places.astype(np.float64)
    ours = truth + rng.normal(0, 1, (5, 9, 2, 3))
    theirs = truth + np.array([4.0, 0, 0])
    rows = report.table_2(COHORT, ours, {"SyN": theirs}, {"LULIMBMC": [1.0, 3.0]})
    assert [row["point"] for row in rows] == list(COHORT.points)
    assert rows[0]["SyN"] == pytest.approx((4.0, 0.0, 9), abs=1e-6)
    assert rows[0]["network"][2] == 45
    assert rows[0]["network anatomies"][2] == 3
    assert rows[0]["raters"] == pytest.approx((2.0, np.sqrt(2), 2))
    assert 1.0 < rows[0]["dispersion"][0] < 1.8
    assert "raters" not in rows[1]
    assert all(np.isnan(test.p) for test in report.table_3(COHORT, ours, {"SyN": theirs}))  # of three anatomies
    variants = {"shared": ours, "none": truth + rng.normal(0, 2, (5, 9, 2, 3))}
    alone = report.table_4(COHORT, variants)
    assert alone[0]["shared ensemble"][0] < 0.7 * alone[0]["shared"][0]
    assert alone[0]["shared"][0] < alone[0]["none"][0]
    patients = cohort(12, seed=5)
    each = {name: patients.places + rng.normal(0, size, (5, 12, 2, 3)) for name, size in (("shared", 1), ("none", 3))}
    tests = report.table_5(patients, each)
    assert len(tests) == 2 * (2 + 2)
    assert all(test.stars and test.better == "shared ensemble" for test in tests if test.pair[0] == "shared ensemble")
