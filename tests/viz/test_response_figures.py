"""Figures of populations and sweeps: files of pictures, also of what is only half there."""

import numpy as np
import pytest
from meshes import icosphere

from tmsjax.response import Recruitment
from tmsjax.viz import recruitment_figure, strength_duration_figure, threshold_maps_figure, tuning_figure
from tmsjax.viz.response import places_figure


def curve(name="L23", band=True):
    at = np.linspace(0, 200, 30)
    share = 1 / (1 + np.exp(-(at - 100) / 20))
    near = (np.clip(share - 0.1, 0, 1), np.clip(share + 0.1, 0, 1)) if band else (np.full(30, np.nan),) * 2
    return Recruitment(at, share, *near, 100, 20, 0.0, 0.0, name=name)


def test_recruitment_with_and_without_bands_and_a_device(tmp_path):
    plain = recruitment_figure(tmp_path / "a.png", [curve(band=False)], caption="short")
    full = recruitment_figure(
        tmp_path / "b.pdf", [curve(), curve("L5 mine")], max_didt_a_per_us=150.0, device="mine", caption="long " * 40
    )
    assert plain.stat().st_size > 5_000
    assert full.read_bytes()[:4] == b"%PDF"
    assert sorted(item.name for item in tmp_path.iterdir()) == ["a.png", "b.pdf"]


@pytest.mark.parametrize("conditions", [[""], ["0°", "90°"]])
def test_maps_also_where_nothing_has_a_threshold(tmp_path, conditions):
    vertices, faces = icosphere(1)
    centres = vertices[faces].mean(axis=1)
    known = np.where(centres[:, 2] > 0, 100 + 50 * centres[:, 2], np.nan)
    values = {"L5": dict.fromkeys(conditions, known), "L4": dict.fromkeys(conditions, np.full(len(faces), np.nan))}
    meshes = dict.fromkeys(values, (20 * vertices, faces))
    path = threshold_maps_figure(tmp_path / "m.png", meshes, values, np.array([0.2, 0.1, 1.0]))
    assert path.stat().st_size > 10_000
    none = {"L4": values["L4"]}
    threshold_maps_figure(tmp_path / "n.png", {"L4": meshes["L4"]}, none, np.array([0.2, 0.1, 1.0]))


def test_tuning_places_and_pulses(tmp_path):
    angles = np.arange(0, 360, 45.0)
    lines = {"50 % PA": 100 + 20 * np.cos(np.deg2rad(angles)), "50 % AP": np.full(8, np.nan)}
    assert tuning_figure(tmp_path / "t.png", angles, {"L23": lines, "L5": lines}).stat().st_size > 10_000
    tuning_figure(tmp_path / "part.png", angles[:3], {"L5": {"50 %": lines["50 % PA"][:3]}})
    u, v = np.meshgrid([-5.0, 0, 5], [-5.0, 0, 5])
    places_figure(tmp_path / "p.png", u.ravel(), v.ravel(), {"L5": np.arange(9.0)})
    levels = {"L5 mine": {"short": 200.0, "long": 120.0}}
    strength_duration_figure(tmp_path / "s.png", {"short": 0.03, "long": 0.12}, levels)
    assert len(list(tmp_path.iterdir())) == 4
