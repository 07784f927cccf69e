"""A small layered sphere, a coil over it, and their field."""

import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax import coil as coils
from tmsjax import efield, head as heads

RADII = {5: 92.0, 4: 86.0, 3: 80.0, 2: 78.0, 1: 60.0}


def layered_sphere(voxel_mm, radii=RADII, shift=(0.0, 0.0, 0.0)):
    """Labels and affine of concentric spheres round the origin, ``shift`` mm off the grid."""
    n = int(np.ceil((max(radii.values()) + 2) / voxel_mm))
    axes = [np.arange(-n, n + 1) * voxel_mm + s for s in shift]
    r = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None] ** 2)
    labels = np.zeros(r.shape, np.uint8)
    for label, radius in radii.items():
        labels[r < radius] = label
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = [a[0] for a in axes]
    return labels, affine


def pose_over(direction=(-0.4, 0.2, 0.9), distance_mm=96.0):
    """A pose whose z axis points at the origin from ``distance_mm`` away."""
    d = np.asarray(direction) / np.linalg.norm(direction)
    y = np.array([0.3, 1.0, 0.0])
    y -= (y @ d) * d
    y /= np.linalg.norm(y)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([np.cross(y, -d), y, -d], axis=1)
    matrix[:3, 3] = distance_mm * d
    return coils.CoilPose.from_matrix(matrix)


@pytest.fixture(scope="session")
def coil():
    return coils.load("MagVenture_MC_B70")


@pytest.fixture(scope="session")
def pose():
    return pose_over()


@pytest.fixture(scope="session")
def head():
    return heads.from_labels(*layered_sphere(8.0))


@pytest.fixture(scope="session")
def field(head, coil, pose):
    return efield.solve(head, coil, pose)


@pytest.fixture(scope="session")
def brain_points():
    """Points (200, 3) mm spread through the inner 70 mm."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=(200, 3))
    r = 70 * rng.uniform(size=(200, 1)) ** (1 / 3)
    return jnp.asarray(u / np.linalg.norm(u, axis=1, keepdims=True) * r, jnp.float32)
