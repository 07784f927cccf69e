"""A T1 of any orientation comes to the same cube, its places to the same world; bad images are refused."""

import warnings

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff

from tmsjax.core.errors import InputError
from tmsjax.target import volume

SHAPE = (150, 160, 155)
AFFINE = np.eye(4)
AFFINE[:3, 3] = (-70.0, -90.0, -60.0)
BLOB = np.array([-20.0, 12.0, 25.0])
"""World mm of a bright spot in the head."""


def head(affine=AFFINE, shape=SHAPE, step=1):
    """A ball of 60 mm with a bright spot at ``BLOB``, air round it, on any grid."""
    grid = np.moveaxis(np.indices(shape), 0, -1) @ affine[:3, :3].T + affine[:3, 3]
    ball = np.linalg.norm(grid - [5, -10, 17.0], axis=-1) < 60
    return (100 * ball + 150 * np.exp(-((grid - BLOB) ** 2).sum(-1) / 32)).astype(np.float32)


def turned(degrees, sizes=(1.0, 1.0, 1.0), shape=SHAPE):
    a, b = np.deg2rad(degrees), np.deg2rad(degrees / 2)
    x = np.array([[1, 0, 0], [0, np.cos(a), -np.sin(a)], [0, np.sin(a), np.cos(a)]])
    z = np.array([[np.cos(b), -np.sin(b), 0], [np.sin(b), np.cos(b), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = x @ z * sizes
    affine[:3, 3] = np.array([5, -10, 17.0]) - affine[:3, :3] @ (np.array(shape) / 2)
    return affine


def spot(found):
    """World mm of the brightest place, by its centroid."""
    weight = np.maximum(found.values - 0.7 * found.values.max(), 0)
    index = np.moveaxis(np.indices(weight.shape), 0, -1)
    return found.to_world((index * weight[..., None]).sum((0, 1, 2)) / weight.sum())


def saved(path, values, affine, sform="scanner", qform="scanner"):
    image = nibabel.Nifti1Image(np.asarray(values, np.float32), None)
    image.set_sform(affine, sform)
    image.set_qform(affine, qform, strip_shears=True)
    nibabel.save(image, path)
    return path


@pytest.fixture(scope="module")
def plain():
    return volume.prepare(head(), AFFINE, 128)


def test_the_cube_is_round_the_head_in_the_worlds_axes(plain):
    assert plain.values.shape == (128,) * 3
    assert plain.values.dtype == np.float32
    np.testing.assert_array_equal(plain.affine[:3, :3], np.eye(3))
    top, below = 77.0, 50.0  # of 128 mm
    np.testing.assert_allclose(plain.to_world(np.full(3, 63.5)), [5, -10, top - below], atol=4)
    np.testing.assert_allclose(spot(plain), BLOB, atol=0.2)
    np.testing.assert_allclose(plain.from_world(plain.to_world(np.eye(3))), np.eye(3), atol=1e-9)
    assert 0.9 < np.median(plain.values[plain.values > 0.3]) < 1.1
    assert plain.notes == ()


@pytest.mark.parametrize("axes", ["LAS", "PSR", "LIA", "RAI"])
def test_flipped_and_permuted_files_give_the_same_bits(tmp_path, plain, axes):
    turn = axcodes2ornt(axes)
    stored, affine = apply_orientation(head(), turn), AFFINE @ inv_ornt_aff(turn, SHAPE)
    path = saved(tmp_path / "t1.nii", stored, affine)
    found = volume.read(path, 128)
    np.testing.assert_allclose(found.affine, plain.affine, atol=1e-4)
    assert abs(found.values - plain.values).max() < 0.02  # the percentiles look at every other voxel


@pytest.mark.parametrize("degrees", [4.0, 25.0])
def test_oblique_images_keep_their_world(tmp_path, degrees):
    affine = turned(degrees)
    found = volume.read(saved(tmp_path / "t1.nii", head(affine), affine), 128)
    np.testing.assert_array_equal(found.affine[:3, :3], np.eye(3))
    np.testing.assert_allclose(spot(found), BLOB, atol=0.3)


def test_a_moved_header_moves_the_world_and_nothing_else(plain):
    moved = AFFINE.copy()
    moved[:3, 3] += (3.0, -7.0, 11.0)
    found = volume.prepare(head(), moved, 128)
    np.testing.assert_array_equal(found.values, plain.values)
    np.testing.assert_allclose(found.affine - plain.affine, moved - AFFINE)


def test_a_neck_does_not_move_the_head_in_the_cube(plain):
    """A cylinder of 60 mm below the ball: the middle stays where it was, to a voxel of the search."""
    image = head()
    grid = np.moveaxis(np.indices(SHAPE), 0, -1) + AFFINE[:3, 3]
    neck = (np.hypot(grid[..., 0] - 5, grid[..., 1] + 10) < 35) & (grid[..., 2] < 0)
    found = volume.prepare(np.where(neck, 100, image).astype(np.float32), AFFINE, 128)
    np.testing.assert_allclose(found.affine, plain.affine, atol=1.0)


def test_what_is_assumed_is_said():
    shape = (110, 130, 60)
    affine = turned(3.0, (1.0, 1.0, 2.4), shape)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        found = volume.prepare(head(affine, shape), affine, 128)
    assert len(found.notes) == len(said) == 2
    assert "voxels of 1 x 1 x 2.4 mm are interpolated" in found.notes[0]
    assert "field of view of 110 mm" in found.notes[1]
    np.testing.assert_allclose(spot(found), BLOB, atol=0.5)


def test_two_affines_that_differ(tmp_path, plain):
    path = tmp_path / "t1.nii"
    image = nibabel.Nifti1Image(head(), None)
    image.set_sform(AFFINE, "scanner")
    other = AFFINE.copy()
    other[0, 3] += 5
    image.set_qform(other, "aligned")
    nibabel.save(image, path)
    with pytest.warns(UserWarning, match="the sform is taken"):
        found = volume.read(path, 128)
    np.testing.assert_allclose(found.affine, plain.affine)


def test_images_that_are_refused(tmp_path):
    image = head()
    with pytest.raises(InputError, match=r"no orientation[\s\S]*dcm2niix"):
        volume.read(saved(tmp_path / "a.nii", image, AFFINE, 0, 0))
    with pytest.raises(InputError, match="wrong shape"):
        volume.read(saved(tmp_path / "b.nii", np.stack([image, image], -1), AFFINE))
    with pytest.raises(InputError, match=r"no volume[\s\S]*first or its mean"):
        volume.prepare(np.zeros((4, 4, 4, 2)), AFFINE)
    broken = image.copy()
    broken[3, 4, 5:8] = np.nan
    with pytest.raises(InputError, match="3 voxels of NaN"):
        volume.prepare(broken, AFFINE)
    with pytest.raises(InputError, match="almost constant"):
        volume.prepare(np.full(SHAPE, 7.0), AFFINE)
    with pytest.raises(InputError, match=r"too small[\s\S]*150 x 160 x 40 mm"):
        volume.prepare(image[:, :, :40], AFFINE)
    with pytest.raises(InputError, match=r"too large[\s\S]*1 x 1 x 6 mm"):
        volume.prepare(image[:, :, :30], AFFINE @ np.diag([1.0, 1, 6, 1]))
    with pytest.raises(InputError, match="singular"):
        volume.prepare(image, np.diag([1.0, 0, 1, 1]))
    with pytest.raises(InputError, match="no such volume"):
        volume.read(tmp_path / "absent.nii")
