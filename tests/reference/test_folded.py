"""The field in folded grey matter against a finer grid with exact shares: what the closed form of a sphere cannot test.

A sphere's field crosses no border, so that it says nothing about how conductivities are averaged across one. Here
sulci are 3.5 mm wide and the head is small and synthetic (see ``folded``), the reference 0.5 mm.
"""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest
from folded import Folded
from spheres import pose_over

from tmsjax import efield
from tmsjax import head as heads
from tmsjax.coil import load
from tmsjax.efield.one_sided import refill

TOLERANCE = 1e-4
"""Far below the errors of the grid."""

SMALL = Folded(scalp=33.0, skull=30.0, csf=27.0, brain=25.5, bottom=14.0)


def solve(sigma, mask, affine):
    pose = pose_over((0.1, 0.25, 0.95), 37.0)
    coil = load("MagVenture_MC_B70")
    return efield.solve_conductivity(jnp.asarray(sigma), mask, affine, coil, pose, tolerance=TOLERANCE)


@pytest.fixture(scope="module")
def points():
    """Points (p, 3) mm of grey matter 0.5-2.5 mm under the pia, in the upper half."""
    p = np.random.default_rng(0).uniform(-25, 25, (60_000, 3))
    depth = SMALL.depth(*p.T)
    return p[(depth > 0.5) & (depth < 2.5) & (p[:, 2] > 8)].astype(np.float32)


@pytest.fixture(scope="module")
def reference(points):
    labels, affine = SMALL.labels(0.5)
    fine = solve(SMALL.octants(0.5), labels > 0, affine)
    grey, whole = (jnp.asarray(a) for a in (labels == 2, SMALL.filled(2, 0.5)))
    own = dataclasses.replace(fine, values=refill(fine.values, whole & grey, grey), mask=grey)
    return np.asarray(own.at(points, outside="nan"))


def error(found, reference):
    found = np.asarray(found)
    known = np.isfinite(found).all(1) & np.isfinite(reference).all(1)
    assert known.mean() > 0.97
    return np.linalg.norm((found - reference)[known]) / np.linalg.norm(reference[known])


def test_grey_matter_at_1_mm_from_labels(points, reference):
    """In the order in which they get better: shares of voxels, of octants, and the tissue's own field."""
    labels, affine = SMALL.labels(1.0)
    head = heads.from_labels(labels, affine)
    sigma, mask, _ = efield.conductivity(head, octants=True)
    field = solve(sigma, mask, affine)
    voxels = solve(sigma.mean(-1), mask, affine)
    own = error(efield.within_tissue(field, head).at(points, outside="nan"), reference)
    assert own <= 0.05
    assert own < 0.8 * error(field.at(points), reference)
    assert error(field.at(points), reference) < 0.9 * error(voxels.at(points), reference)
