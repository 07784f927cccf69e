"""Quasipotentials against potentials that are known, and injected currents against Kirchhoff's law."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.spatial.transform import Rotation

from tmsjax.cells import Cell, Section, cable_model
from tmsjax.core.errors import InputError
from tmsjax.simulate import quasipotential
from tmsjax.simulate.quasipotential import current_matrix, injection_matrix

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


def test_the_original_codes_rule_is_its_description(cable):
    """Facts of the original code: the field of a section's last segment everywhere in it, and behind a section with two
    children a straight chord from the end of the last section with one child (from the soma's child at the latest).

    Here the initial segment (the soma's child) has two children, whose sections follow one another: the chord begins at
    the initial segment's own end for both, so that all that differs from the tree is the field within sections.
    """
    field = np.random.default_rng(5).normal(size=(cable.n, 3))
    last = cable.parent[cable.n :]
    np.testing.assert_allclose(
        quasipotential(cable, field, "aberra2019"), quasipotential(cable, field[last[cable.section]]), atol=1e-12
    )


def test_the_original_codes_chord_jumps_over_a_branch():
    """Soma - a - b, b has two children c and d: c starts from the end of a (b's parent had one child), not of b."""
    straight = {"soma": (0, 0, 0), "a": (0, 0, -100), "b": (0, 0, -200), "c": (80, 0, -260), "d": (-80, 0, -260)}
    parents = {"soma": -1, "a": 0, "b": 1, "c": 2, "d": 2}
    sections = []
    for name, stop in straight.items():
        start = (0, 0, 10) if parents[name] < 0 else list(straight.values())[parents[name]]
        points = np.linspace(start, stop, 3).astype(np.float32)
        region = {"soma": "soma", "a": "ais"}.get(name, "unmyelinated")
        joint, nseg = (0.5 if name == "a" else 1.0), (1 if name == "soma" else 2)
        diam = np.full(3, 1.0, np.float32)
        sections.append(Section(name, region, parents[name], joint, points, diam, nseg, np.linspace(0, 1, nseg)))
    cable = cable_model(Cell("chord", "L23_PC", tuple(sections)))
    field = np.random.default_rng(6).normal(size=(cable.n, 3))
    rows = {name: np.flatnonzero(np.array(cable.row_names) == name) for name in straight}
    seen = field[cable.parent[cable.n :][cable.section]]

    def along(start, stop):
        return -0.5e-3 * (seen[start] + seen[stop]) @ (cable.xyz_um[stop] - cable.xyz_um[start])

    es = quasipotential(cable, field, "aberra2019")
    a_end, b_end = rows["a"][-1], rows["b"][-1]
    for child in ("c", "d"):
        first = rows[child][0]
        assert es[first] == pytest.approx(es[a_end] + along(a_end, first), abs=1e-12)
        assert abs(es[first] - (es[b_end] + along(b_end, first))) > 1e-3
    np.testing.assert_allclose(
        current_matrix(cable, "aberra2019") @ field.ravel(), injection_matrix(cable) @ es, atol=1e-12
    )


def test_one_matrix_makes_the_currents(cable):
    field = np.random.default_rng(7).normal(size=(cable.n, 3))
    matrix = current_matrix(cable)
    np.testing.assert_allclose(
        matrix @ field.ravel(), injection_matrix(cable) @ quasipotential(cable, field), atol=1e-12
    )
    assert matrix.nnz < 30 * cable.n


def test_an_unknown_rule_is_refused(cable):
    with pytest.raises(InputError, match='"tree" or "aberra2019"'):
        quasipotential(cable, np.zeros((cable.n, 3)), "straight")
