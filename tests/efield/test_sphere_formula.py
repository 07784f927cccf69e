import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dipoles import flux_density
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tmsjax.coil import from_dipoles
from tmsjax.coil.types import CoilPose
from tmsjax.core.errors import InputError
from tmsjax.core.units import DIPOLE_A
from tmsjax.efield.sphere import dipoles_in_sphere, sphere_efield

Q = np.array([[10.0, 20, 100], [-60, 50, 70]])
M = np.array([[1e-3, 2e-3, 5e-4], [-4e-4, 1e-3, 2e-3]])
POINTS = np.array([[20.0, 30, 50], [-10, 5, 60], [0, -70, 3], [1, 2, -3]])


@pytest.fixture(autouse=True)
def _float64():
    with jax.enable_x64(True):
        yield


def at(r, q=Q, m=M):
    return dipoles_in_sphere(jnp.asarray(q), jnp.asarray(m), jnp.asarray(r).reshape(-1, 3))


def jacobian(r):
    return np.asarray(jax.jacfwd(lambda x: at(x)[0])(jnp.asarray(r)))


def curl(j):
    return np.array([j[2, 1] - j[1, 2], j[0, 2] - j[2, 0], j[1, 0] - j[0, 1]])


@pytest.mark.parametrize("r", POINTS)
def test_no_radial_component(r):
    e = np.asarray(at(r)[0])
    assert abs(e @ r) < 1e-13 * np.linalg.norm(e) * np.linalg.norm(r)


@pytest.mark.parametrize("r", POINTS)
def test_no_divergence(r):
    j = jacobian(r)
    assert abs(np.trace(j)) < 1e-12 * np.abs(j).max()


@pytest.mark.parametrize("r", POINTS)
def test_faraday(r):
    """Curl E = -dB/dt of the dipoles themselves: currents in the sphere add no field at these frequencies."""
    b_per_s = flux_density(Q, M, r[None])[0] * 1e6
    np.testing.assert_allclose(curl(jacobian(r)) * 1e3, -b_per_s, rtol=1e-9)


def test_opposite_dipoles_cancel():
    both = at(POINTS, np.concatenate([Q, Q]), np.concatenate([M, -M]))
    assert float(jnp.abs(both).max()) < 1e-15


def test_radial_dipole_in_closed_form():
    """A dipole along its own radius is a ring round the axis: no charge, so E is -dA/dt of the dipole alone."""
    q = np.array([[0.0, 0, 110]])
    m = np.array([[0.0, 0, 2e-3]])
    d = POINTS - q
    expected = -DIPOLE_A * np.cross(m, d) / np.linalg.norm(d, axis=1, keepdims=True) ** 3
    np.testing.assert_allclose(at(POINTS, q, m), expected, rtol=1e-9, atol=1e-14)


DIRECTIONS = st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1)


def unit(v):
    return np.asarray(v) / np.linalg.norm(v)


@settings(max_examples=25, deadline=None)
@given(DIRECTIONS, st.floats(60, 300))
def test_radial_dipole_anywhere(direction, distance):
    """m along q: with m x q = 0 Heller & van Hulsteyn's E is -(mu0/4pi) dI/dt m x (r - q) / |r - q|^3."""
    q = distance * unit(direction)[None]
    m = 2e-3 * unit(direction)[None]
    r = 0.5 * POINTS
    expected = -DIPOLE_A * np.cross(m, r - q) / np.linalg.norm(r - q, axis=1, keepdims=True) ** 3
    np.testing.assert_allclose(at(r, q, m), expected, rtol=1e-9, atol=1e-12 * np.abs(expected).max())


@jax.jit
def field_and_slope(r, q, m):
    return at(r, q, m)[0], jax.jacfwd(lambda x: at(x, q, m)[0])(r)


@settings(max_examples=25, deadline=None)
@given(DIRECTIONS, DIRECTIONS, DIRECTIONS, st.floats(0.05, 0.97))
def test_laws_hold_for_any_dipole(where, moment, point, depth):
    """Curl E = -dB/dt, div E = 0 and no radial component make E unique: nothing else can be the answer."""
    q, m, r = 100 * unit(where)[None], 1e-3 * unit(moment)[None], 100 * depth * unit(point)
    e, j = (np.asarray(a) for a in field_and_slope(r, q, m))
    size = np.abs(j).max()
    assert abs(e @ unit(r)) < 1e-12 * size * np.linalg.norm(r)
    assert abs(np.trace(j)) < 1e-10 * size
    b_per_s = flux_density(q, m, r[None])[0] * 1e6
    np.testing.assert_allclose(curl(j) * 1e3, -b_per_s, rtol=1e-7, atol=1e-7 * np.abs(b_per_s).max())


def test_far_dipoles_are_a_uniform_field():
    """Far away B is uniform over the sphere and E = -dB/dt x r / 2 about its centre."""
    q, m = np.array([[3e5, -2e5, 4e5]]), np.array([[2e3, 1e3, -1e3]])
    b_per_s = flux_density(q, m, np.zeros((1, 3)))[0] * 1e6
    np.testing.assert_allclose(at(POINTS, q, m), -np.cross(b_per_s, POINTS * 1e-3) / 2, rtol=2e-3, atol=0)


def test_nothing_at_the_centre():
    assert float(jnp.abs(at(np.zeros(3))).max()) == 0


@settings(max_examples=25, deadline=None)
@given(
    st.tuples(*[st.floats(-3, 3)] * 3),
    st.tuples(*[st.floats(-50, 50)] * 3),
    st.floats(-5, 5).filter(lambda x: abs(x) > 0.1),
)
def test_rotation_translation_and_linearity(turn, shift, didt):
    r, s = Rotation.from_rotvec(turn).as_matrix(), np.array(shift)
    pose = CoilPose(jnp.asarray(r), jnp.asarray(s))
    coil = type(from_dipoles(Q, M))(jnp.asarray(Q), jnp.asarray(M), jnp.asarray(Q), "two")
    moved = sphere_efield(coil, pose, POINTS @ r.T + s, s, didt)
    np.testing.assert_allclose(moved, didt * np.asarray(at(POINTS)) @ r.T, rtol=1e-9, atol=1e-12)


def test_many_points_agree_with_one_by_one():
    """Guards against miscompiled batches (jax-ml/jax#39103): 3000 points at once against numpy, term by term."""
    rng = np.random.default_rng(2)
    r = rng.uniform(-45, 45, (3000, 3))
    q = rng.normal(size=(40, 3))
    q *= 100 / np.linalg.norm(q, axis=1, keepdims=True)
    m = rng.normal(size=(40, 3))
    total = np.zeros_like(r)
    for qi, mi in zip(q, m, strict=True):
        a = qi - r
        a_, q_, qa = np.linalg.norm(a, axis=1), np.linalg.norm(qi), a @ qi
        f = a_ * (q_ * a_ + qa)
        grad = (a_**2 / q_ + 2 * a_ + 2 * q_ + qa / a_)[:, None] * qi - (a_ + 2 * q_ + qa / a_)[:, None] * r
        total -= DIPOLE_A * (np.cross(r, mi) / f[:, None] - np.cross(r, qi) * ((grad @ mi) / f**2)[:, None])
    np.testing.assert_allclose(jax.jit(dipoles_in_sphere)(q, m, r), total, rtol=1e-8, atol=1e-9)
    with jax.enable_x64(False):
        single = dipoles_in_sphere(*(jnp.asarray(x, jnp.float32) for x in (q, m, r)))
    assert np.linalg.norm(single - total) < 1e-5 * np.linalg.norm(total)


HERE = CoilPose(jnp.eye(3), jnp.zeros(3))


@pytest.mark.parametrize("kind", [np.asarray, jnp.asarray, np.ndarray.tolist])
def test_points_of_any_kind(kind):
    found = sphere_efield(from_dipoles(Q, M), HERE, kind(POINTS), [0.0, 0, 0])
    np.testing.assert_allclose(found, at(POINTS), rtol=1e-5, atol=1e-8)
    assert sphere_efield(from_dipoles(Q, M), HERE, np.zeros((0, 3)), np.zeros(3)).shape == (0, 3)


@pytest.mark.parametrize(
    ("points", "centre", "message"),
    [
        (np.zeros(3), np.zeros(3), "points: wrong shape"),
        (np.zeros((4, 2)), np.zeros(3), "points: wrong shape"),
        (np.zeros((4, 3)), np.zeros(2), "centre of the sphere: wrong shape"),
        ([[0, 0, np.nan]], np.zeros(3), "points: not finite"),
        (np.zeros((1, 3)), [0, np.inf, 0], "centre of the sphere: not finite"),
        ([[0, 0, 20.0], [0, 0, 103.0]], np.zeros(3), r"outside any sphere.*\n.*103.0 mm"),
        ([[0, 0, 20.0]], [0, 0, 90.0], "outside any sphere"),
    ],
)
def test_bad_points(points, centre, message):
    with pytest.raises(InputError, match=message):
        sphere_efield(from_dipoles(Q, M), HERE, points, centre)


def test_float64_keeps_its_digits():
    """A coil in float64 loses none on its way through the pose: two poses that undo each other's shift."""
    shift = np.array([1e3, -2e3, 3e3]) + 1 / 3
    coil = type(from_dipoles(Q, M))(jnp.asarray(Q), jnp.asarray(M), jnp.asarray(Q), "two")
    moved = sphere_efield(coil, CoilPose(jnp.eye(3), jnp.asarray(shift)), POINTS + shift, shift)
    assert moved.dtype == jnp.float64
    np.testing.assert_allclose(moved, at(POINTS), rtol=1e-9)
    single = CoilPose(jnp.eye(3, dtype=jnp.float32), jnp.zeros(3, jnp.float32))
    coarse = type(coil)(jnp.asarray(Q, jnp.float32), jnp.asarray(M, jnp.float32), coil.windings, "two")
    as_given = at(POINTS, np.asarray(coarse.positions, float), np.asarray(coarse.moments, float))
    np.testing.assert_allclose(sphere_efield(coarse, single, POINTS, np.zeros(3)), as_given, rtol=1e-12)


def test_a_point_on_the_sphere_of_the_nearest_dipole():
    """A dipole is at 100.2 mm: just below it there is a field, at it none."""
    coil = from_dipoles(Q, M)
    radius = np.linalg.norm(np.asarray(coil.positions, float), axis=1).min()
    below = sphere_efield(coil, HERE, [[0, 0, radius - 1e-3]], np.zeros(3))
    assert np.isfinite(np.asarray(below)).all()
    with pytest.raises(InputError, match="outside any sphere"):
        sphere_efield(coil, HERE, [[0, 0, radius]], np.zeros(3))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"positions": [[np.nan, 0, 100.0], [0, 0, 110.0]]}, "dipole positions are not finite"),
        ({"moments": [[np.inf, 0, 0], [0, 0, 1e-3]]}, "dipole moments are not finite"),
    ],
)
def test_bad_coil(change, message):
    coil = dataclasses.replace(from_dipoles(Q, M), **{k: jnp.asarray(v) for k, v in change.items()})
    with pytest.raises(InputError, match=message):
        sphere_efield(coil, HERE, POINTS, np.zeros(3))


@pytest.mark.parametrize(
    ("rotation", "message"),
    [
        (np.diag([1, 1, -1.0]), "mirror|reflect"),
        (np.diag([2.0, 2, 2]), "scaled"),
        (np.eye(3) + np.eye(3, k=1), "sheared"),
    ],
)
def test_bad_pose(rotation, message):
    with pytest.raises(InputError, match=message):
        sphere_efield(from_dipoles(Q, M), CoilPose(jnp.asarray(rotation), jnp.zeros(3)), POINTS, np.zeros(3))


@pytest.mark.parametrize(("didt", "message"), [(np.nan, "didt is not finite"), (np.ones(2), "didt is not a scalar")])
def test_bad_rate(didt, message):
    with pytest.raises(InputError, match=message):
        sphere_efield(from_dipoles(Q, M), HERE, POINTS, np.zeros(3), didt)


def test_traced_points():
    coil = from_dipoles(Q, M)
    np.testing.assert_allclose(jax.jit(lambda r: sphere_efield(coil, HERE, r, jnp.zeros(3)))(POINTS), at(POINTS), 1e-5)
