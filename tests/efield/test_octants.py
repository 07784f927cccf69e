"""Conductivities of a voxel's eight octants: what an edge gets from them, and what they are worth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spheres import layered_sphere

from tmsjax import efield
from tmsjax import head as heads
from tmsjax.core.errors import InputError
from tmsjax.efield import discretise, induce, spfd

SPACING = (1.0, 2.0, 3.0)


def halves(octants):
    """Octants (i, j, k, 8) on the grid of half the voxel size, by their names."""
    i, j, k = octants.shape[:3]
    out = np.zeros((2 * i, 2 * j, 2 * k))
    for n, (a, b, c) in enumerate(np.ndindex(2, 2, 2)):
        out[a::2, b::2, c::2] = octants[..., n]
    return out


def test_an_edge_gets_the_mean_of_the_octants_round_it():
    octants = np.random.default_rng(0).uniform(0.1, 2, (3, 4, 5, 8)).astype(np.float32)
    fine = np.pad(halves(octants), 1)  # air round it
    for axis, found in enumerate(spfd.conductances(jnp.asarray(octants), SPACING)):
        face = np.prod(SPACING) / SPACING[axis] ** 2
        for edge in np.ndindex(found.shape):
            # Node n lies between the padded halves 2n and 2n + 1; an edge reaches a whole voxel further along its axis.
            box = tuple(slice(2 * n + (a == axis), 2 * n + 2 + (a == axis)) for a, n in enumerate(edge))
            assert found[edge] == pytest.approx(fine[box].mean() * face, rel=1e-5)


def test_alike_octants_are_a_voxel():
    sigma = jnp.asarray(np.random.default_rng(1).uniform(0.1, 2, (3, 4, 5)), jnp.float32)
    eight = jnp.repeat(sigma[..., None], 8, axis=-1)
    for a, b in zip(spfd.conductances(sigma, SPACING), spfd.conductances(eight, SPACING), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-6)
    np.testing.assert_allclose(spfd.voxels(eight), sigma, rtol=1e-6)


def test_voxels_are_the_mean_of_their_octants(head):
    octants, mask, affine = efield.conductivity(head, octants=True)
    assert octants.shape == (*head.labels.shape, 8)
    mean, same_mask, same_affine = efield.conductivity(head)
    np.testing.assert_allclose(mean, octants.mean(-1), rtol=1e-6)
    np.testing.assert_array_equal(mask, same_mask)
    np.testing.assert_array_equal(affine, same_affine)
    assert float(jnp.ptp(octants, axis=-1).max()) > 0.1


def test_octants_of_a_coarser_grid_are_the_voxels_themselves():
    labels = np.random.default_rng(2).integers(0, 6, (4, 6, 5)).astype(np.uint8)
    head = heads.from_labels(labels, np.eye(4))
    octants, _, _ = efield.conductivity(head, partial_volume=False, coarsen=2, octants=True)
    table = np.array([0, *(head.conductivity[n] for n in range(1, 6))])
    expected = np.pad(table[labels], [(0, 0), (0, 0), (0, 1)])
    np.testing.assert_allclose(halves(octants), expected, rtol=1e-6)


def test_octants_are_worth_it(coil, pose):
    """In a sphere of 2 mm labels solved at 4 mm, off the grid's centre, against the closed form."""
    head = heads.from_labels(*layered_sphere(2.0, shift=(0.5, 0.8, 0.2)))
    _, mask, affine = efield.conductivity(head, coarsen=2)
    points = np.argwhere(mask) @ affine[:3, :3].T + affine[:3, 3]
    brain = np.linalg.norm(points, axis=1) < 78
    points = points[brain]
    exact = np.asarray(efield.sphere_efield(coil, pose, points, np.zeros(3)))
    error = []
    for octants in (True, False):
        sigma, _, _ = efield.conductivity(head, coarsen=2, octants=octants)
        field = efield.solve_conductivity(sigma, mask, affine, coil, pose)
        assert field.status == "converged"
        error.append(np.linalg.norm(np.asarray(field.values)[mask][brain] - exact) / np.linalg.norm(exact))
    assert error[0] < 0.95 * error[1], error


def test_bad_octants(coil, pose, head):
    octants, mask, affine = efield.conductivity(head, octants=True)
    with pytest.raises(InputError, match="not finite"):
        efield.solve_conductivity(octants.at[8, 8, 8, 3].set(jnp.nan), mask, affine, coil, pose)
    with pytest.raises(InputError, match="negative"):
        efield.solve_conductivity(octants.at[8, 8, 8, 3].set(-1.0), mask, affine, coil, pose)
    with pytest.raises(InputError, match="shape"):
        efield.solve_conductivity(octants[..., :7], mask, affine, coil, pose)


def test_gradient_to_octants_and_through_a_batch():
    """Against finite differences, in float64."""
    with jax.enable_x64(True):
        affine = np.diag([5.0, 4, 6, 1])
        mask = np.ones((4, 5, 4), bool)
        mask[0] = False
        rng = np.random.default_rng(3)
        sigma = jnp.asarray(np.where(mask[..., None], rng.uniform(0.1, 2, (*mask.shape, 8)), 0))
        nodes = jax.jit(lambda s: discretise(s, mask, affine).points_mm)(sigma).shape
        primary, weight = jnp.asarray(rng.normal(size=(2, *nodes))), jnp.asarray(rng.normal(size=(2, *mask.shape, 3)))

        @jax.jit
        def f(s):
            return jnp.vdot(weight, induce(discretise(s, mask, affine), primary, tolerance=1e-11)[0])

        slope = jax.grad(f)(sigma)
        for at in ((2, 2, 1, 3), (1, 0, 3, 0), (3, 4, 0, 6)):
            step = jnp.zeros_like(sigma).at[at].set(1e-4)
            numeric = float(f(sigma + step) - f(sigma - step)) / 2e-4
            assert abs(numeric) > 1e-4
            assert float(slope[at]) == pytest.approx(numeric, rel=1e-5)
