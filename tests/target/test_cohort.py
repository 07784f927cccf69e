"""Synthetic images: maps that do not fold and carry points with the picture; cohorts whose splits are whole."""

import dataclasses

import numpy as np
import pytest
from blobs import cohort as made_up

from tmsjax.core.errors import InputError
from tmsjax.target import cohort, contrast, warps
from tmsjax.target.bases import Base
from tmsjax.target.marks import Mark
from tmsjax.target.points import POINTS
from tmsjax.target.volume import Volume

SIDE = 96
GRID = np.moveaxis(np.indices((SIDE,) * 3), 0, -1).astype(np.float64)


def ball(centre, width):
    return np.exp(-((GRID - centre) ** 2).sum(-1) / (2 * width**2)).astype(np.float32)


@pytest.fixture(scope="module")
def warp():
    gentle = warps.WarpSpec(size_mm=((3.0, 4.0), (1.0, 1.5)))  # a cube of 96 mm leaves less room than a head's
    return warps.draw(SIDE, np.random.default_rng(3), gentle)


def test_a_warp_is_smooth_and_undoes_itself(warp):
    places = np.random.default_rng(0).uniform(25, 70, (60, 3))
    moved = warp.points(places)
    assert np.linalg.norm(moved - places, axis=1).mean() > 2
    np.testing.assert_allclose(warp.back(moved), places, atol=0.3)
    np.testing.assert_allclose(warp.points(warp.back(places)), places, atol=0.3)
    assert warp.jacobian().min() > 0
    assert np.percentile(warp.jacobian(), 1) > warps.LEAST_JACOBIAN


@pytest.mark.parametrize("place", [(40.0, 50, 45), (60.0, 35, 52), (45.0, 62, 60)])
def test_a_spot_goes_where_its_point_goes(warp, place):
    """The classic mistake, both ways with one sign, would put it on the other side."""
    spot = warp.image(ball(np.array(place), 2.0))
    centroid = (GRID * spot[..., None]).sum((0, 1, 2)) / spot.sum()
    np.testing.assert_allclose(centroid, warp.points(np.array([place]))[0], atol=0.3)
    assert np.linalg.norm(centroid - place) > 1


def test_labels_keep_their_points(warp):
    labels = (np.linalg.norm(GRID - [48, 48, 48], axis=-1) < 22).astype(np.uint8) + 1
    moved = warp.image(labels, order=0)
    assert moved.dtype == np.uint8
    assert set(np.unique(moved)) <= {0, 1, 2}
    places = np.array([[48.0, 48, 48], [40, 55, 50], [62, 48, 48]])
    index = np.rint(warp.points(places)).astype(int)
    assert (moved[tuple(index.T)] == 2).all()


def test_no_field_is_no_warp_and_a_scale_is_one():
    still = warps.WarpSpec(size_mm=((0.0, 0.0), (0.0, 0.0)), scale=0.0, shear=0.0)
    none = warps.draw(48, np.random.default_rng(0), still)
    image = np.random.default_rng(1).random((48, 48, 48)).astype(np.float32)
    np.testing.assert_allclose(none.image(image), image, atol=1e-3)
    zero = np.zeros_like(none.forward)
    larger = warps.Warp(zero, zero, np.diag([1.25, 1.0, 1.0]), 48)
    np.testing.assert_allclose(larger.points(np.array([[33.5, 10, 20]])), [[36.0, 10, 20]])


def test_the_flow_of_a_constant_velocity_is_a_translation():
    velocity = np.broadcast_to(np.array([3.0, -2.0, 1.0])[:, None, None, None], (3, 10, 10, 10))
    np.testing.assert_allclose(warps.exponential(velocity), velocity, atol=1e-9)


def test_what_always_folds_is_refused(monkeypatch):
    monkeypatch.setattr(warps, "LEAST_JACOBIAN", 1.0)  # nothing may shrink anywhere
    with pytest.raises(InputError, match="every warp folds"):
        warps.draw(32, np.random.default_rng(0))


def test_contrast_of_labels_is_t1_weighted():
    """White above grey above CSF and bone, air nothing; a little of each tissue's own."""
    labels = np.repeat(np.arange(6, dtype=np.uint8), 400)[:, None, None] * np.ones((1, 4, 4), np.uint8)
    plain = dataclasses.replace(contrast.ScannerSpec(), texture=0.0)
    for seed in range(8):
        image = contrast.from_labels(labels, np.random.default_rng(seed), plain)
        value = [float(image[labels == k].mean()) for k in range(6)]
        assert value[0] == 0
        assert value[1] > value[2] > value[3]
        assert value[2] > value[4]
        assert max(value) == pytest.approx(1)
    rough = contrast.from_labels(labels, np.random.default_rng(0), contrast.ScannerSpec())
    assert 0.02 < rough[labels == 1].std() / rough[labels == 1].mean() < 0.3


def test_scanners_bend_dim_and_blur_without_turning_contrast_round():
    rng = np.random.default_rng(0)
    steps = np.linspace(0, 1.5, 50, dtype=np.float32)
    for _ in range(10):
        curve = contrast.curved(steps.reshape(-1, 1, 1), rng, contrast.ScannerSpec()).ravel()
        assert (np.diff(curve) >= 0).all()
        assert curve[0] == 0
    image = 0.9 * (np.linalg.norm(GRID - 48, axis=-1) < 30).astype(np.float32)
    spec = dataclasses.replace(contrast.ScannerSpec(), neck_mm=(5.0, 5.0), noise=(0.03, 0.03))
    out = contrast.scanned(image, rng, spec)
    assert out.dtype == np.float32
    assert out.min() >= 0
    air = out[:10]
    assert air.mean() == pytest.approx(0.03 * 0.9 * np.sqrt(np.pi / 2), rel=0.25)  # Rayleigh's mean, about
    bottom = np.flatnonzero((out > 0.4).any((0, 1)))[0]
    assert bottom >= np.flatnonzero(image.any((0, 1)))[0] + 4


@pytest.fixture(scope="module")
def base():
    """A head of 2 mm voxels: two shells of tissue and a spot in it, which is every point."""
    radius = np.linalg.norm((GRID[:64, :64, :64] - 31.5) * [1, 0.9, 1.1], axis=-1)
    labels = np.select([radius < 16, radius < 20, radius < 22, radius < 24, radius < 27], [1, 2, 3, 4, 5]).astype(
        np.uint8
    )
    spot = np.linalg.norm(GRID[:64, :64, :64] - [38, 26, 36], axis=-1) < 2.2
    labels[spot] = 3
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    made = contrast.from_labels(
        labels, np.random.default_rng(0), dataclasses.replace(contrast.ScannerSpec(), texture=0.0)
    )
    places = np.full((11, 3), [38.0, 26, 36])
    places[-1] = np.nan
    return Base("made up", Volume(made, affine), places, labels, True, "made up")


@pytest.fixture(scope="module")
def synthetic(base):
    gentle = warps.WarpSpec(size_mm=((2.0, 3.0), (0.5, 1.0)))
    clean = dataclasses.replace(contrast.ScannerSpec(), noise=(0.01, 0.01), texture=0.01, bias=0.05, blur_mm=(0.0, 0.0),
                                neck_mm=(0.0, 4.0))  # fmt: skip
    bases = [base, dataclasses.replace(base, name="other")]
    return cohort.synthesise(bases, 3, 7, levels=3, warp=gentle, scanner=clean)


def test_the_points_of_synthetic_images_are_on_the_spot(synthetic):
    """The dark spot within bright tissue lies where the point says, in every image."""
    assert len(synthetic) == 6
    assert synthetic.recipe["synthetic"]
    for row in range(6):
        values = synthetic.volume(row).values
        place = synthetic.places[row, 0]
        x, y, z = np.rint(place).astype(int)
        near = values[x - 4 : x + 5, y - 4 : y + 5, z - 4 : z + 5]
        weight = np.maximum(np.median(near) * 0.7 - near, 0)
        index = np.moveaxis(np.indices(near.shape), 0, -1) + np.array([x - 4, y - 4, z - 4])
        centroid = (index * weight[..., None]).sum((0, 1, 2)) / weight.sum()
        np.testing.assert_allclose(centroid, place, atol=1.0)
    spread = np.linalg.norm(synthetic.places[:, 0] - synthetic.places[:, 0].mean(0), axis=1)
    assert spread.mean() > 0.5
    assert not synthetic.present[:, -1].any()
    assert synthetic.present[:, :-1].all()


def test_the_same_seed_gives_the_same_bits(base, synthetic, tmp_path):
    again = cohort.synthesise(
        [base], 1, 7, levels=3, warp=warps.WarpSpec(**synthetic.recipe["warp"]),
        scanner=contrast.ScannerSpec(**synthetic.recipe["scanner"]),
    )  # fmt: skip
    np.testing.assert_array_equal(again.flats[0], synthetic.flats[0])
    kept = cohort.load(cohort.save(synthetic, tmp_path / "cohort.npz"))
    np.testing.assert_array_equal(kept.flats, synthetic.flats)
    np.testing.assert_array_equal(kept.places, synthetic.places)
    assert (kept.bases, kept.names, kept.points) == (synthetic.bases, synthetic.names, POINTS)
    assert kept.recipe["seed"] == 7
    (tmp_path / "no.npz").write_bytes(b"no")
    with pytest.raises(InputError, match="cannot be read"):
        cohort.load(tmp_path / "no.npz")


def test_an_anatomy_never_trains_and_judges(synthetic):
    folds = cohort.by_base(synthetic)
    assert [list(held) for _, held in folds] == [[0, 1, 2], [3, 4, 5]]
    for train, held in folds:
        cohort.check_apart(synthetic, train, held)
        assert set(train) | set(held) == set(range(6))
    with pytest.raises(InputError, match=r"both trains and judges[\s\S]*made up"):
        cohort.check_apart(synthetic, np.array([0, 3]), np.array([1]))
    with pytest.raises(InputError, match="cannot be held out"):
        cohort.by_base(synthetic.rows([0, 1]))


def test_cohorts_join_and_part():
    first, second = made_up(3, seed=1), made_up(2, seed=2)
    both = cohort.join([first, second])
    assert both.names == first.names + second.names
    np.testing.assert_array_equal(both.rows([3, 4]).flats, second.flats)
    with pytest.raises(InputError, match="join"):
        cohort.join([first, dataclasses.replace(second, recipe={"synthetic": False, "levels": 3})])


def test_images_that_choose_the_epoch_are_others_in_each_repetition():
    warped = made_up(12, seed=1, bases=["a"] * 6 + ["b"] * 6)
    chosen = [cohort.validation_rows(warped, np.arange(12), r) for r in range(5)]
    assert all(len(rows) == 2 and (rows < 6).sum() == 1 for rows in chosen)
    assert len({tuple(rows) for rows in chosen}) > 1
    patients = made_up(12, seed=1)
    assert len(cohort.validation_rows(patients, np.arange(12), 0)) == 2


def test_patients_make_a_cohort_of_their_own_worlds():
    values = np.zeros((64, 64, 64), np.float32)
    affine = np.diag([2.0, 2.0, 2.0, 1.0])
    affine[:3, 3] = -63
    volume = Volume(values, affine)
    made = cohort.of_patients(
        [("a", volume, [Mark("LOFC", (-3.0, 5, 7))]), ("b", volume, [Mark("ROFC", (3.0, 5, 7))])], 3
    )
    assert made.bases == ("a", "b")
    assert not made.recipe["synthetic"]
    np.testing.assert_allclose(made.places[0, POINTS.index("LOFC")], [30, 34, 35])
    assert made.present.sum() == 2
    with pytest.raises(InputError, match="outside the image"):
        cohort.of_patients([("a", volume, [Mark("LOFC", (-300.0, 5, 7))])], 3)
    with pytest.raises(InputError, match="different names"):
        cohort.of_patients([("a", volume, []), ("a", volume, [])], 3)
