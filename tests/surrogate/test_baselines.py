"""The uniform map and the average model behind the calls of every surrogate."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmsjax.core.errors import InputError
from tmsjax.cortex import Population, sampling_grid
from tmsjax.efield import EField
from tmsjax.surrogate import (
    SurrogateSpec,
    UniformSpec,
    WeiseSpec,
    from_uniform,
    grid,
    to_uniform,
    train_baseline,
    train_weise,
    uniform,
    weise,
)
from tmsjax.surrogate.domain import fit
from tmsjax.surrogate.evaluation import uniform_patches
from tmsjax.surrogate.examples import coefficients_of
from tmsjax.surrogate.split import split

GRID = uniform.directions()
TRUTH = 200 + 40 * GRID[:, 2] + 30 * GRID[:, 0] * GRID[:, 1]
MAP = uniform.from_table(GRID, TRUTH)
SIDE = 1.5
SPEC = SurrogateSpec("synthetic", side_mm=SIDE)


def changing(count, seed=0, n=9, side_mm=SIDE, shift_mm=0.0):
    """Fields whose size grows along z by a known share per mm of that at the soma: patches, polar angles, shares."""
    rng = np.random.default_rng(seed)
    direction = rng.normal(size=(count, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    share = rng.uniform(-0.3, 0.3, count)
    z = np.asarray(sampling_grid(side_mm, shift_mm, n), np.float64)[..., 2]
    patches = direction[:, None, None, None] * (1 + share[:, None, None, None, None] * z[..., None])
    scale = rng.uniform(0.1, 10, count)[:, None, None, None, None]
    return (scale * patches).astype(np.float32), np.rad2deg(np.arccos(direction[:, 2])), share, direction


PATCHES, POLAR, SHARE, DIRECTION = changing(400)
INSIDE = fit(coefficients_of(PATCHES, 2), 2)


@pytest.mark.parametrize("n", [3, 4, 9])
def test_the_map_as_a_surrogate_sees_the_soma_only(n):
    patches, _, _, direction = changing(50, n=n)
    model = from_uniform(MAP, dataclasses.replace(SPEC, n=n), INSIDE)
    np.testing.assert_allclose(model.predict(patches), MAP.predict(direction), rtol=1e-4)
    np.testing.assert_array_equal(to_uniform(model).table, MAP.table)
    assert model.card["data"]["directions"] == 2522


def test_where_the_grid_is_shifted_the_soma_is_still_what_counts():
    """The threshold is given at the centre of the patch, its field at the soma 0.49 mm above (figure S1)."""
    spec = dataclasses.replace(SPEC, side_mm=2.0, z_shift_mm=-0.49)
    patches, _, share, direction = changing(50, side_mm=2.0, shift_mm=-0.49)
    model = from_uniform(MAP, spec, INSIDE)
    at_soma = np.asarray(MAP.predict(direction))
    np.testing.assert_allclose(model.predict(patches), at_soma * (1 - 0.49 * share), rtol=1e-4)
    with pytest.raises(InputError, match="outside the patch"):
        from_uniform(MAP, dataclasses.replace(spec, z_shift_mm=-1.1), INSIDE)


@settings(deadline=None, max_examples=10)
@given(st.floats(-20, 20))
def test_both_are_homogeneous(log10):
    c = np.float32(10.0**log10)
    for model in (from_uniform(MAP, SPEC, INSIDE), AVERAGE):
        np.testing.assert_allclose(model.scale(c * PATCHES[:20]), model.scale(PATCHES[:20]) / c, rtol=1e-5)


def law(polar_deg, share):
    return 200 + 40 * np.cos(np.deg2rad(polar_deg)) - 150 * share


AVERAGE = train_weise(PATCHES, law(POLAR, SHARE), SPEC)


def test_angle_and_gradient_by_hand():
    found = weise.relative_gradients(PATCHES, SIDE)
    np.testing.assert_allclose(found[:, 0], POLAR, atol=0.02)
    np.testing.assert_allclose(found[:, 1], 100 * SHARE, atol=0.01)


def test_the_average_model_recovers_a_law_of_angle_and_gradient():
    patches, polar, share, _ = changing(300, seed=1)
    inside = np.abs(share) < 0.29
    np.testing.assert_allclose(AVERAGE.predict(patches)[inside], law(polar, share)[inside], rtol=5e-3)


def test_it_is_flat_beyond_its_gradients_and_says_so():
    steep = PATCHES[:1] * (1 + 3 * np.linspace(-0.75, 0.75, 9)[:, None])
    steep *= np.sign(steep[0, 4, 4, 4] @ PATCHES[0, 4, 4, 4])
    ends = [law(POLAR[0], edge) for edge in (-0.3, 0.3)]
    value = float(AVERAGE.predict(steep.astype(np.float32))[0])
    assert min(ends) - 3 < value < max(ends) + 3
    assert not bool(AVERAGE.in_domain(steep.astype(np.float32))[0])
    assert np.asarray(AVERAGE.in_domain(PATCHES)).mean() > 0.98


def test_averages_over_azimuth_are_the_mean():
    """The same field at twelve azimuths with thresholds that go up and down with it."""
    up = np.tile(200.0 + 0 * POLAR, 2)
    up[::2] += 30
    model = train_weise(np.concatenate([PATCHES, PATCHES]), up, SPEC)
    assert np.median(model.predict(PATCHES)) == pytest.approx(215, rel=0.01)


def test_no_gradient_is_the_maps_average():
    polar = np.arange(0, 181, 5.0)
    np.testing.assert_allclose(weise.average_over_azimuth(MAP), 200 + 40 * np.cos(np.deg2rad(polar)), rtol=1e-5)
    doubled = uniform.UniformMap(2 * np.asarray(MAP.table))
    np.testing.assert_allclose(
        weise.average_over_azimuth(MAP, doubled), 1.5 * weise.average_over_azimuth(MAP), rtol=1e-6
    )


def test_gradients_of_both_are_finite_also_at_the_poles():
    poles = np.asarray(uniform_patches(np.array([[0, 0, 1.0], [0, 0, -1.0], [1.0, 0, 0]]), 9))
    for model in (from_uniform(MAP, SPEC, INSIDE), AVERAGE):
        gradient = jax.jit(jax.grad(lambda p, m=model: m.scale(p).sum()))(poles)
        assert np.isfinite(gradient).all()


def test_baselines_are_judged_on_the_sites_that_the_others_are_judged_on():
    site = np.arange(400) // 4
    truth = law(POLAR, SHARE)
    rows = split(400, 3, groups=site).held_out
    average, report = train_baseline(
        PATCHES, truth, dataclasses.replace(SPEC, family="weise", model=WeiseSpec()), 3, groups=site
    )
    np.testing.assert_array_equal(report["held_out_rows"], rows)
    learned = np.setdiff1d(np.arange(400), rows)
    expected = train_weise(PATCHES[learned], truth[learned], SPEC)
    np.testing.assert_array_equal(average.predict(PATCHES[rows]), expected.predict(PATCHES[rows]))
    assert report["scores"]["surrogate"]["n"] == len(rows)
    spec = dataclasses.replace(SPEC, family="uniform", model=UniformSpec())
    untaught, report = train_baseline(PATCHES, MAP.predict(DIRECTION), spec, 3, groups=site, uniform=MAP)
    assert report["scores"]["surrogate"]["mape_percent"] < 0.01
    assert untaught.card["n_train"] == 0
    with pytest.raises(InputError, match="no baseline"):
        train_baseline(PATCHES, truth, spec, 3)


def test_the_papers_cubes_and_layers_that_have_none():
    assert grid.recommended("L2/3", "cnn") == (2.0, -0.49, 9)
    assert grid.recommended("L5", "fast") == (1.5, 0.0, 4)
    assert grid.recommended("L5").n < grid.recommended("L5", "uniform").n == 9
    with pytest.raises(InputError, match="no grid of this layer"):
        grid.recommended("L6")


def test_tables_that_cannot_be_are_refused():
    with pytest.raises(InputError, match="cannot be tabulated"):
        train_weise(PATCHES, law(POLAR, SHARE)[:-1], SPEC)
    with pytest.raises(InputError, match="all alike"):
        weise.fit_table(np.asarray(uniform_patches(GRID[:50], 9)), np.ones(50), WeiseSpec())
    with pytest.raises(InputError, match="divides 180"):
        WeiseSpec(step_deg=7.0).check(9)
    with pytest.raises(InputError, match="no threshold-direction map"):
        to_uniform(AVERAGE)
    with pytest.raises(InputError, match="divides 180"):
        dataclasses.replace(SPEC, family="uniform", model=UniformSpec(step_deg=7.0)).check()


def test_patches_of_another_grid_are_refused():
    model = from_uniform(MAP, SPEC, INSIDE)
    np.testing.assert_array_equal(model.predict(PATCHES, side_mm=1.5, z_shift_mm=0.0), model.predict(PATCHES))
    with pytest.raises(InputError, match="another side"):
        model.predict(PATCHES, side_mm=2.0)
    with pytest.raises(InputError, match="another shift"):
        model.predict(PATCHES, z_shift_mm=-0.49)
    with pytest.raises(InputError, match="another side"):
        model.predict(PATCHES, side_mm=float("nan"))


def test_samples_of_a_model_lie_on_its_own_grid():
    """A field that is its own place: samples are the grid's points."""
    shape = (9, 9, 9)
    ticks = np.indices(shape).transpose(1, 2, 3, 0) - 4.0
    field = EField(
        jnp.asarray(ticks, jnp.float32),
        jnp.ones(shape, bool),
        jnp.asarray([[1, 0, 0, -4], [0, 1, 0, -4], [0, 0, 1, -4], [0, 0, 0, 1]], jnp.float32),
        jnp.float32(0),
        jnp.int32(1),
        1e-4,
    )
    one = jnp.zeros(1)
    population = Population(
        jnp.asarray([[0.3, 0.2, -0.1]]), jnp.eye(3)[None], jnp.zeros(1, int), one, one, jnp.zeros(1, int), "L5", 0.75
    )
    spec = dataclasses.replace(SPEC, n=5, side_mm=2.0, z_shift_mm=0.4)
    samples = from_uniform(MAP, spec, INSIDE).sample(field, population)
    np.testing.assert_allclose(samples[0], sampling_grid(2.0, 0.4, 5) + np.array([0.3, 0.2, -0.1]), atol=1e-5)
