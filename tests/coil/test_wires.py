"""Coils from wire against the closed forms of the loop and of the straight segment."""

from inspect import unwrap

import numpy as np
import pytest
from dipoles import flux_density
from scipy.special import ellipe, ellipk

from tmsjax.coil import from_wires, load
from tmsjax.coil.fit import brain_points, dipole_potential
from tmsjax.coil.geometry import circle
from tmsjax.coil.wires import wire_potential
from tmsjax.core.errors import InputError

ROUND = np.linspace(0, 2 * np.pi, 181)


def loop(radius=30.0, z=-5.0, centre=(0.0, 0.0)):
    """A closed polygon whose area is that of the circle."""
    flat = circle(centre, radius)
    wire = np.column_stack([flat, np.full(len(flat), z)])
    return np.concatenate([wire, wire[:1]])


def spiral(turns=10, lift=4.0, inner=12.0, pitch=4.0):
    """A flat spiral whose return lead passes ``lift`` mm behind the turns."""
    angle = np.linspace(0, turns * 2 * np.pi, 60 * turns)
    radius = inner + pitch * angle / (2 * np.pi)
    flat = np.column_stack([radius * np.cos(angle), radius * np.sin(angle), np.full(len(angle), -5.0)])
    back = [[radius[-1], 0, -5 - lift], [radius[0], 0, -5 - lift]] if lift else []
    return np.concatenate([flat, *([back] if lift else []), flat[:1]])


def loop_potential(radius, points):
    """A over mu0/4pi I of a circular loop in the plane z = 0: Jackson, Classical Electrodynamics, eq. 5.37."""
    rho, z = np.hypot(points[:, 0], points[:, 1]), points[:, 2]
    k2 = 4 * radius * rho / ((radius + rho) ** 2 + z**2)
    size = 4 * radius / np.sqrt((radius + rho) ** 2 + z**2) * ((2 - k2) * ellipk(k2) - 2 * ellipe(k2)) / k2
    return np.column_stack([-points[:, 1], points[:, 0], 0 * z]) / rho[:, None] * size[:, None]


def relative(a, b):
    return np.linalg.norm(np.asarray(a) - b) / np.linalg.norm(b)


def test_the_closed_form_of_segments_is_that_of_the_loop():
    wire, points = loop(z=0.0)[:-1], brain_points(200, 3)
    assert relative(wire_potential(wire, points), loop_potential(30.0, points)) < 1e-4
    # Linear: the two halves of a wire with a chord between them.
    one, other = wire[:91], np.concatenate([wire[90:], wire[:1]])
    np.testing.assert_allclose(
        wire_potential(one, points) + wire_potential(other, points), wire_potential(wire, points), atol=1e-9
    )


@pytest.mark.parametrize("cell", [6.0, 3.0, 1.5])
def test_a_loop_against_the_field_on_its_axis(cell):
    """B = mu0 R^2 / 2 (R^2 + z^2)^(3/2), and the error of A that the coil states, at points of the test's own."""
    coil = from_wires(loop(), cell_mm=cell)
    z = np.array([5.0, 15, 30, 60])
    along = flux_density(coil.positions, coil.moments, np.column_stack([0 * z, 0 * z, z]))
    exact = 4e-7 * np.pi * 0.03**2 / 2 / (0.03**2 + ((z + 5) * 1e-3) ** 2) ** 1.5
    np.testing.assert_allclose(along[:, 2], exact, rtol=6e-4 * cell**2)
    assert coil.fit.error < 1e-4 * cell**2
    points = brain_points(500, 7)
    q, m = np.asarray(coil.positions, float), np.asarray(coil.moments, float)
    found = relative(dipole_potential(q, m, points), 1e-6 * loop_potential(30.0, points + np.array([0, 0, 5])))
    assert found == pytest.approx(coil.fit.error, rel=0.25)


def test_the_stated_error_is_true_of_bent_wires():
    """A saddle, carried twice backwards beside a flat loop, against segments at points of the test's own."""
    saddle = loop(25.0, centre=(30.0, 0.0))
    saddle[:, 2] = -14 + 8 * np.cos(2 * ROUND)
    saddle[-1] = saddle[0]
    coil = from_wires([saddle, loop(25.0, centre=(-30.0, 0.0))], [-2, 1])
    points = brain_points(500, 8)
    exact = 1e-6 * (
        wire_potential(loop(25.0, centre=(-30.0, 0.0))[:-1], points) - 2 * wire_potential(saddle[:-1], points)
    )
    found = dipole_potential(np.asarray(coil.positions, float), np.asarray(coil.moments, float), points)
    assert relative(found, exact) == pytest.approx(coil.fit.error, rel=0.25)
    assert coil.fit.error < 5e-3


def test_a_spiral_and_its_return():
    coil = from_wires(spiral(), name="pancake")
    assert coil.name == "pancake"
    assert coil.fit.error < 2e-3
    radius = np.sqrt(np.linspace(12, 52, 4001)) ** 2
    area = np.mean(np.pi * radius**2) * 10e-6  # ten turns of 12 to 52 mm
    assert np.asarray(coil.moments)[:, 2].sum() == pytest.approx(area, rel=0.01)
    np.testing.assert_allclose(np.asarray(coil.windings), spiral()[:-1], rtol=1e-6)


def test_currents_are_linear():
    one, two = from_wires(loop()), from_wires(loop(), -2.5)
    np.testing.assert_allclose(two.moments, -2.5 * np.asarray(one.moments), rtol=1e-5)
    both = from_wires([loop(), loop()], [1.0, -1.0 + 1e-3])
    assert np.linalg.norm(both.moments) < 2e-3 * np.linalg.norm(one.moments)


def test_a_wire_round_the_head_needs_an_apex_behind_it():
    wire = loop(120.0, z=40.0)
    wire[:, 2] += 20 * np.sin(ROUND)
    wire[-1] = wire[0]
    with pytest.raises(InputError, match="reaches into the head"):
        from_wires(wire)
    coil = from_wires(wire, apex_mm=(0, 0, -60))
    assert coil.fit.error < 1e-3
    assert coil.fit.points == 2000


def test_the_bundled_wings_are_their_turns():
    """Rashed's coil as wires: two wings of ten loops."""
    radii = np.linspace(23.5, 48.5, 10)
    turns = [loop(r, centre=(x, 0.0)) for x in (-48.5, 48.5) for r in radii]
    wires, bundled = from_wires(turns, [1] * 10 + [-1] * 10), load("Rashed_97_47")
    points = brain_points(500, 5)
    a, b = (
        dipole_potential(np.asarray(c.positions, float), np.asarray(c.moments, float), points) for c in (wires, bundled)
    )
    assert relative(a, b) < 3e-3


NAN, GAP = loop(), loop()
NAN[5, 1], GAP[-1, 0] = np.nan, 31.0


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        (loop()[:-1], r"wire 0 is open\n.*1.05 mm[\s\S]*repeat the first point"),
        (GAP, "wire 0 is open"),
        ([loop(), loop()[:-1]], "wire 1 is open"),
        (spiral(lift=0.0), r"crosses or touches itself[\s\S]*lift one part"),
        ([[0, 0, 0], [10, 10, 0], [10, 0, 0], [0, 10, 0], [0, 0, 0]], "crosses"),
        ([[0, 0, 0], [10, 0, 0], [5, 0, 0], [5, 5, 0], [0, 0, 0]], "crosses or touches"),
        ([[0, 0, 0], [10, 0, 0], [10, 10, 0], [5, 0, 0], [0, 5, 0], [0, 0, 0]], "crosses or touches"),
        (NAN, "NaN"),
        ([[0, 0, 0], [1, 0, 0]], "too few points"),
        ([[0, 0, 0], [1, 0, 0], [0, 0, 0]], "too few points"),
        ([[0, 0, 0], [1, 0, 0], [1, 1, 0], [1, 1, 0], [0, 0, 0]], "segment of no length"),
        (loop()[:, :2], "wrong shape"),
        ([["a", "b", "c"]], "not made of numbers"),
        ([], "no wire"),
        (None, "no wire"),
        ("wire", "no wire"),
    ],
)
def test_wires_that_are_refused(paths, message):
    with pytest.raises(InputError, match=message):
        from_wires(paths)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"turns": [1, 2]}, "turns"),
        ({"turns": np.nan}, "turns"),
        ({"turns": 0}, "turns"),
        ({"turns": "x"}, "turns"),
        ({"turns": [1, [2, 3]]}, "turns"),
        ({"cell_mm": 0}, "cell"),
        ({"cell_mm": None}, "cell"),
        ({"cell_mm": 100.0}, r"do not stand for the wires[\s\S]*smaller cell_mm"),
        ({"apex_mm": (0, 0)}, "apex"),
        ({"apex_mm": "x"}, "apex"),
    ],
)
def test_options_that_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        unwrap(from_wires)(loop(), **options)  # as users call it: without the checker of the tests' types


def test_wires_that_cancel():
    again = np.roll(loop()[:-1], 7, axis=0)  # the same, begun elsewhere
    for other in (loop(), np.concatenate([again, again[:1]])):
        with pytest.raises(InputError, match=r"no field[\s\S]*signs of turns"):
            from_wires([loop(), other], turns=[1, -1])
