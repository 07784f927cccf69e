"""The scalp's surface and distances from it, on spheres whose answers are known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmsjax import head as heads
from tmsjax.core.errors import InputError


def ball(radius_mm=50.0, voxel_mm=2.0, centre=(3.0, -4.0, 5.0)):
    n = int(radius_mm / voxel_mm) + 4
    axis = np.arange(-n, n + 1) * voxel_mm
    x, y, z = axis + 0.62, axis - 0.86, axis + 0.36  # off the grid, so that no pole is a whole plane of voxels
    r = np.sqrt(x[:, None, None] ** 2 + y[:, None] ** 2 + z**2)
    labels = np.where(r < radius_mm, 2, 0)
    labels[r < 10] = 0  # a cavity is no scalp
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = np.array([x[0], y[0], z[0]]) + np.asarray(centre)
    return heads.from_labels(labels, affine)


@pytest.fixture(scope="module")
def scalp():
    return heads.scalp_surface(ball())


CENTRE = np.array([3.0, -4.0, 5.0])


def test_sphere_is_closed_round_and_faces_outwards(scalp):
    out = scalp.vertices - CENTRE
    radius = np.linalg.norm(out, axis=1)
    assert np.abs(radius - 50).max() < 0.8  # voxel steps of 2 mm, smoothed
    assert abs(radius.mean() - 50) < 0.1
    normals = heads.vertex_normals(scalp)
    assert ((normals * out).sum(1) / radius).min() > 0.9
    edges = np.sort(np.concatenate([scalp.faces[:, [0, 1]], scalp.faces[:, [1, 2]], scalp.faces[:, [2, 0]]]), axis=1)
    _, uses = np.unique(edges, axis=0, return_counts=True)
    assert (uses == 2).all()
    assert len(scalp.vertices) - len(scalp.faces) / 2 == 2  # Euler's number: no cavity, no handle


@settings(max_examples=30, deadline=None)
@given(st.floats(12, 120), st.floats(-1, 1), st.floats(0, 6.28))
def test_distance_is_signed(scalp, radius, up, turn):
    flat = np.sqrt(1 - up**2)
    point = CENTRE + radius * np.array([flat * np.cos(turn), flat * np.sin(turn), up])
    assert heads.signed_distance(scalp, point[None])[0] == pytest.approx(radius - 50, abs=0.8)


def test_points_that_are_not_finite(scalp):
    with pytest.raises(InputError, match="NaN"):
        heads.signed_distance(scalp, np.array([[0.0, np.nan, 0.0]]))
