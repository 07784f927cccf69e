"""Fields that are written and read back."""

import dataclasses

import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from meshes import sphere_mesh
from spheres import layered_sphere, pose_over

import tmsjax as tj
from tmsjax.core.errors import InputError
from tmsjax.efield import load_field, save_field
from tmsjax.efield.mesh_tensors import mesh_tensors
from tmsjax.io import read_msh


@pytest.fixture(scope="module")
def field():
    labels, affine = layered_sphere(8.0)
    head = tj.head.from_labels(labels, affine)
    return tj.efield.solve(head, tj.coil.load("Magstim_70mm_Fig8"), pose_over(), didt=-30.0)


def test_a_voxel_field_comes_back_as_it_was(tmp_path, field):
    back = load_field(save_field(field, tmp_path / "E.nii.gz"))
    np.testing.assert_array_equal(back.values, field.values)
    np.testing.assert_array_equal(back.mask, field.mask)
    np.testing.assert_allclose(back.affine, field.affine, atol=1e-4)
    assert (back.status, float(back.didt), int(back.iterations)) == ("converged", -30.0, int(field.iterations))
    assert float(back.residual) == pytest.approx(float(field.residual))
    points = np.array([[10.0, 20, 30], [-40, 0, 10]])
    np.testing.assert_allclose(back.at(points), field.at(points), rtol=1e-4, atol=1e-4)


def test_a_field_of_another_program_needs_its_current(tmp_path, field):
    values = np.asarray(field.values).copy()
    values[0, 0, 0] = np.nan
    nibabel.save(nibabel.Nifti1Image(values[..., None, :], np.asarray(field.affine, float)), tmp_path / "E.nii")
    with pytest.raises(InputError, match=r"which dI/dt[\s\S]*didt="):
        load_field(tmp_path / "E.nii")
    back = load_field(tmp_path / "E.nii", didt=1.0)
    np.testing.assert_array_equal(back.mask, field.mask)
    assert float(back.didt) == 1.0
    assert back.status == "unknown"  # nothing says whether it converged
    for didt in (float("nan"), float("inf")):
        with pytest.raises(InputError, match="didt"):
            load_field(tmp_path / "E.nii", didt=didt)
    nibabel.save(nibabel.Nifti1Image(0 * np.asarray(field.values), np.eye(4)), tmp_path / "zero.nii")
    with pytest.raises(InputError, match="no field"):
        load_field(tmp_path / "zero.nii", didt=1.0)


def test_a_field_that_did_not_converge_stays_one(tmp_path, field):
    worse = dataclasses.replace(field, residual=jnp.asarray(0.3))
    back = load_field(save_field(worse, tmp_path / "E.nii"))
    assert back.status.startswith("not converged: residual 3.0e-01")
    nothing = dataclasses.replace(field, residual=jnp.asarray(np.nan))  # a solver that went astray
    assert nothing.status.startswith("not converged: residual nan")


def test_a_mesh_field_goes_to_msh(tmp_path):
    mesh = tj.head.mesh_from_arrays(*sphere_mesh(1, 30.0))
    field = tj.efield.solve_mesh(mesh, tj.coil.load("Magstim_70mm_Fig8"), pose_over())
    back = read_msh(save_field(field, tmp_path / "E.msh"))
    np.testing.assert_array_equal(back.on_tetrahedra("E"), np.asarray(field.values, float))
    with pytest.raises(InputError, match=r"NAME\.msh"):
        save_field(field, tmp_path / "E.nii.gz")


def test_tensors_turn_the_conductivity_of_white_matter_only():
    """Volume-normalised: the geometric mean is the tissue's, directions and ratios are the diffusion tensor's."""
    nodes, tetrahedra, tags = sphere_mesh(1, 30.0, {1: 60.0, 5: 90.0})
    mesh = tj.head.mesh_from_arrays(nodes, tetrahedra, tags)
    fibre = np.array([0.6, 0.0, 0.8])
    diffusion = 1e-3 * (0.3 * np.eye(3) + 0.9 * np.outer(fibre, fibre))  # eigenvalues 1.2, 0.3, 0.3
    six = diffusion[[0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    volume = np.broadcast_to(six, (20, 20, 20, 6)).astype(np.float32).copy()
    affine = np.diag([10.0, 10, 10, 1])
    affine[:3, 3] = -95
    sigma, bad = mesh_tensors(mesh, volume, affine)
    assert bad == 0
    np.testing.assert_allclose(sigma[tags == 5], np.tile([0.25, 0, 0, 0.25, 0, 0.25], ((tags == 5).sum(), 1)))
    full = sigma[tags == 1][:, [[0, 1, 2], [1, 3, 4], [2, 4, 5]]]
    values, vectors = np.linalg.eigh(full)
    np.testing.assert_allclose(values.prod(axis=1) ** (1 / 3), 0.126, rtol=1e-4)
    np.testing.assert_allclose(values[:, 2] / values[:, 0], 4, rtol=1e-3)
    np.testing.assert_allclose(np.abs(vectors[:, :, 2] @ fibre), 1, rtol=1e-4)
    affine[:3, 3] = 1000
    sigma, bad = mesh_tensors(mesh, volume, affine)  # no tensor anywhere: isotropic, and said
    assert bad == (tags == 1).sum()
    np.testing.assert_allclose(sigma[tags == 1][:, [0, 3, 5]], 0.126)
    with pytest.raises(InputError, match="no such tissue"):
        mesh_tensors(mesh, volume, affine, tags=(2,))
