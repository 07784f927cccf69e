"""Placement on a synthetic head: two concentric spheres as pial and white surface."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmsjax.core.errors import InputError
from tmsjax.cortex import Roi, layer_surface, place
from tmsjax.cortex.place import cell_frames
from tmsjax.head import HeadModel, Surface, from_labels

PIAL_MM, WHITE_MM = 70.0, 67.0


def sphere(n=4000):
    """Points of a Fibonacci lattice on the unit sphere and their hull."""
    from scipy.spatial import ConvexHull

    i = np.arange(n) + 0.5
    polar, azimuth = np.arccos(1 - 2 * i / n), np.pi * (1 + 5**0.5) * i
    points = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    faces = ConvexHull(points).simplices
    t = points[faces]
    inward = np.einsum("fd,fd->f", np.cross(t[:, 1] - t[:, 0], t[:, 2] - t[:, 0]), t[:, 0]) < 0
    faces[inward] = faces[inward][:, ::-1]
    return points, faces.astype(np.int32)


@pytest.fixture(scope="module")
def head() -> HeadModel:
    points, faces = sphere()
    surfaces = {
        "lh_pial": Surface((PIAL_MM * points).astype(np.float32), faces),
        "lh_white": Surface((WHITE_MM * points).astype(np.float32), faces),
    }
    return from_labels(np.full((4, 4, 4), 2, np.uint8), np.eye(4), surfaces=surfaces, name="sphere")


@pytest.mark.parametrize("depth", [0.0, 0.4, 0.75, 1.0])
def test_a_layer_lies_at_its_normalised_depth(head, depth):
    surface = layer_surface(head, depth)
    radius = PIAL_MM - depth * (PIAL_MM - WHITE_MM)
    np.testing.assert_allclose(np.linalg.norm(surface.vertices, axis=1), radius, rtol=1e-5)
    assert surface.face_areas.sum() == pytest.approx(4 * np.pi * radius**2, rel=5e-3)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**31), layer=st.sampled_from(["L23", "L2/3", "L4", "L5"]))
def test_axes_follow_the_column_and_frames_are_rotations(head, seed, layer):
    pop = place(head, layer, n=50, rotations=12, seed=seed)
    assert len(pop) == 600
    r, x = np.asarray(pop.rotations), np.asarray(pop.positions)
    np.testing.assert_allclose(np.einsum("pij,pik->pjk", r, r), np.tile(np.eye(3), (600, 1, 1)), atol=2e-6)
    np.testing.assert_allclose(np.linalg.det(r), 1, atol=2e-6)
    outwards = x / np.linalg.norm(x, axis=1, keepdims=True)
    assert (np.einsum("pi,pi->p", r[:, :, 2], outwards) > 0.999).all()


def test_azimuths_of_a_site_are_equal_steps_about_the_axis(head):
    pop = place(head, "L5", n=3, rotations=12, seed=1)
    r = np.asarray(pop.rotations).reshape(3, 12, 3, 3)
    steps = np.einsum("sai,sai->sa", r[:, :, :, 0], np.roll(r[:, :, :, 0], -1, axis=1))
    np.testing.assert_allclose(steps, np.cos(np.deg2rad(30)), atol=1e-5)
    np.testing.assert_allclose(np.asarray(pop.positions).reshape(3, 12, 3).std(axis=1), 0, atol=2e-5)


def test_sites_are_uniform_in_area(head):
    positions = np.asarray(place(head, "L4", n=20000, rotations=1, seed=3).positions)
    z = positions[:, 2] / np.linalg.norm(positions, axis=1)
    counts, _ = np.histogram(z, bins=20, range=(-1, 1))  # Archimedes: equal areas in equal steps of z
    np.testing.assert_allclose(counts, 1000, rtol=0.12)


def test_a_region_holds_its_sites_and_weights_sum_to_its_area(head):
    roi = Roi.ball((0, 0, 68), 20.0)
    pop = place(head, "L5", n=500, roi=roi, rotations=4)
    assert np.linalg.norm(np.asarray(pop.positions) - [0, 0, 68], axis=1).max() < 20 + 4
    radius = PIAL_MM - pop.depth * 3
    cap = np.pi * 20.0**2  # a sphere of any radius through the ball's centre cuts off a cap of area pi d^2
    assert float(pop.weight.sum()) == pytest.approx(cap, rel=0.06)
    assert radius == pytest.approx(67.75)


def test_the_seed_decides(head):
    a, b, c = (np.asarray(place(head, "L5", n=20, rotations=2, seed=s).positions) for s in (0, 0, 1))
    np.testing.assert_array_equal(a, b)
    assert np.abs(a - c).max() > 1


def test_selecting_keeps_the_fields_together(head):
    pop = place(head, "L5", n=10, rotations=3)
    some = pop[np.array([4, 7])]
    np.testing.assert_array_equal(some.positions, pop.positions[np.array([4, 7])])
    assert some.layer == "L5"
    assert len(some) == 2


@given(st.floats(-1, 1), st.floats(0, 360), st.floats(0, 360))
def test_frames_exist_for_every_axis(z, azimuth, turn):
    rho = np.sqrt(1 - z * z)
    axis = np.array([[rho * np.cos(azimuth), rho * np.sin(azimuth), z]])
    frame = cell_frames(axis, np.array([turn]))[0]
    np.testing.assert_allclose(frame.T @ frame, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(frame[:, 2], axis[0])
    assert np.linalg.det(frame) == pytest.approx(1)


@pytest.mark.parametrize(
    ("kwargs", "said"),
    [
        ({"layer": "L7"}, "unknown cortical layer"),
        ({"n": 0}, "at least 1"),
        ({"rotations": 0}, "at least 1"),
        ({"roi": Roi.ball((0, 0, 0), 5.0)}, "holds no cortex"),
        ({"roi": Roi.ball((0, 0, 68), 5.0, hemisphere="rh")}, "holds no cortex"),
        ({"depth": 1.2}, "depth out of range"),
    ],
)
def test_bad_input_is_named(head, kwargs, said):
    with pytest.raises(InputError, match=said):
        place(head, **{"n": 5, **kwargs})


def test_a_region_needs_a_finite_centre_and_radius():
    with pytest.raises(InputError, match="not finite"):
        Roi.ball((0, np.nan, 0), 5.0)
    with pytest.raises(InputError, match="radius"):
        Roi.ball((0, 0, 0), -1.0)


def test_no_neuron_stands_where_white_and_pial_surface_are_one(head):
    """As on FreeSurfer's medial wall: here the lower half of the sphere."""
    pial, white = (np.asarray(head.surfaces[f"lh_{name}"].vertices) for name in ("pial", "white"))
    faces = head.surfaces["lh_pial"].faces
    joined = np.where(pial[:, 2:] < 0, pial, white)
    wall = from_labels(
        head.labels, np.eye(4), surfaces={"lh_pial": Surface(pial, faces), "lh_white": Surface(joined, faces)}
    )
    positions = np.asarray(place(wall, "L5", n=2000, rotations=1).positions)
    assert positions[:, 2].min() > -3


def test_a_head_without_surfaces_says_so():
    bare = from_labels(np.full((4, 4, 4), 2, np.uint8), np.eye(4))
    with pytest.raises(InputError, match="no cortical surfaces"):
        place(bare, n=5)
