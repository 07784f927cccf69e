"""The field of a mesh at points: on faces, outside, under transformations of JAX, on grids, in files."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from meshes import sphere_mesh
from spheres import pose_over

import tmsjax as tj
from tmsjax.core.errors import InputError
from tmsjax.efield import solve_mesh
from tmsjax.efield.mesh_field import tetrahedra_at
from tmsjax.head import mesh_from_arrays
from tmsjax.io import read_msh, write_msh

RADII = {2: 60.0, 4: 75.0, 5: 92.0}


@pytest.fixture(scope="module")
def field():
    nodes, tetrahedra, tags = sphere_mesh(2, 12.0, RADII)
    bare = mesh_from_arrays(nodes, tetrahedra, tags)
    inner = mesh_from_arrays(nodes, tetrahedra[tags == 2], tags[tags == 2])
    triangles = np.concatenate([bare.outer, inner.outer, [[0, 1, 2]]])
    kinds = np.concatenate([np.full(len(bare.outer), 1005), np.full(len(inner.outer), 1002), [1002]])
    mesh = mesh_from_arrays(nodes, tetrahedra, tags, triangles=triangles, triangle_tags=kinds)
    return solve_mesh(mesh, tj.coil.load("Magstim_70mm_Fig8"), pose_over(), didt=2.0)


def inside(field, count=200, seed=0):
    """Points well inside tetrahedra, and which ones."""
    rng = np.random.default_rng(seed)
    which = rng.integers(0, len(field.mesh.tags), count)
    weights = rng.dirichlet(np.full(4, 5.0), count)
    return np.einsum("pk,pka->pa", weights, field.mesh.nodes[field.mesh.tetrahedra[which]]), which


def test_a_point_on_a_border_takes_the_lower_tag(field):
    """E jumps across a border; a point a hair to either side takes that side's value."""
    mesh = field.mesh
    face = mesh.nodes[mesh.triangles[mesh.triangle_tags == 1002][:30]].mean(axis=1)
    below, on, above = (np.asarray(field.at(face * s, recovered=False)) for s in (1 - 1e-4, 1.0, 1 + 1e-4))
    np.testing.assert_array_equal(on, below)  # the lower tag
    assert (np.abs(above - below).max(axis=1) > 1e-3).all()


def test_raw_values_are_those_of_the_tetrahedron(field):
    points, which = inside(field)
    np.testing.assert_array_equal(field.at(points, recovered=False), np.asarray(field.values)[which])


def test_one_point_many_points_and_none(field):
    points, _ = inside(field, 5)
    many = np.asarray(field.at(points))
    assert many.shape == (5, 3)
    np.testing.assert_allclose(field.at(points[2]), many[2], rtol=1e-3, atol=1e-5)
    assert field.at(np.zeros((0, 3))).shape == (0, 3)
    assert bool(field.inside(points).all())
    assert not bool(field.inside(np.array([0.0, 0, 93])))


def test_points_outside(field):
    points = np.array([[0.0, 0, 0], [0, 0, 95], [np.nan, 0, 0]])
    with pytest.raises(InputError, match="2 of 3 points"):
        field.at(points)
    found = np.asarray(field.at(points, outside="nan"))
    assert np.isfinite(found).all(axis=1).tolist() == [True, False, False]
    with pytest.raises(InputError, match="outside"):
        field.at(points, outside="zero")
    with pytest.raises(InputError, match="wrong shape"):
        field.at(np.zeros((2, 2)))


def test_the_same_values_compiled_and_mapped(field):
    points, _ = inside(field, 60)
    points = jnp.asarray(points, jnp.float32)
    plain = np.asarray(field.at(points))
    scale = np.abs(plain).max()
    np.testing.assert_allclose(jax.jit(lambda f, p: f.at(p))(field, points), plain, atol=1e-5 * scale)
    mapped = jax.jit(jax.vmap(lambda p: field.at(p)))(points.reshape(6, 10, 3))
    np.testing.assert_allclose(mapped.reshape(-1, 3), plain, atol=1e-5 * scale)
    outside = jax.jit(lambda p: field.at(p))(points + 1000.0)
    assert np.isnan(outside).all()


def test_gradients_at_points_agree_with_differences(field):
    points, _ = inside(field, 20, seed=3)
    points = jnp.asarray(points, jnp.float32)

    def value(p):
        return jnp.sum(field.at(p) * jnp.asarray([1.0, -0.5, 2.0]))

    slope = jax.grad(value)(points)
    direction = np.random.default_rng(0).normal(size=points.shape).astype(np.float32)
    step = 0.02  # mm: the points lie well inside their tetrahedra
    difference = (value(points + step * direction) - value(points - step * direction)) / (2 * step)
    assert float((slope * direction).sum()) == pytest.approx(float(difference), rel=2e-2)


def test_cells_can_be_placed_in_it(field):
    """The sampling grids round neurons take a mesh's field as they take a voxel one."""
    from tmsjax.cortex.patches import to_cell_frame

    turn = np.linalg.qr(np.random.default_rng(0).normal(size=(3, 3)))[0].astype(np.float32)
    offsets = jnp.asarray(np.random.default_rng(1).normal(size=(4, 4, 3)), jnp.float32)
    place = jnp.array([10.0, 20.0, 30.0])
    found = jax.jit(to_cell_frame)(field, place, turn, offsets)
    world = np.asarray(place) + np.asarray(offsets).reshape(-1, 3) @ turn.T
    np.testing.assert_allclose(
        np.asarray(found).reshape(-1, 3), np.asarray(field.at(world)) @ turn, rtol=1e-3, atol=1e-3
    )


def test_on_a_grid_every_voxel_has_its_centres_value(field):
    affine = np.array([[0.0, -5, 0, 60], [4, 0, 0, -50], [0, 0, 6, -90], [0, 0, 0, 1]])
    voxels = field.on_grid(affine, (25, 24, 30))
    mask = np.asarray(voxels.mask)
    centres = np.argwhere(np.ones_like(mask)) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_array_equal(mask.ravel(), field.inside(centres))
    np.testing.assert_allclose(np.asarray(voxels.values)[mask], field.at(centres[mask.ravel()]), rtol=1e-4, atol=1e-4)
    assert not np.asarray(voxels.values)[~mask].any()
    assert (voxels.status, voxels.didt) == ("converged", 2.0)


def test_what_simnibs_would_write(field, tmp_path):
    path = write_msh(tmp_path / "E.msh", field.as_msh())
    mesh = read_msh(path)
    assert list(mesh.element_data) == ["E", "magnE"]
    np.testing.assert_array_equal(mesh.on_tetrahedra("E"), np.asarray(field.values, float))
    np.testing.assert_allclose(mesh.on_tetrahedra("magnE"), np.linalg.norm(np.asarray(field.values), axis=1), rtol=1e-5)
    np.testing.assert_allclose(mesh.node_data["v"] * 1e3, field.potential)
    beside = tetrahedra_at(field.mesh)
    assert beside[-1] == -1  # no face of the mesh
    assert np.isnan(mesh.element_data["E"][len(beside) - 1]).all()
    np.testing.assert_array_equal(field.mesh.tags[beside[:-1]], field.mesh.triangle_tags[:-1] - 1000)
    for triangle, index in zip(field.mesh.triangles[:-1], beside[:-1], strict=True):
        assert set(triangle) <= set(field.mesh.tetrahedra[index])
    np.testing.assert_array_equal(mesh.element_data["E"][: len(beside) - 1], mesh.on_tetrahedra("E")[beside[:-1]])


def test_the_potentials_gradient_makes_the_field_in_si_units(field):
    """E = -dA/dt - grad v with v in V as files have it, and metres."""
    mesh, msh = field.mesh, field.as_msh()
    corners = mesh.nodes[mesh.tetrahedra] / 1e3
    v = msh.node_data["v"][mesh.tetrahedra]
    slope = np.linalg.solve(corners[:, 1:] - corners[:, :1], (v[:, 1:] - v[:, :1])[..., None])[..., 0]
    primary = np.asarray(tj.coil.primary_field(field.coil, field.pose, mesh.centroids, 2.0))
    np.testing.assert_allclose(primary - slope, field.values, atol=2e-3 * np.abs(primary).max())
