"""Figures 5, S6 to S8 of Aberra et al. (2023) from the committed tables, and the agreement with Weise et al. (2023)."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import FormatStrFormatter

from benchmarks.paper import figures
from benchmarks.paper.figures import CLONES, SHOWN
from benchmarks.paper.report import ESTIMATORS, LAYERS, Tables
from benchmarks.paper.report_fields import average, on_sphere
from tmsjax import viz
from tmsjax.viz.evaluation import COLOURS
from tmsjax.viz.files import save_figure

PREDICTORS = {
    "gradient_per_mm": "gradient (1/mm)",
    "initiation_error_percent": "error of |E| at initiation (%)",
    "initiation_angle_deg": "error of direction there (deg)",
}


def representation(found: Tables, path: Path) -> Path:
    """MAPE by side and by samples of the grid, and what grids know of the field (figures 5B to D, S6)."""
    fig, axes = plt.subplots(1, 5, figsize=(14, 2.9), dpi=figures.DPI, layout="constrained")
    sides = found.rows("grids", varied="side_mm")
    for cell in dict.fromkeys(row["cell"] for row in sides):
        mine = [row for row in sides if row["cell"] == cell]
        at, values = [row["value"] for row in mine], [row["mape_percent"] for row in mine]
        axes[0].plot(at, values, "o-", color=CLONES[int(cell[-1]) - 1], label=f"clone {cell[-1]}")
    axes[0].set(xlabel="side (mm), 5 samples", ylabel="MAPE (%)", title="5B")
    samples = found.rows("grids", varied="n")
    axes[1].plot(
        [row["value"] for row in samples], [row["mape_percent"] for row in samples], "o-", color=COLOURS["support"],
        label="support function",
    )  # fmt: skip
    bound = found.paper("samples_3_mape_percent", "L5", "cnn")[1]
    if bound is not None:
        axes[1].plot([3], [bound], "v", color=COLOURS["cnn"], label="paper's CNN, 3 samples: below")
    uniform = found.rows("scores", layer="L5", clone=1, pulse="monophasic", estimator="uniform")
    if uniform:
        axes[1].axhline(uniform[0]["mape_percent"], color=COLOURS["uniform"], ls="--", label="uniform field")
    axes[1].set(xlabel="samples a side, 1.5 mm", ylabel="MAPE (%)", title="5C, S6", xticks=(3, 5, 7, 9))
    names = {"seen_gradient_per_mm": "gradient seen (1/mm)", **dict(list(PREDICTORS.items())[1:])}
    for ax, (quantity, label) in zip(axes[2:], names.items(), strict=True):
        for row in found.rows("represented", quantity=quantity):
            box = {"med": row["p50"], "q1": row["p25"], "q3": row["p75"], "whislo": row["p5"], "whishi": row["p95"]}
            ax.bxp([{**box, "label": ""}], positions=[row["samples"]], widths=1, showfliers=False)
        ax.set(xlabel="samples a side", ylabel=label, title="5D", xticks=(3, 5, 7, 9), xticklabels=(3, 5, 7, 9))
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.set_ylim(bottom=0)
        ax.title.set_fontsize(9)
    for ax in axes[:2]:
        if ax.lines:
            ax.legend(fontsize=7, frameon=False)
    return save_figure(fig, path)


def error_sources(found: Tables, path: Path) -> Path:
    """Errors against gradient and the field's error where firing begins, by samples a side (figure S7)."""
    fig, axes = plt.subplots(2, 4, figsize=(12, 5.4), dpi=figures.DPI, layout="constrained")
    arrays = found.arrays("error_sources")
    counts = sorted({int(name.partition("__")[0][1:]) for name in arrays})
    tones = dict(
        zip(counts, matplotlib.colormaps["viridis"](np.linspace(0.05, 0.85, max(len(counts), 1))), strict=False)
    )
    rows = found.rows("regressions", study="samples")
    for k, (ax, (predictor, label)) in enumerate(zip(axes[0], PREDICTORS.items(), strict=False)):
        for n in counts:
            x, y = arrays[f"n{n}__{predictor}"], arrays[f"n{n}__error"]
            known = np.isfinite(x) & np.isfinite(y)
            ax.plot(x[known], y[known], ".", ms=2.5, alpha=0.4, color=tones[n], rasterized=True)
            slope, level = np.polyfit(x[known], y[known], 1)
            ends = np.quantile(x[known], [0, 0.995])
            ax.plot(ends, slope * ends + level, color=tones[n], lw=1.8, label=f"{n} samples")
            ax.set_ylim(0, max(ax.get_ylim()[1] if n != counts[0] else 0, float(np.quantile(y[known], 0.99))))
        ax.set(xlabel=label, ylabel="absolute error (%)", title="ABC"[k])
        if counts:
            ax.legend(fontsize=7, frameon=False)
        mine = [row for row in rows if row["predictor"] == predictor]
        n = [row["samples"] for row in mine]
        colour = CLONES[k]
        axes[0, 3].plot(n, [row["single_r2"] for row in mine], "o-", color=colour, label=label)
        middle = np.array([row["per_sd"] for row in mine])
        reach = np.array([[row["per_sd"] - row["low"], row["high"] - row["per_sd"]] for row in mine]).T
        if len(mine):
            axes[1, 0].errorbar(
                np.array(n) + 0.15 * (k - 1), middle, reach, fmt="o", color=colour, capsize=3, label=label
            )
    whole = {row["samples"]: row["adjusted_r2"] for row in rows}
    axes[0, 3].plot(list(whole), list(whole.values()), "s--", color="#6a4c93", label="all, adjusted")
    axes[0, 3].set(xlabel="samples a side", ylabel="R²", title="D", xticks=(3, 5, 7, 9))
    axes[1, 0].axhline(0, color="grey", lw=0.6)
    axes[1, 0].set(xlabel="samples a side", ylabel="error (%) per SD, 95 %", title="E", xticks=(3, 5, 7, 9))
    _clone_r2(axes[1, 1], found)
    for ax in (axes[0, 3], axes[1, 0]):
        if rows:
            ax.legend(fontsize=6, frameon=False)
    for ax in axes[1, 2:]:
        ax.set_axis_off()
    for ax in axes.ravel():
        ax.spines[["top", "right"]].set_visible(False)
        ax.title.set_fontsize(9)
    return save_figure(fig, path)


def _clone_r2(ax: Axes, found: Tables) -> None:
    """Adjusted R2 of all predictors for every clone, which the paper has for one."""
    for family in SHOWN:
        rows = found.rows("regressions", study="clones", estimator=family, pulse="monophasic")
        values = {row["cell"]: (list(LAYERS).index(row["layer"]), row["adjusted_r2"]) for row in rows}
        if values:
            x, y = zip(*values.values(), strict=True)
            offset = 0.2 * (SHOWN.index(family) - 1)
            ax.plot(
                np.array(x) + offset, y, "osD"[SHOWN.index(family)], color=COLOURS[family], label=ESTIMATORS[family]
            )
    ax.set_xticks(range(3), LAYERS.values())
    ax.set(ylabel="adjusted R², all three", title="every clone", xlim=(-0.5, 2.5))
    if ax.lines:
        ax.legend(fontsize=6, frameon=False)


def electrodes(found: Tables, path: Path) -> Path:
    """Point sources: thresholds against distance, predicted against simulated, errors against distance (figure S8)."""
    fig, axes = plt.subplots(1, 3, figsize=(11.5, 3.3), dpi=figures.DPI, layout="constrained")
    arrays = found.arrays("electrodes")
    for family in ("support", "cnn"):
        for name in dict.fromkeys(key.partition("__")[0] for key in arrays):
            if f"{name}__by_{family}" not in arrays:
                continue
            clone = int(name[-1])
            here = np.isfinite(arrays[f"{name}__by_{family}"])
            keys = "distance_mm", "milliampere", f"by_{family}"
            away, truth, guess = (arrays[f"{name}__{key}"][here] for key in keys)
            style = {"ms": 2.5, "alpha": 0.5, "color": CLONES[clone - 1], "rasterized": True}
            mark = "." if family == "support" else "x"
            if clone == 1:
                axes[0].plot(away, truth, ".", ms=2.5, alpha=0.6, color="0.45", label="simulated")
                axes[0].plot(away, guess, mark, **style, label=ESTIMATORS[family])
            axes[1].plot(truth, guess, mark, **style, label=f"{ESTIMATORS[family]}, clone {clone}")
            axes[2].plot(away, 100 * (guess / truth - 1), mark, **style)
    if arrays:
        ends = axes[1].get_xlim()
        axes[1].plot(ends, ends, color="black", lw=0.8)
        for ax in axes[:2]:
            ax.legend(fontsize=6, frameon=False, markerscale=3)
    axes[0].set(yscale="log", xlabel="electrode to initiation (mm)", ylabel="threshold (mA)", title="B")
    axes[1].set(xscale="log", yscale="log", xlabel="simulated (mA)", ylabel="predicted (mA)", title="C")
    axes[2].set_yscale("symlog", linthresh=10)
    axes[2].yaxis.set_major_formatter(FormatStrFormatter("%g"))
    axes[2].set(xlabel="electrode to initiation (mm)", ylabel="error (%)", title="D")
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
        ax.title.set_fontsize(9)
    return save_figure(fig, path)


def directions(found: Tables, path: Path) -> Path:
    """Azimuthal means of the L5 maps by polar angle, every clone and all, beside Weise's (2023)."""
    fig, axes = plt.subplots(1, 2, figsize=(9.5, 3.4), dpi=figures.DPI, layout="constrained")
    rows = found.rows("directions", layer="L5", pulse="monophasic", axon="disabled")
    for clone in sorted({row["clone"] for row in rows}):
        mine = [row for row in rows if row["clone"] == clone]
        angle, mean = ([row[key] for row in mine] for key in ("polar_deg", "mean_v_per_m"))
        axes[0].plot(angle, mean, color=CLONES[clone - 1], lw=1, label=f"clone {clone}")
        axes[0].fill_between(
            angle, [row["lowest_v_per_m"] for row in mine], [row["highest_v_per_m"] for row in mine],
            color=CLONES[clone - 1], alpha=0.08, lw=0,
        )  # fmt: skip
    angles = sorted({row["polar_deg"] for row in rows})
    mean = np.array([np.mean([row["mean_v_per_m"] for row in rows if row["polar_deg"] == a]) for a in angles])
    known = [(row["polar_deg"], row["published"]) for row in average(found) if row["published"] is not None]
    for ax, all_of_them in zip(axes, (False, True), strict=True):
        ax.plot(angles, mean, color="black", lw=2, label="mean, 0° towards the pia")
        if all_of_them:
            ax.plot(angles, mean[::-1], color="black", lw=1.5, ls=":", label="mean, 0° towards the white matter")
        if known:
            ax.plot(*zip(*known, strict=True), "D", color="#d55e00", label="Weise 2023")
        ax.set(xlabel="field to somatodendritic axis (deg)", ylabel="threshold (V/m)", xticks=range(0, 181, 45))
        ax.spines[["top", "right"]].set_visible(False)
        if rows:
            ax.legend(fontsize=7, frameon=False)
    axes[0].set_title("means over azimuths (bands: their range)", fontsize=9)
    axes[1].set_title("means over azimuths and clones", fontsize=9)
    return save_figure(fig, path)


def sphere(found: Tables, path: Path, cell: str) -> Path:
    """Uniform fields of every direction: simulated, the support function's, and its error (figure 6)."""
    columns = on_sphere(found, cell, "support")
    if not columns:
        return _nothing(path, "no model is judged in uniform fields yet")
    return viz.directions_figure(path, columns, f"{cell.rpartition('_')[0]}: {ESTIMATORS['support']}")


def timing(found: Tables, path: Path) -> Path:
    """Seconds against the number of thresholds (figure 7)."""
    rows = [{**row, "layer": LAYERS[row["layer"]]} for row in found.rows("timing")]
    return viz.timing_figure(path, rows, "layer") if rows else _nothing(path, "nothing is timed yet")


def _nothing(path: Path, text: str) -> Path:
    fig, ax = plt.subplots(figsize=(5, 1.2), dpi=figures.DPI)
    figures.empty(ax, text)
    return save_figure(fig, path)
