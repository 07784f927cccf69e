"""The linear polarisation of a cell's axon: against the cable engine in weak fields, and under rotations."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tmsjax as tj
from tmsjax.core.errors import InputError
from tmsjax.surrogate import polarisation

NAME = "open/L4_LBC_1"
TIMES = np.array([0.02, 0.06, 0.1])


@pytest.fixture(scope="module")
def cable():
    return tj.cells.cable_model(tj.cells.load(NAME))


@pytest.fixture(scope="module")
def ends(cable):
    return polarisation.axon_ends(cable)


def linear_field(seed):
    """``points (k, 3) mm -> field (k, 3)``: uniform plus a constant gradient of about 0.3/mm."""
    rng = np.random.default_rng(seed)
    mean, slope = rng.normal(size=3), 0.3 * rng.normal(size=(3, 3))
    return lambda points: mean + points @ slope.T


def grid(n, side, shift):
    ticks = np.linspace(-side / 2, side / 2, n)
    return np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1) + np.array([0, 0, shift])


def test_weak_fields_polarise_as_in_the_cable_engine(cable, ends):
    """All channels move there; at 2 V/m what is not linear is below 0.2 %."""
    cell, field = tj.cells.load(NAME), linear_field(0)(cable.xyz_um / 1e3)
    some = np.append(ends[::40], 0)
    expected = np.einsum("stci,ci->st", polarisation.polarisation(cable, "monophasic", some, TIMES), field)
    size = 2 / np.linalg.norm(field[0])
    trace = tj.simulate.traces(cell, field, 2.0, some, engine="cable", precision="float64")
    moved = (trace - trace[0])[np.rint(TIMES / 0.005).astype(int)].T / size
    np.testing.assert_allclose(moved, expected, atol=2e-3 * np.abs(expected).max())


def test_action_potentials_begin_at_the_ends(cable, ends):
    """The cell has 138 ends among 1,285 compartments; 19 of 20 uniform fields and more start at one of them."""
    directions = np.random.default_rng(1).normal(size=(20, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cell = tj.cells.load(NAME)
    found = tj.simulate.uniform_thresholds(cell, directions, engine="cable")
    assert len(ends) < 0.15 * cable.n
    assert np.isin(found.initiation, ends).mean() >= 0.95
    above = polarisation.nodes_above(cable, ends)
    assert (cable.region[above] != tj.cells.types.REGIONS.index("myelin")).all()
    assert (above != ends).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**31), st.sampled_from([3, 5, 9]), st.floats(0.5, 3))
def test_linear_fields_are_read_exactly_inside_the_cube_and_out(seed, n, side):
    field = linear_field(seed)
    points = np.random.default_rng(seed).uniform(-side, side, (30, 3))
    read = polarisation.readout(points, n, side) @ field(grid(n, side, 0.0).reshape(-1, 3))
    np.testing.assert_allclose(read, field(points), atol=1e-8)


def test_a_rough_field_is_read_better_than_by_trilinear_interpolation():
    """sin of 3 mm wavelength at 0.5 mm spacing: linear interpolation is off by up to (k h)^2 / 8 = 14 %."""
    wave = lambda x: np.sin(2 * np.pi / 3 * x[..., 0])  # noqa: E731
    points = np.random.default_rng(0).uniform(-0.9, 0.9, (200, 3))
    read = polarisation.readout(points, 5, 2.0) @ wave(grid(5, 2.0, 0.0)).reshape(-1)
    samples = wave(np.stack([np.linspace(-1, 1, 5), np.zeros(5), np.zeros(5)], -1))
    linear = np.interp(points[:, 0], np.linspace(-1, 1, 5), samples)
    assert np.abs(read - wave(points)).mean() < 0.5 * np.abs(linear - wave(points)).mean()


def test_functionals_of_samples_are_those_of_the_compartments(cable, ends):
    """A linear field with the grid moved, through ``of_patches`` and by hand."""
    field, shift = linear_field(2), -0.3
    functionals = polarisation.of_patches(tj.cells.load(NAME), "monophasic", 5, 1.5, shift)
    moments = len(polarisation.MOMENTS_MS)
    assert functionals.shape == (len(ends), 2, moments, 5, 5, 5, 3)
    rows = np.array([ends[7], polarisation.nodes_above(cable, ends)[7]])
    at = np.array(polarisation.MOMENTS_MS[3:4])
    by_hand = np.einsum(
        "stci,ci->st", polarisation.polarisation(cable, "monophasic", rows, at), field(cable.xyz_um / 1e3)
    )
    patch = field(grid(5, 1.5, shift))
    read = (functionals[7, :, 3] * patch).sum((1, 2, 3, 4))
    np.testing.assert_allclose(read, by_hand[:, 0], rtol=1e-4)


def turned(cable, angle):
    c, s = np.cos(angle), np.sin(angle)
    turn = np.array([[c, -s, 0], [s, c, 0], [0, 0, 1]])
    return dataclasses.replace(cable, xyz_um=cable.xyz_um @ turn.T), turn


@settings(deadline=None, max_examples=5)
@given(st.floats(-np.pi, np.pi), st.integers(0, 2**31))
def test_a_cell_and_its_field_turned_together_polarise_the_same(cable, ends, angle, seed):
    """About the somatodendritic axis; the grid stands still, as in a cell of another azimuth."""
    field, some = linear_field(seed), ends[::20]
    drives = []
    for cell, turn in (turned(cable, 0.0), turned(cable, angle)):
        functionals = polarisation.polarisation(cell, "monophasic", some, TIMES)
        samples = polarisation.on_samples(functionals, cell.xyz_um, 4, 1.5, -0.2)
        patch = field(grid(4, 1.5, -0.2) @ turn) @ turn.T
        drives.append((samples * patch).sum((2, 3, 4, 5)))
    np.testing.assert_allclose(drives[1], drives[0], rtol=1e-6, atol=1e-8)


def test_a_quarter_turn_of_any_field(cable, ends):
    """The grid then falls on itself, so that the field may be as rough as it likes."""
    cell, turn = turned(cable, np.pi / 2)
    patch = np.random.default_rng(3).normal(size=(5, 5, 5, 3))
    moved = np.rot90(patch, axes=(0, 1)) @ turn.T
    drives = [
        (
            polarisation.on_samples(polarisation.polarisation(c, "biphasic", ends[:5], TIMES), c.xyz_um, 5, 2.0, 0.0)
            * p
        ).sum((2, 3, 4, 5))
        for c, p in ((cable, patch), (cell, moved))
    ]
    np.testing.assert_allclose(drives[1], drives[0], rtol=1e-6, atol=1e-8)


def test_what_cannot_be_polarised_is_refused(cable, ends):
    with pytest.raises(InputError, match="times"):
        polarisation.polarisation(cable, "monophasic", ends[:1], np.array([0.0]))
    with pytest.raises(InputError, match="no axon"):
        polarisation.axon_ends(dataclasses.replace(cable, region=np.zeros_like(cable.region)))
