"""Coils of few dipoles: the error they state is true, small in a conductor, and the same every time."""

from functools import lru_cache
from inspect import unwrap

import numpy as np
import pytest

from tmsjax.coil import CoilPose, from_dipoles, load, reduce
from tmsjax.coil.fit import brain_points, dipole_potential
from tmsjax.core.errors import InputError
from tmsjax.efield import sphere_efield


def in_sphere(coil, gap_mm, seed=3):
    """E in the near half of the brain of a 92 mm sphere, ``gap_mm`` below the casing's face."""
    pose = np.diag([1.0, -1, -1, 1])
    pose[2, 3] = 92 + gap_mm
    rng = np.random.default_rng(seed)
    out = rng.normal(size=(500, 3))
    out[:, 2] = np.abs(out[:, 2])
    points = out * rng.uniform(60, 78, (500, 1)) / np.linalg.norm(out, axis=1, keepdims=True)
    return np.asarray(sphere_efield(coil, CoilPose.from_matrix(pose), points, np.zeros(3)))


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def coil():
    return load("MagVenture_MC_B70")


@lru_cache
def reduced(name, n):
    return reduce(load(name), n)


@pytest.mark.parametrize(
    ("name", "n", "bar"),
    [("MagVenture_MC_B70", 150, 1e-3), ("MagVenture_MC_B70", 300, 1e-4), ("Magstim_70mm_Fig8", 150, 5e-4)],
)
def test_error_in_a_conductor(name, n, bar):
    """Measured: 150 dipoles 0.043 % (MC-B70) and 0.015 % (Magstim), 300 dipoles 0.0025 % and 0.0004 %."""
    coil, few = load(name), reduced(name, n)
    assert len(few.moments) == n
    assert few.name == coil.name
    assert few.fit.error < bar
    assert few.fit.of == f"{len(coil.moments)} dipoles of {coil.name}"
    for gap in (4.0, 10.0):
        assert relative(in_sphere(few, gap), in_sphere(coil, gap)) < 1.6 * few.fit.error
    np.testing.assert_array_equal(few.windings, coil.windings)
    # No dipoles that cancel each other: float32 would lose what they leave.
    assert np.abs(few.moments).sum() < 5 * np.abs(coil.moments).sum()


def test_the_stated_error_is_true_elsewhere(coil):
    few, points = reduced(coil.name, 150), brain_points(1000, 11)
    a, b = (dipole_potential(np.asarray(c.positions, float), np.asarray(c.moments, float), points) for c in (few, coil))
    assert relative(a, b) == pytest.approx(few.fit.error, rel=0.3)
    assert few.fit.worst < 10 * few.fit.error


def test_the_same_every_time():
    coil = load("Circular_50mm")
    one, other = reduce(coil, 50), reduce(coil, 50)
    np.testing.assert_array_equal(one.moments, other.moments)
    assert one.fit == other.fit


def test_few_dipoles_stay_as_they_are():
    small = from_dipoles(np.random.default_rng(0).uniform(-30, -5, (12, 3)), np.ones((12, 3)))
    assert reduce(small, 20) is small


@pytest.mark.parametrize(
    "options", [{"n": 5}, {"n": True}, {"nearest_mm": 0.0}, {"nearest_mm": np.nan}, {"nearest_mm": "a"}]
)
def test_bad_requests(coil, options):
    with pytest.raises(InputError):
        unwrap(reduce)(coil, **options)
