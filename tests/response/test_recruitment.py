"""Recruitment curves: counts, their smooth version, its gradient, and what the bootstrap's band covers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic import response

from tmsjax.core.errors import InputError
from tmsjax.response import Response, active_share, intensity_for, recruitment, smooth_active_share

THRESHOLDS = np.array([100.0, 120.0, 200.0, np.nan, 400.0])


def test_counts_by_hand():
    np.testing.assert_allclose(active_share(THRESHOLDS, [0, 99, 100, 150, 1e6]), [0, 0, 0.2, 0.4, 0.8])
    weight = [1.0, 1, 2, 4, 2]
    np.testing.assert_allclose(active_share(THRESHOLDS, [300.0, 110.0], weight), [0.4, 0.1])  # in any order


@given(st.lists(st.floats(1.0, 1e4), min_size=1, max_size=30), st.lists(st.floats(0.0, 2e4), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_shares_are_monotone_between_0_and_1_and_scale_with_didt(thresholds, intensities):
    """What counts is intensity over threshold: a field twice as strong needs half the dI/dt for the same share."""
    at = np.sort(intensities)
    share = active_share(thresholds, at)
    assert ((share >= 0) & (share <= 1)).all()
    assert (np.diff(share) >= 0).all()
    np.testing.assert_array_equal(active_share(np.asarray(thresholds) / 2, at / 2), share)
    np.testing.assert_allclose(share, [np.mean(np.asarray(thresholds) <= x) for x in at])


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5, 0.79])
def test_the_intensity_for_a_share_is_the_lowest_that_reaches_it(share):
    thresholds = np.concatenate([response().thresholds.a_per_us, np.full(40, np.nan)])
    found = intensity_for(thresholds, share)
    assert active_share(thresholds, found)[0] >= share
    assert active_share(thresholds, np.nextafter(found, 0))[0] < share


def test_a_share_beyond_all_thresholds_has_no_intensity():
    assert np.isnan(intensity_for(THRESHOLDS, 0.9))
    assert intensity_for(THRESHOLDS, 0.8) == 400.0


def test_the_smooth_count_becomes_the_hard_one_as_the_temperature_falls():
    thresholds, at = response(between=0.3).thresholds.a_per_us, np.linspace(60.0, 300.0, 7)
    hard = active_share(thresholds, at)
    errors = []
    for temperature in (0.3, 0.1, 0.03, 0.01, 1e-5):
        smooth = np.asarray(smooth_active_share(jnp.asarray(thresholds), jnp.asarray(at), temperature))
        assert ((smooth >= 0) & (smooth <= 1) & (np.diff(smooth, prepend=0) > -1e-6)).all()
        errors.append(np.abs(smooth - hard).max())
    assert errors[0] > errors[1] > errors[2]
    assert errors[-1] < 1e-4
    with_none = jnp.asarray([*thresholds, np.nan, np.nan], jnp.float32)
    scaled = np.asarray(smooth_active_share(with_none, jnp.asarray(at), 0.05)) * len(with_none) / len(thresholds)
    np.testing.assert_allclose(scaled, smooth_active_share(jnp.asarray(thresholds), jnp.asarray(at), 0.05), rtol=1e-5)
    assert smooth_active_share(jnp.asarray(thresholds), jnp.zeros(1), 0.05)[0] == 0


def test_its_gradient_matches_finite_differences_and_forgets_neurons_without_a_threshold():
    thresholds = jnp.asarray([*response(10, 2).thresholds.a_per_us, np.nan])
    at = jnp.asarray([80.0, 150.0, 220.0])
    weight = jnp.asarray(np.random.default_rng(1).uniform(0.5, 2, len(thresholds)), jnp.float32)
    mix = jnp.asarray([0.2, 0.5, 0.3])

    def share(thresholds, at):
        return jnp.sum(mix * smooth_active_share(thresholds, at, 0.1, weight))

    by_threshold, by_intensity = jax.grad(share, argnums=(0, 1))(thresholds, at)
    assert np.isfinite(by_threshold).all()
    assert by_threshold[-1] == 0
    assert (by_threshold[:-1] < 0).all()
    assert (by_intensity > 0).all()
    direction = jnp.asarray(np.random.default_rng(0).uniform(0.5, 1.5, len(thresholds)), jnp.float32)
    moved = [float(share(thresholds + h * direction, at)) for h in (2.0, -2.0)]
    assert float(by_threshold @ direction) == pytest.approx((moved[0] - moved[1]) / 4, rel=2e-3)
    for n in range(3):
        moved = [float(share(thresholds, at.at[n].add(h))) for h in (1.0, -1.0)]
        assert float(by_intensity[n]) == pytest.approx((moved[0] - moved[1]) / 2, rel=5e-3)


def test_the_band_covers_the_truth_as_often_as_it_says_and_a_bootstrap_of_neurons_does_not():
    """120 populations from a known lognormal law: thresholds of a site go together (between 0.4, within 0.05)."""
    at = 150.0 * np.exp([-0.3, 0.0, 0.3])
    truth = active_share(response(40000, 1, seed=99, between=np.hypot(0.4, 0.05), within=0.0).thresholds.a_per_us, at)
    by_site = by_neuron = 0.0
    for seed in range(120):
        found = response(40, 6, seed=seed, between=0.4, within=0.05)
        curve = recruitment(found, at, bootstrap=150, level=0.9, seed=seed)
        by_site += np.mean((curve.low <= truth) & (truth <= curve.high)) / 120
        alone = Response(_own_sites(found.population), found.thresholds, found.cell)
        curve = recruitment(alone, at, bootstrap=150, level=0.9, seed=seed)
        by_neuron += np.mean((curve.low <= truth) & (truth <= curve.high)) / 120
    assert 0.82 < by_site < 0.97
    assert by_neuron < 0.7


def _own_sites(population):
    import dataclasses

    return dataclasses.replace(population, site=jnp.arange(len(population)))


def test_clones_at_a_position_are_one_cluster_and_layers_are_not():
    pair = [response(30, 3, seed=1), response(30, 3, seed=2, cell="synthetic/b")]
    assert recruitment(pair, bootstrap=3).sites == 30
    assert recruitment([pair[0], response(30, 3, layer="L23")], bootstrap=3).sites == 60
    curve = recruitment(pair, [100.0, 200.0], bootstrap=50)
    assert curve.neurons == 180
    assert ((curve.low <= curve.share) & (curve.share <= curve.high)).all()
    assert recruitment(pair, [100.0, 200.0], bootstrap=50).high.tolist() == curve.high.tolist()  # by its seed


def test_neurons_without_a_threshold_bound_the_curve():
    a = response().thresholds.a_per_us.copy()
    a[::4] = np.nan
    curve = recruitment(response(a_per_us=a), [1e9], bootstrap=20)
    assert curve.share[0] == pytest.approx(0.75)
    assert curve.without_threshold == pytest.approx(0.25)
    assert curve.outside_domain == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: active_share([], [1.0]), "population is empty"),
        (lambda: active_share([100.0], [-1.0]), "intensities"),
        (lambda: active_share([100.0], [np.nan]), "intensities"),
        (lambda: active_share([-100.0], [1.0]), "not positive"),
        (lambda: active_share([100.0], [1.0], [0.0]), "weights"),
        (lambda: intensity_for([100.0], 1.5), "share of neurons"),
        (lambda: recruitment([]), "no responses"),
        (lambda: recruitment(response(), [-5.0]), "intensities"),
        (lambda: recruitment(response(a_per_us=np.full(200, np.nan))), "no neuron has a threshold"),
        (lambda: response(region=["M1"]), "do not belong together"),
    ],
)
def test_bad_input_is_named(call, said):
    with pytest.raises(InputError, match=said):
        call()
