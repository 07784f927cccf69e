"""NIfTI fields and tensors: places and directions are kept whatever the voxels' axes are."""

import gzip

import nibabel
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff

from tmsjax.core.errors import InputError
from tmsjax.io import onto, read_scalar, read_tensor, read_vector, resample, write_scalar, write_vector

AFFINE = np.array([[1.0, 0, 0, -20], [0, 1.2, 0, 5], [0, 0, 0.9, 31], [0, 0, 0, 1]])
OBLIQUE = np.array([[0.9, -0.3, 0.1, -20], [0.3, 0.95, 0.05, 5], [-0.1, 0.0, 1.1, 31], [0, 0, 0, 1.0]])


@pytest.fixture
def field():
    return np.random.default_rng(0).normal(size=(4, 5, 6, 3)).astype(np.float32)


def test_a_vector_field_comes_back_as_it_was(tmp_path, field):
    path = write_vector(tmp_path / "E.nii.gz", field, AFFINE, description="V/m", notes={"didt": 1.5, "of": "µ"})
    values, affine, notes = read_vector(path)
    np.testing.assert_array_equal(values, field)
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    assert notes == {"didt": 1.5, "of": "µ"}
    image = nibabel.load(path)
    assert image.shape == field.shape
    assert image.header.get_intent()[0] == "vector"
    assert int(image.header["sform_code"]) == 1
    assert image.header.get_xyzt_units()[0] == "mm"
    assert [item.name for item in tmp_path.iterdir()] == ["E.nii.gz"]


@pytest.mark.parametrize("axes", ["LAS", "PSR", "LIA"])
@pytest.mark.parametrize("five", [True, False])
def test_vectors_of_other_programs_keep_their_directions(tmp_path, field, axes, five):
    turn = axcodes2ornt(axes)
    stored = apply_orientation(field, turn)
    stored = stored[:, :, :, None] if five else stored
    nibabel.save(nibabel.Nifti1Image(stored, AFFINE @ inv_ornt_aff(turn, field.shape[:3])), tmp_path / "E.nii")
    values, affine, notes = read_vector(tmp_path / "E.nii")
    np.testing.assert_array_equal(values, field)  # components are the world's: only voxels move
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)
    assert notes == {}


def test_a_scalar_map_comes_back_as_it_was(tmp_path, field):
    path = write_scalar(tmp_path / "s.nii.gz", field[..., 0], AFFINE)
    values, affine = read_scalar(path)
    np.testing.assert_array_equal(values, field[..., 0])
    np.testing.assert_allclose(affine, AFFINE, atol=1e-5)


def six(matrix):
    return np.array([matrix[0, 0], matrix[0, 1], matrix[0, 2], matrix[1, 1], matrix[1, 2], matrix[2, 2]])


@pytest.mark.parametrize("flip", [False, True])
@pytest.mark.parametrize("convention", ["fsl", "voxel", "mrtrix"])
def test_a_fibre_points_where_it_did(tmp_path, convention, flip):
    """A prolate tensor along a known world direction, stored as each program stores it."""
    affine = OBLIQUE @ np.diag([-1.0, 1, 1, 1]) if flip else OBLIQUE
    u, _, vt = np.linalg.svd(affine[:3, :3])
    affine = affine.copy()
    affine[:3, :3] = u @ vt * 1.5  # a rotation, so that axes are axes
    fibre = np.array([0.8, 0.36, -0.48])
    world = 0.3 * np.eye(3) + 1.4 * np.outer(fibre, fibre)
    axes = affine[:3, :3] / 1.5
    if convention == "fsl" and np.linalg.det(axes) > 0:  # FSL's x runs right to left whatever the voxels' does
        axes = axes @ np.diag([-1.0, 1, 1])
    own = world if convention == "mrtrix" else axes.T @ world @ axes
    rows = six(own)[[0, 3, 5, 1, 2, 4]] if convention == "mrtrix" else six(own)
    data = np.broadcast_to(rows, (3, 4, 5, 6)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(np.ascontiguousarray(data), affine), tmp_path / "t.nii.gz")
    found, new = read_tensor(tmp_path / "t.nii.gz", convention)
    np.testing.assert_allclose(found[1, 2, 3], six(world), atol=1e-5)
    assert np.linalg.det(new[:3, :3]) > 0


def test_resampling_is_exact_for_what_is_linear(field):
    index = np.argwhere(np.ones(field.shape[:3], bool))
    place = (index @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]).reshape(*field.shape[:3], 3)
    slope = np.random.default_rng(1).normal(size=(3, 2))
    rng = np.random.default_rng(2)
    points = rng.uniform(0.2, 2.8, (50, 3)) @ OBLIQUE[:3, :3].T + OBLIQUE[:3, 3]
    np.testing.assert_allclose(resample(place @ slope, OBLIQUE, points), points @ slope, atol=1e-9)
    assert not resample(place @ slope, OBLIQUE, points + 100).any()
    assert onto(field, AFFINE, AFFINE, (4, 5, 6)) is field
    moved = AFFINE.copy()
    moved[:3, 3] += AFFINE[:3, 0]  # by one voxel
    np.testing.assert_allclose(onto(field, AFFINE, moved, (3, 5, 6)), field[1:], atol=1e-5)


def test_volumes_that_are_refused(tmp_path, field):
    def save(data, name, affine=AFFINE):
        nibabel.save(nibabel.Nifti1Image(np.asarray(data, np.float32), affine), tmp_path / name)
        return tmp_path / name

    with pytest.raises(InputError, match="no such volume"):
        read_vector(tmp_path / "absent.nii")
    with pytest.raises(InputError, match="wrong shape"):
        read_vector(save(field[..., 0], "flat.nii"))
    with pytest.raises(InputError, match="wrong shape"):
        read_scalar(save(field, "vector.nii"))
    with pytest.raises(InputError, match="wrong shape"):
        read_tensor(tmp_path / "vector.nii")
    tensor = np.ones((3, 3, 3, 6))
    with pytest.raises(InputError, match="zero"):
        read_tensor(save(0 * tensor, "zero.nii"))
    tensor[1, 1, 1] = np.nan
    with pytest.raises(InputError, match="not finite"):
        read_tensor(save(tensor, "nan.nii"))
    with pytest.raises(InputError, match="convention"):
        read_tensor(tmp_path / "nan.nii", "dsi")
    (tmp_path / "text.nii").write_text("nothing")
    with pytest.raises(InputError, match="cannot be read"):
        read_vector(tmp_path / "text.nii")
    (tmp_path / "cut.nii").write_bytes((tmp_path / "vector.nii").read_bytes()[:500])
    with pytest.raises(InputError, match="cannot be read"):
        read_vector(tmp_path / "cut.nii")
    with pytest.raises(InputError, match="name of a NIfTI"):
        write_scalar(tmp_path / "a.img", field[..., 0], AFFINE)
    with pytest.raises(InputError, match="no vector field"):
        write_vector(tmp_path / "a.nii", field[..., 0], AFFINE)
    with pytest.raises(InputError, match="no scalar map"):
        write_scalar(tmp_path / "a.nii", field, AFFINE)
    with pytest.raises(InputError, match="values are no numbers"):
        write_scalar(tmp_path / "a.nii", "text", AFFINE)
    with pytest.raises(InputError, match="singular"):
        write_vector(tmp_path / "a.nii", field, np.diag([1.0, 0, 1, 1]))
    with pytest.raises(InputError, match="notes"):
        write_vector(tmp_path / "a.nii", field, AFFINE, notes={"a": object()})
    assert not (tmp_path / "a.nii").exists()
    thin = np.eye(4)
    thin[:3, :3] = [[1e20, 1e20, 1e20], [0, 1, 0], [0, 0, 1]]  # a volume, but three axes that are one
    image = nibabel.Nifti1Image(field, None)
    image.set_sform(thin, "scanner")
    nibabel.save(image, tmp_path / "thin.nii")
    with pytest.raises(InputError, match=r"affine of a volume cannot be used"):
        read_vector(tmp_path / "thin.nii")


def test_notes_may_be_numbers_of_numpy(tmp_path, field):
    notes = {"a": np.float32(1.5), "b": np.arange(3), "c": np.int64(7)}
    found = read_vector(write_vector(tmp_path / "E.nii", field, AFFINE, notes=notes))[2]
    assert found == {"a": 1.5, "b": [0, 1, 2], "c": 7}


@pytest.mark.parametrize("seed", range(40))
def test_a_damaged_volume_is_refused_and_never_other_numbers(tmp_path, field, seed):
    """Six bytes of the compressed file changed: its checksum tells, where nibabel stops before it."""
    path, rng = write_vector(tmp_path / "E.nii.gz", field, AFFINE), np.random.default_rng(seed)
    whole = bytearray(path.read_bytes())
    for place in rng.choice(np.arange(20, len(whole)), 6, replace=False):
        whole[place] ^= int(rng.integers(1, 256))
    path.write_bytes(whole)
    with pytest.raises(InputError, match="cannot be read"):
        read_vector(path)


@pytest.mark.parametrize("bit", range(8))
def test_a_wrong_checksum_alone_is_refused(tmp_path, field, bit):
    path = write_vector(tmp_path / "E.nii.gz", field, AFFINE)
    whole = bytearray(path.read_bytes())
    assert len(gzip.decompress(whole)) > field.nbytes
    whole[-8] ^= 1 << bit
    path.write_bytes(whole)
    np.testing.assert_array_equal(np.asarray(nibabel.load(path).dataobj), field)  # nobody else would see it
    with pytest.raises(InputError, match="CRC"):
        read_vector(path)


def test_colours_are_no_field(tmp_path):
    colours = np.zeros((3, 3, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nibabel.save(nibabel.Nifti1Image(colours, AFFINE), tmp_path / "rgb.nii")
    with pytest.raises(InputError, match="no numbers"):
        read_scalar(tmp_path / "rgb.nii")
