"""The prediction entry point: scale, gradients, batches, domain and bad input."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_thresholds import fields, hidden_functionals, thresholds

from tmsjax.core.errors import InputError
from tmsjax.surrogate import SurrogateSpec, evaluate, features, support

PATCHES = fields(40, seed=7)


@settings(deadline=None, max_examples=25)
@given(st.floats(-25, 25))
def test_threshold_field_is_free_of_the_scale_and_its_factor_is_homogeneous(model, log10):
    c = np.float32(10.0**log10)
    np.testing.assert_allclose(model.predict(c * PATCHES), model.predict(PATCHES), rtol=1e-5)
    np.testing.assert_allclose(model.scale(c * PATCHES), model.scale(PATCHES) / c, rtol=1e-5)


def test_field_and_factor_agree(model):
    centre = np.linalg.norm(PATCHES[:, 4, 4, 4], axis=-1)
    np.testing.assert_allclose(model.predict(PATCHES), model.scale(PATCHES) * centre, rtol=1e-5)


def test_reversing_the_field_is_another_threshold(model):
    both = np.asarray(model.predict(PATCHES)), np.asarray(model.predict(-PATCHES))
    assert np.median(np.abs(both[0] / both[1] - 1)) > 0.02


def test_gradient_against_finite_differences(model):
    """Reverse mode in float32 against central differences of the same functions in float64."""
    few = PATCHES[:6]
    along = np.random.default_rng(0).normal(size=few.shape) * np.abs(few).max((1, 2, 3, 4), keepdims=True)
    reverse = jax.grad(lambda p: jnp.log(model.scale(p)).sum())(jnp.asarray(few))
    slope = np.sum(np.asarray(reverse) * along, (1, 2, 3, 4))
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda leaf: jnp.asarray(leaf, jnp.float64), model.variables)

        @jax.jit
        @jax.vmap
        def log_scale(patch):
            unit = features.normalise(patch)
            return -jnp.log(support.reciprocal(model.spec.model, exact, unit.patch) * unit.magnitude)

        h = 1e-6
        ends = [log_scale(jnp.asarray(few, jnp.float64) + sign * h * along) for sign in (1, -1)]
        difference = np.asarray((ends[0] - ends[1]) / (2 * h))
    np.testing.assert_allclose(slope, difference, rtol=1e-3, atol=1e-4)


def test_euler_identity(model):
    """The factor is homogeneous of degree -1, so <gradient, patch> = -factor."""
    gradient = jax.grad(lambda p: model.scale(p).sum())(jnp.asarray(PATCHES))
    np.testing.assert_allclose(jnp.sum(gradient * PATCHES, (1, 2, 3, 4)), -model.scale(PATCHES), rtol=1e-4)


def test_jit_vmap_and_chunks_agree(model):
    plain = model.predict(PATCHES)
    np.testing.assert_allclose(jax.jit(lambda m, p: m.predict(p))(model, PATCHES), plain, rtol=1e-5)
    np.testing.assert_allclose(jax.vmap(lambda p: model.predict(p[None])[0])(jnp.asarray(PATCHES)), plain, rtol=1e-5)
    for chunk in (7, 1000):
        np.testing.assert_allclose(model.predict(PATCHES, chunk=chunk), plain, rtol=1e-5)
        np.testing.assert_allclose(jax.jit(lambda p, c=chunk: model.predict(p, chunk=c))(PATCHES), plain, rtol=1e-5)
    assert model.predict(PATCHES[:0]).shape == (0,)


@pytest.mark.parametrize("count", [1, 64, 65, 3000])
def test_batches_of_any_size_against_float64(model, count):
    """By the formulas in numpy, whatever the compiler makes of a batch (XLA 0.10.2 breaks some fused reductions)."""
    patches = fields(count, seed=count)
    centre = np.linalg.norm(patches[:, 4, 4, 4].astype(np.float64), axis=-1)
    unit = patches.astype(np.float64) / centre[:, None, None, None, None]
    each = []
    for i, degree in enumerate(model.spec.model.degrees):
        member = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.variables[f"member_{i}"])
        fit = np.einsum("xyzf,bxyzc->bfc", features.basis(9, degree) / 729, unit, optimize=True)
        drive = np.maximum(fit.reshape(count, -1) @ member["kernel"].T, 0)
        q = np.exp(member["log_sharpness"])
        each.append(drive.max(1) * np.sum((drive / drive.max(1, keepdims=True)) ** q, 1) ** (1 / q))
    expected = 1 / np.median(each, 0)
    fit = np.einsum("xyzf,bxyzc->bfc", features.basis(9, model.domain.degree) / 729, unit, optimize=True)
    white = (fit.reshape(count, -1)[:, 3:] - np.asarray(model.domain.mean)) @ np.asarray(model.domain.whitener).T
    distance = np.linalg.norm(white, axis=1) / np.sqrt(white.shape[1])
    sure = np.abs(distance / float(model.domain.limit) - 1) > 1e-3
    for chunk in (None, 5000):
        np.testing.assert_allclose(model.predict(patches, chunk=chunk), expected, rtol=1e-5)
        np.testing.assert_allclose(model.scale(patches, chunk=chunk), expected / centre, rtol=1e-5)
        inside = np.asarray(model.in_domain(patches, chunk=chunk))
        np.testing.assert_array_equal(inside[sure], (distance <= float(model.domain.limit))[sure])
    traced, inside = jax.jit(lambda p: (model.predict(p), model.in_domain(p)))(patches)
    np.testing.assert_allclose(traced, expected, rtol=1e-5)
    np.testing.assert_array_equal(np.asarray(inside)[sure], (distance <= float(model.domain.limit))[sure])


def test_gradients_of_a_batch_are_those_of_its_rows(model):
    patches = jnp.asarray(fields(200, seed=9))
    gradient = jax.jit(jax.grad(lambda p: jnp.log(model.scale(p)).sum()))
    batch = gradient(patches)
    single = jnp.concatenate([gradient(patches[i : i + 1]) for i in range(0, 200, 20)])
    np.testing.assert_allclose(batch[::20], single, atol=1e-3 * float(jnp.abs(single).max()))


def test_a_memory_map_streams_through(model, tmp_path):
    np.save(tmp_path / "patches.npy", np.tile(PATCHES, (3, 1, 1, 1, 1)))
    mapped = np.load(tmp_path / "patches.npy", mmap_mode="r")
    np.testing.assert_allclose(model.predict(mapped, chunk=32), np.tile(model.predict(PATCHES), 3), rtol=1e-5)


def test_domain_holds_its_likes_and_not_ten_times_the_gradient(model):
    assert np.mean(model.in_domain(fields(400, seed=11))) > 0.98
    assert np.mean(model.in_domain(fields(400, seed=12, gradient=2.0))) < 0.02
    assert not np.asarray(model.in_domain(np.full((1, 9, 9, 9, 3), np.nan, np.float32)))[0]
    np.testing.assert_array_equal(model.in_domain(1e-6 * PATCHES), model.in_domain(PATCHES))


def test_evaluate_scores_what_is_asked(model):
    patches = fields(300, seed=21)
    truth = thresholds(patches, hidden_functionals())
    scores = evaluate(model, patches, truth)
    errors = 100 * np.abs(np.asarray(model.predict(patches)) / truth - 1)
    assert scores["surrogate"]["mape_percent"] == pytest.approx(errors.mean(), rel=1e-4)
    assert scores["surrogate"]["mape_percent"] < 2
    assert scores["in_domain_share"] > 0.95


def test_bad_patches(model):
    for wrong in (PATCHES[0], PATCHES[:, :8], PATCHES[..., :2], [1.0, 2.0]):
        with pytest.raises(InputError, match="wrong shape"):
            model.predict(wrong)
    with_nan = PATCHES.copy()
    with_nan[17, 0, 0, 0, 1] = np.nan
    with pytest.raises(InputError, match="1 of 2187 in patch 17"):
        model.predict(with_nan, chunk=8)
    dead = PATCHES.copy()
    dead[3, 4, 4, 4] = 0
    with pytest.raises(InputError, match="no field at the centre"):
        model.scale(dead)
    traced = jax.jit(model.predict)(with_nan)
    np.testing.assert_array_equal(np.flatnonzero(np.isnan(traced)), [17])


def test_spec_goes_through_json(spec):
    assert SurrogateSpec.from_json(spec.to_json()) == spec
    with pytest.raises(InputError, match="family"):
        SurrogateSpec.from_json({**spec.to_json(), "family": "oracle"})
