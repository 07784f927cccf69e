"""Targets on a sphere, whose cortex is known everywhere."""

import numpy as np
import pytest
from scipy.spatial import KDTree
from sphere_cortex import TOP, population

from tmsjax.core.errors import InputError
from tmsjax.cortex import layer_surface
from tmsjax.optimize import targets

FEW = {"sites": 40, "held_out": 60}


def somata(group):
    return np.asarray(group.population.positions, float)


def test_a_ball_and_its_ring(head):
    target = targets.ball(head, TOP, 8.0, ring_mm=(10.0, 15.0), layers=("L23", "L5"), **FEW)
    assert target.layers == ["L23", "L5"]
    assert [(g.role, g.population.layer) for g in target.search] == [
        ("target", "L23"), ("target", "L5"), ("ring", "L23"), ("ring", "L5"),
    ]  # fmt: skip
    for group in target.search:
        away = np.linalg.norm(somata(group) - TOP, axis=1)
        low, high = (0, 8.0) if group.role == "target" else (10.0, 15.0)
        assert low - 1.5 < away.min()  # faces are 2 mm wide
        assert away.max() < high + 1.5
        assert len(group.population) == 40 * 6
        assert group.wanted.tolist() == [float(group.role == "target")] * 240
    assert target.reach_mm == pytest.approx(15.0, abs=1.5)


def test_searched_and_judged_are_different_places(head):
    target = targets.ball(head, TOP, 8.0, **FEW)
    nearest = KDTree(somata(target.search[0])).query(somata(target.held_out[0]))[0]
    assert nearest.min() > 0
    assert len(np.unique(target.held_out[0].population.site)) == 60
    again = targets.ball(head, TOP, 8.0, **FEW)
    np.testing.assert_array_equal(somata(again.search[0]), somata(target.search[0]))


def test_one_bank_has_the_columns_of_one_direction(head):
    direction = np.array([0.3, 0.0, 0.954])
    target = targets.bank(head, TOP, 25.0, 20.0, normal=direction, **FEW)
    axes = np.asarray(target.search[0].population.rotations)[:, :, 2]
    assert np.degrees(np.arccos(np.clip(axes @ direction / np.linalg.norm(direction), -1, 1))).max() < 22.0
    plain = targets.bank(head, TOP, 25.0, 20.0, **FEW)
    axes = np.asarray(plain.search[0].population.rotations)[:, :, 2]
    assert np.degrees(np.arccos(np.clip(axes @ [0, 0, 1.0], -1, 1))).max() < 24.0  # that of the nearest column


def test_a_label_and_a_mask_are_the_same_cortex(head):
    surface = layer_surface(head, 0.5)
    chosen = surface.vertices[:, 2] > 36.0
    labelled = targets.label(head, {"lh": chosen}, **FEW)
    assert somata(labelled.search[0])[:, 2].min() > 34.0  # another layer than the middle one
    affine = np.asarray(head.affine, float)
    grid = np.stack(np.meshgrid(*map(np.arange, np.shape(head.labels)), indexing="ij"), -1)
    high = (grid @ affine[:3, :3].T + affine[:3, 3])[..., 2] > 36.0
    masked = targets.mask(head, high, **FEW)
    assert somata(masked.search[0])[:, 2].min() > 33.0  # voxels of 3 mm
    np.testing.assert_allclose(labelled.centre_mm, masked.centre_mm, atol=1.0)


def test_wanted_activity_comes_from_the_nearest_point_of_a_map(head):
    target = targets.ball(head, TOP, 8.0, **FEW)
    right = somata(target.search[0])[:, 0] > 0
    points = np.concatenate([somata(g) for g in (*target.search, *target.held_out)])
    mapped = targets.with_map(target, points, np.where(points[:, 0] > 0, 0.8, 0.0))
    np.testing.assert_array_equal(mapped.search[0].wanted, np.where(right, 0.8, 0.0))
    for bad in (np.full(len(points), 1.5), np.zeros(len(points)), np.zeros(3)):
        with pytest.raises(InputError, match="map of wanted activity"):
            targets.with_map(target, points, bad)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda head: targets.ball(head, [0.0, 0, 75.0], 8.0), "outside the head"),
        (lambda head: targets.ball(head, [0.0, 0, 0.0], 8.0), "holds no cortex"),
        (lambda head: targets.ball(head, [0.0, 0, np.nan], 8.0), "not finite"),
        (lambda head: targets.ball(head, TOP, -1.0), "radius of the target"),
        (lambda head: targets.ball(head, TOP, 8.0, ring_mm=(5.0, 12.0)), "the ring"),
        (lambda head: targets.ball(head, TOP, 8.0, layers=()), "layers of the target"),
        (lambda head: targets.ball(head, TOP, 8.0, layers="L5"), "layers of the target"),
        (lambda head: targets.bank(head, TOP, 8.0, normal=[0, 0, -1.0]), "holds no cortex"),
        (lambda head: targets.bank(head, TOP, 8.0, normal=[0, 0, 0.0]), "normal of the bank"),
        (lambda head: targets.label(head, {"lh": np.zeros(3000, bool)}), "holds no cortex"),
        (lambda head: targets.label(head, {"rh": np.ones(3000, bool)}), "label of rh"),
        (lambda head: targets.label(head, {"lh": np.ones(7, bool)}), "label of lh"),
        (lambda head: targets.mask(head, np.ones((3, 3, 3), bool)), "mask of the target"),
        (lambda head: targets.mask(head, np.zeros(np.shape(head.labels), bool)), "holds no cortex"),
    ],
)
def test_targets_that_are_none(head, make, said):
    with pytest.raises(InputError, match=said):
        make(head)


def test_a_population_of_ones_own_is_dealt_into_halves_by_site():
    target = targets.of_population(population(sites=30))
    search, judge = (np.unique(np.asarray(g[0].population.site)) for g in (target.search, target.held_out))
    assert len(search) == len(judge) == 15
    assert not set(search) & set(judge)
    with pytest.raises(InputError, match="too few sites"):
        targets.of_population(population(sites=10))
