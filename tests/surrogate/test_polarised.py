"""Members that mix known functionals, on synthetic thresholds whose mixture is known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from synthetic_thresholds import SIDE_MM, fields, hidden_functionals, thresholds

from tmsjax.core.errors import InputError
from tmsjax.nn import metrics
from tmsjax.surrogate import SupportSpec, SurrogateSpec, polarised, train

N = 5
MIX = np.array([0.3, 1.0, -0.4])
SPEC = SurrogateSpec("synthetic/polarisation", n=N, side_mm=SIDE_MM, model=SupportSpec((), 8, samples=1))
SMALL = dataclasses.replace(polarised.TRAINING, batch=32)
BRIEF = dataclasses.replace(SMALL, epochs=2)


def sites():
    """(24, 1, 3, n, n, n, 3): three moments of each site, of which the thresholds see a mixture."""
    moments = [np.asarray(hidden_functionals(n=N, seed=seed)) for seed in (1, 99, 2)]
    return np.stack([40 * 100 * each for each in moments], 1)[:, None]  # about 40 mV at a threshold of 150 V/m


def truth(patches):
    return thresholds(patches, np.einsum("m,spm...->s...", MIX / 4000, sites()))


@pytest.fixture(scope="module")
def trained():
    patches = fields(700, seed=0, n=N)
    return *train(patches, truth(patches), SPEC, 0, sites=sites(), training=SMALL, starts=1), patches


@pytest.fixture(scope="module")
def model(trained):
    return trained[0]


def test_few_thresholds_settle_the_mixture(trained):
    model, report, _ = trained
    assert report["scores"]["surrogate"]["mape_percent"] < 0.5
    assert report["scores"]["surrogate"]["p99_ape_percent"] < 4
    assert model.variables["member_0"]["kernel"].shape == (model.spec.model.functionals, 3 * N**3)
    assert model.spec.model == SupportSpec((), model.spec.model.functionals, samples=1)
    assert 24 <= model.spec.model.functionals < polarised.COPIES * 24  # every site fires, few need both copies
    assert report["status"] == ["finished"]
    assert report["validation_mape_percent"] == []


def test_fields_of_another_kind_come_out_as_well(model):
    """Uniform fields, and gradients twice as steep: nothing was learned of the training fields."""
    directions = np.random.default_rng(4).normal(size=(200, 3)).astype(np.float32)
    uniform = np.broadcast_to(directions[:, None, None, None], (200, N, N, N, 3)).copy()
    steep = fields(300, seed=5, n=N, gradient=0.4)
    for patches in (uniform, steep):
        assert metrics.summary(np.asarray(model.predict(patches)), truth(patches))["mape_percent"] < 0.7


@settings(deadline=None, max_examples=20)
@given(st.floats(1e-6, 1e6), st.integers(0, 2**31))
def test_thresholds_are_homogeneous(model, factor, seed):
    patch = fields(1, seed=seed, n=N)
    plain, scaled = float(model.scale(patch)[0]), float(model.scale(patch * np.float32(factor))[0])
    assert scaled * float(np.float32(factor)) == pytest.approx(plain, rel=1e-6)


def test_gradients_are_those_of_finite_differences(model):
    """Of the same formula in float64, so that differences can be fine."""
    member = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), model.variables["member_0"])
    q, middle = np.exp(member["log_sharpness"]), N // 2

    def threshold(patch):
        drive = np.maximum(member["kernel"] @ patch.reshape(-1), 0)
        return np.linalg.norm(patch[middle, middle, middle]) / (drive**q).sum() ** (1 / q)

    for patch in fields(3, seed=6, n=N).astype(np.float64):
        patch /= np.abs(patch).max()
        some = jnp.asarray(patch, jnp.float32)
        assert float(model.predict(some[None])[0]) == pytest.approx(threshold(patch), rel=1e-5)
        gradient = np.asarray(jax.grad(lambda p: model.predict(p[None])[0])(some))
        for direction in np.random.default_rng(0).normal(size=(4, *patch.shape)):
            step = 1e-6 * direction
            expected = (threshold(patch + step) - threshold(patch - step)) / 2e-6
            size = np.linalg.norm(gradient) * np.linalg.norm(direction)
            assert abs((gradient * direction).sum() - expected) < 1e-4 * size


def test_a_cell_turned_with_its_patch_has_the_same_threshold(model):
    """A quarter turn about the axis: the functionals turned as vectors on the grid, and so the patch."""
    quarter = np.array([[0, -1, 0], [1, 0, 0], [0, 0, 1]], np.float32)
    turn = lambda a: np.rot90(a, axes=(-4, -3)) @ quarter.T  # noqa: E731
    kernel = np.asarray(model.variables["member_0"]["kernel"])
    other = turn(kernel.reshape(-1, N, N, N, 3)).reshape(kernel.shape)
    variables = {"member_0": {**model.variables["member_0"], "kernel": jnp.asarray(other)}}
    patches = fields(20, seed=7, n=N)
    there = dataclasses.replace(model, variables=variables).predict(turn(patches).copy())
    np.testing.assert_allclose(there, model.predict(patches), rtol=1e-5)


def test_a_run_that_was_killed_ends_with_the_same_weights(tmp_path):
    patches = fields(100, seed=1, n=N)
    two = dataclasses.replace(SPEC, model=SupportSpec((), 8, samples=2))
    call = lambda **more: train(patches, truth(patches), two, 3, sites=sites(), training=BRIEF, starts=1, **more)[0]  # noqa: E731

    def killed(text):
        if text.startswith("member 1, epoch 1"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        call(folder=tmp_path, progress=killed)
    whole, resumed = call(), call(folder=tmp_path)
    assert len(whole.variables) == 2
    jax.tree.map(np.testing.assert_array_equal, whole.variables, resumed.variables)
    first, second = whole.variables.values()
    assert (np.asarray(first["kernel"]) != np.asarray(second["kernel"])).any()


def test_of_several_starts_the_best_on_validation_is_kept(monkeypatch):
    patches, told, losses = fields(100, seed=1, n=N), [], iter([0.3, np.nan, 0.1, 0.2])
    trained = polarised.train_member

    def with_loss(*args, **more):
        mixed, sharpness, found = trained(*args, **more)
        told.append(mixed)
        return mixed, sharpness, found._replace(history=found.history | {"validation": [1.0, next(losses)]})

    monkeypatch.setattr(polarised, "train_member", with_loss)
    model, _ = train(patches, truth(patches), SPEC, 3, sites=sites(), training=BRIEF)
    assert len(told) == polarised.STARTS == 4
    kernels = [polarised.kernel(mixed, sites().astype(np.float32)) for mixed in told]
    row = np.asarray(model.variables["member_0"]["kernel"])[0]
    found = [bool(np.isclose(each, row, rtol=1e-4, atol=1e-6 * np.abs(row).max()).all(1).any()) for each in kernels]
    assert found == [False, False, True, False]


def test_both_halves_of_a_pulse_are_begun_with():
    """Sites fire either on the first moment or, the other way round, on the second: one copy begins with each."""
    rng = np.random.default_rng(0)
    drives = rng.normal(size=(400, 6, 3))
    drives[:, :, 1] = -drives[:, :, 0]
    drives[:, :, 2] = 0.1 * rng.normal(size=(400, 6))
    truth = 30 / np.maximum(drives[:, :, 0].max(1), drives[:, :, 1].max(1))
    start = polarised.choose(np.stack([drives, drives[:, :, ::-1]], 2), truth, 2, 0.75)
    assert sorted(start.features[:2]) == [0, 1]
    assert start.features[2] in (4, 5)  # at the other place the moments stand the other way round
    np.testing.assert_allclose(start.gains, 1 / 30, rtol=0.1)
    assert list(start.sites) == list(range(6))


def test_ends_that_never_come_near_are_left_out():
    drives = np.abs(np.random.default_rng(0).normal(size=(100, 5, 1, 2))) + 1
    drives[:, 3] *= 0.1
    assert 3 not in polarised.choose(drives, 30 / drives[:, :, 0, 0].max(1), 2, 0.75).sites
    with pytest.raises(InputError, match="no site"):
        polarised.choose(-drives, np.ones(100), 2, 0.75)


def test_functionals_that_no_field_reaches():
    """Drives 1, 0.95 and 0.5 of the largest: the last is left out, unless one field among many needs it."""
    mixtures = np.array([1.0, 0.95, 0.5]).reshape(3, 1, 1)
    drives = np.ones((5000, 3, 1))
    assert polarised.reached(mixtures, drives).tolist() == [True, True, False]
    drives[-1, 2] = 3
    assert polarised.reached(mixtures, drives).tolist() == [True, True, True]


def test_sites_that_are_not_of_these_patches():
    patches = fields(100, seed=2, n=N)
    good = sites()
    spoilt = np.where(np.arange(24).reshape(24, 1, 1, 1, 1, 1, 1) == 2, np.nan, good)
    for bad in (good[:, :, :, :3], good[0], spoilt):
        with pytest.raises(InputError, match="functionals of these patches"):
            train(patches, truth(patches), SPEC, 0, sites=bad, training=BRIEF)
    with pytest.raises(InputError, match="no sites"):
        train(patches, truth(patches), SPEC, 0, training=BRIEF)
