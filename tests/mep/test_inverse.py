"""The five models: they learn, what is frozen stays, losses are the paper's, files give back the model."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from made_up_subject import MUSCLES, VOXEL_MM, subject

from tmsjax.core.errors import InputError
from tmsjax.mep import MODELS, InverseSpec, clean, load_inverse, save_inverse, scaling, scores, train_inverse
from tmsjax.mep.inverse import PAPER_TRAINING, SHORT_TRAINING, trainable
from tmsjax.mep.losses import divergence, init, loss, penalty
from tmsjax.mep.tables import tables

TRAINING = dataclasses.replace(SHORT_TRAINING, epochs=8, batch=16)


@pytest.fixture(scope="module")
def one():
    return clean(subject(128)).subject


def spec(model="direct_variational", **changes):
    return InverseSpec(model, muscles=len(MUSCLES), voxel_mm=VOXEL_MM, **changes)


@pytest.fixture(scope="module")
def trained(one):
    return train_inverse(one, spec(), TRAINING)


def test_direct_variational_beats_the_mean_field(one, trained):
    held = clean(subject(60, seed=5)).subject
    found = scores(trained.predict(held.responses), held.fields, held.voxels_mm)["nrmse"].mean()
    mean = scores(np.tile(one.fields.mean(0), (len(held), 1)), held.fields, held.voxels_mm)["nrmse"].mean()
    assert found < 0.75 * mean
    assert trained.card["dead_starts"] == 0
    assert trained.card["synthetic"]


def test_mean_of_draws_is_another_estimate_than_the_mean_latent(one, trained):
    y = one.responses[:8]
    assert not np.allclose(trained.predict(y), trained.predict(y, draws=3), rtol=1e-3)
    drawn = list(trained.drawn(y, 3))
    np.testing.assert_allclose(np.mean(drawn, 0), trained.predict(y, draws=3), rtol=1e-5)


def test_files_give_back_the_model(one, trained, tmp_path):
    save_inverse(trained, tmp_path / "m")
    back = load_inverse(tmp_path / "m")
    np.testing.assert_array_equal(back.predict(one.responses[:4]), trained.predict(one.responses[:4]))
    assert (back.spec, back.muscles) == (trained.spec, MUSCLES)
    np.testing.assert_array_equal(back.mask, one.mask)
    with pytest.raises(InputError, match="no inverse model"):
        load_inverse(tmp_path)


def test_other_muscles_and_voxels_are_refused(one, trained):
    with pytest.raises(InputError, match="other muscles"):
        trained.predict(np.ones((2, 7)))
    with pytest.raises(InputError, match="voxels of 1 mm"):
        train_inverse(one, dataclasses.replace(spec(), voxel_mm=1.0), TRAINING)
    with pytest.raises(InputError, match="no such inverse model"):
        train_inverse(one, spec("magic"), TRAINING)


@pytest.mark.parametrize("model", ["ae_decoder", "vae_sampler_decoder"])
def test_second_stage_leaves_the_decoder_as_it_was(one, model):
    made, cone = spec(model), tables(one.mask)
    v = init(made, cone, jax.random.key(0))
    scale = scaling(one)
    x, y = jnp.asarray(scale.fields(one.fields[:8])), jnp.asarray(scale.responses(one.responses[:8]))
    first, second = trainable(made, "forward", v), trainable(made, "inverse", v)
    assert [first[name] for name in ("decoder", "encoder", "mapper")] == [True, True, False]
    assert [second[name] for name in ("decoder", "encoder", "mapper")] == [False, False, True]
    assert second.get("mean", False) == (model == "vae_sampler_decoder")
    values, replaced = jax.jit(loss(made, cone, "inverse"))(v, (x, y), jax.random.key(1))
    assert np.isfinite(values).all()
    if model == "ae_decoder":  # the frozen decoder's running averages stay, the mapper's move
        same = jax.tree.map(lambda a, b: bool((a == b).all()), replaced["averages"], v["averages"])
        assert all(jax.tree.leaves(same["decoder"]))
        assert not any(jax.tree.leaves(same["mapper"]))


def test_losses_are_the_papers_and_the_programs():
    mean, log_variance = jnp.array([[0.0, 1.0]]), jnp.array([[0.0, np.log(2.0)]])
    np.testing.assert_allclose(divergence(mean, log_variance)[0], [0.0, 0.5 * (2 + 1 - 1 - np.log(2.0))], rtol=1e-6)
    assert spec(variant="paper").kl == 1.0
    assert spec(variant="code").kl == 1 / 16
    one = clean(subject(32)).subject
    cone, scale = tables(one.mask), scaling(one)
    batch = jnp.asarray(scale.fields(one.fields[:4])), jnp.asarray(scale.responses(one.responses[:4]))
    made = spec("direct_convolutional")
    v = init(made, cone, jax.random.key(0))
    values = {
        kind: jax.jit(loss(dataclasses.replace(made, data_loss=kind, l1=0.0), cone, "inverse"))(v, batch, None)[0]
        for kind in ("sse", "mse")
    }
    np.testing.assert_allclose(values["sse"] / values["mse"], 64.0**3, rtol=1e-4)
    assert float(penalty(v)) > 1000  # nearly everything of the mean squared loss is l1


def test_sizes_are_those_of_the_authors_program():
    mask = np.zeros((64,) * 3, bool)
    mask[30:34, 20:44, 32] = True
    v = jax.eval_shape(lambda k: init(InverseSpec(), tables(mask), k), jax.random.key(0))
    count = {name: sum(int(np.prod(leaf.shape)) for leaf in jax.tree.leaves(branch)) for name, branch in v.items()}
    assert count["decoder"] == 57_985
    assert sum(count.values()) == 129_473
    assert PAPER_TRAINING.batch == 8
    assert PAPER_TRAINING.optimiser == "adadelta"


def test_every_model_starts_in_both_variants():
    one = clean(subject(32)).subject
    scale = scaling(one)
    batch = jnp.asarray(scale.fields(one.fields[:4])), jnp.asarray(scale.responses(one.responses[:4]))
    for model in MODELS:
        for variant in ("paper", "code"):
            made = spec(model, variant=variant)
            cone = tables(one.mask, made.last_width)
            v = jax.eval_shape(lambda k, m=made, c=cone: init(m, c, k), jax.random.key(0))
            for stage in ("forward", "inverse"):
                if stage == "forward" and "encoder" not in v:
                    continue
                out, _ = jax.eval_shape(loss(made, cone, stage), v, batch, jax.random.key(1))
                assert out.shape == (4,)
