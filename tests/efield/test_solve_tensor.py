"""Tensor conductivity: the operator against scalars, stretched coordinates, rotations and a closed form."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.spatial.transform import Rotation
from spheres import layered_sphere, pose_over

from tmsjax import efield
from tmsjax import head as heads
from tmsjax.coil import CoilPose
from tmsjax.core.errors import InputError
from tmsjax.efield import discretise, induce, solve_conductivity, spfd

ROW, COLUMN = np.triu_indices(3)


def six(full):
    return np.asarray(full, np.float32)[..., ROW, COLUMN]


def full(six_):
    out = np.zeros((*six_.shape[:-1], 3, 3), six_.dtype)
    out[..., ROW, COLUMN] = out[..., COLUMN, ROW] = six_
    return out


def relative(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def tensors(shape, ratio, seed=0):
    """Positive definite tensors of geometric mean 1, their axes turned at random, longest ``ratio`` x shortest."""
    rng = np.random.default_rng(seed)
    r = Rotation.random(int(np.prod(shape)), rng).as_matrix()
    return (r * np.array([ratio**-0.5, 1, ratio**0.5]) @ r.mT).reshape(*shape, 3, 3)


def test_an_isotropic_tensor_is_a_scalar(head, coil, pose):
    sigma, mask, affine = efield.conductivity(head)
    scalar = solve_conductivity(sigma, mask, affine, coil, pose, tolerance=3e-5)
    tensor = solve_conductivity(np.asarray(sigma)[..., None] * six(np.eye(3)), mask, affine, coil, pose, tolerance=3e-5)
    assert relative(tensor.values, scalar.values) < 1e-4


def test_a_stretched_world_is_an_anisotropic_one(coil):
    """x'_a = x_a s_a turns diag(1 / s^2) into 1, E'_a into E_a / s_a; the coil's field goes along, by hand."""
    labels, affine = layered_sphere(8.0)
    mask, stretch = labels > 0, np.array([1.0, 0.7, 1.6])
    scalar = np.where(mask, 0.3, 0).astype(np.float32)
    tensor = discretise(scalar[..., None] * six(np.diag(stretch**-2)), mask, affine)
    plain = discretise(scalar, mask, np.diag([*stretch, 1.0]) @ affine)
    field = jax.random.normal(jax.random.key(0), tensor.points_mm.shape)
    got = induce(tensor, field, tolerance=3e-5)[0]
    expected = induce(plain, field / stretch, tolerance=3e-5)[0] * stretch
    assert relative(got, expected) < 2e-3


def test_a_turned_head_has_a_turned_field(head, coil, pose, brain_points):
    """Voxel axes, tensors and coil turned by one rotation."""
    mask = np.asarray(head.labels) > 0
    sigma = np.where(mask[..., None, None], 0.3 * tensors(mask.shape, 4.0), 0)
    field = solve_conductivity(six(sigma), mask, head.affine, coil, pose, tolerance=3e-5)
    r = Rotation.from_rotvec([0.4, -0.9, 0.3]).as_matrix()
    turn = np.eye(4)
    turn[:3, :3] = r
    turned = solve_conductivity(
        six(r @ sigma @ r.T), mask, turn @ head.affine, coil, CoilPose.from_matrix(turn @ pose.matrix), tolerance=3e-5
    )
    assert relative(turned.values, np.asarray(field.values) @ r.T) < 1e-3
    plain = solve_conductivity(jnp.asarray(mask, jnp.float32), mask, head.affine, coil, pose)
    assert relative(field.values, plain.values) > 0.05


def box_error(n, tensor):
    """Error of E in a box of n^3 voxels and 1 m whose currents are J = curl (g(y, z), 0, f(x, y)), E = S^-1 J.

    J is tangential at the sides and has no sources, so E is what any primary field E + grad psi must induce.
    """
    affine = np.diag([1 / n] * 3 + [1.0])
    affine[:3, 3] = 0.5 / n
    mask = np.ones((n, n, n), bool)
    system = discretise(np.broadcast_to(six(tensor), (n, n, n, 6)), mask, affine)

    def electric(points):
        x, y, z = np.pi * np.asarray(points, np.float64).T
        s, c = np.sin, np.cos
        current = np.stack([s(x) * c(y), -c(x) * s(y) + s(y) * c(z), -c(y) * s(z)], -1)
        return current @ np.linalg.inv(tensor).T

    def gradient(points):  # psi = sin(2 x) y^2 + x z
        x, y, z = np.asarray(points, np.float64).T
        return np.stack([2 * np.cos(2 * x) * y**2 + z, 2 * np.sin(2 * x) * y, x], -1)

    primary = electric(system.points_mm) + gradient(system.points_mm)
    values = induce(system, jnp.asarray(primary, jnp.float32), tolerance=3e-5)[0]
    centres = (np.argwhere(mask) + 0.5) / n
    return relative(np.asarray(values)[mask], electric(centres))


def test_second_order_against_a_closed_form():
    tensor = tensors((), 6.0, seed=3)
    assert np.abs(tensor[np.triu_indices(3, 1)]).min() > 0.05
    coarse, fine = box_error(8, tensor), box_error(16, tensor)
    assert fine < 0.015
    assert coarse > 3 * fine


def test_nothing_but_constants_costs_nothing():
    """The operator is symmetric, its kernel is the constants (no hourglass modes), currents along x y z close."""
    shape = (3, 4, 3)
    c = spfd.conductances(jnp.asarray(six(tensors(shape, 10.0))), (1.0, 0.8, 1.3))
    n = tuple(a + 1 for a in shape)
    matrix = np.stack([spfd.apply(c, jnp.asarray(e.reshape(n))).ravel() for e in np.eye(np.prod(n), dtype=np.float32)])
    assert np.abs(matrix - matrix.T).max() < 1e-6
    eigenvalues = np.linalg.eigvalsh(matrix.astype(float))
    assert abs(eigenvalues[0]) < 1e-5
    assert eigenvalues[1] > 1e-2


def test_gradient_to_a_tensor():
    """Against finite differences, in float64, of one entry of each kind."""
    with jax.enable_x64(True):
        affine = np.diag([5.0, 5, 5, 1])
        mask = np.ones((4, 5, 4), bool)
        sigma = jnp.asarray(full(six(tensors(mask.shape, 3.0)))[..., ROW, COLUMN], jnp.float64)
        nodes = discretise(sigma, mask, affine).points_mm.shape
        primary = jax.random.normal(jax.random.key(1), nodes, jnp.float64)
        weight = jax.random.normal(jax.random.key(2), (*mask.shape, 3), jnp.float64)

        @jax.jit
        def f(s):
            return jnp.vdot(weight, induce(discretise(s, mask, affine), primary, tolerance=1e-11)[0])

        slope = jax.grad(f)(sigma)
        for entry in range(6):
            step = jnp.zeros_like(sigma).at[1, 2, 1, entry].set(1e-4)
            assert float(slope[1, 2, 1, entry]) == pytest.approx(float(f(sigma + step) - f(sigma - step)) / 2e-4, 1e-5)


# From diffusion tensors.


@pytest.fixture(scope="module")
def brain():
    return heads.from_labels(*layered_sphere(5.0, {5: 45.0, 2: 38.0, 1: 28.0}))


def test_volume_is_kept_and_so_are_directions(brain):
    diffusion = 7e-4 * tensors(brain.labels.shape, 5.0)
    found = efield.anisotropic(brain, six(diffusion), partial_volume="none")
    white = np.asarray(brain.labels) == 1
    sigma = full(np.asarray(found.sigma))
    np.testing.assert_allclose(np.linalg.det(sigma[white]) ** (1 / 3), 0.126, rtol=1e-4)
    np.testing.assert_allclose(sigma[white], 0.126 / 7e-4 * diffusion[white], atol=1e-5)
    assert np.abs(sigma[brain.labels == 2] - 0.275 * np.eye(3)).max() < 1e-6
    assert found.bad == 0
    assert (sigma[brain.labels == 0] == 0).all()


@pytest.mark.parametrize("kind", ["arithmetic", "geometric", "none"])
def test_isotropic_diffusion_changes_nothing(brain, kind):
    diffusion = np.broadcast_to(six(7e-4 * np.eye(3)), (*brain.labels.shape, 6))
    for coarsen in (1, 2):
        found = efield.anisotropic(brain, diffusion, partial_volume=kind, coarsen=coarsen)
        sigma, mask, affine = efield.conductivity(brain, partial_volume=kind, coarsen=coarsen)
        np.testing.assert_allclose(found.sigma, np.asarray(sigma)[..., None] * six(np.eye(3)), atol=1e-6)
        np.testing.assert_array_equal(found.mask, mask)
        np.testing.assert_array_equal(found.affine, affine)


@pytest.mark.parametrize("kind", ["arithmetic", "geometric"])
def test_partial_volumes_of_tensors(brain, kind):
    """One direction everywhere: along each axis of the tensor a mean of plain numbers."""
    stretch = np.array([3.0, 1.0, 1 / 3.0])
    diffusion = np.broadcast_to(six(np.diag(stretch)), (*brain.labels.shape, 6))
    sigma = np.asarray(efield.anisotropic(brain, diffusion, partial_volume=kind).sigma)
    for axis, entry in enumerate(spfd.DIAGONAL):
        table = {**brain.conductivity, 1: 0.126 * stretch[axis]}
        other = dataclasses.replace(brain, conductivity=table)
        np.testing.assert_allclose(sigma[..., entry], efield.conductivity(other, partial_volume=kind)[0], atol=2e-6)


def test_bad_tensors_stay_isotropic_and_are_counted(brain):
    diffusion = np.array(six(tensors(brain.labels.shape, 3.0)))
    (a, b, c, d), grey = np.argwhere(brain.labels == 1)[:4], np.argwhere(brain.labels == 2)[0]
    diffusion[tuple(a)] = np.nan
    diffusion[tuple(b)] = 0
    diffusion[tuple(c)] = six(np.diag([1.0, 0.5, -0.5]))
    diffusion[tuple(d)] = six(np.diag([1.0, 0.2, -0.01]))  # noise: the least is set to a tenth
    diffusion[tuple(grey)] = np.nan
    found = efield.anisotropic(brain, diffusion, partial_volume="none")
    assert found.bad == 3
    for voxel in (a, b, c):
        np.testing.assert_allclose(found.sigma[tuple(voxel)], 0.126 * six(np.eye(3)), atol=1e-6)
    clamped = np.array([1.0, 0.2, 0.1])
    expected = 0.126 * clamped / np.prod(clamped) ** (1 / 3)
    np.testing.assert_allclose(np.asarray(found.sigma[tuple(d)])[[0, 3, 5]], expected, rtol=1e-4)


def test_a_field_through_fibres(brain, coil):
    """Seven times the conductivity along fibres as across: it converges, and knows its gradient."""
    diffusion = np.broadcast_to(six(np.diag([1.0, 0.15, 0.15])), (*brain.labels.shape, 6))

    def energy(white):
        head = dataclasses.replace(brain, conductivity={**brain.conductivity, 1: white})
        sigma, mask, affine, _ = efield.anisotropic(head, diffusion)
        field = solve_conductivity(sigma, mask, affine, coil, pose_over(distance_mm=60.0), tolerance=3e-5)
        return 1e3 * jnp.sum(field.values**2), (field.residual, field.iterations)

    f = jax.jit(jax.value_and_grad(energy, has_aux=True))
    (_, (residual, iterations)), slope = f(0.126)
    assert float(residual) <= 3e-5
    assert int(iterations) < 40
    assert float(slope) == pytest.approx(float(f(0.136)[0][0] - f(0.116)[0][0]) / 0.02, rel=0.03)


@pytest.mark.parametrize(
    ("change", "message"),
    [((0, -0.1), "positive definite"), ((1, 0.5), "positive definite"), ((5, np.nan), "not finite")],
)
def test_bad_tensor(head, coil, pose, change, message):
    sigma, mask, affine = efield.conductivity(head)
    tensor = np.array(np.asarray(sigma)[..., None] * six(np.eye(3)))
    tensor[10, 10, 10, change[0]] = change[1]
    with pytest.raises(InputError, match=message):
        solve_conductivity(tensor, mask, affine, coil, pose)


def test_bad_diffusion(brain):
    diffusion = six(tensors(brain.labels.shape, 3.0))
    with pytest.raises(InputError, match="not on the head's voxels"):
        efield.anisotropic(brain, diffusion[1:])
    with pytest.raises(InputError, match="no such tissue"):
        efield.anisotropic(brain, diffusion, labels=(3,))
    with pytest.raises(InputError, match="partial_volume"):
        efield.anisotropic(brain, diffusion, partial_volume="harmonic")
