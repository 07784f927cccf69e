"""The bundled head: a plausible adult, whole, and with left on the left."""

import hashlib
from importlib import resources

import numpy as np
import pytest
from scipy import ndimage
from scipy.spatial import cKDTree

from tmsjax import head as heads
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine, check_voxel_affine

FOLDER = resources.files("tmsjax") / "data" / "heads" / "S1"


def test_files_are_the_ones_that_were_checked():
    listed = dict(reversed(line.split()) for line in (FOLDER / "SHA256SUMS").read_text().splitlines())
    assert {"LICENSE", "head.json", "labels.nii.gz", "surfaces.npz"} <= set(listed)
    for name, digest in listed.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest, name
    assert sum((FOLDER / name).stat().st_size for name in listed) < 5e6


def test_grid(s1):
    affine, sizes = check_voxel_affine(s1.affine)
    np.testing.assert_allclose(sizes, 1.0)
    np.testing.assert_allclose(affine[:3, :3], np.eye(3), atol=1e-6)
    assert not s1.labels[[0, -1]].any()
    assert not s1.labels[:, [0, -1]].any()
    assert not s1.labels[:, :, [0, -1]].any()


@pytest.mark.parametrize(("label", "low", "high"), [(1, 400, 750), (2, 500, 850), (3, 150, 450), (4, 400, 900)])
def test_tissue_volumes_of_an_adult(s1, label, low, high):
    assert low < (s1.labels == label).sum() / 1000 < high  # mL


def test_no_air_in_the_head_and_skull_whole(s1):
    assert (ndimage.binary_fill_holes(s1.labels > 0) == (s1.labels > 0)).all()
    for label in range(1, 6):
        parts, _ = ndimage.label(s1.labels == label)
        sizes = np.bincount(parts.ravel())[1:]
        assert sizes[sizes < 10].sum() < 2e-3 * sizes.sum()  # speckle
    # From any brain voxel above the skull base, the way out to the scalp crosses bone.
    top = s1.labels[:, :, round(apply_affine(np.linalg.inv(s1.affine), np.array([0.0, 0.0, 20.0]))[2]) :]
    brain = np.isin(top, (1, 2, 3))
    reached = ndimage.binary_propagation(brain, mask=top != 4)
    assert not (reached & (top == 5)).any()


def test_left_is_left_and_correspondence(s1):
    for side, sign in (("lh", -1), ("rh", 1)):
        white, pial = s1.surfaces[f"{side}_white"], s1.surfaces[f"{side}_pial"]
        np.testing.assert_array_equal(white.faces, pial.faces)
        assert sign * pial.vertices[:, 0].mean() > 20
        assert (sign * pial.vertices[:, 0] > -6).all()
        assert len(white.vertices) - len(white.faces) / 2 == 2
        thickness = np.linalg.norm(pial.vertices - white.vertices, axis=1)
        assert 2.0 < np.median(thickness) < 3.5
        assert (thickness < 4.8).mean() > 0.95


def test_white_lies_inside_pial_and_faces_look_outwards(s1):
    for side in ("lh", "rh"):
        white, pial = s1.surfaces[f"{side}_white"], s1.surfaces[f"{side}_pial"]
        a, b, c = (pial.vertices[pial.faces[:, n]].astype(float) for n in range(3))
        assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6e3 > 400  # mL, positive if outward
        outward = (heads.vertex_normals(white) * (pial.vertices - white.vertices)).sum(1)
        cortex = np.linalg.norm(pial.vertices - white.vertices, axis=1) > 0.5  # the medial wall has none
        assert (outward[cortex] > 0).mean() > 0.98


def test_surfaces_lie_in_the_labels(s1):
    inverse = np.linalg.inv(s1.affine)
    for side in ("lh", "rh"):
        white, pial = s1.surfaces[f"{side}_white"].vertices, s1.surfaces[f"{side}_pial"].vertices
        thick = np.linalg.norm(pial - white, axis=1) > 1.5
        middle = np.rint(apply_affine(inverse, ((white + pial) / 2)[thick])).astype(int)
        assert (s1.labels[tuple(middle.T)] == 2).mean() > 0.9


def test_registration(s1):
    assert 0.5 < np.linalg.det(s1.mni_to_head[:3, :3]) < 1.5
    u, _, vt = np.linalg.svd(s1.mni_to_head[:3, :3])
    assert np.trace(u @ vt) > 1 + 2 * np.cos(np.deg2rad(25))  # turned by less than 25 degrees
    mni_size = apply_affine(s1.mni_to_head, np.array([[-69.0, -18, 5], [69.0, -18, 5]]))  # widest places of the brain
    assert mni_size[0, 0] < -60
    assert mni_size[1, 0] > 60


@pytest.mark.parametrize("name", sorted(heads.LANDMARKS))
def test_landmarks_are_grey_matter_near_where_they_were_sent(s1, name):
    point = heads.landmark(s1, name)
    index = np.rint(apply_affine(np.linalg.inv(s1.affine), point)).astype(int)
    assert s1.labels[tuple(index)] == 2
    sent = apply_affine(s1.mni_to_head, np.array(heads.LANDMARKS[name]))
    assert np.linalg.norm(point - sent) < 4.0
    side = "lh" if name.endswith("left") else "rh"
    assert (point[0] < 0) == (side == "lh")
    gap, _ = cKDTree(s1.surfaces[f"{side}_pial"].vertices).query(point)
    assert gap < 4.0


def test_hand_knob_by_eye(s1):
    # Read off the T1: crown of the knob of the left precentral gyrus (omega in axial slices), scanner mm.
    assert np.linalg.norm(heads.landmark(s1, "hand_knob_left") - [-41, 14, 54]) < 5


def test_landmarks_that_are_refused(s1):
    with pytest.raises(InputError, match="hand_knob_left"):
        heads.landmark(s1, "hand")
    plain = heads.from_labels(s1.labels, s1.affine, name="plain")
    with pytest.raises(InputError, match="not registered"):
        heads.landmark(plain, "hand_knob_left")
    far = heads.from_labels(s1.labels, s1.affine, mni_to_head=np.diag([1.0, 1, 1, 1]), landmarks={"away": (0, 0, 400)})
    with pytest.raises(InputError, match="far from the grey matter"):
        heads.landmark(far, "away")


def test_scalp(s1, s1_scalp):
    volume = (s1.labels > 0).sum() / 1000
    a, b, c = (s1_scalp.vertices[s1_scalp.faces[:, n]].astype(float) for n in range(3))
    assert np.einsum("ij,ij->i", a, np.cross(b, c)).sum() / 6e3 == pytest.approx(volume, rel=0.01)
    knob = heads.landmark(s1, "hand_knob_left")
    depth = heads.signed_distance(s1_scalp, knob + np.array([[0.0, 0, 0], [-40, 0, 40]]))
    assert -25 < depth[0] < -10
    assert depth[1] > 10
