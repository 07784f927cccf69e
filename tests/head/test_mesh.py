"""Heads of tetrahedra: volumes, points and voxels in them, bad meshes, and voxel heads made of them."""

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from meshes import ball_radius, refine, sphere_mesh
from scipy.spatial import Delaunay

from tmsjax import head as heads
from tmsjax.core.errors import InputError
from tmsjax.head.locate import grid_round, weights
from tmsjax.head.mesh import volumes
from tmsjax.io import Msh, write_msh

RADII = {1: 20.0, 2: 30.0, 5: 40.0}


@pytest.fixture(scope="module")
def ball():
    return heads.mesh_from_arrays(*sphere_mesh(3, 5.0, RADII), name="ball (synthetic)")


def random_mesh(seed, points=60, tags=3):
    """Tetrahedra of any shape that fill a convex body."""
    rng = np.random.default_rng(seed)
    nodes = rng.normal(size=(points, 3)) * 20
    tetrahedra = Delaunay(nodes).simplices.astype(np.int32)
    return heads.mesh_from_arrays(nodes, tetrahedra, rng.integers(1, tags + 1, len(tetrahedra)), reorder=True)


def brute_force(mesh, points):
    """Every tetrahedron against every point; on shared faces the lowest tag, then the first."""
    order = np.argsort(mesh.tags, kind="stable")
    found = np.full(len(points), -1)
    for index in order[::-1]:
        inside = weights(mesh, np.full(len(points), index), points).min(axis=1) >= -1e-6
        found[inside] = index
    return found


@given(seed=st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_points_are_found_where_brute_force_finds_them(seed):
    mesh = random_mesh(seed)
    rng = np.random.default_rng(seed)
    inside = rng.dirichlet(np.ones(4), 100)
    which = rng.integers(0, len(mesh.tags), 100)
    inside[:30, 0] = 0  # on faces,
    inside[:20, 1] = 0  # edges
    inside[:10, 2] = 0  # and corners
    inside /= inside.sum(axis=1, keepdims=True)
    corners = mesh.nodes[mesh.tetrahedra[which]]
    points = np.concatenate([np.einsum("pk,pka->pa", inside, corners), rng.normal(size=(100, 3)) * 30])
    found = heads.locate(mesh, points)
    np.testing.assert_array_equal(found, brute_force(mesh, points))
    assert (found[:100] >= 0).all()


def test_points_outside_and_points_that_are_none(ball):
    points = np.array([[0.0, 0, 41], [np.nan, 0, 0], [np.inf, 0, 0], [1e9, 0, 0], [0, 0, 1.0]])
    assert (heads.locate(ball, points) >= 0).tolist() == [False] * 4 + [True]
    assert len(heads.locate(ball, np.zeros((0, 3)))) == 0
    assert (heads.locate(ball, points + 1e6) < 0).all()


@given(seed=st.integers(0, 10_000))
@settings(max_examples=15, deadline=None)
def test_voxels_hold_what_their_centres_hold(seed):
    mesh = random_mesh(seed, points=25)
    rng = np.random.default_rng(seed)
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    affine = np.eye(4)
    affine[:3, :3] = turn * rng.uniform(1.5, 4, 3)
    affine[:3, 3] = rng.normal(size=3) * 5 - affine[:3, :3] @ np.array([12, 12, 12])
    index = heads.rasterise(mesh, affine, (25, 25, 25))
    centres = np.argwhere(index > -2) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_array_equal(index.ravel(), heads.locate(mesh, centres))


def test_voxels_on_shared_faces_take_the_lowest_tag():
    """A cube of six tetrahedra whose faces all pass through voxel centres."""
    nodes = np.array(list(np.ndindex(2, 2, 2)), float) * 4
    tetrahedra = Delaunay(nodes, qhull_options="QJ Qbb").simplices
    tetrahedra = tetrahedra[np.abs(volumes(nodes, tetrahedra)) > 1]
    for shift in range(3):
        tags = (np.arange(len(tetrahedra)) + shift) % 3 + 1
        mesh = heads.mesh_from_arrays(nodes, tetrahedra, tags, reorder=True)
        index = heads.rasterise(mesh, np.eye(4), (5, 5, 5))
        np.testing.assert_array_equal(index.ravel(), brute_force(mesh, np.argwhere(index > -2).astype(float)))


def test_volumes_and_surface_of_a_ball(ball):
    volume = volumes(ball.nodes, ball.tetrahedra)
    assert (volume > 0).all()
    assert volume.sum() == pytest.approx(4 / 3 * np.pi * 40**3, rel=0.02)
    a, b, c = (ball.nodes[ball.outer[:, k]] for k in range(3))
    np.testing.assert_allclose(np.linalg.norm(a, axis=1), 40)
    assert (np.einsum("ij,ij->i", np.cross(b - a, c - a), a) > 0).all()  # outwards
    np.testing.assert_allclose(np.einsum("ij,ij->i", np.cross(b - a, c - a), a).sum() / 6, volume.sum())


def test_partial_volumes_of_a_mesh_add_up(ball):
    affine, shape = grid_round(ball, 2.0)
    sigma, mask = heads.grid_conductivity(ball, affine, shape)
    volume = volumes(ball.nodes, ball.tetrahedra)
    whole = sum(volume[ball.tags == tag].sum() * s for tag, s in ball.conductivity.items())
    assert sigma.sum() * 8 == pytest.approx(whole, rel=2e-3)
    assert mask.sum() * 8 == pytest.approx(volume.sum(), rel=5e-3)
    inner = np.linalg.norm(np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3], axis=1) < 15
    np.testing.assert_allclose(sigma[mask][inner], ball.conductivity[1], rtol=1e-6)
    assert (sigma[:2] == 0).all()  # air
    eighths, same = heads.grid_conductivity(ball, affine, shape, octants=True)
    np.testing.assert_allclose(eighths.mean(axis=-1), sigma, atol=1e-6)
    np.testing.assert_array_equal(same, mask)
    finer = affine.copy()
    finer[:3, :3] /= 2
    finer[:3, 3] -= 0.5
    halves, _ = heads.grid_conductivity(ball, finer, tuple(2 * n for n in shape), subsamples=2)
    for number, (i, j, k) in enumerate(np.ndindex(2, 2, 2)):
        np.testing.assert_allclose(eighths[..., number], halves[i::2, j::2, k::2], atol=1e-6)


def test_a_refined_ball_fits_together_and_is_rounder(ball):
    """The meshes of the benchmark: eight for one, faces shared by two, borders pushed out onto the spheres."""
    inner = heads.mesh_from_arrays(ball.nodes, ball.tetrahedra[ball.tags == 1], ball.tags[ball.tags == 1])
    triangles = np.concatenate([ball.outer, inner.outer])
    nodes, tetrahedra, tags, finer, kinds = refine(
        ball.nodes, ball.tetrahedra, ball.tags, triangles, np.repeat([1005, 1001], [len(ball.outer), len(inner.outer)])
    )
    fine = heads.mesh_from_arrays(nodes, tetrahedra, tags, triangles=finer, triangle_tags=kinds)
    assert len(fine.tags) == 8 * len(ball.tags)
    assert len(fine.outer) == 4 * len(ball.outer)  # no face inside is left single
    sphere = 4 / 3 * np.pi * 40**3
    missing = [sphere - volumes(mesh.nodes, mesh.tetrahedra).sum() for mesh in (ball, fine)]
    assert 0 < missing[1] < missing[0] / 3
    np.testing.assert_allclose(np.linalg.norm(nodes[finer[kinds == 1001]], axis=-1), 20)


def write(path, mesh, **changes):
    parts = {"nodes": mesh.nodes, "tetrahedra": mesh.tetrahedra, "tetrahedron_tags": mesh.tags} | changes
    return write_msh(path, Msh(**parts))


def test_a_voxel_head_made_of_a_mesh(tmp_path, ball):
    path = write(tmp_path / "ball.msh", ball)
    head = heads.load(path, voxel_mm=2.0)
    assert head.name == "ball"
    assert set(np.unique(head.labels)) == {0, 1, 2, 5}
    centres = np.argwhere(np.ones_like(head.labels)) @ head.affine[:3, :3].T + head.affine[:3, 3]
    radius = np.linalg.norm(centres, axis=1).reshape(head.labels.shape)
    expected = np.select([radius < r for r in RADII.values()], list(RADII), 0)
    differ = head.labels != expected
    assert (np.abs(radius[differ][:, None] - np.array(list(RADII.values()))).min(axis=1) < 0.6).all()  # flat facets
    total = (head.labels > 0).sum() * 8
    assert total == pytest.approx(4 / 3 * np.pi * ball_radius(ball.nodes, ball.tetrahedra) ** 3, rel=0.01)
    for axis in range(3):  # air all round
        assert not np.take(head.labels, [0, -1], axis).any()


def test_simnibs_tissues_keep_their_numbers_and_conductivities(tmp_path, ball):
    tags = np.where(ball.tags == 5, 7, ball.tags)
    path = write(tmp_path / "m.msh", ball, tetrahedron_tags=tags)
    head = heads.load(path, voxel_mm=4.0)
    assert head.conductivity[7] == 0.008
    assert head.conductivity[1] == heads.PAPER_CONDUCTIVITY[1]
    assert 6 not in head.conductivity
    merged = heads.load(path, voxel_mm=4.0, tissues={7: 4}, conductivity={4: 0.02})
    np.testing.assert_array_equal(merged.labels, np.where(head.labels == 7, 4, head.labels))
    assert merged.conductivity[4] == 0.02
    assert heads.load_mesh(path).conductivity == {1: 0.126, 2: 0.275, 7: 0.008}
    assert heads.load_mesh(path, conductivity={7: 0.01}).conductivity[7] == 0.01


def test_the_m2m_folder_of_simnibs(tmp_path):
    labels = np.zeros((6, 6, 6), np.uint8)
    labels[1:5, 1:5, 1:5] = np.random.default_rng(0).integers(1, 11, (4, 4, 4))
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "final_tissues.nii.gz")
    head = heads.load(tmp_path)
    np.testing.assert_array_equal(head.labels, labels)
    assert head.conductivity[6] == 0.5
    assert head.name == tmp_path.name


def test_unknown_tags_are_listed(tmp_path, ball):
    tags = np.where(ball.tags == 5, 300, ball.tags)
    path = write(tmp_path / "m.msh", ball, tetrahedron_tags=tags)
    count = int((tags == 300).sum())
    for load in (heads.load, heads.load_mesh):
        with pytest.raises(InputError, match=rf"unknown tags[\s\S]*300 \({count} tetrahedra\)[\s\S]*conductivity="):
            load(path)
    assert heads.load_mesh(path, conductivity={300: 0.3}).conductivity[300] == 0.3
    assert set(np.unique(heads.load(path, voxel_mm=4.0, tissues={300: 5}).labels)) == {0, 1, 2, 5}


def test_inverted_tetrahedra_are_counted_and_may_be_turned(tmp_path, ball):
    turned = ball.tetrahedra.copy()
    turned[[3, 8, 50]] = turned[[3, 8, 50]][:, [1, 0, 2, 3]]
    path = write(tmp_path / "m.msh", ball, tetrahedra=turned)
    for load in (heads.load, heads.load_mesh):
        with pytest.raises(InputError, match=rf"3 of {len(turned)}[\s\S]*reorder=True"):
            load(path)
    np.testing.assert_array_equal(
        heads.load(path, voxel_mm=4.0, reorder=True).labels,
        heads.load(write(tmp_path / "n.msh", ball), voxel_mm=4.0).labels,
    )
    mended = heads.load_mesh(path, reorder=True)
    assert (volumes(mended.nodes, mended.tetrahedra) > 0).all()
    np.testing.assert_array_equal(np.sort(mended.tetrahedra, axis=1), np.sort(ball.tetrahedra, axis=1))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"nodes": np.zeros((5, 2))}, "no tetrahedral mesh"),
        ({"tags": np.ones(3)}, "needs a tag"),
        ({"nodes": np.full((5, 3), np.nan)}, "not finite"),
        ({"tetrahedra": np.array([[0, 1, 2, 9]]), "tags": [1]}, "not there"),
        ({"tetrahedra": np.array([[0, 1, 2, 3], [1, 2, 3, 4]]) + 0.5}, "tetrahedra are not whole"),
        ({"tetrahedra": np.array([[0, 1, 2, np.nan], [1, 2, 3, 4]])}, "tetrahedra are not whole"),
        ({"tetrahedra": np.array([[0, 1, 2, 2**32 + 3], [1, 2, 3, 4]])}, "tetrahedra are not whole"),
        ({"tags": [1.7, 2.0]}, "tags are not whole"),
        ({"tags": ["a", "b"]}, "no numbers"),
        ({"nodes": "abc"}, "no numbers"),
        ({"triangles": [[0, 1, 9]]}, "triangles of nodes that are not there"),
        ({"triangles": [[0, 1]]}, "no triangles"),
        ({"triangles": [[0, 1, 2]], "triangle_tags": [1, 2]}, "every triangle needs a tag"),
        ({"triangles": [[0, 1, 2]], "triangle_tags": [1.5]}, "not whole"),
        ({"nodes": np.eye(5)[:, :3] * [1, 1, 0]}, "flat"),
        ({"conductivity": {1: -0.1}}, "conductivity of label 1"),
        ({"conductivity": {1: np.nan}}, "conductivity of label 1"),
        ({"conductivity": {0: 1.0}}, "impossible label"),
    ],
)
def test_meshes_that_are_refused(change, says):
    nodes = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
    good = {"nodes": nodes, "tetrahedra": [[0, 1, 2, 3], [1, 2, 3, 4]], "tags": [1, 2]}
    heads.mesh_from_arrays(**good | {"tags": [1.0, 2.0]})  # whole, as numpy.loadtxt gives them
    with pytest.raises(InputError, match=says):
        heads.mesh_from_arrays(**good | change)


def test_a_mesh_of_surfaces_only_is_refused(tmp_path, ball):
    path = write_msh(
        tmp_path / "s.msh",
        Msh(
            ball.nodes,
            np.zeros((0, 4), np.int32),
            np.zeros(0, np.int32),
            ball.outer,
            np.full(len(ball.outer), 1005, np.int32),
        ),
    )
    with pytest.raises(InputError, match=f"no tetrahedra[\\s\\S]*{len(ball.outer)} triangles"):
        heads.load(path)
    with pytest.raises(InputError, match="voxel_mm"):
        heads.load(path, voxel_mm=0.0)
    with pytest.raises(InputError, match="tissues"):
        heads.load(path, tissues={5: 0})


@pytest.mark.shared
def test_the_layered_sphere_of_simnibs_as_a_head(shared):
    path = shared / "efield" / "sphere3.msh"
    head = heads.load(path, voxel_mm=2.0, tissues={3: 2, 4: 4, 5: 5})
    radius = np.linalg.norm(np.argwhere(np.ones_like(head.labels)) @ head.affine[:3, :3].T + head.affine[:3, 3], axis=1)
    expected = np.select([radius < 85, radius < 90, radius < 95], [2, 4, 5], 0).reshape(head.labels.shape)
    assert (head.labels != expected).mean() < 0.02
    with pytest.raises(InputError, match="no brain"):
        heads.load(path)
