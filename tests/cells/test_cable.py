"""Compartments: ours against NEURON's for the bundled cells, and against the published cells."""

import dataclasses

import numpy as np
import pytest

from tmsjax import cells
from tmsjax.cells.main_axon import main_axon_terminal
from tmsjax.cells.mechanism_library import MECHANISMS

CLONES = [f"{kind}_{k}" for kind in ("L23_PC_cADpyr229", "L4_LBC_cACint209", "L5_TTPC2_cADpyr232") for k in range(1, 6)]
VARIANTS = [(c, "rax0") for c in CLONES] + [(c, "rax2") for c in CLONES if c.startswith("L5")]
FIRST = [(c, v) for c, v in VARIANTS if c.endswith("_1")]


@pytest.mark.parametrize("axon", ["intact", "disabled"])
def test_neuron_sees_the_same_compartments(bundled, axon):
    terminal = main_axon_terminal(bundled.sections)
    cell = bundled if axon == "intact" else dataclasses.replace(bundled, disabled=terminal)
    cable, built = cells.cable_model(cell), cells.build_neuron(cell)
    names = [sec.name() for sec in cells.load_neuron().allsec()]
    assert names == list(cable.section_names) == [sec.name() for sec in built.sections]
    segments = built.segments
    assert len(segments) == cable.n
    for ours, theirs in [
        (cable.area_um2, [s.area() for s in segments]),
        (cable.diam_um, [s.diam for s in segments]),
        (cable.ri_mohm[1 : cable.n], [s.ri() for s in segments[1:]]),
        (cable.length_um, [s.sec.L / s.sec.nseg for s in segments]),
        (cable.cm_uf_per_cm2, [s.cm for s in segments]),
        (cable.g_pas, [s.pas.g for s in segments]),
        (cable.e_pas_mv, [s.pas.e for s in segments]),
    ]:
        np.testing.assert_allclose(ours, theirs, rtol=2e-6)
    for name, density in cable.channels.items():
        there = [getattr(s, name).gbar if hasattr(s, name) else 0.0 for s in segments]
        np.testing.assert_array_equal(density, there)
    for k, (sec, described) in enumerate(zip(built.sections, cell.sections, strict=True)):
        if k:
            joint = sec.parentseg()
            assert joint.sec == built.sections[described.parent]
            assert joint.x == described.parent_x


def test_the_tree_is_one_tree(bundled):
    cable = cells.cable_model(bundled)
    assert cable.parent[0] == -1
    at = np.arange(len(cable.parent))
    for _ in range(len(at)):
        at = np.where(at > 0, cable.parent[at], 0)
        if not at.any():
            break
    assert not at.any()  # every node leads to the soma
    assert (cable.ri_mohm > 0).all()


def test_a_cell_vanishes_from_neuron_with_its_object(bundled):
    built = cells.build_neuron(bundled)
    assert len(built.sections) == len(bundled.sections)
    del built
    assert list(cells.load_neuron().allsec()) == []


@pytest.fixture(scope="session")
def published(shared):
    def load(clone, variant):
        root = shared / "cells" / "aberra2019"
        cell = cells.load(f"aberra2019/{clone}", root=root, axon="intact" if variant == "rax0" else None)
        return cell, np.load(root / "compartments" / f"{clone}_{variant}.npz")

    return load


@pytest.mark.shared
@pytest.mark.parametrize(("clone", "variant"), VARIANTS)
def test_the_published_cells_come_out_of_their_reconstructions(published, clone, variant):
    """Largest deviations seen: 2e-7 of a resistance, 1e-6 um, 2e-5 of an Ih density (kept in 6 digits there)."""
    cell, ref = published(clone, variant)
    cable = cells.cable_model(cell)
    assert cable.row_names == ref["secname"].tolist()
    np.testing.assert_array_equal(cable.parent, ref["parent"])
    np.testing.assert_array_equal(cable.region, ref["type"])
    np.testing.assert_allclose(cable.x, ref["segx"], rtol=1e-12)
    np.testing.assert_allclose(cable.xyz_um, ref["xyz"], atol=2e-6)
    for ours, theirs in [("area_um2", "area"), ("diam_um", "diam"), ("length_um", "Lseg"), ("ri_mohm", "ri")]:
        np.testing.assert_allclose(getattr(cable, ours), ref[theirs], rtol=1e-6, err_msg=ours)
    for ours, theirs in [
        ("cm_uf_per_cm2", "cm"),
        ("g_pas", "pas.g"),
        ("e_pas_mv", "pas.e"),
        ("gamma", "CaDynamics_E2.gamma"),
        ("decay_ms", "CaDynamics_E2.decay"),
    ]:
        np.testing.assert_allclose(getattr(cable, ours), ref[theirs], rtol=1e-9, err_msg=ours)
    assert set(cable.channels) == set(MECHANISMS) - {"CaDynamics_E2"}
    for name, density in cable.channels.items():
        np.testing.assert_allclose(density, ref[f"{name}.g{name}bar"], rtol=3e-5, err_msg=name)


@pytest.mark.shared
@pytest.mark.parametrize(("clone", "variant"), FIRST)
def test_the_published_cells_rest_where_they_did(published, clone, variant):
    """Largest deviation seen: 4e-5 mV (tabulated rates)."""
    cell, ref = published(clone, variant)
    built = cells.build_neuron(cell)
    v = cells.steady_state()
    assert len(v) == len(built.segments)
    np.testing.assert_allclose(v, ref["v_rest"], atol=1e-3)
    cai = np.array([getattr(s, "cai", np.nan) for s in built.segments])
    holds = ~np.isnan(ref["cai_rest"])
    np.testing.assert_allclose(cai[holds], ref["cai_rest"][holds], rtol=1e-4)


def test_rest_is_steady_and_does_not_depend_on_tables(bundled, described):
    built = cells.build_neuron(bundled)
    try:
        cells.use_tables(False)
        exact = cells.steady_state()
    finally:
        cells.use_tables(True)
    v = cells.steady_state()
    np.testing.assert_allclose(v, exact, atol=1e-3)
    h = cells.load_neuron()
    h.dt = 0.005
    for _ in range(100):
        h.fadvance()
    np.testing.assert_allclose([s.v for s in built.segments], v, atol=2e-3)
    assert v[0] == pytest.approx(described(bundled.name)["rest_mv"], abs=0.06)
