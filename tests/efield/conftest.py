"""A small layered sphere, a coil over it, and their field."""

import jax.numpy as jnp
import numpy as np
import pytest
from spheres import layered_sphere, pose_over

from tmsjax import coil as coils
from tmsjax import efield
from tmsjax import head as heads


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
