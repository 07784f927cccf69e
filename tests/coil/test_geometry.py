import numpy as np
import pytest

from tmsjax.coil.geometry import Wing, circle, coil_dipoles, planar_dipoles, winding_number
from tmsjax.core.errors import InputError


def test_moments_add_up_to_turn_areas():
    radii = (5.0, 9.0, 13.0)
    _, moments = planar_dipoles([circle((3.0, -2.0), r) for r in radii], 2.0)
    assert moments.sum() == pytest.approx(np.pi * sum(r**2 for r in radii), rel=1e-9)


def test_first_moment_is_the_centre():
    positions, moments = planar_dipoles([circle((3.0, -2.0), 11.0)], 2.5)
    np.testing.assert_allclose((positions * moments[:, None]).sum(0) / moments.sum(), [3.0, -2.0], atol=1e-2)


def test_a_spiral_counts_its_turns():
    angle = np.linspace(0, 3 * 2 * np.pi, 400)
    radius = 10 + angle
    spiral = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1)
    assert winding_number(spiral, np.array([0.0, 60.0]), np.array([0.0, 14.0])).tolist() == [[3, 2], [0, 0]]
    _, moments = planar_dipoles([spiral], 1.0)
    x, y = spiral.T
    shoelace = 0.5 * np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)
    assert moments.sum() == pytest.approx(shoelace, rel=1e-9)


def test_reversed_turn_reverses_its_moment():
    turn = circle((0.0, 0.0), 10.0)
    assert planar_dipoles([turn[::-1]], 2.0)[1].sum() == pytest.approx(-planar_dipoles([turn], 2.0)[1].sum())


@pytest.mark.parametrize("small", [10.0, 9.99])
def test_a_path_that_crosses_itself_has_both_signs(small):
    """An eight, one ring each way: each has its own area, though little or nothing of them is left in all."""
    angle = 2 * np.pi * np.arange(180) / 180
    left = 10 * np.stack([np.cos(angle) - 1, np.sin(angle)], 1)
    right = small * np.stack([1 - np.cos(angle), np.sin(angle)], 1)
    eight = np.concatenate([left, right]) + np.array([0.3, 0.2])
    positions, moments = planar_dipoles([eight], 2.0)
    assert moments[moments > 0].sum() == pytest.approx(np.pi * 10**2, rel=2e-3)
    assert moments[moments < 0].sum() == pytest.approx(-np.pi * small**2, rel=2e-3)
    np.testing.assert_array_equal(moments > 0, positions[:, 0] < 0.3)
    polygon = 90 * np.sin(np.radians(2))  # its area over the square of the radius
    assert moments.sum() == pytest.approx(polygon * (10**2 - small**2), abs=1e-9)


def test_nothing_enclosed():
    there_and_back = np.array([[0.0, 0], [10, 1], [20, 3], [10, 1]])
    positions, moments = planar_dipoles([there_and_back], 2.0)
    assert positions.shape == (0, 2)
    assert moments.shape == (0,)


def test_folding_keeps_lengths_and_turns_normals():
    wing = Wing(20.0, (15.0,), (-3.0,), sign=1, fold_mm=25.0, fold_deg=30.0)
    flat = Wing(20.0, (15.0,), (-3.0,), sign=1)
    p, m, w = coil_dipoles([wing], 2.5)
    p0, m0, w0 = coil_dipoles([Wing(20.0, (15.0,), (-3.0,), 1, fold_mm=25.0, fold_deg=0.0)], 2.5)
    turned = p0[:, 0] > 25
    np.testing.assert_allclose(np.linalg.norm(m, axis=1), np.linalg.norm(m0, axis=1))
    np.testing.assert_allclose(p[~turned], p0[~turned])
    arc = np.hypot(p[turned, 0] - 25, p[turned, 2] + 3)
    np.testing.assert_allclose(arc, p0[turned, 0] - 25)
    direction = m[turned] / np.linalg.norm(m[turned], axis=1, keepdims=True)
    np.testing.assert_allclose(direction, np.tile([-0.5, 0, np.sqrt(3) / 2], (turned.sum(), 1)), atol=1e-12)
    assert p[turned, 2].max() > -3  # towards the head
    assert w.shape == w0.shape
    assert coil_dipoles([flat], 2.5)[1].sum(0)[2] == pytest.approx(np.pi * 15**2 * 1e-6, rel=1e-6)


def test_no_cell_straddles_the_fold():
    positions, _ = planar_dipoles([circle((20.0, 0.0), 15.0)], 2.5, edge_mm=25.0)
    assert np.abs(positions[:, 0] - 25.0).min() > 0.3


def test_a_path_needs_three_points():
    with pytest.raises(InputError, match="3 points"):
        planar_dipoles([np.zeros((2, 2))], 1.0)
