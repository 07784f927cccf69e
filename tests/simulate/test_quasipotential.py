"""Quasipotentials against potentials that are known, and injected currents against Kirchhoff's law."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from tmsjax.cells import cable_model
from tmsjax.simulate import quasipotential
from tmsjax.simulate.quasipotential import injection_matrix

vectors = arrays(np.float64, 3, elements=st.floats(-300, 300))


@pytest.fixture(scope="module")
def cable(small_cell):
    return cable_model(small_cell)


@given(field=vectors)
@settings(deadline=None)
def test_uniform_field_gives_minus_e_dot_r(cable, field):
    es = quasipotential(cable, np.broadcast_to(field, (cable.n, 3)))
    np.testing.assert_allclose(es, -1e-3 * (cable.xyz_um - cable.xyz_um[0]) @ field, atol=1e-9)


@given(gradient=arrays(np.float64, (3, 3), elements=st.floats(-2, 2)), offset=vectors)
@settings(deadline=None)
def test_trapezoid_is_exact_for_a_linear_curl_free_field(cable, gradient, offset):
    """E = -grad(phi) of a quadratic phi: the quasipotential is phi itself, whatever the tree."""
    gradient = gradient + gradient.T

    def phi(r):
        return 1e-3 * (0.5 * np.einsum("ni,ij,nj->n", r, gradient, r) + r @ offset)

    r = cable.xyz_um
    es = quasipotential(cable, -(r @ gradient + offset))
    expected = phi(r) - phi(r[:1])
    np.testing.assert_allclose(es, expected, atol=1e-9 * (1 + np.abs(expected).max()))


def test_linear_in_the_field_and_batched(cable):
    a, b = np.random.default_rng(0).normal(size=(2, cable.n, 3))
    both = quasipotential(cable, np.stack([a, b]))
    np.testing.assert_allclose(quasipotential(cable, 2 * a - 3 * b), 2 * both[0] - 3 * both[1], atol=1e-12)


def test_rotating_the_cell_and_its_field_changes_nothing(cable):
    import dataclasses

    turn = Rotation.from_rotvec([0.3, -1.1, 2.0]).as_matrix()
    field = np.random.default_rng(1).normal(size=(cable.n, 3))
    turned = dataclasses.replace(cable, xyz_um=cable.xyz_um @ turn.T)
    np.testing.assert_allclose(quasipotential(turned, field @ turn.T), quasipotential(cable, field), atol=1e-12)


def test_injected_currents_sum_to_zero_and_obey_kirchhoff(cable):
    """Against a dense solve with the section ends as unknowns, in which no current enters an end."""
    es = np.random.default_rng(2).normal(size=(3, cable.n))
    current = (injection_matrix(cable) @ es.T).T
    assert np.abs(current.sum(axis=-1)).max() < 1e-12 * np.abs(current).max()

    m = len(cable.parent)
    network = np.zeros((m, m))
    for child, (parent, mohm) in enumerate(zip(cable.parent, cable.ri_mohm, strict=True)):
        if parent >= 0:
            network[[child, parent], [parent, child]] += 1 / mohm
    network -= np.diag(network.sum(axis=1))
    n = cable.n
    ends = np.linalg.solve(network[n:, n:], -network[n:, :n] @ es.T)
    np.testing.assert_allclose(current, (network[:n, :n] @ es.T + network[:n, n:] @ ends).T, rtol=1e-9, atol=1e-12)


def test_a_constant_potential_injects_nothing(cable):
    assert np.abs(injection_matrix(cable) @ np.full(cable.n, 7.0)).max() < 1e-9


def test_cable_theory_of_a_uniform_field(cable):
    """Along a straight uniform piece a uniform field injects only at its two ends."""
    rows = np.flatnonzero(np.array(cable.row_names) == "dend[0]")
    current = injection_matrix(cable) @ quasipotential(cable, np.broadcast_to([0.0, 0.0, 100.0], (cable.n, 3)))
    assert np.abs(current[rows[1:-1]]).max() < 1e-5 * np.abs(current[rows[-1]])
