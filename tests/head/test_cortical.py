"""Surfaces from labels: spheres and slabs whose columns are known, and FreeSurfer's surfaces of the bundled head."""

import dataclasses

import nibabel
import numpy as np
import pytest
from scipy.spatial import KDTree
from spheres import layered_sphere

from tmsjax import head as heads
from tmsjax.core.errors import InputError
from tmsjax.head.hemispheres import symmetry_plane, to_the_right

RADII = {5: 31.0, 4: 28.0, 3: 25.0, 2: 23.0, 1: 20.0}
SHIFT = (0.31, -0.22, 0.13)  # off the grid, so that no pole is a whole plane of voxels


def together(surfaces):
    """White and pial vertices of both sides, (v, 3) each."""
    return tuple(
        np.concatenate([surfaces[f"{side}_{kind}"].vertices for side in ("lh", "rh")]).astype(float)
        for kind in ("white", "pial")
    )


def angles_deg(a, b):
    cosine = (a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))
    return np.degrees(np.arccos(np.clip(cosine, -1, 1)))


@pytest.fixture(scope="module")
def ball():
    """A cortex of 20 to 23 mm; inside the white matter a ventricle and a nucleus of grey matter."""
    labels, affine = layered_sphere(1.0, RADII, SHIFT)
    x, y, z = (np.indices(labels.shape) + affine[:3, 3].reshape(3, 1, 1, 1)).astype(float)
    labels[x**2 + y**2 + (z - 5) ** 2 < 6**2] = 3
    labels[x**2 + y**2 + (z + 9) ** 2 < 5**2] = 2
    return heads.from_labels(labels, affine)


@pytest.fixture(scope="module")
def ball_surfaces(ball):
    return heads.surfaces_from_labels(ball)


def test_concentric_spheres(ball_surfaces):
    """Exact but for the steps of the voxels, which are 1 mm: no bias, and errors well below a voxel."""
    white, pial = together(ball_surfaces)
    radius, outer = np.linalg.norm(white, axis=1), np.linalg.norm(pial, axis=1)
    assert abs(radius.mean() - 20) < 0.05
    assert abs(outer.mean() - 23) < 0.05
    assert radius.std() < 0.2
    assert outer.std() < 0.2
    thickness = np.linalg.norm(pial - white, axis=1)
    assert abs(thickness.mean() - 3) < 0.05
    np.testing.assert_allclose(thickness, 3, atol=0.8)
    off = angles_deg((pial - white), white)
    assert np.median(off) < 4
    assert np.percentile(off, 95) < 10


def test_ventricles_and_nuclei_inside_the_white_matter_are_filled(ball, ball_surfaces):
    assert set(np.unique(ball.labels[30:40, 30:40, 20:45])) == {1, 2, 3}
    white, _ = together(ball_surfaces)
    assert np.linalg.norm(white, axis=1).min() > 19


def test_halves_lose_no_face_and_look_outwards(ball_surfaces):
    volume = 0.0
    for side, sign in (("lh", -1), ("rh", 1)):
        white, pial = ball_surfaces[f"{side}_white"], ball_surfaces[f"{side}_pial"]
        np.testing.assert_array_equal(white.faces, pial.faces)
        assert (white.faces.min(), white.faces.max()) == (0, len(white.vertices) - 1)
        corners = pial.vertices[pial.faces].astype(float)
        volume += np.einsum("fi,fi->", corners[:, 0], np.cross(corners[:, 1], corners[:, 2])) / 6
        assert (sign * white.vertices[:, 0] > -1.5).all()
    assert volume == pytest.approx(4 / 3 * np.pi * 23**3, rel=0.01)


def test_fused_banks_are_parted_in_the_middle():
    """Two plates of white matter, 5 mm of grey between them and no CSF: two cortices of 2.5 mm, back to back."""
    labels = np.zeros((40, 44, 40), int)
    labels[2:38, 2:42, 2:38] = 3
    labels[4:36, 4:40, 4:34] = 2
    labels[6:34, 6:38, 6:11] = 1  # joins the plates
    labels[6:34, 6:19, 6:32] = labels[6:34, 24:38, 6:32] = 1
    surfaces = heads.surfaces_from_labels(heads.from_labels(labels, np.eye(4)))
    white, pial = together(surfaces)
    inner = (np.abs(white - [19.5, 21, 23]) < [9, 4, 5]).all(axis=1)
    white, pial = white[inner], pial[inner]
    assert len(white) > 200
    column = pial - white
    np.testing.assert_allclose(np.abs(column[:, 1]), 2.5, atol=0.3)
    np.testing.assert_allclose(pial[:, 1], 21, atol=0.3)
    inwards = np.where(white[:, 1] < 21, 1.0, -1.0)
    assert angles_deg(column, inwards[:, None] * [0.0, 1.0, 0.0]).max() < 10


def test_columns_longer_than_the_thickest_cortex_are_cut_and_much_longer_ones_dropped():
    labels, affine = layered_sphere(1.0, RADII | {1: 16.5}, SHIFT)
    head = heads.from_labels(labels, affine)
    cut, dropped = (together(heads.surfaces_from_labels(head, thickest_mm=limit)) for limit in (4.0, 3.0))
    np.testing.assert_allclose(np.linalg.norm(cut[1] - cut[0], axis=1), 4, atol=1e-5)
    np.testing.assert_array_equal(dropped[0], dropped[1])


@pytest.fixture(scope="module")
def knob(s1):
    return heads.landmark(s1, "hand_knob_left") - [0, 0, 8]


@pytest.fixture(scope="module")
def round_the_knob(s1, knob):
    """Surfaces from the labels of S1 within 36 mm of the left hand knob."""
    index = np.rint(np.linalg.solve(s1.affine, [*knob, 1])[:3]).astype(int)
    box = tuple(slice(i - 36, i + 36) for i in index)
    affine = s1.affine.copy()
    affine[:3, 3] += index - 36
    part = heads.from_labels(s1.labels[box], affine, mni_to_head=s1.mni_to_head)
    return heads.surfaces_from_labels(part)


def test_near_the_surfaces_of_freesurfer(s1, knob, round_the_knob):
    """S1's labels were made from them: the numbers that the docstring states."""
    found, true = round_the_knob, s1.surfaces
    white, pial = together(found)
    long = np.linalg.norm(pial - white, axis=1)
    near = np.linalg.norm((white + pial) / 2 - knob, axis=1) < 22
    assert (long[near] > 0.5).mean() > 0.99
    for kind, mean, far in (("white", 0.2, 0.6), ("pial", 0.35, 1.0)):
        points = true[f"lh_{kind}"].vertices.astype(float)
        points = points[np.linalg.norm(points - knob, axis=1) < 20]
        away = np.abs(heads.signed_distance(found[f"lh_{kind}"], points))
        assert away.mean() < mean
        assert np.percentile(away, 95) < far
    true_white, true_pial = (true[f"lh_{kind}"].vertices.astype(float) for kind in ("white", "pial"))
    true_long = np.linalg.norm(true_pial - true_white, axis=1)
    middle = (true_white + true_pial) / 2
    chosen = (np.linalg.norm(middle - knob, axis=1) < 20) & (true_long > 0.5)
    columns = long > 0.5
    gap, which = KDTree(((white + pial) / 2)[columns]).query(middle[chosen])
    assert (gap < 1.5).mean() > 0.98
    own = (pial - white)[columns][which]
    assert abs(long[columns][which].mean() - true_long[chosen].mean()) < 0.25
    assert np.corrcoef(long[columns][which], true_long[chosen])[0, 1] > 0.75
    off = angles_deg(own, (true_pial - true_white)[chosen])
    assert np.median(off) < 15
    assert np.percentile(off, 95) < 35


def test_columns_do_not_cross(knob, round_the_knob):
    """Where they did, faces of the surfaces between white and pial would be turned over."""
    surfaces = round_the_knob
    white, pial = (surfaces[f"lh_{kind}"].vertices.astype(float) for kind in ("white", "pial"))
    faces = surfaces["lh_white"].faces
    column = pial - white
    there = (np.linalg.norm(column, axis=1) > 0.5)[faces].all(axis=1)
    there &= np.linalg.norm(white[faces].mean(1) - knob, axis=1) < 22
    for depth in (0.25, 0.5, 0.75):
        a, b, c = np.moveaxis((pial + depth * (white - pial))[faces[there]], 1, 0)
        normal = np.cross(b - a, c - a)
        area = np.linalg.norm(normal, axis=1)
        turned = (normal * column[faces[there]].mean(1)).sum(1) < 0
        assert area[turned].sum() < 0.01 * area.sum()
        assert turned.mean() < 0.005


def test_hemispheres_of_a_head_that_is_turned_and_not_registered():
    """Two half-balls with a gap between, turned by 12 degrees and moved: the gap is found."""
    normal = np.array([np.cos(0.2), np.sin(0.2), 0.1])
    normal /= np.linalg.norm(normal)
    x = np.moveaxis(np.indices((60, 64, 60)), 0, -1) - [31.0, 30.5, 29.0]
    labels = np.where((np.linalg.norm(x * [1.15, 1, 1.05], axis=-1) < 24) & (np.abs(x @ normal) > 1.5), 2, 0)
    affine = np.eye(4)
    affine[:3, 3] = [-25, 7, 3]
    head = heads.from_labels(labels, affine)
    found, offset = symmetry_plane(head)
    assert angles_deg(found[None], normal[None])[0] < 3
    assert offset == pytest.approx(normal @ [6, 37.5, 32], abs=0.5)
    points = np.array([6, 37.5, 32]) + np.array([[5.0], [-5.0]]) * normal
    np.testing.assert_allclose(to_the_right(head, points), [5, -5], atol=0.8)
    registered = dataclasses.replace(head, mni_to_head=np.diag([2.0, 1, 1, 1]))
    np.testing.assert_allclose(to_the_right(registered, points), points[:, 0] / 2)


def test_a_label_file_is_loaded_with_surfaces_of_its_labels(ball, ball_surfaces, tmp_path):
    path = tmp_path / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(ball.labels), ball.affine), path)
    assert heads.load(path).surfaces is None
    loaded = heads.load(path, surfaces="from labels").surfaces
    for name, surface in ball_surfaces.items():
        np.testing.assert_allclose(loaded[name].vertices, surface.vertices, atol=1e-4)


def test_labels_without_cortex_coarse_ones_and_impossible_thickness(ball):
    with pytest.raises(InputError, match="too large for its cortex"):
        heads.surfaces_from_labels(heads.from_labels(ball.labels, np.diag([1, 1, 2.5, 1])))
    plain = heads.from_labels(np.asarray(ball.labels) // 2 * 2, ball.affine, dict.fromkeys(range(1, 6), 0.1))
    with pytest.raises(InputError, match="no cortex"):
        heads.surfaces_from_labels(plain)
    for thickest in (0.0, np.nan, 50.0):
        with pytest.raises(InputError, match="thickest"):
            heads.surfaces_from_labels(ball, thickest_mm=thickest)
