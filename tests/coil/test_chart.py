"""Charts of the scalp: poses there and exactly back, smooth, and the same as ``pose_on_scalp``'s at the centre."""

from inspect import unwrap

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from spheres import layered_sphere

from tmsjax import head as heads
from tmsjax.coil import CoilPose, check_outside, clearance, face_points, load, pose_on_scalp, scalp_chart
from tmsjax.core.errors import InputError


@pytest.fixture(scope="module")
def chart(s1, s1_scalp):
    return scalp_chart(s1, "hand_knob_left", scalp=s1_scalp)


@pytest.fixture(scope="module")
def fine(s1, s1_scalp):
    """The same in float64."""
    with jax.enable_x64(True):
        return scalp_chart(s1, "hand_knob_left", scalp=s1_scalp)


@pytest.fixture(scope="module")
def distance(s1, s1_scalp):
    return heads.scalp_distance(s1, scalp=s1_scalp)


PLACES = st.tuples(st.floats(0, 44.9), st.floats(-180, 180))


def place(polar):
    return np.array([polar[0] * np.cos(np.radians(polar[1])), polar[0] * np.sin(np.radians(polar[1]))])


@jax.jit
def round_trip(chart, place, handle, gap, tilt):
    return chart.coordinates(chart.pose(place, handle, gap, tilt))


@settings(max_examples=25, deadline=None)
@given(PLACES, st.floats(-179.9, 179.9), st.floats(0, 15), st.tuples(st.floats(-30, 30), st.floats(-30, 30)))
def test_there_and_back(fine, polar, handle, gap, tilt):
    with jax.enable_x64(True):
        back = round_trip(fine, place(polar), handle, gap, np.array(tilt))
        np.testing.assert_allclose(back.place_mm, place(polar), atol=1e-9)
        np.testing.assert_allclose(back.tilt_deg, tilt, atol=1e-9)
        assert float(back.handle_deg) == pytest.approx(handle, abs=1e-9)
        assert float(back.gap_mm) == pytest.approx(gap, abs=1e-9)
        assert bool(back.inside)


def test_there_and_back_in_float32(chart):
    back = round_trip(chart, np.array([12.5, -30.0]), 70.0, 3.0, np.array([4.0, -6.0]))
    np.testing.assert_allclose(back.place_mm, [12.5, -30], atol=2e-4)
    np.testing.assert_allclose([back.handle_deg, back.gap_mm, *back.tilt_deg], [70, 3, 4, -6], atol=1e-3)


def test_back_and_there(chart, s1, s1_scalp):
    """A pose that the chart did not make comes back as it was: nothing of it is lost in the coordinates."""
    pose = pose_on_scalp(s1, [-40.0, 30, 60], 20.0, 5.0, scalp=s1_scalp)
    again = chart.pose(*chart.coordinates(pose)[:4])
    np.testing.assert_allclose(again.matrix, pose.matrix, atol=2e-4)


def test_the_centre_is_pose_on_scalps(chart, s1, s1_scalp):
    """Same place and angle, but for the smoothing of scalp and normal."""
    for handle in (0.0, 45.0, 200.0):
        ours, theirs = (
            chart.pose((0.0, 0.0), handle).matrix,
            pose_on_scalp(s1, "hand_knob_left", handle, scalp=s1_scalp).matrix,
        )
        assert np.linalg.norm(ours[:3, 3] - theirs[:3, 3]) < 0.6
        assert np.degrees(np.arccos(np.clip((ours[:3, :3] * theirs[:3, :3]).sum(0), -1, 1))).max() < 2.0


def test_on_a_sphere():
    """Distances, normals and the fit are known: stereographic arcs, radial normals, voxels of 2 mm."""
    ball = heads.from_labels(*layered_sphere(2.0, {2: 90.0}, shift=(0.4, 0.7, 0.2)))
    chart = scalp_chart(ball, [-60.0, 20, 65], radius_mm=50.0, hair_mm=3.0)
    assert chart.side == -1.0
    assert chart.fit_rms_mm < 0.25
    middle = np.asarray(chart.point((0.0, 0.0)))
    for there in ((30.0, 0.0), (0.0, -45.0), (-25.0, 25.0)):
        point, normal = np.asarray(chart.point(there)), np.asarray(chart.normal(there))
        assert np.linalg.norm(point) == pytest.approx(90, abs=0.6)
        assert normal @ point / np.linalg.norm(point) > 0.9995
        arc = 90 * np.arccos(point @ middle / np.linalg.norm(point) / np.linalg.norm(middle))
        assert arc == pytest.approx(np.linalg.norm(there), rel=0.06)
        pose = chart.pose(there, gap_mm=4.0)
        assert np.linalg.norm(pose.centre) == pytest.approx(97, abs=0.6)  # with hair
        assert float(chart.coordinates(pose).gap_mm) == pytest.approx(4, abs=1e-3)


def test_the_fit_is_what_it_says(chart, s1_scalp):
    """Vertices of the scalp on the chart, measured along the normal."""
    vertices = np.asarray(s1_scalp.vertices, np.float64)
    near = vertices[np.linalg.norm(vertices - np.asarray(chart.point((0.0, 0.0))), axis=1) < 40]
    normals = heads.vertex_normals(s1_scalp)[
        np.linalg.norm(vertices - np.asarray(chart.point((0.0, 0.0))), axis=1) < 40
    ]
    outer = near[normals @ np.asarray(chart.axes)[:, 2] > 0.5][::7]

    def along(point):
        pose = CoilPose(jnp.eye(3), point)
        return chart.coordinates(pose).gap_mm

    off = np.asarray(jax.jit(jax.vmap(along))(jnp.asarray(outer, jnp.float32)))
    assert np.sqrt((off**2).mean()) == pytest.approx(chart.fit_rms_mm, rel=0.35)
    assert chart.fit_rms_mm < 0.3
    assert chart.fit_max_mm < 1.2


def test_derivatives(fine):
    with jax.enable_x64(True):

        def centre(x):
            pose = fine.pose(x[:2], x[2], x[3], x[4:])
            return jnp.concatenate([pose.centre, 50 * pose.rotation.ravel()])

        check_grads(jax.jit(centre), (jnp.array([7.0, -11, 33, 4, 3, -5]),), order=1, modes=["rev"], rtol=1e-5)
        # Continuous across a knot (every 6 mm): the derivative just before and after it.
        slope = jax.jit(jax.jacfwd(centre))
        before, after = (np.asarray(slope(jnp.array([6.0 + d, 2.0, 33, 4, 0, 0]))) for d in (-1e-7, 1e-7))
        np.testing.assert_allclose(after, before, atol=1e-4)


def test_many_at_once(chart):
    places = jnp.array([[0.0, 0.0], [20.0, 10.0], [60.0, 0.0]])
    poses = jax.jit(jax.vmap(chart.pose, in_axes=(0, None)))(places, 30.0)
    assert poses.centre.shape == (3, 3)
    assert chart.inside(places).tolist() == [True, True, False]
    assert np.isfinite(poses.centre[:2]).all()
    assert np.isnan(poses.centre[2]).all()  # off the chart: no number
    back = jax.jit(jax.vmap(chart.coordinates))(jax.tree.map(lambda a: a[:2], poses))
    np.testing.assert_allclose(back.place_mm, places[:2], atol=1e-3)


@pytest.mark.parametrize("name", ["C3", "Cz", "Fpz", "Oz", "dlpfc_right"])
def test_charts_all_over_the_head(s1, s1_scalp, name):
    chart = scalp_chart(s1, name, radius_mm=30.0, scalp=s1_scalp)
    assert chart.fit_rms_mm < 0.5
    pose = chart.pose((5.0, 5.0), 30.0)
    assert heads.signed_distance(s1_scalp, np.asarray(pose.centre, float)[None])[0] == pytest.approx(2.0, abs=1.0)
    np.testing.assert_allclose(np.asarray(pose.rotation).T @ np.asarray(pose.rotation), np.eye(3), atol=1e-5)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"radius_mm": 2.0}, "radius"),
        ({"radius_mm": np.nan}, "radius"),
        ({"radius_mm": "a"}, "radius"),
        ({"hair_mm": None}, "hair"),
        ({"hair_mm": -1.0}, "hair"),
        ({"centre": "nowhere"}, "unknown target"),
        ({"centre": [500.0, 0, 0]}, "far outside"),
        ({"centre": [10.0, 10, -121]}, "no scalp near it"),
        ({"centre": "P9", "radius_mm": 75.0}, r"does not cover|no scalp near"),
    ],
)
def test_charts_that_are_refused(s1, s1_scalp, options, message):
    with pytest.raises(InputError, match=message):
        unwrap(scalp_chart)(s1, **({"centre": "C3", "scalp": s1_scalp} | options))


def test_off_the_chart(chart, s1, s1_scalp):
    with pytest.raises(InputError, match=r"off the chart\n.*46.0 mm"):
        chart.pose((46.0, 0.0))
    with pytest.raises(InputError, match="off the chart"):
        chart.coordinates(pose_on_scalp(s1, "dlpfc_right", scalp=s1_scalp))
    with pytest.raises(InputError, match="place on the chart"):
        chart.pose((np.nan, 0.0))
    with pytest.raises(InputError, match="shape"):
        chart.pose((1.0, 2.0, 3.0))
    with pytest.raises(InputError, match="handle"):
        chart.pose((1.0, 2.0), np.inf)
    with pytest.raises(InputError, match=r"handle[\s\S]*numbers"):
        chart.pose((1.0, 2.0), "x")


# Clearance of the casing


def test_the_distance_is_that_of_the_triangles(distance, s1_scalp):
    vertices, normals = np.asarray(s1_scalp.vertices), heads.vertex_normals(s1_scalp)
    rng = np.random.default_rng(1)
    which = rng.integers(0, len(vertices), 1000)
    points = vertices[which] + normals[which] * rng.uniform(-3, 15, (1000, 1))
    off = np.abs(np.asarray(distance.at(points)) - heads.signed_distance(s1_scalp, points))
    assert np.sqrt((off**2).mean()) < 0.08
    assert np.percentile(off, 99) < 0.3


def test_clearance_against_the_triangles(chart, distance, s1_scalp):
    coil = load("MagVenture_MC_B70")
    face = face_points(coil)
    for x in ((0.0, 0.0, 45.0, 2.0), (30.0, -20.0, 100.0, 6.0), (-20.0, 30.0, 0.0, -3.0)):
        pose = chart.pose(x[:2], x[2], x[3])
        world = face @ np.asarray(pose.rotation).T + np.asarray(pose.centre)
        hard = heads.signed_distance(s1_scalp, world).min()
        plain = float(clearance(distance, face, pose))
        assert plain == pytest.approx(hard, abs=0.4)
        soft = float(clearance(distance, face, pose, softness_mm=0.3))
        assert plain - 0.3 * np.log(len(face)) <= soft <= plain


def test_clearance_and_the_hard_check_agree(chart, distance, s1):
    coil = load("MagVenture_MC_B70")
    face = face_points(coil)
    for gap in (-8.0, -4.0, 3.0, 6.0):
        pose = chart.pose((5.0, 5.0), 60.0, gap)
        if clearance(distance, face, pose) > 1.0:
            check_outside(s1, coil, pose)
        else:
            with pytest.raises(InputError, match="inside the head"):
                check_outside(s1, coil, pose)


def test_clearance_has_a_gradient(chart, distance):
    face = face_points(load("Circular_50mm"))[::7]

    def clear(x):
        return clearance(distance, face, chart.pose(x[:2], x[2], x[3], x[4:]), softness_mm=0.5)

    x = np.array([8.0, -6, 30, 5, 2, 3], np.float32)
    slope = np.asarray(jax.jit(jax.grad(clear))(x))
    value = jax.jit(clear)
    for n, step in enumerate((0.2, 0.2, 5.0, 0.2, 0.5, 0.5)):
        up, down = x.copy(), x.copy()
        up[n] += step
        down[n] -= step
        assert slope[n] == pytest.approx((float(value(up)) - float(value(down))) / (2 * step), rel=0.1, abs=0.01)
    assert slope[3] == pytest.approx(1.0, abs=0.05)  # out along the normal


def test_poses_by_name(s1, s1_scalp):
    coil = load("MagVenture_MC_B70")
    at_c3 = pose_on_scalp(s1, "C3", coil=coil, scalp=s1_scalp)
    assert np.linalg.norm(np.asarray(at_c3.centre) - heads.electrode(s1, "C3", scalp=s1_scalp)) < 5.0
    by_name = pose_on_scalp(s1, "hand_knob_left", coil=coil, scalp=s1_scalp)
    by_place = pose_on_scalp(s1, heads.landmark(s1, "hand_knob_left"), coil=coil, scalp=s1_scalp)
    np.testing.assert_array_equal(by_name.matrix, by_place.matrix)
    with pytest.raises(InputError, match="unknown target"):
        pose_on_scalp(s1, "hand", coil=coil, scalp=s1_scalp)
