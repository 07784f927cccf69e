from inspect import unwrap

import numpy as np
import pytest
from spheres import layered_sphere

from tmsjax import head as heads
from tmsjax.coil import CoilPose, check_outside, from_dipoles, load, pose_on_scalp
from tmsjax.coil.clearance import coil_points, face_points
from tmsjax.coil.placement import cut_vertices, tangential_frame
from tmsjax.core.errors import InputError
from tmsjax.surrogate import recipe


@pytest.fixture(scope="module")
def head():
    return heads.from_labels(*layered_sphere(4.0))


@pytest.fixture(scope="module")
def scalp(head):
    return heads.scalp_surface(head)


@pytest.fixture(scope="module")
def coil():
    return load("MagVenture_MC_B70")


@pytest.mark.parametrize("side", [-1, 1])
def test_over_the_hand_area(head, scalp, coil, side):
    target = np.array([side * 35.0, -10, 50])
    pose = pose_on_scalp(head, target, coil=coil, scalp=scalp).matrix
    out = target / np.linalg.norm(target)
    # Tangential: z points from the scalp to the target, through the sphere's middle.
    assert pose[:3, 2] @ -out > 0.99
    # 2 mm out of a 92 mm sphere (4 mm voxels).
    assert np.linalg.norm(pose[:3, 3]) == pytest.approx(94, abs=1.5)
    # The handle points backwards and away from the midline, so y points forwards and to the midline.
    assert pose[1, 1] > 0.5
    assert side * pose[0, 1] < -0.3
    assert np.linalg.det(pose[:3, :3]) == pytest.approx(1, abs=1e-5)


def test_handle_along_the_midline(head, scalp, coil):
    y = pose_on_scalp(head, [1.0, 0, 80], handle_deg=0, coil=coil, scalp=scalp).matrix[:3, 1]
    assert y[1] > 0.99


def test_handle_angle_is_turned_about_the_normal(head, scalp, coil):
    a, b = (pose_on_scalp(head, [-30.0, 10, 60], deg, coil=coil, scalp=scalp).matrix for deg in (20.0, 80.0))
    assert np.degrees(np.arccos(a[:3, 1] @ b[:3, 1])) == pytest.approx(60, abs=1e-2)
    np.testing.assert_allclose(a[:3, 2:], b[:3, 2:], atol=1e-5)


def test_windings_keep_the_gap(head, scalp):
    """A deep, bent coil must be lifted: a ring of dipoles 15 mm nearer to the head than its centre."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([30 * np.cos(angle), 30 * np.sin(angle), np.full(24, 15.0)], 1)
    coil = from_dipoles(ring, np.tile([0, 0, 1e-4], (24, 1)))
    pose = pose_on_scalp(head, [0.0, -20, 80], gap_mm=3.0, coil=coil, scalp=scalp)
    clearance = heads.signed_distance(scalp, coil_points(coil, pose)).min()
    assert 3.0 - 1e-3 <= clearance < 3.5
    check_outside(head, coil, pose)


def test_hair_is_part_of_the_gap(head, scalp, coil):
    a = pose_on_scalp(head, [0.0, 0, 80], gap_mm=2.0, hair_mm=3.0, coil=coil, scalp=scalp)
    b = pose_on_scalp(head, [0.0, 0, 80], gap_mm=5.0, coil=coil, scalp=scalp)
    np.testing.assert_array_equal(a.matrix, b.matrix)


def test_inside_is_refused(head, coil, scalp):
    matrix = pose_on_scalp(head, [-30.0, 10, 60], coil=coil, scalp=scalp).matrix
    check_outside(head, coil, CoilPose.from_matrix(matrix))
    matrix[:3, 3] += 12 * matrix[:3, 2]
    with pytest.raises(InputError, match="coil inside the head"):
        check_outside(head, coil, CoilPose.from_matrix(matrix))


def test_a_coil_that_cannot_be_lifted_out(head, scalp):
    rod = from_dipoles([[0, 0, 60.0]], [[0, 0, 1e-4]])
    with pytest.raises(InputError, match="coil inside the head"):
        pose_on_scalp(head, [0.0, 0, 80], coil=rod, scalp=scalp)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"target_mm": [0, np.nan, 0]}, "target"),
        ({"target_mm": [0, 1]}, "target"),
        ({"gap_mm": -1.0}, "gap"),
        ({"hair_mm": np.nan}, "hair"),
        ({"handle_deg": np.inf}, "handle"),
        ({"handle_deg": "x"}, "handle"),
        ({"gap_mm": "a"}, "gap"),
        ({"hair_mm": None}, "hair"),
    ],
)
def test_bad_requests(head, scalp, coil, change, message):
    arguments = {"target_mm": [-30.0, 10, 60], "coil": coil, "scalp": scalp, **change}
    with pytest.raises(InputError, match=message):
        unwrap(pose_on_scalp)(head, **arguments)


def test_no_midline_at_the_very_front():
    with pytest.raises(InputError, match="midline"):
        tangential_frame(np.array([0.0, 1.0, 0.0]), 45.0, 1.0)


# The casing's face

TRAINING_CENTRES = [
    [-54.4462, 16.5784, 70.2529],
    [-54.4462, 16.5784, 70.2529],
    [-59.5742, 38.0754, 60.6748],
]


def shifted(pose, mm):
    """The pose moved along its own z axis, into the head."""
    return CoilPose(pose.rotation, pose.centre + mm * pose.rotation[:, 2])


def test_the_face_is_filled(coil):
    face = face_points(coil)
    assert face[:, 2].min() == 0
    # The bent wings reach beyond the plane: 62 mm of sheet turned by 18.5 degrees, from 7.5 mm behind the face.
    assert face[:, 2].max() == pytest.approx(62 * np.sin(np.radians(18.5)) - 7.5, abs=0.1)
    x, y = np.meshgrid(np.linspace(-60, 60, 41), np.linspace(-25, 25, 21))
    asked = np.stack([x.ravel(), y.ravel()], 1)
    gap = np.linalg.norm(asked[:, None] - face[None, :, :2], axis=2).min(1)
    assert gap.max() < 4.0 / np.sqrt(2) + 1e-6


@pytest.mark.parametrize("row", [[[0, 0, -5.0]], [[0, 0, -5.0], [10, 0, -5]], [[-9.0, 0, -5], [0, 0, -5], [9, 0, -5]]])
def test_coils_without_an_outline_have_a_face(row):
    face = face_points(from_dipoles(row, np.tile([0, 0, 1e-3], (len(row), 1))))
    assert (face[:, 2] == 0).all()
    expected = np.unique([[0, 0], *(p[:2] for p in row)], axis=0)
    np.testing.assert_array_equal(np.unique(face[:, :2], axis=0), expected)


def test_a_face_in_the_head_is_refused(s1, s1_scalp, coil):
    """Windings are 3.5 mm and more behind the face: they were still outside when the face was 2 mm deep."""
    pose = pose_on_scalp(s1, heads.landmark(s1, "hand_knob_left"), coil=coil, scalp=s1_scalp)
    check_outside(s1, coil, shifted(pose, 1.0))
    pushed = shifted(pose, 4.0)
    assert heads.signed_distance(s1_scalp, coil_points(coil, pushed)).min() > 1.0
    with pytest.raises(InputError, match="coil inside the head"):
        check_outside(s1, coil, pushed)


def test_a_small_head_between_the_dipoles_is_caught():
    """A ball of 12 mm that pokes through a ring of 30 mm."""
    ball = heads.from_labels(*layered_sphere(1.0, {2: 12.0}))
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    ring = np.stack([30 * np.cos(angle) + 22, 30 * np.sin(angle), np.full(24, -5.0)], 1)
    coil = from_dipoles(ring, np.tile([0, 0, 1e-4], (24, 1)))
    matrix = np.diag([1.0, -1, -1, 1])
    matrix[:3, 3] = [-22, 0, 14]
    check_outside(ball, coil, CoilPose.from_matrix(matrix))
    matrix[2, 3] = 9
    with pytest.raises(InputError, match="coil inside the head"):
        check_outside(ball, coil, CoilPose.from_matrix(matrix))


def test_poses_on_the_scalp_are_outside(s1, s1_scalp, coil):
    """Also at no gap at all, where the face touches."""
    rng = np.random.default_rng(0)
    for gap in (0.0, 2.0):
        for _ in range(2):
            out = rng.normal(size=3) * [1, 1, 0.5] + [0, 0, 1]
            target = np.array([0, 30, 20]) + 60 * out / np.linalg.norm(out)
            pose = pose_on_scalp(s1, target, rng.uniform(-180, 180), gap, coil=coil, scalp=s1_scalp)
            check_outside(s1, coil, pose)


def test_the_poses_of_training_data(s1, coil):
    """Nothing may move them: thresholds have been simulated under them (the first three of every bundled recipe)."""
    found = recipe.poses(recipe.Recipe("open/L5_PC_1", "L5", poses=3), s1)
    for pose in found:
        check_outside(s1, coil, pose)
    np.testing.assert_allclose([p.centre for p in found], TRAINING_CENTRES, atol=1e-3)


# Targets


def test_the_neck_is_a_cut(s1, s1_scalp, head, scalp):
    cut = cut_vertices(s1, s1_scalp)
    vertices, normals = np.asarray(s1_scalp.vertices)[cut], heads.vertex_normals(s1_scalp)
    assert np.ptp(vertices[:, 2]) < 3.5
    assert np.ptp(vertices[:, 0]) > 100
    assert normals[cut][:, 2].mean() < -0.8
    assert not cut_vertices(head, scalp).any()


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ([500.0, 0, 0], r"far outside the head\n.*415 mm"),
        ([0.0, 0, 130], "far outside"),
        ([0.0, 0, -90], "no scalp near it"),
        ([10.0, 10, -121], "no scalp near it"),
    ],
)
def test_targets_that_are_refused(s1, s1_scalp, coil, target, message):
    with pytest.raises(InputError, match=message):
        pose_on_scalp(s1, target, coil=coil, scalp=s1_scalp)


def test_deep_and_outlying_targets_are_accepted(s1, s1_scalp, coil):
    deep = np.array([-5.0, 12, 25])
    assert heads.signed_distance(s1_scalp, deep[None])[0] < -60
    for target in (deep, [-60.0, 12, 95]):
        centre = pose_on_scalp(s1, target, coil=coil, scalp=s1_scalp).matrix[:3, 3]
        assert heads.signed_distance(s1_scalp, centre[None])[0] == pytest.approx(2.0, abs=0.1)
