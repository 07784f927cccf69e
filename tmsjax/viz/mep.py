"""Figures of fields found from muscles' responses: reconstructions on the cortex, errors against responses, tables."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from scipy.spatial import KDTree

from tmsjax.viz.files import save_figure
from tmsjax.viz.surface import View, draw_surface, scale_bar

NEAR_MM = 3.0
"""A face of the cortex takes the value of the mask's voxel nearest to it, within this plus half a voxel's diagonal."""

CONTEXT_MM = 12.0
"""Of cortex that is drawn round the mask."""

BLUE, ORANGE, GREY = "#1b6ca8", "#b3541e", "#7f7f7f"


def reconstructions_figure(
    path: Path,
    voxels_mm: Float[np.ndarray, "v 3"],
    fields: Mapping[str, Float[np.ndarray, " v"]],
    *,
    cortex: tuple[np.ndarray, np.ndarray] | None = None,
    voxel_mm: float = 1.0,
    responses: tuple[Sequence[str], Any] | None = None,
    caption: str = "",
) -> Path:
    """Draw fields of one stimulation side by side on the cortex, with their centres of gravity (figures 3 and 4).

    Args:
        path: a .png or .pdf file.
        voxels_mm: (v, 3) world mm of the mask's voxels.
        fields: name -> (v,) V/m; all on one scale.
        cortex: vertices (n, 3) mm and faces (f, 3) of a surface; without one, the voxels themselves are drawn.
        voxel_mm: side of a voxel. responses: names of the muscles and their responses in mV, drawn beside the fields.
        caption: one line that says what is shown.
    """
    at = np.asarray(voxels_mm, float)
    outwards = np.array([np.sign(at[:, 0].mean()) or 1.0, 0.0, 1.3])
    view = View.along(outwards, np.array([0.0, 1.0, 0.0]))
    norm = Normalize(0, max(float(np.max(values)) for values in fields.values()))
    count = len(fields) + (responses is not None)
    fig, axes = plt.subplots(1, count, figsize=(3.1 * count, 3.5), dpi=160, layout="constrained", squeeze=False)
    axes = axes[0]
    if responses is not None:
        names, values = responses
        axes[0].barh(np.arange(len(names)), values, color=BLUE)
        axes[0].set(yticks=np.arange(len(names)), yticklabels=names, xlabel="response (mV)", title="responses")
        axes[0].invert_yaxis()
        axes[0].spines[["top", "right"]].set_visible(False)
    for ax, (name, values) in zip(axes[count - len(fields) :], fields.items(), strict=True):
        _panel(ax, at, np.asarray(values, float), view, norm, cortex, voxel_mm)
        ax.set_title(name, fontsize=9)
    bar = fig.colorbar(ScalarMappable(norm, "viridis"), ax=list(axes[count - len(fields) :]), shrink=0.8, pad=0.01)
    bar.set_label("|E| (V/m)")
    fig.suptitle(textwrap.fill(caption, 38 * count), fontsize=9)
    return save_figure(fig, path)


def _panel(ax: Any, at: np.ndarray, values: np.ndarray, view: View, norm: Normalize, cortex: Any, size: float) -> None:
    if cortex is None:
        shown = view.project(at)
        order = np.argsort(shown[:, 2])
        ax.scatter(*shown[order, :2].T, c=values[order], norm=norm, cmap="viridis", s=6 * size, marker="s", lw=0)
        ax.set_aspect("equal")
        ax.set_axis_off()
    else:
        vertices, faces = np.asarray(cortex[0], float), np.asarray(cortex[1])
        centres = vertices[faces].mean(axis=1)
        away, nearest = KDTree(at).query(centres)
        shown = away <= CONTEXT_MM
        found = np.where(away <= NEAR_MM + size * np.sqrt(3) / 2, values[nearest], np.nan)
        draw_surface(ax, vertices, faces[shown], view, found[shown], norm)
    total = values.sum()
    if total > 0:
        place = view.project((values @ at / total)[None])[0]
        ax.plot(*place[:2], "o", ms=7, mfc="none", mec="white", mew=2.6)
        ax.plot(*place[:2], "o", ms=7, mfc="none", mec=ORANGE, mew=1.4, label="centre of gravity")
    scale_bar(ax)


def responses_figure(path: Path, columns: Mapping[str, Any], *, metric: str = "nrmse", caption: str = "") -> Path:
    """Draw an error against the responses' mean and variance and the number of active muscles (figure 5).

    ``columns``: "mean", "variance", "active", "intensity_percent" and the metric, (n,) each
    (``mep.against_responses``).
    """
    fig, axes = plt.subplots(1, 3, figsize=(11.0, 3.4), dpi=160, layout="constrained")
    level, error = np.asarray(columns["intensity_percent"]), np.asarray(columns[metric])
    dots = [
        ax.scatter(columns[name], error, c=level, cmap="cividis", s=8, alpha=0.8, lw=0)
        for ax, name in zip(axes[:2], ("mean", "variance"), strict=True)
    ]
    for ax, name in zip(axes[:2], ("mean", "variance"), strict=True):
        ax.set(xlabel=f"{name} of the scaled responses (0 to 1)", ylabel=metric.upper())
    fig.colorbar(dots[1], ax=axes[1], label="intensity (% of motor threshold)")
    active = np.asarray(columns["active"]).astype(int)
    counts = np.unique(active)
    axes[2].boxplot([error[active == k] for k in counts], positions=counts, widths=0.6, showfliers=False,
                    medianprops={"color": ORANGE})  # fmt: skip
    axes[2].set(xlabel="muscles that responded", ylabel=metric.upper(), xlim=(counts[0] - 1, counts[-1] + 1))
    axes[2].set_xticks(counts[:: max(1, len(counts) // 8)], counts[:: max(1, len(counts) // 8)])
    for ax in axes:
        ax.spines[["top", "right"]].set_visible(False)
    fig.suptitle(textwrap.fill(caption, 140), fontsize=9)
    return save_figure(fig, path)


def models_figure(path: Path, table: Mapping[str, Any], *, caption: str = "") -> Path:
    """Draw NRMSE and the error of the centre of gravity of each row of ``mep.tabulated``, with 95 % errors."""
    fig, axes = plt.subplots(1, 2, figsize=(10.0, 0.8 + 0.32 * len(table)), dpi=160, layout="constrained", sharey=True)
    at, names = np.arange(len(table)), [name.replace("_", " ") for name in table]
    for ax, metric, label in ((axes[0], "nrmse", "NRMSE"), (axes[1], "cog_mm", "error of the centre of gravity (mm)")):
        mean = [row[metric]["mean"] for row in table.values()]
        colour = [GREY if row.get("baseline") else BLUE for row in table.values()]
        ax.barh(at, mean, xerr=[row[metric]["sem"] for row in table.values()], color=colour, ecolor="black", capsize=2)
        ax.set(yticks=at, yticklabels=names, xlabel=label)
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].invert_yaxis()
    fig.suptitle(textwrap.fill(caption, 120), fontsize=9)
    return save_figure(fig, path)


def mapping_figure(path: Path, errors: Mapping[str, Mapping[str, Any]], *, caption: str = "") -> Path:
    """Draw the median errors of hotspot (mm) and threshold (%) against the number of stimulations.

    ``errors``: a way of choosing -> ``hotspot_mm`` and ``threshold_percent``, (runs, stimulations) each.
    """
    fig, axes = plt.subplots(1, 2, figsize=(8.0, 3.2), dpi=160, layout="constrained")
    for (name, found), colour in zip(errors.items(), (BLUE, ORANGE, GREY), strict=False):
        for ax, what in zip(axes, ("hotspot_mm", "threshold_percent"), strict=True):
            values = np.asarray(found[what], float)
            number = np.arange(1, values.shape[1] + 1)
            ax.plot(number, np.median(values, 0), color=colour, lw=1.6, label=name)
            ax.fill_between(number, *np.quantile(values, (0.25, 0.75), axis=0), color=colour, alpha=0.2, lw=0)
    axes[0].set(xlabel="stimulations", ylabel="hotspot: error (mm)")
    axes[1].set(xlabel="stimulations", ylabel="motor threshold: error (%)")
    axes[0].legend(fontsize=8, frameon=False)
    for ax in axes:
        ax.set_ylim(bottom=0)
        ax.spines[["top", "right"]].set_visible(False)
    fig.suptitle(textwrap.fill(caption, 110), fontsize=9)
    return save_figure(fig, path)
