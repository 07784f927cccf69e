"""Pose model and problems of a small sphere with a cortex."""

import numpy as np
import pytest
from sphere_cortex import LIMITS, TOP, along, law, population, sphere_head, sphere_pose_model

import tmsjax as tj
from tmsjax.optimize import prepare
from tmsjax.optimize.targets import of_population


@pytest.fixture(scope="session")
def head():
    return sphere_head()


@pytest.fixture(scope="session")
def coil():
    """A figure of eight whose two wings are each other's mirror image: turned by 180 degrees it is reversed."""
    return tj.coil.reduce(tj.coil.load("MagVenture_Cool_B35"), 150)


@pytest.fixture(scope="session")
def pose_model(head):
    return sphere_pose_model(head, TOP)


@pytest.fixture(scope="session")
def polar(head, coil, pose_model):
    """A problem of cells that fire only along one direction of the world, (0.6, 0.8, 0)."""
    target = of_population(population(sites=120, x_axis=np.array([0.6, 0.8, 0.0])))
    return prepare(head, coil, target, law(along([1.0, 0, 0])), pose_model=pose_model, variables=LIMITS)


@pytest.fixture(scope="session")
def mixed(head, coil, pose_model):
    """A problem of cells of four azimuths that fire along the x or against the z axis of their own."""
    target = of_population(population())
    model = law(along([1.0, 0, 0], [0, 0, -0.7], [0.3, 0.5, 0.2], [0, -0.4, 0.5]))
    return prepare(head, coil, target, model, pose_model=pose_model, variables=LIMITS)
