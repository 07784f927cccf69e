"""Figures of an evaluation: predicted against simulated thresholds, errors by group, ablations.

Redraw figures 3 to 5, S3 and S6 of Aberra et al. (2023) from the tables of ``tmsjax.surrogate.evaluation``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize
from matplotlib.ticker import FormatStrFormatter

from tmsjax.viz.files import save_figure
from tmsjax.viz.surface import View, draw_surface, scale_bar, threshold_bar

COLOURS = {
    "support": "#1b6ca8",
    "fast": "#3aa6a0",
    "cnn": "#b5179e",
    "uniform": "#4d8b31",
    "weise": "#d98e04",
    "median": "#6a4c93",
}
"""By family; other estimators take what follows in the cycle."""

MOST_POINTS = 20000
"""Points drawn in one panel; more are thinned evenly."""

METRICS = {"mape_percent": "mean absolute error (%)", "median_ape_percent": "median absolute error (%)", "r2": "R²"}
NAMES = {"n": "samples a side", "side_mm": "side (mm)", "depth_range_mm": "depth below the scalp (mm)"}


def colour(name: str, index: int = 0) -> str:
    """Colour of an estimator: its family's, found in its name, or the ``index``-th of the cycle."""
    return next((c for family, c in COLOURS.items() if family in name), f"C{index % 10}")


def predictions_figure(path: Path, simulated: np.ndarray, predicted: Mapping[str, np.ndarray], title: str = "") -> Path:
    """Predicted against simulated thresholds (V/m at the soma), a panel for each estimator (figure 4A).

    Args:
        path: a .png or .pdf file. simulated: (k,). predicted: estimator -> (k,).
    """
    fig, axes = _panels(len(predicted), 3.1, 3.3)
    thin = slice(None, None, max(1, len(simulated) // MOST_POINTS))
    low, high = np.quantile(simulated, [0, 0.999])
    for i, (ax, (name, values)) in enumerate(zip(axes, predicted.items(), strict=True)):
        ax.plot(simulated[thin], values[thin], ".", ms=2, alpha=0.3, color=colour(name, i), rasterized=True)
        ax.plot([low, high], [low, high], color="black", lw=0.8)
        error = 100 * np.abs(values / simulated - 1)
        r2 = 1 - np.sum((values - simulated) ** 2) / max(np.sum((simulated - simulated.mean()) ** 2), 1e-300)
        ax.set(xlim=(low, high), ylim=(low, high), aspect="equal", xlabel="simulated (V/m)")
        ax.set_title(f"{name}: {error.mean():.2f} %, R² {r2:.3f}", fontsize=10)
    axes[0].set_ylabel("predicted (V/m)")
    fig.suptitle(title, fontsize=10)
    return save_figure(fig, path)


def scores_figure(
    path: Path, rows: Sequence[Mapping[str, Any]], group: str = "", metric: str = "mape_percent", title: str = ""
) -> Path:
    """Bars of a score, beside each other for each estimator, by a column of the table (figures 4B, S4B).

    Args:
        path: a .png or .pdf file. rows: of ``score_table``. group: name of the column, "" for none.
    """
    names = list(dict.fromkeys(row["estimator"] for row in rows))
    groups = list(dict.fromkeys(str(row.get(group, "all")) for row in rows))
    fig, (ax,) = _panels(1, max(3.2, 0.45 * len(groups) * max(1, len(names) / 2) + 1.5), 3.2)
    width = 0.8 / len(names)
    for i, name in enumerate(names):
        found = {str(row.get(group, "all")): row[metric] for row in rows if row["estimator"] == name}
        at = np.arange(len(groups)) + (i - (len(names) - 1) / 2) * width
        ax.bar(at, [found.get(g, np.nan) for g in groups], width, color=colour(name, i), label=name)
    ax.set_xticks(range(len(groups)), groups, rotation=30 if max(map(len, groups)) > 8 else 0, ha="center", fontsize=8)
    ax.set_xlabel(NAMES.get(group, group))
    ax.set_ylabel(METRICS.get(metric, metric))
    fig.legend(*ax.get_legend_handles_labels(), loc="outside right upper", fontsize=8, frameon=False)
    fig.suptitle(title, fontsize=10)
    return save_figure(fig, path)


def distribution_figure(path: Path, errors: Mapping[str, np.ndarray], title: str = "") -> Path:
    """Distribution of signed percent errors, linear within 1 % and logarithmic beyond (figure S3).

    Args:
        path: a .png or .pdf file. errors: estimator -> (k,), per cent.
    """
    fig, (ax,) = _panels(1, 1.2 + 0.9 * len(errors), 3.4)
    for i, (name, values) in enumerate(errors.items()):
        low, high = np.percentile(values, [1, 99])
        inner = values[(values >= low) & (values <= high)]
        if np.ptp(inner) > 0:
            body = ax.violinplot(inner, positions=[i], widths=0.8, showextrema=False)["bodies"]
            for shape in body:  # type: ignore[union-attr]
                shape.set(facecolor=colour(name, i), alpha=0.5)
        ax.boxplot(values, positions=[i], widths=0.15, showfliers=False, medianprops={"color": "black"})
    ax.axhline(0, color="grey", lw=0.6)
    ax.set_yscale("symlog", linthresh=1)
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.set_xticks(range(len(errors)), list(errors), fontsize=8)
    ax.set_ylabel("error (%), violins: 98 % of the thresholds")
    fig.suptitle(title, fontsize=10)
    return save_figure(fig, path)


def ablation_figure(path: Path, rows: Sequence[Mapping[str, Any]], metric: str = "mape_percent") -> Path:
    """A score against what was varied, a panel for each and a line for each variant (figures 5A-C, S5, S6).

    Args:
        path: a .png or .pdf file. rows: of ``ablation``.
    """
    varied = list(dict.fromkeys(row["varied"] for row in rows))
    fig, axes = _panels(len(varied), 3.0, 3.0)
    for ax, what in zip(axes, varied, strict=True):
        some = [row for row in rows if row["varied"] == what]
        values = list(dict.fromkeys(row["value"] for row in some))
        numeric = all(isinstance(v, int | float) for v in values)
        for i, variant in enumerate(dict.fromkeys(row["variant"] for row in some)):
            mine = [row for row in some if row["variant"] == variant]
            at = [row["value"] if numeric else values.index(row["value"]) for row in mine]
            ax.plot(at, [row[metric] for row in mine], "o-", color=colour(variant, i), label=variant)
        ax.set_xticks(values if numeric else range(len(values)), [f"{v}" for v in values])
        ax.set_xlabel(NAMES.get(what, str(what)))
        ax.set_ylim(bottom=0)
        ax.legend(fontsize=8, frameon=False)
    axes[0].set_ylabel(METRICS.get(metric, metric))
    return save_figure(fig, path)


def cortex_figure(
    path: Path,
    vertices: np.ndarray,
    faces: np.ndarray,
    values: Mapping[str, np.ndarray],
    towards_viewer: np.ndarray,
    title: str = "",
) -> Path:
    """Thresholds of simulation and estimators on the cortex, and the estimators' errors below them (figure 3).

    Errors have a scale of their own for each estimator, as in the paper.

    Args:
        path: a .png or .pdf file. vertices, faces, values: of ``cortex_map``.
        towards_viewer: (3,) direction that the picture is seen from, world.
    """
    names = [name for name in values if not name.endswith(" error")]
    fig, axes = plt.subplots(2, len(names), figsize=(2.9 * len(names) + 0.8, 5.2), dpi=160, layout="constrained")
    axes = axes.reshape(2, -1)
    view = View.along(np.asarray(towards_viewer), np.array([0.0, 1.0, 0.0]))
    thresholds = LogNorm(*np.nanpercentile(values["simulated"], [1, 95]))
    for i, name in enumerate(names):
        draw_surface(axes[0, i], vertices, faces, view, values[name], thresholds, cmap="viridis_r")
        axes[0, i].set_title(name, fontsize=10)
        axes[1, i].set_axis_off()
        error = values.get(f"{name} error")
        if error is not None:
            largest = max(float(np.nanpercentile(np.abs(error), 95)), 0.1)
            norm = Normalize(-largest, largest)
            draw_surface(axes[1, i], vertices, faces, view, error, norm, cmap="RdBu_r")
            bar = {"ax": axes[1, i], "shrink": 0.8, "pad": 0.01, "extend": "both", "location": "bottom"}
            fig.colorbar(ScalarMappable(norm, "RdBu_r"), label="median error (%)", **bar)
    scale_bar(axes[0, 0])
    threshold_bar(fig, list(axes[0]), thresholds, "median threshold (A/µs)")
    fig.suptitle(title, fontsize=10)
    return save_figure(fig, path)


def _panels(count: int, width: float, height: float) -> tuple[Any, list[Axes]]:
    fig, axes = plt.subplots(
        1, count, figsize=(width * count + 0.4, height), dpi=160, layout="constrained", squeeze=False
    )
    for ax in axes[0]:
        ax.spines[["top", "right"]].set_visible(False)
    return fig, list(axes[0])
