"""Figures of what errors go with, and of fields that no training set holds (Aberra et al. 2023, figures 6, S7, S8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import Normalize, TwoSlopeNorm

from tmsjax.viz.evaluation import MOST_POINTS, _panels
from tmsjax.viz.files import save_figure

BLUE, RED, GREY = "#1b6ca8", "#b3541e", "#8a8a8a"


def error_sources_figure(
    path: Path,
    absolute_errors: np.ndarray,
    predictors: Mapping[str, np.ndarray],
    rows: Sequence[Mapping[str, Any]],
    r2: float,
) -> Path:
    """Errors against each predictor with its regression line, R2 of each and of all, coefficients (figure S7).

    Args:
        path: a .png or .pdf file. absolute_errors: (k,) per cent. predictors: name -> (k,).
        rows, r2: of ``regress`` on these.
    """
    fig, axes = _panels(len(predictors) + 2, 2.7, 3.0)
    for ax, (name, values) in zip(axes, predictors.items(), strict=False):
        known = np.isfinite(values) & np.isfinite(absolute_errors)
        x, y = values[known], absolute_errors[known]
        thin = slice(None, None, max(1, len(x) // MOST_POINTS))
        ax.plot(x[thin], y[thin], ".", ms=2, alpha=0.3, color=BLUE, rasterized=True)
        slope, level = np.polyfit(x, y, 1)
        ends = np.quantile(x, [0, 0.999])
        ax.plot(ends, slope * ends + level, color=RED, lw=1.5)
        ax.set(xlim=ends, ylim=(0, np.quantile(y, 0.995)), xlabel=_words(name))
    axes[0].set_ylabel("absolute error (%)")
    names = [_words(row["predictor"]) for row in rows]
    axes[-2].barh([*names, "all"], [*(row["single_r2"] for row in rows), r2], color=[*[BLUE] * len(rows), RED])
    axes[-2].set_xlabel("R²")
    middle = np.array([row["per_sd"] for row in rows])
    reach = np.abs(np.array([[row["low"], row["high"]] for row in rows]).T - middle)
    axes[-1].errorbar(middle, range(len(rows)), xerr=reach, fmt="o", color=BLUE, capsize=3)
    axes[-1].axvline(0, color="grey", lw=0.6)
    axes[-1].set_yticks(range(len(rows)), [])
    axes[-1].set_ylim(axes[-2].get_ylim())
    axes[-1].set_xlabel("error (%) per SD, 95 % interval")
    return save_figure(fig, path)


def directions_figure(path: Path, columns: Mapping[str, np.ndarray], title: str = "") -> Path:
    """Thresholds in uniform fields by direction, simulated, predicted, and the error (figure 6): Mollweide maps.

    Args:
        path: a .png or .pdf file. columns: of ``uniform_field_test``.
    """
    fig = plt.figure(figsize=(11, 2.3), dpi=160, layout="constrained")
    longitude = np.deg2rad((columns["azimuth_deg"] + 180) % 360 - 180)
    latitude = np.deg2rad(90 - columns["polar_deg"])
    thresholds = Normalize(*np.quantile(columns["simulated_v_per_m"], [0, 1]))
    largest = max(float(np.abs(columns["error_percent"]).max()), 1e-6)
    panels = (
        ("simulated", "simulated_v_per_m", thresholds, "viridis_r", "threshold (V/m)"),
        ("predicted", "predicted_v_per_m", thresholds, "viridis_r", "threshold (V/m)"),
        ("error", "error_percent", TwoSlopeNorm(0, -largest, largest), "RdBu_r", "error (%)"),
    )
    for i, (name, column, norm, cmap, label) in enumerate(panels):
        ax = fig.add_subplot(1, 3, i + 1, projection="mollweide")
        shown = ax.scatter(longitude, latitude, c=columns[column], s=9, norm=norm, cmap=cmap, linewidths=0)
        ax.set_xticklabels([])
        ax.set_yticklabels([])
        ax.grid(lw=0.3)
        ax.set_title(name, fontsize=10)
        fig.colorbar(shown, ax=ax, shrink=0.7, pad=0.02, label=label)
    fig.suptitle(title, fontsize=10)
    return save_figure(fig, path)


def domain_figure(
    path: Path,
    tms_distance: np.ndarray,
    point_distance: np.ndarray,
    electrode_mm: np.ndarray,
    limit: float,
    columns: Mapping[str, np.ndarray] | None = None,
) -> Path:
    """Whether the in-domain score tells a point source from TMS, and errors by distance (figure S8).

    Args:
        path: a .png or .pdf file. tms_distance: (k,) domain distances of TMS fields; point_distance: (e,) of the
            fields of electrodes at electrode_mm (e,) from the soma. limit: the domain's.
        columns: of ``point_source_test``, where thresholds were simulated: two more panels.
    """
    fig, axes = _panels(2 if columns is None else 4, 2.9, 3.0)
    finite = np.isfinite(point_distance)
    both = np.concatenate([tms_distance[np.isfinite(tms_distance)], point_distance[finite]])
    edges = np.geomspace(max(both.min(), 1e-3), both.max() * 1.001, 50)
    for values, colour, label in ((tms_distance, BLUE, "TMS"), (point_distance[finite], RED, "point source")):
        axes[0].hist(
            values, edges, weights=np.full(len(values), 100 / len(values)), color=colour, alpha=0.6, label=label
        )
    axes[0].axvline(limit, color="black", lw=1, ls="--")
    axes[0].set(xscale="log", xlabel="distance from the training fields", ylabel="fields (%)")
    axes[0].legend(fontsize=8, frameon=False)
    thin = slice(None, None, max(1, len(electrode_mm) // MOST_POINTS))
    axes[1].plot(electrode_mm[thin], point_distance[thin], ".", ms=2, alpha=0.3, color=RED, rasterized=True)
    axes[1].axhline(limit, color="black", lw=1, ls="--")
    axes[1].set(yscale="log", xlabel="electrode to soma (mm)", ylabel="distance from the training fields")
    if columns is not None:
        away = columns["distance_mm"]
        for name, colour in (("simulated_ma", GREY), ("predicted_ma", RED)):
            axes[2].plot(away, columns[name], ".", ms=2, alpha=0.4, color=colour, label=name[:9], rasterized=True)
        axes[2].set(yscale="log", xlabel="electrode to soma (mm)", ylabel="threshold (mA)")
        axes[2].legend(fontsize=8, frameon=False)
        axes[3].plot(away, columns["error_percent"], ".", ms=2, alpha=0.4, color=RED, rasterized=True)
        axes[3].set_yscale("symlog", linthresh=10)
        axes[3].set(xlabel="electrode to soma (mm)", ylabel="error (%)")
    return save_figure(fig, path)


def _words(name: str) -> str:
    units = {"_per_mm": " (1/mm)", "_percent": " (%)", "_deg": " (deg)"}
    for ending, unit in units.items():
        name = name.removesuffix(ending) + unit if name.endswith(ending) else name
    return name.replace("_", " ")
