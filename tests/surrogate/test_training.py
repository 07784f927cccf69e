"""Training on synthetic thresholds whose law is known."""

import dataclasses

import jax
import numpy as np
import pytest
from synthetic_thresholds import QUICK, fields, hidden_functionals, thresholds

from tmsjax.core.errors import InputError
from tmsjax.surrogate import SupportSpec, train
from tmsjax.surrogate.examples import coefficients_of, normalised
from tmsjax.surrogate.split import split

FEW = fields(300, seed=1)
TRUTH = thresholds(FEW, hidden_functionals())
SHORT = dataclasses.replace(QUICK, epochs=5)


def small(spec):
    return dataclasses.replace(spec, model=SupportSpec((2,), 16))


def test_recovers_the_hidden_model(trained):
    _, report, _, _ = trained
    scores = report["scores"]["surrogate"]
    assert scores["mape_percent"] < 1.0
    assert scores["r2"] > 0.98
    assert report["status"] == ["finished"] * 3
    assert scores["n"] == report["n_held_out"] == 400


def test_scores_are_of_rows_never_trained_on(trained):
    model, report, patches, truth = trained
    rows = report["held_out_rows"]
    errors = 100 * np.abs(np.asarray(model.predict(patches[rows])) / truth[rows] - 1)
    assert report["scores"]["surrogate"]["mape_percent"] == pytest.approx(errors.mean(), rel=1e-3)
    assert report["n_train"] + report["n_validation"] + report["n_held_out"] == len(truth)
    assert model.card["scores"] == report["scores"]


def test_the_logsumexp_form_learns_too(spec):
    patches = fields(1200, seed=2)
    form = dataclasses.replace(spec, model=SupportSpec((2,), 48, "logsumexp"))
    _, report = train(patches, thresholds(patches, hidden_functionals()), form, 0, candidates=(), training=QUICK)
    assert report["scores"]["surrogate"]["mape_percent"] < 2.0


def test_the_seed_settles_everything(spec):
    brief = dataclasses.replace(SHORT, epochs=1)
    models = [train(FEW, TRUTH, small(spec), seed, candidates=(), training=brief)[0] for seed in (5, 5, 6)]
    bits = [b"".join(np.asarray(leaf).tobytes() for leaf in jax.tree.leaves(m)) for m in models]
    assert bits[0] == bits[1] != bits[2]


def test_the_scale_of_the_training_patches_does_not_matter():
    large = FEW * np.float32(2.0**20)
    np.testing.assert_array_equal(normalised(large), normalised(FEW))
    np.testing.assert_array_equal(coefficients_of(large, 4), coefficients_of(FEW, 4))


def test_candidates_are_chosen_on_validation_rows(spec):
    model, report = train(FEW, TRUTH, small(spec), 0, candidates=[(1,), (2,), (1, 2)], training=SHORT)
    errors = {tuple(c["degrees"]): c["mape"] for c in report["validation_mape_percent"]}
    assert set(errors) == {(1,), (2,), (1, 2)}
    assert model.spec.model.degrees == min(errors, key=errors.get)
    assert len(model.variables) == len(model.spec.model.degrees)
    assert len(report["scores"]["members"]) == len(model.variables)


def test_positions_are_held_out_whole(spec):
    groups = np.arange(300) // 6
    parts = split(300, 3, groups=groups)
    every = [parts.train, parts.validation, parts.held_out]
    assert sorted(np.concatenate(every)) == list(range(300))
    for i, j in ((0, 1), (0, 2), (1, 2)):
        assert not set(groups[every[i]]) & set(groups[every[j]])
    assert len(parts.held_out) == 60
    _, report = train(
        FEW, TRUTH, small(spec), 3, groups=groups, compare_random_split=True, candidates=(), training=SHORT
    )
    assert report["split_by"] == "position"
    np.testing.assert_array_equal(report["held_out_rows"], parts.held_out)
    assert report["random_split_scores"]["n"] == 60


def test_bad_training_data(spec):
    bad = FEW.copy()
    bad[7, 0, 0, 0, 0] = np.nan
    with pytest.raises(InputError, match="first row 7"):
        train(bad, TRUTH, small(spec), 0, candidates=(), training=SHORT)
    for values in (TRUTH[:-1], np.where(np.arange(300) == 3, np.inf, TRUTH), -TRUTH):
        with pytest.raises(InputError):
            train(FEW, values, small(spec), 0, candidates=(), training=SHORT)
    with pytest.raises(InputError, match="too few"):
        train(FEW[:20], TRUTH[:20], small(spec), 0, candidates=(), training=SHORT)
    with pytest.raises(InputError, match="group"):
        train(FEW, TRUTH, small(spec), 0, groups=np.arange(10), candidates=(), training=SHORT)
