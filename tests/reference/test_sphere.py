"""The field in a layered sphere against its closed form (Heller & van Hulsteyn 1992; Sarvas 1987)."""

import jax.numpy as jnp
import numpy as np
import pytest
from spheres import layered_sphere, pose_over

from tmsjax import efield
from tmsjax import head as heads
from tmsjax.coil import load


@pytest.mark.parametrize("shift", [(0.0, 0.0, 0.0), (0.6, 1.4, 0.9)])
def test_brain_field_at_2_mm_from_binary_labels(shift):
    """92/86/80/78 mm, labels only, on and off the middle of a voxel; 4.8 % with binary conductivities."""
    head = heads.from_labels(*layered_sphere(2.0, shift=shift))
    coil, pose = load("MagVenture_MC_B70"), pose_over()
    brain = np.isin(np.asarray(head.labels), (1, 2))
    points = np.argwhere(brain) @ np.asarray(head.affine)[:3, :3].T + np.asarray(head.affine)[:3, 3]
    reference = np.asarray(efield.sphere_efield(coil, pose, points, jnp.zeros(3)))
    field = efield.solve(head, coil, pose)
    assert field.status == "converged"
    assert np.linalg.norm(np.asarray(field.values)[brain] - reference) <= 0.012 * np.linalg.norm(reference)
