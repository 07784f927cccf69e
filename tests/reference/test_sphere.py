"""The field in a layered sphere against its closed form (Heller & van Hulsteyn 1992; Sarvas 1987)."""

import jax.numpy as jnp
import numpy as np
import pytest
from spheres import layered_sphere, pose_over

from tmsjax import efield
from tmsjax import head as heads
from tmsjax.coil import load


@pytest.fixture(scope="module")
def sphere():
    """92/86/80/78 mm sphere, labels only, 2 mm; and E in its brain (labels 1 and 2) in closed form."""
    head = heads.from_labels(*layered_sphere(2.0))
    coil, pose = load("MagVenture_MC_B70"), pose_over()
    brain = np.isin(np.asarray(head.labels), (1, 2))
    points = np.argwhere(brain) @ np.asarray(head.affine)[:3, :3].T + np.asarray(head.affine)[:3, 3]
    return head, coil, pose, brain, np.asarray(efield.sphere_efield(coil, pose, points, jnp.zeros(3)))


def error(field, brain, reference):
    return np.linalg.norm(np.asarray(field.values)[brain] - reference) / np.linalg.norm(reference)


def test_brain_field_at_2_mm_from_binary_labels(sphere):
    head, coil, pose, brain, reference = sphere
    field = efield.solve(head, coil, pose)
    assert field.status == "converged"
    assert error(field, brain, reference) <= 0.015
