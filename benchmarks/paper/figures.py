"""Figures 3, 4, S3 and S4 of Aberra et al. (2023) from the committed tables; what is not there stays empty."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import EllipseCollection
from matplotlib.colors import LogNorm, Normalize
from matplotlib.patches import Rectangle
from matplotlib.ticker import FormatStrFormatter, NullLocator
from PIL import Image

from benchmarks.paper.report import ESTIMATORS, LAYERS, Tables
from tmsjax.core.files import staged_file
from tmsjax.viz.evaluation import COLOURS
from tmsjax.viz.files import save_figure
from tmsjax.viz.surface import TICKS, scale_bar

CLONES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9")
"""Okabe and Ito's, told apart with every kind of colour blindness."""
SHOWN = ("support", "cnn", "uniform")
DISC_MM = 2.6
DPI = 130


def cortex(found: Tables, path: Path, current: str = "P-A", pulse: str = "monophasic") -> Path:
    """Median thresholds and errors at every position of the test head (figure 3)."""
    fig, axes = plt.subplots(3, 7, figsize=(13.2, 6.2), dpi=DPI, layout="constrained", width_ratios=[1] * 7)
    for place, (row, (layer, name)) in enumerate(zip(axes, LAYERS.items(), strict=True)):
        columns = found.arrays(f"map_{layer}_{pulse}")
        titles = ["simulated", *SHOWN, *(f"{family}_error" for family in SHOWN)]
        truth = columns.get(f"simulated__{current}")
        norm = LogNorm(*np.nanpercentile(truth.astype(float), [1, 95])) if truth is not None else None
        for ax, key in zip(row, titles, strict=True):
            values = columns.get(f"{key}__{current}")
            family, _, error = key.partition("_")
            title = ESTIMATORS.get(family, key) + (": error" if error else "")
            ax.set_title("" if place else title, fontsize=8)
            if values is None or norm is None:
                empty(ax, "not judged yet")
                continue
            values = values.astype(float)
            if error:
                largest = max(float(np.nanpercentile(np.abs(values), 95)), 0.1)
                scale, cmap, label = Normalize(-largest, largest), "RdBu_r", "median error (%)"
            else:
                scale, cmap, label = norm, "viridis_r", "median threshold (A/µs)"
            _discs(ax, columns, values, scale, cmap)
            if error or key == "simulated":
                bar = fig.colorbar(
                    ScalarMappable(scale, cmap), ax=ax, location="bottom", shrink=0.8, pad=0.02, extend="both"
                )
                bar.set_label(label, fontsize=7)
                bar.ax.tick_params(labelsize=6)
                if not error:
                    bar.set_ticks([tick for tick in TICKS[::2] if (scale.vmin or 0) <= tick <= (scale.vmax or np.inf)])
                    bar.ax.xaxis.set_major_formatter(FormatStrFormatter("%g"))
                    bar.ax.xaxis.set_minor_locator(NullLocator())
        row[0].text(-0.06, 0.5, name, transform=row[0].transAxes, rotation=90, va="center", ha="right", fontsize=9)
        if norm is not None:
            scale_bar(row[0])
    return save_figure(fig, path)


def _discs(ax: Axes, columns: dict[str, np.ndarray], values: np.ndarray, norm: Normalize, cmap: str) -> None:
    """Each site as a disc in its layer's plane, seen from outside the head, shaded as a surface would be."""
    normal = columns["normal"].astype(float) / 127
    here = (normal[:, 2] > 0.05) & np.isfinite(values)
    x, y, normal = columns["right_mm"][here], columns["up_mm"][here], normal[here]
    light = np.array([-0.35, 0.45, 0.82])
    shade = 0.55 + 0.45 * np.clip(normal @ (light / np.linalg.norm(light)), 0, 1)
    colours = matplotlib.colormaps[cmap](norm(values[here]))[:, :3] * shade[:, None]
    tilt = np.rad2deg(np.arctan2(normal[:, 1], normal[:, 0]))
    size = np.full(len(x), DISC_MM)
    discs = EllipseCollection(
        size * np.abs(normal[:, 2]), size, tilt, units="xy", offsets=np.column_stack([x, y]), facecolors=colours,
        edgecolors="none", transOffset=ax.transData, rasterized=True,
    )  # fmt: skip
    ax.add_collection(discs)
    ax.set(xlim=(x.min() - 2, x.max() + 2), ylim=(y.min() - 2, y.max() + 2), aspect="equal")
    ax.set_axis_off()


def predictions(found: Tables, path: Path, pulse: str = "monophasic") -> Path:
    """Predicted against simulated thresholds by clone, and MAPE by clone beside the paper's bounds (figures 4, S4)."""
    layers = LAYERS if pulse == "monophasic" else {"L5": LAYERS["L5"]}
    shape = {"figsize": (11.5, 2.9 * len(layers)), "dpi": DPI, "layout": "constrained", "squeeze": False}
    fig, axes = plt.subplots(len(layers), 4, **shape)
    points = found.arrays("points")
    cells = {row["cell"]: row for row in found.rows("scores", pulse=pulse)}
    for row, (layer, name) in zip(axes, layers.items(), strict=True):
        mine = [cell for cell, about in cells.items() if about["layer"] == layer]
        for ax, family in zip(row, SHOWN, strict=False):
            low, high = np.inf, 0.0
            for cell in mine:
                stem = f"{cell.partition('/')[2]}_{pulse}"
                if f"{stem}__{family}" not in points:
                    continue
                x, y = points[f"{stem}__simulated"], points[f"{stem}__{family}"]
                low, high = min(low, x.min()), max(high, float(np.quantile(x, 0.995)))
                clone = cells[cell]["clone"]
                ax.plot(x, y, ".", ms=2.5, alpha=0.5, color=CLONES[clone - 1], label=f"clone {clone}", rasterized=True)
            ax.set_title(f"{name}: {ESTIMATORS[family]}", fontsize=9)
            if not high:
                empty(ax, "not judged yet")
                continue
            ax.plot([low, high], [low, high], color="black", lw=0.8)
            ax.set(
                xlim=(low, high), ylim=(low, high), aspect="equal", xlabel="simulated (V/m)", ylabel="predicted (V/m)"
            )
            if family == SHOWN[0]:
                ax.legend(fontsize=7, frameon=False, markerscale=3)
        _bars(row[-1], found, layer, pulse)
    return save_figure(fig, path)


def _bars(ax: Axes, found: Tables, layer: str, pulse: str) -> None:
    width, marks = 0.8 / len(SHOWN), []
    for i, family in enumerate(SHOWN):
        rows = found.rows("scores", layer=layer, pulse=pulse, estimator=family)
        at = [row["clone"] + (i - 1) * width for row in rows]
        hatch = ("", "//", "..")[i]
        look = {"facecolor": COLOURS[family], "hatch": hatch, "edgecolor": "white", "lw": 0}
        marks.append(Rectangle((0, 0), 1, 1, label=ESTIMATORS[family], **look))
        ax.bar(at, [row["mape_percent"] for row in rows], width, **look)
        bound = found.paper("mape_percent", layer, family)[1]
        if bound is not None and pulse == "monophasic":
            ax.axhline(bound, color=COLOURS[family], lw=1, ls="--")
    ax.set(xlabel="clone", ylabel="MAPE (%)", xticks=range(1, 6), xlim=(0.4, 5.6), yscale="log", ylim=(0.1, 60))
    ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    ax.spines[["top", "right"]].set_visible(False)
    ax.set_title("dashed: the paper's bounds" if pulse == "monophasic" else "", fontsize=8)
    ax.legend(handles=marks, fontsize=6, frameon=False, loc="upper right")


def distributions(found: Tables, path: Path) -> Path:
    """Percent errors of all thresholds and of the medians at each position (figure S3): violins of 98 %."""
    fig, axes = plt.subplots(1, 2, figsize=(10.5, 3.6), dpi=DPI, layout="constrained", sharey=True)
    for ax, of, title in zip(
        axes, ("all", "medians"), ("A: clones and azimuths", "B: medians at each position"), strict=True
    ):
        for i, layer in enumerate(LAYERS):
            for j, family in enumerate(SHOWN):
                rows = found.rows("error_quantiles", layer=layer, pulse="monophasic", estimator=family, of=of)
                if rows:
                    _violin(ax, i + 0.28 * (j - 1), rows, COLOURS[family])
        ax.axhline(0, color="grey", lw=0.6)
        ax.set_yscale("symlog", linthresh=1)
        ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        ax.set_xticks(range(3), LAYERS.values())
        ax.set_xlim(-0.5, 2.5)
        ax.set_title(title, fontsize=9)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("error (%)")
    marks = [Rectangle((0, 0), 1, 1, color=COLOURS[family], alpha=0.6) for family in SHOWN]
    axes[1].legend(marks, [ESTIMATORS[f] for f in SHOWN], fontsize=7, frameon=False)
    return save_figure(fig, path)


def _violin(ax: Axes, at: float, rows: list[dict[str, Any]], colour: str) -> None:
    """A density from quantiles, on the scale that is drawn; box, and whiskers to 1.5 times its height."""
    q = np.array([row["quantile"] for row in rows]) / 100
    values = np.array([row["error_percent"] for row in rows])
    inner = (q >= 0.01) & (q <= 0.99)
    drawn = np.where(np.abs(values) <= 1, values, np.sign(values) * (1 + np.log10(np.maximum(np.abs(values), 1))))
    grid = np.linspace(drawn[inner][0], drawn[inner][-1], 60)
    density = np.gradient(np.interp(grid, drawn, q), grid)
    density = np.convolve(density, np.full(5, 0.2), "same")
    width = 0.12 * density / density.max()
    back = np.where(np.abs(grid) <= 1, grid, np.sign(grid) * 10 ** (np.abs(grid) - 1))
    ax.fill_betweenx(back, at - width, at + width, color=colour, alpha=0.5, lw=0)
    first, middle, third = np.interp([0.25, 0.5, 0.75], q, values)
    reach = 1.5 * (third - first)
    ends = max(first - reach, values[0]), min(third + reach, values[-1])
    ax.plot([at, at], ends, color="black", lw=0.7)
    ax.plot([at, at], [first, third], color="black", lw=4, solid_capstyle="butt")
    ax.plot([at], [middle], "o", color="white", ms=2.5)


def small(path: Path, colours: int = 200) -> Path:
    """The same picture with a palette of so many colours: a third of the bytes."""
    with Image.open(path) as picture:
        flat = picture.convert("RGB").quantize(colours, dither=Image.Dither.NONE)
    with staged_file(path) as stage:
        flat.save(stage, format="PNG", optimize=True)
    return path


def empty(ax: Axes, text: str) -> None:
    """Axes that say why there is nothing in them."""
    ax.set_axis_off()
    ax.text(0.5, 0.5, text, ha="center", va="center", transform=ax.transAxes, fontsize=8, color="0.5")
