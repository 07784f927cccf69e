"""Figures of target points are drawn, with as many panels as there are points and units on their axes."""

import matplotlib.pyplot as plt
import numpy as np

from tmsjax.viz import target


def test_cuts_through_every_point_and_errors_by_method(tmp_path, monkeypatch):
    shown = []
    monkeypatch.setattr(target, "save_figure", lambda fig, path: shown.append(fig) or path)
    affine = np.eye(4)
    affine[:3, 3] = -16
    values = np.random.default_rng(0).random((32, 32, 32), np.float32)
    points = {"LOFC": {"network": [1.0, 2, 3], "expert": [2.0, 3, 4]}, "ROFC": {"network": [4.0, 2, 3]}}
    assert target.places_figure(tmp_path / "a.png", values, affine, points, "made up") == tmp_path / "a.png"
    panels = shown[0].axes
    assert len(panels) == 6
    assert panels[0].get_xlabel() == "x (mm)"
    cross = panels[0].lines[0]
    assert (cross.get_xdata()[0], cross.get_ydata()[0]) == (1.0, 2.0)
    assert len(panels[0].lines) == 2
    image = panels[0].images[0]
    # The cut at z = 3 mm: voxel 19; pixel centres at whole mm.
    np.testing.assert_array_equal(image.get_array(), values[:, :, 19].T)
    assert tuple(image.get_extent()) == (-16.5, 15.5, -16.5, 15.5)
    errors = {"network": np.array([[1.0, 2.0], [3.0, np.nan]]), "SyN": np.array([[4.0, 5.0], [6.0, 7.0]])}
    target.errors_figure(tmp_path / "b.png", errors, ["LOFC", "ROFC"], "synthetic")
    (ax,) = shown[1].axes
    assert ax.get_ylabel() == "distance from the point (mm)"
    assert [text.get_text() for text in ax.get_xticklabels()] == ["LOFC", "ROFC"]
    plt.close("all")
