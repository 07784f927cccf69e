"""A gyrus without a parcellation: as much cortex round the hand knob as was asked for, and every neuron of it."""

import numpy as np
import pytest

import tmsjax as tj
from tmsjax.core.errors import InputError
from tmsjax.cortex import layer_surface
from tmsjax.cortex.layers import is_cortex
from tmsjax.response.gyrus import GYRUS_MM2, NEURONS_PER_MM2, dense_population, hand_knob_region


@pytest.fixture(scope="module")
def head():
    return tj.head.load("S1")


@pytest.mark.parametrize("side", ["left", "right"])
def test_the_region_holds_the_area_of_a_gyrus_of_one_hemisphere(head, side):
    region = hand_knob_region(head, side)
    surface = layer_surface(head, 0.5)
    inside = is_cortex(surface) & region.contains(surface)
    assert surface.face_areas[inside].sum() == pytest.approx(GYRUS_MM2, rel=2e-3)
    assert set(surface.hemisphere[surface.faces[inside].ravel()]) == {["left", "right"].index(side)}
    np.testing.assert_allclose(region.centre_mm, tj.head.landmark(head, f"hand_knob_{side}"))


def test_a_dense_layer_is_described_and_not_listed(head):
    region = hand_knob_region(head)
    dense = dense_population(head, "L5", region, int(NEURONS_PER_MM2 * GYRUS_MM2 / 3), seed=7)
    assert len(dense) == 51_200_004
    for index in (0, dense.blocks - 1):
        places, frames = dense.block(index)
        np.testing.assert_allclose(frames @ frames.swapaxes(1, 2), np.tile(np.eye(3), (len(places), 1, 1)), atol=1e-5)
        assert (np.linalg.norm(places - np.asarray(region.centre_mm), axis=1) < region.radius_mm + 3).all()
    assert len(dense.block(dense.blocks - 1)[0]) == dense.places - (dense.blocks - 1) * 2048


def test_bad_regions_are_named(head):
    with pytest.raises(InputError, match="side"):
        hand_knob_region(head, "lh")
    for area in (0.0, np.nan, 1e7):
        with pytest.raises(InputError, match="area"):
            hand_knob_region(head, area_mm2=area)
    with pytest.raises(InputError, match="size"):
        dense_population(head, "L5", hand_knob_region(head), 0)
    with pytest.raises(InputError, match="no cortex"):
        dense_population(head, "L5", tj.cortex.Roi.ball((500, 0, 0), 5), 100)
