import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine, check_rigid, check_voxel_affine

angles = st.tuples(*[st.floats(-180, 180)] * 3)


def rigid(angles_deg, shift=(1.0, 2.0, 3.0)):
    m = np.eye(4)
    m[:3, :3] = Rotation.from_euler("xyz", angles_deg, degrees=True).as_matrix()
    m[:3, 3] = shift
    return m


@given(angles)
def test_every_rotation_passes_unchanged(angles_deg):
    m = rigid(angles_deg)
    np.testing.assert_array_equal(check_rigid(m), m)


@given(angles, st.tuples(*[st.floats(0.2, 5)] * 3))
def test_voxel_sizes_are_recovered(angles_deg, sizes):
    m = rigid(angles_deg)
    m[:3, :3] *= sizes
    affine, found = check_voxel_affine(m)
    np.testing.assert_allclose(found, sizes, rtol=1e-12)
    np.testing.assert_array_equal(affine, m)


def test_apply_affine_is_the_homogeneous_product():
    m = rigid((10, 20, 30))
    points = np.random.default_rng(0).normal(size=(4, 5, 3))
    homogeneous = np.concatenate([points, np.ones((4, 5, 1))], -1)
    np.testing.assert_allclose(apply_affine(m, points), (homogeneous @ m.T)[..., :3], atol=1e-14)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda m: m.__setitem__((0, 1), 0.3), "sheared"),
        (lambda m: m.__setitem__((slice(3), 0), -m[:3, 0]), "reflected"),
        (lambda m: m.__setitem__((slice(3), slice(3)), 2 * m[:3, :3]), "scaled"),
        (lambda m: m.__setitem__((0, 0), np.nan), "not finite"),
        (lambda m: m.__setitem__((3, 0), 1.0), "last row"),
    ],
)
def test_a_bad_pose_matrix_says_what_is_wrong(change, said):
    m = rigid((0, 0, 0))
    change(m)
    with pytest.raises(InputError, match=said) as caught:
        check_rigid(m)
    assert "got:" in str(caught.value)
    assert "expected:" in str(caught.value)


def test_a_pose_matrix_of_the_wrong_shape_is_refused():
    with pytest.raises(InputError, match="wrong shape"):
        check_rigid(np.eye(3))


@pytest.mark.parametrize(
    ("matrix", "said"),
    [
        (np.diag([-1.0, 1, 1, 1]), "reflected"),
        (np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "sheared"),
        (np.diag([1.0, 0, 1, 1]), "singular"),
    ],
)
def test_a_bad_voxel_affine_says_what_is_wrong(matrix, said):
    with pytest.raises(InputError, match=said):
        check_voxel_affine(matrix)
