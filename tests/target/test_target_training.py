"""A network trained on small made-up heads: it finds the points, follows them, and comes back from disk."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from blobs import POINTS, SPEC, cohort, image
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.ndimage import affine_transform

from tmsjax.core.errors import InputError
from tmsjax.nn import TrainSpec
from tmsjax.target import augment, model, train
from tmsjax.target.augment import Augmentation
from tmsjax.target.evaluation import errors, predict
from tmsjax.target.volume import Volume

TRAINING = train.Training(
    TrainSpec(epochs=9, batch=4, learning_rate=8e-3),
    TrainSpec(epochs=2, batch=4, learning_rate=5e-4),
    Augmentation(rotate_deg=6, move_mm=1.5, gamma=0.1),
)
HELD_OUT = cohort(12, seed=9)


@pytest.fixture(scope="module")
def trained():
    return train.train(cohort(48, seed=1), cohort(8, seed=2), SPEC, 0, TRAINING)


@pytest.fixture(scope="module")
def localiser(trained):
    return model.of_members([trained[0]], SPEC, {"synthetic": True, "images": 64, "bases": ["balls"]})


def test_it_finds_points_in_heads_that_it_has_not_seen(trained):
    """To a quarter of a voxel; they scatter by three."""
    variables, report = trained
    found = errors(predict(SPEC, variables, HELD_OUT), HELD_OUT.places)
    assert found.mean() < 0.3
    assert np.linalg.norm(HELD_OUT.places - HELD_OUT.places.mean(0), axis=-1).mean() > 2
    assert report["status"] == {"apart": "finished", "chained": "finished"}
    assert report["synthetic"]
    assert report["images"] == 48
    assert min(report["histories"]["apart"]["validation"]) < 0.5 * report["histories"]["apart"]["validation"][0]


def test_the_epoch_is_chosen_by_distance_not_by_equation_2(trained):
    """Points that are absent count for nothing; far ones count by how far, where equation 2 would let them go."""
    variables, _ = trained
    present = np.ones((12, 2), bool)
    present[3, 1] = False
    judged = jax.jit(lambda batch: train.loss_of(SPEC, TRAINING, shown=False)(variables, batch, None))
    far = (HELD_OUT.places + np.array([0.0, 9.0, 0])).astype(np.float32)
    found = judged(jax.tree.map(jnp.asarray, (HELD_OUT.flats, far, present)))
    expected = errors(predict(SPEC, variables, HELD_OUT), far)
    expected[3, 1] = expected[3, 0]
    np.testing.assert_allclose(found, expected.mean(1), rtol=1e-3)


def test_training_starts_from_the_mean_of_what_is_there():
    """Of those images in which a point is present, at the coarsest level alone."""
    images = cohort(6, seed=3)
    images.places[:3, 1] = np.nan
    examples = train._examples(images, SPEC)
    plain = {"levels": {"offset": jnp.zeros((3, 2, 3))}}
    offset = np.asarray(train.from_mean(SPEC, plain, examples)["levels"]["offset"])
    mean = np.nanmean(images.places, axis=0)
    np.testing.assert_allclose(4 * offset[0] + 15.5, mean, atol=1e-4)
    assert not offset[1:].any()


@given(turn=st.tuples(*[st.floats(-8, 8)] * 3), shift=st.tuples(*[st.floats(-1.5, 1.5)] * 3), which=st.integers(0, 11))
@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_points_follow_what_is_turned_and_moved(localiser, turn, shift, which):
    """The image is resampled, as a head that lay otherwise in the scanner: points within 1 mm of where they went."""
    rotation = np.asarray(augment.rotation(jnp.deg2rad(jnp.array(turn, jnp.float32))), np.float64)
    middle = np.full(3, 15.5)
    values = HELD_OUT.volume(which).values
    # y = R (x - m) + m + t: a voxel of the new image takes its value from R' (y - m - t) + m.
    moved = affine_transform(values, rotation.T, middle - rotation.T @ (middle + shift), order=1)
    unit = np.eye(4)
    fine = dataclasses.replace(localiser, spec=dataclasses.replace(SPEC, voxel_mm=1.0))
    before, after = (model.find(fine, Volume(v, unit), views=1).places_mm for v in (values, moved))
    expected = (before - middle) @ rotation.T + middle + shift
    assert np.linalg.norm(after - expected, axis=1).max() < 1.0


def test_what_is_found_is_in_the_world_and_has_a_spread(localiser):
    values, places = image(np.random.default_rng(77))
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    affine[:3, 3] = (-60.0, 11.0, 5.0)
    found = model.find(localiser, Volume(values, affine), views=5)
    np.testing.assert_allclose(found.places_mm, 4 * places + affine[:3, 3], atol=3.0)
    assert found.points == POINTS
    assert found.status == ("found", "found")
    assert found.estimates_mm.shape == (5, 2, 3)
    spread = np.linalg.norm(found.estimates_mm - found.estimates_mm.mean(0), axis=-1).mean(0)
    np.testing.assert_allclose(found.spread_mm, spread)
    assert (found.spread_mm > 0.01).all()


def test_noise_alone_is_unsteady(localiser):
    """Nothing to see: estimates differ with the view by much more than those of a head."""
    noise = np.random.default_rng(0).random((32, 32, 32)).astype(np.float32)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    seen = model.find(localiser, Volume(HELD_OUT.volume(0).values, affine), views=5)
    lost = model.find(localiser, Volume(noise, affine), views=5)
    assert lost.spread_mm.max() > 3 * seen.spread_mm.max()


def test_weights_come_back_from_disk_with_their_card(tmp_path, localiser):
    folder = model.save(localiser, tmp_path / "model", {"licence": "CC0-1.0"})
    again = model.load(folder)
    assert again.spec == SPEC
    assert again.card["licence"] == "CC0-1.0"
    assert again.card["synthetic"]
    assert len(again) == again.card["members"] == 1
    same = jax.tree.map(lambda a, b: bool((a == b).all()), again.members, localiser.members)
    assert all(jax.tree.leaves(same))
    card = (folder / model.CARD).read_text()
    (folder / model.CARD).write_text(card.replace('"field": 8', '"field": 9'))
    with pytest.raises(InputError, match="do not fit the spec"):
        model.load(folder)
    (folder / model.CARD).write_text(card.replace('"sha256": "', '"sha256": "0'))
    with pytest.raises(InputError, match="not the ones on their card"):
        model.load(folder)
    with pytest.raises(InputError, match="no model of target points"):
        model.load(tmp_path)


def test_an_ensemble_is_the_mean_of_its_members(localiser, trained):
    other = jax.tree.map(lambda leaf: leaf * 1.02, trained[0])
    both = model.of_members([trained[0], other], SPEC)
    volume = Volume(HELD_OUT.volume(0).values, np.diag([4.0, 4.0, 4.0, 1.0]))
    each = [model.find(model.of_members([v], SPEC), volume, views=1).places_mm for v in (trained[0], other)]
    found = model.find(both, volume, views=1)
    np.testing.assert_allclose(found.places_mm, np.mean(each, 0), atol=1e-3)
    assert found.estimates_mm.shape == (2, 2, 3)


def test_augmentation_turns_points_with_the_picture():
    """Ten degrees about each axis, ten mm along it; ``unseen`` undoes ``seen``; means are those asked for."""
    draws = jax.vmap(lambda k: augment.draw(augment.PAPER, k, 256))(jax.random.split(jax.random.key(0), 400))
    turns = np.asarray(draws.matrix, np.float64)
    np.testing.assert_allclose(turns @ turns.transpose(0, 2, 1), np.broadcast_to(np.eye(3), turns.shape), atol=1e-5)
    angles = np.rad2deg(np.arccos((np.trace(turns, axis1=1, axis2=2) - 1) / 2))
    assert np.sqrt((angles**2).mean() / 3) == pytest.approx(10, rel=0.1)
    middle = np.full(3, 127.5)
    moved = np.asarray(draws.offset) + turns @ middle - middle
    assert moved.std() == pytest.approx(10, rel=0.1)
    assert (np.asarray(draws.gain) == 1).all()
    assert (np.asarray(draws.gamma) == 1).all()
    view = jax.tree.map(lambda leaf: leaf[0], draws)
    places = jnp.array([[100.0, 90, 140], [60.0, 70, 80]])
    np.testing.assert_allclose(augment.unseen(view, augment.seen(view, places)), places, atol=1e-2)
    assert np.linalg.norm(augment.seen(view, places) - places) > 1


@pytest.mark.parametrize("vector", [(0.0, 0, 0), (0.3, -0.2, 0.5), (0, 0, np.pi / 2)])
def test_rotations_are_scipys(vector):
    from scipy.spatial.transform import Rotation

    np.testing.assert_allclose(
        augment.rotation(jnp.array(vector, jnp.float32)), Rotation.from_rotvec(vector).as_matrix(), atol=1e-6
    )


def test_training_that_cannot_be():
    images = cohort(4, seed=3)
    with pytest.raises(InputError, match="do not fit the network"):
        train.train(images, images, dataclasses.replace(SPEC, side=64), 0, TRAINING)
    with pytest.raises(InputError, match="neither part"):
        train.train(images, images, SPEC, 0, train.Training(None, None))
    with pytest.raises(InputError, match="does not have"):
        train.train(images, images, dataclasses.replace(SPEC, points=("LOFC",)), 0, TRAINING)
    with pytest.raises(InputError, match="ensemble"):
        train.train_ensemble(images, SPEC, 0, TRAINING, members=0)
    with pytest.raises(InputError, match="does not fit"):
        model.find(model.of_members([{"a": jnp.zeros(1)}], SPEC), Volume(np.zeros((16,) * 3, np.float32), np.eye(4)))


def test_the_papers_schedule_is_there():
    """Section 2.3: SGD at 1e-3, falling by 1 / (1 + 0.1 i), 16 images a batch, 10 degrees and 10 mm, alpha of 8."""
    how = train.PAPER_TRAINING
    assert how.apart is None
    assert (how.chained.batch, how.chained.optimiser) == (16, "sgd")
    assert how.chained.rate(0) == 1e-3
    assert how.chained.rate(10) == pytest.approx(5e-4)
    assert (how.augmentation.rotate_deg, how.augmentation.move_mm, how.alpha) == (10, 10, 8)
