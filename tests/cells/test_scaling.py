"""Adult scaling (Aberra et al. 2018, 2020) and the geometry of segments."""

import dataclasses

import numpy as np
import pytest

from tmsjax.cells.geometry import segment_section
from tmsjax.cells.morphology import read_morphology
from tmsjax.cells.scaling import ADULT_HUMAN, ADULT_RAT, scale
from tmsjax.cells.types import Section


@pytest.mark.parametrize("factors", [ADULT_HUMAN, ADULT_RAT], ids=["human", "rat"])
def test_each_region_grows_by_its_factor(simple, factors):
    for before, after in zip(read_morphology(simple), scale(read_morphology(simple), factors), strict=True):
        longer = factors.basal_length if before.region == "basal" else 1
        assert after.length_um == pytest.approx(before.length_um * longer, rel=1e-6)
        assert after.nseg == before.nseg
        np.testing.assert_array_equal(after.distance_um, before.distance_um)
        if before.region == "soma":
            area = [segment_section(s, 100.0).area_um2.sum() for s in (before, after)]
            assert area[1] == pytest.approx(factors.soma_area * area[0], rel=1e-6)
            assert np.ptp(after.diam_um) == 0
        else:
            wider = {"ais": factors.axon_diam, "apical": factors.apical_diam, "basal": factors.basal_diam}
            np.testing.assert_allclose(after.diam_um, before.diam_um * wider[before.region], rtol=1e-6)


def test_the_pia_is_up_afterwards(simple):
    before, after = read_morphology(simple)[3], scale(read_morphology(simple))[3]
    np.testing.assert_array_equal(after.points_um[:, 2], before.points_um[:, 1])
    np.testing.assert_array_equal(after.points_um[:, 1], -before.points_um[:, 2])
    assert after.points_um[-1, 2] > 150


def test_basal_children_stay_where_they_were(tmp_path):
    path = tmp_path / "cell.swc"
    path.write_text(
        "1 1 0 0 0 5 -1\n2 2 0 -5 0 1 1\n3 2 0 -90 0 1 2\n4 3 5 0 0 1 1\n5 3 105 0 0 1 4\n"
        "6 3 150 50 0 1 5\n7 3 150 -50 0 1 5\n"
    )
    sections = scale(read_morphology(path))
    parent, child = (s for s in sections if s.region == "basal" and s.points_um[-1, 2] >= 0)
    gap = np.linalg.norm(parent.points_um[-1] - child.points_um[0])
    assert gap == pytest.approx(0.17 * 100, rel=1e-4)


def section(points, diam, nseg):
    points = np.asarray(points, dtype=np.float32)
    return Section("dend[0]", "basal", -1, 0.0, points, np.asarray(diam, dtype=np.float32), nseg, np.zeros(nseg))


def test_a_cone_is_cut_into_frusta():
    cone = segment_section(section([[0, 0, 0], [60, 0, 0]], [4, 1], 3), 150.0)
    d = np.array([4.0, 3.5, 3.0, 2.5, 2.0, 1.5, 1.0])
    halves = np.pi / 2 * (d[:-1] + d[1:]) * np.hypot(10, np.diff(d) / 2)
    np.testing.assert_allclose(cone.area_um2, halves[0::2] + halves[1::2], rtol=1e-12)
    np.testing.assert_allclose(cone.diam_um, d[1::2], rtol=1e-12)
    resistance = 4e-2 * 150.0 / np.pi * 10 / (d[:-1] * d[1:])
    np.testing.assert_allclose(cone.left_mohm, resistance[0::2], rtol=1e-12)
    np.testing.assert_allclose(cone.right_mohm, resistance[1::2], rtol=1e-12)
    np.testing.assert_allclose(cone.centre_um[:, 0], [10, 30, 50], rtol=1e-12)


def test_cutting_finer_keeps_area_and_resistance(simple):
    for s in read_morphology(simple):
        whole = segment_section(dataclasses.replace(s, nseg=1, distance_um=np.zeros(1)), 100.0)
        fine = segment_section(dataclasses.replace(s, nseg=7, distance_um=np.zeros(7)), 100.0)
        assert fine.area_um2.sum() == pytest.approx(whole.area_um2.sum(), rel=1e-9)
        through = [(part.left_mohm + part.right_mohm).sum() for part in (whole, fine)]
        assert through[1] == pytest.approx(through[0], rel=1e-9)
