"""An atlas's points go to the patient, by maps that are known: against the images, not with them."""

import dataclasses
import sys

import numpy as np
import pytest
from scipy.ndimage import gaussian_filter, map_coordinates

from tmsjax.core.errors import InputError, MissingToolError
from tmsjax.target import registration
from tmsjax.target.cohort import Cohort
from tmsjax.target.volume import Volume

SIDE = 64
GRID = np.moveaxis(np.indices((SIDE,) * 3), 0, -1).astype(np.float64)
AFFINE = np.diag([2.0, 2.0, 2.0, 1.0])
AFFINE[:3, 3] = (-60.0, -70.0, -40.0)
PLACES = np.array([[24.0, 30, 36], [40, 36, 38], [30, 42, 30], [34, 22, 40]])
EFFORT = registration.Effort(affine=(60, 40), syn=(10, 10), radius=2)


def head():
    """A ball with folds in it."""
    rng = np.random.default_rng(0)
    folds = gaussian_filter(rng.standard_normal((SIDE,) * 3), 3)
    return ((0.7 + 4 * folds) * (np.linalg.norm(GRID - 31.5, axis=-1) < 21)).clip(0).astype(np.float32)


def moved(image, back):
    """The image whose value at y is the old one's at ``back(y)``."""
    return map_coordinates(image, np.moveaxis(back(GRID), -1, 0), order=1).astype(np.float32)


@pytest.fixture(scope="module")
def atlas():
    return Volume(head(), AFFINE)


def test_points_follow_an_affine_map(atlas):
    """Turned by 9 degrees, 6 % larger and moved: the patient's points are where the atlas's have gone."""
    pytest.importorskip("dipy")
    a = np.deg2rad(9)
    m = 1.06 * np.array([[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1.0]])
    shift = np.array([2.0, -1.5, 1.0])
    patient = Volume(moved(atlas.values, lambda y: (y - 31.5 - shift) @ np.linalg.inv(m).T + 31.5), AFFINE + 0)
    expected = patient.to_world((PLACES - 31.5) @ m.T + 31.5 + shift)
    found = registration.register(patient, atlas, EFFORT, deformable=False)
    assert found.status == "converged"
    assert found.correlation[1] > max(found.correlation[0], 0.8)
    start = np.linalg.norm(atlas.to_world(PLACES) - expected, axis=1)
    error = np.linalg.norm(found.by_affine(atlas.to_world(PLACES)) - expected, axis=1)
    assert start.min() > 3
    assert error.max() < 1.0
    with pytest.raises(InputError, match="left out"):
        found.by_warp(PLACES)


def test_syn_carries_points_through_a_smooth_warp(atlas):
    """And the affine alone cannot: a bulge of 6 mm. A brain mask keeps the affine to what is inside it."""
    pytest.importorskip("dipy")

    def bulge(y):
        return np.exp(-((y - [26, 32, 36]) ** 2).sum(-1, keepdims=True) / 128) * np.array([3.0, 0, 0])

    patient = Volume(moved(atlas.values, lambda y: y - bulge(y)), AFFINE)
    place = np.array([[25.0, 32, 36]])
    # y - bulge(y) = place, by repetition.
    y = place.copy()
    for _ in range(50):
        y = place + bulge(y)
    brain = np.linalg.norm(GRID - 31.5, axis=-1) < 18
    found = registration.register(patient, atlas, EFFORT, brain=brain)
    expected, start = patient.to_world(y), atlas.to_world(place)
    errors = [np.linalg.norm(p - expected) for p in (start, found.by_affine(start), found.by_warp(start))]
    assert errors[0] > 5
    assert errors[2] < 0.5 * errors[1]
    assert found.correlation[2] > 0.95
    assert found.status == "converged"


def test_failures_are_said():
    turned = np.diag([-1.0, -1, 1, 1])
    assert "turns by 180" in registration._status(turned, (0.1, 0.9))
    assert "determinant 8" in registration._status(np.diag([2.0, 2, 2, 1]), (0.1, 0.9))
    assert "correlation went" in registration._status(np.eye(4), (0.5, 0.4))
    assert registration._status(np.eye(4), (0.1, 0.9)) == "converged"


def test_a_cohorts_atlas_is_another_anatomy(atlas, monkeypatch):
    """Every image by the first of another base; failed ones give no places."""
    whose = ("a", "a", "b")
    places = np.stack([PLACES[:2] + k for k in range(3)]).astype(np.float32)
    flats = np.zeros((3, 64**3 + 32**3), np.uint8)
    cohort = Cohort(flats, places, np.stack([AFFINE] * 3), whose, ("a-0", "a-1", "b-0"), ("LOFC", "ROFC"),
                    {"levels": 2, "synthetic": True})  # fmt: skip
    calls = []

    @dataclasses.dataclass
    class Shift:
        status: str

        def by_affine(self, world):
            return world + 2

        by_warp = by_affine

    def register(patient, image, effort):
        calls.append(1)
        return Shift("converged" if len(calls) < 3 else "failed: no")

    monkeypatch.setattr(registration, "register", register)
    found = registration.carry_atlas(cohort)
    np.testing.assert_allclose(found["SyN"][:2], np.stack([places[2] + 1] * 2), atol=1e-4)
    assert np.isnan(found["affine"][2]).all()
    with pytest.raises(InputError, match="another anatomy"):
        registration.carry_atlas(cohort.rows([0, 1]))


def test_without_dipy_it_says_what_to_install(atlas, monkeypatch):
    monkeypatch.setitem(sys.modules, "dipy.align", None)
    with pytest.raises(MissingToolError, match=r"tmsjax\[registration\]"):
        registration.register(atlas, atlas)
    monkeypatch.undo()
    with pytest.raises(InputError, match="brain"):
        registration.register(atlas, atlas, brain=np.zeros((3, 3, 3), bool))
