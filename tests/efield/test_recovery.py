"""Recovery to the nodes, tissue by tissue."""

import numpy as np
import pytest
from meshes import sphere_mesh
from scipy.spatial import Delaunay

from tmsjax import head as heads
from tmsjax.efield.recovery import recover


@pytest.mark.parametrize("seed", range(3))
def test_a_field_that_is_linear_in_each_tissue_is_recovered_exactly(seed):
    """Jumps between tissues are kept: no value of one is mixed into the other."""
    rng = np.random.default_rng(seed)
    nodes = rng.uniform(-10, 10, (400, 3)) + np.array([100.0, -50, 30])
    tetrahedra = Delaunay(nodes).simplices
    tags = np.where(nodes[tetrahedra].mean(axis=1)[:, 0] > 100, 5, 2)
    mesh = heads.mesh_from_arrays(nodes, tetrahedra, tags, reorder=True)
    slope, level = rng.normal(size=(6, 3, 3)), rng.normal(size=(6, 3)) * 10
    values = np.einsum("tab,tb->ta", slope[mesh.tags], mesh.centroids) + level[mesh.tags]
    found = recover(mesh, values)
    node, corners = mesh.tissue_nodes
    for tag in (2, 5):
        rows = np.unique(corners[mesh.tags == tag])
        np.testing.assert_allclose(found[rows], nodes[node[rows]] @ slope[tag].T + level[tag], atol=1e-6)
    both = np.intersect1d(node[np.unique(corners[mesh.tags == 2])], node[np.unique(corners[mesh.tags == 5])])
    assert len(both) > 10
    assert len(found) == len(np.unique(tetrahedra)) + len(both)


def test_a_patch_too_small_for_a_slope_takes_the_mean():
    nodes = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    mesh = heads.mesh_from_arrays(nodes, [[0, 1, 2, 3]], [1])
    np.testing.assert_allclose(recover(mesh, np.array([[1.0, 2, 3]])), [[1, 2, 3]] * 4)


def test_second_order_between_the_centroids():
    """The error of a quadratic field falls nearly by four when the tetrahedra are halved."""
    errors = []
    for level, step in ((2, 12.0), (3, 6.0)):
        mesh = heads.mesh_from_arrays(*sphere_mesh(level, step, {2: 80.0}))
        # Gradient of x^2 y + z^3 / 3, as elements have it: a value at each centroid.
        x, y, z = (mesh.centroids / 80).T
        values = np.stack([2 * x * y, x**2, z**2], axis=1)
        node, _ = mesh.tissue_nodes
        x, y, z = (mesh.nodes[node] / 80).T
        errors.append(np.sqrt(np.mean((recover(mesh, values) - np.stack([2 * x * y, x**2, z**2], axis=1)) ** 2)))
    assert errors[1] < errors[0] / 3.2
