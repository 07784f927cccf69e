"""Every estimator on the same rows of a dataset, with what may explain its errors."""

import dataclasses

import numpy as np
import pytest
from small_head import SITES_UM, results
from synthetic_thresholds import hidden_functionals, thresholds

from tmsjax.core.errors import InputError
from tmsjax.surrogate import from_uniform, uniform
from tmsjax.surrogate.evaluation import cortex_map, error_sources, judge, score_table, uniform_patches
from tmsjax.surrogate.source import head_of


@pytest.fixture(scope="module")
def ball(small_source):
    source, path = small_source
    return source, results(source, lambda p: thresholds(p, hidden_functionals())), head_of(source.recipe, path)


@pytest.fixture(scope="module")
def judged(ball, model):
    source, simulated, head = ball
    grid = uniform.directions()
    table = uniform.from_table(grid, thresholds(uniform_patches(grid, 9), hidden_functionals()))
    models = {"support": model, "uniform": from_uniform(table, model.spec, model.domain)}
    coarse = dataclasses.replace(models["uniform"], spec=dataclasses.replace(models["uniform"].spec, n=3, side_mm=0.6))
    return judge({**models, "uniform of 3": coarse}, source, simulated, head)


def test_rows_with_a_threshold_and_a_patch_in_the_tissue(ball, judged):
    source, simulated, _ = ball
    found, patches = judged
    rows = found.columns["row"]
    assert 150 < len(rows) <= (simulated["status"] == 0).sum()
    np.testing.assert_array_equal(found.v_per_m, simulated["v_per_m"][rows])
    assert patches["support"].shape == (len(rows), 9, 9, 9, 3)
    assert patches["uniform of 3"].shape == (len(rows), 3, 3, 3, 3)
    np.testing.assert_array_equal(found.columns["site"], source.site[rows])
    assert set(found.columns["sign"]) == {-1, 1}


def test_estimators_are_compared_at_the_soma(judged):
    """Smooth fields of spheres: the surrogate of the hidden law is right, the map nearly, on whatever grid it sees."""
    scores = {row["estimator"]: row["mape_percent"] for row in score_table(judged[0])}
    assert scores["support"] < 1.5
    assert scores["uniform"] == pytest.approx(scores["uniform of 3"], rel=0.05)
    assert scores["uniform"] > scores["support"]


def test_depth_is_below_the_scalp(judged):
    """Somata of layer 5 in a cortex from 23 to 20 mm under a scalp at 32 mm."""
    depth = judged[0].columns["depth_mm"]
    np.testing.assert_allclose(depth, 32 - (23 - 0.75 * 3), atol=1.5)


def test_the_in_domain_score_comes_along(model, judged):
    found, patches = judged
    np.testing.assert_allclose(found.columns["domain_distance"], model.domain_distance(patches["support"]), rtol=1e-5)
    np.testing.assert_array_equal(found.columns["in_domain"], model.in_domain(patches["support"]))


def test_sources_of_error_of_some_rows(ball, judged):
    source, simulated, _ = ball
    found = error_sources(judged[0], source, simulated, SITES_UM, 1.5, most=80, n=9)
    assert len(found) == 80
    begins = simulated["initiation"][found.columns["row"]]
    magnitude, angle = found.columns["initiation_error_percent"], found.columns["initiation_angle_deg"]
    assert np.isnan(magnitude[(begins < 0) | (begins == 2)]).all()
    np.testing.assert_allclose(magnitude[begins == 0], 0, atol=1e-3)  # the soma is a sample of the grid
    inside = begins == 1
    assert inside.sum() > 5
    assert 0 < np.median(magnitude[inside]) < 5
    assert np.median(angle[inside]) < 3
    coarse = error_sources(judged[0], source, simulated, SITES_UM, 1.5, most=80, n=3)
    assert np.median(coarse.columns["initiation_error_percent"][inside]) > np.median(magnitude[inside])
    assert (found.columns["gradient_per_mm"] > 0).all()
    assert "initiation_angle_deg" not in error_sources(judged[0], source, simulated, None, 1.5, most=10).columns


def test_maps_show_the_nearest_site(ball, judged):
    """Where a face is near a site, the medians over its azimuths; elsewhere nothing."""
    source, simulated, head = ball
    found = cortex_map(judged[0], head, source.population.depth, pose=1, sign=-1)
    assert set(found.values) == {"simulated"} | {f"{e}{w}" for e in judged[0].predicted for w in ("", " error")}
    columns = judged[0].columns
    here = (columns["pose"] == 1) & (columns["sign"] == -1)
    site = columns["site"][here][0]
    rows = columns["row"][here & (columns["site"] == site)]
    place = np.array([columns[f"{axis}_mm"][columns["row"] == rows[0]][0] for axis in "xyz"])
    centres = found.vertices[found.faces].mean(axis=1)
    face = np.argmin(np.linalg.norm(centres - place, axis=1))
    assert found.values["simulated"][face] == pytest.approx(np.median(simulated["factor"][rows]))
    truth, guess = judged[0].v_per_m, judged[0].predicted["uniform"]
    error = 100 * (guess / truth - 1)[np.isin(columns["row"], rows)]
    assert found.values["uniform error"][face] == pytest.approx(np.median(error))
    assert np.isnan(found.values["simulated"]).any()
    with pytest.raises(InputError, match="this pose"):
        cortex_map(judged[0], head, source.population.depth, pose=9, sign=1)


def test_other_pulses_and_nothing_are_refused(ball, model):
    source, simulated, _ = ball
    other = dataclasses.replace(model, spec=dataclasses.replace(model.spec, pulse="biphasic"))
    with pytest.raises(InputError, match="another pulse"):
        judge({"a": other}, source, simulated)
    with pytest.raises(InputError, match="no surrogates"):
        judge({}, source, simulated)
    with pytest.raises(InputError, match="fields have changed"):
        judge({"a": model}, source, {**simulated, "factor": simulated["factor"] * 1.1})
