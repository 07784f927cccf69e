"""Figures of an evaluation: what is drawn is what the tables say."""

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tmsjax import viz
from tmsjax.viz import evaluation, unseen_fields


@pytest.fixture
def drawn(monkeypatch, tmp_path):
    """Keep the figures open, to look at them."""
    figures = []

    def keep(fig, path):
        fig.savefig(path)
        figures.append(fig)
        return path

    for module in (evaluation, unseen_fields):
        monkeypatch.setattr(module, "save_figure", keep)
    yield figures, tmp_path / "figure.png"
    plt.close("all")


def test_bars_are_the_scores(drawn):
    figures, path = drawn
    rows = [
        {"estimator": e, "cell": c, "mape_percent": v}
        for e, c, v in (("support", "a", 1.0), ("uniform", "a", 5.0), ("support", "b", 2.0), ("uniform", "b", 6.0))
    ]
    viz.scores_figure(path, rows, "cell")
    ax = figures[0].axes[0]
    assert [bar.get_height() for bar in ax.patches] == [1.0, 2.0, 5.0, 6.0]
    assert [label.get_text() for label in ax.get_xticklabels()] == ["a", "b"]
    assert len({bar.get_facecolor() for bar in ax.patches}) == 2


def test_predictions_lie_in_a_square_with_their_error(drawn):
    figures, path = drawn
    truth = np.linspace(100, 300, 50)
    viz.predictions_figure(path, truth, {"support": truth * 1.01, "cnn": truth * 1.02})
    titles = [ax.get_title() for ax in figures[0].axes]
    assert titles[0].startswith("support: 1.00 %")
    assert titles[1].startswith("cnn: 2.00 %")
    np.testing.assert_allclose(figures[0].axes[1].lines[0].get_ydata(), truth * 1.02)


def test_lines_of_an_ablation(drawn):
    figures, path = drawn
    rows = [
        {"varied": "n", "value": n, "variant": v, "mape_percent": n * w}
        for n in (3, 9)
        for v, w in (("a", 1), ("b", 2))
    ]
    rows += [
        {"varied": "coordinates", "value": c, "variant": "cnn", "mape_percent": 1.0} for c in ("cartesian", "spherical")
    ]
    viz.ablation_figure(path, rows)
    first, second = figures[0].axes
    np.testing.assert_allclose(first.lines[1].get_xydata(), [[3, 6], [9, 18]])
    assert [label.get_text() for label in second.get_xticklabels()] == ["cartesian", "spherical"]


def test_distributions_and_their_medians(drawn):
    figures, path = drawn
    values = np.random.default_rng(0).normal(2, 1, 500)
    viz.distribution_figure(path, {"support": values, "flat": np.zeros(5)})
    medians = [
        line.get_ydata()[0]
        for line in figures[0].axes[0].lines
        if line.get_color() == "black" and len(line.get_ydata()) == 2
    ]
    assert any(m == pytest.approx(np.median(values)) for m in medians)


def test_maps_of_thresholds_above_maps_of_errors(drawn):
    figures, path = drawn
    vertices = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [1, 1, 0]])
    faces = np.array([[0, 1, 2], [1, 3, 2]])
    values = {
        "simulated": np.array([100.0, 200.0]),
        "support": np.array([101.0, 198.0]),
        "support error": np.array([1.0, -1.0]),
    }
    viz.cortex_figure(path, vertices, faces, values, np.array([0, 0, 1.0]), "title")
    axes = figures[0].axes
    assert [ax.get_title() for ax in axes[:2]] == ["simulated", "support"]
    reds, blues = axes[3].collections[0].get_facecolors()[:, [0, 2]].T
    assert reds[0] > blues[0]
    assert reds[1] < blues[1]
    assert not axes[2].collections


def test_error_sources_directions_and_domains(drawn):
    figures, path = drawn
    rng = np.random.default_rng(0)
    x = rng.uniform(0, 1, 200)
    row = {"predictor": "gradient_per_mm", "per_sd": 1.0, "low": 0.5, "high": 1.5, "single_r2": 0.3}
    viz.error_sources_figure(path, 2 * x + 1, {"gradient_per_mm": x}, [row], 0.3)
    line = figures[0].axes[0].lines[1]
    np.testing.assert_allclose(np.diff(line.get_ydata()) / np.diff(line.get_xdata()), 2.0, rtol=1e-6)
    columns = {
        "azimuth_deg": np.array([0.0, 90.0, 270.0]),
        "polar_deg": np.array([0.0, 90.0, 135.0]),
        "simulated_v_per_m": np.array([200.0, 210.0, 220.0]),
        "predicted_v_per_m": np.array([202.0, 210.0, 219.0]),
        "error_percent": np.array([1.0, 0.0, -0.5]),
    }
    viz.directions_figure(path, columns)
    points = figures[1].axes[0].collections[0].get_offsets()
    np.testing.assert_allclose(points, np.deg2rad([[0, 90], [90, 0], [-90, -45]]), atol=1e-9)
    away = np.array([0.5, 1.0, 1.5])
    sources = dict.fromkeys(("distance_mm", "simulated_ma", "predicted_ma", "error_percent"), away)
    viz.domain_figure(path, rng.uniform(0.5, 2, 99), np.array([30.0, 20.0, np.inf]), away, 3.0, sources)
    assert len(figures[2].axes) == 4
    assert figures[2].axes[0].lines[0].get_xdata()[0] == 3.0
