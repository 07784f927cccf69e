import numpy as np
import pytest
from spheres import layered_sphere

from tmsjax import head as heads
from tmsjax.coil import CoilPose, check_outside, from_dipoles, load, pose_on_scalp
from tmsjax.coil.clearance import coil_points
from tmsjax.coil.placement import tangential_frame
from tmsjax.core.errors import InputError


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
        ({"handle_deg": np.inf}, "handle"),
    ],
)
def test_bad_requests(head, scalp, coil, change, message):
    arguments = {"target_mm": [-30.0, 10, 60], "coil": coil, "scalp": scalp, **change}
    with pytest.raises(InputError, match=message):
        pose_on_scalp(head, **arguments)


def test_no_midline_at_the_very_front():
    with pytest.raises(InputError, match="midline"):
        tangential_frame(np.array([0.0, 1.0, 0.0]), 45.0, 1.0)
