"""Figures of target points: where they lie in a T1, and how far methods are off."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np

from tmsjax.viz.files import save_figure

COLOURS = ("#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00")
"""Okabe and Ito's, which colour-blind readers tell apart."""

WINDOW_MM = 45.0
"""Half the side of what is shown round a point."""

PLANES = ((2, 0, 1), (1, 0, 2), (0, 1, 2))
"""Axis across, then the two that are shown: axial, coronal, sagittal."""


def places_figure(
    path: Path,
    values: np.ndarray,
    affine: np.ndarray,
    points: Mapping[str, Mapping[str, Sequence[float]]],
    title: str = "",
) -> Path:
    """Axial, coronal and sagittal cuts of a T1 through each point.

    Args:
        path: a .png or .pdf file.
        values, affine: (n, n, n) image along the world's axes, and its affine to world mm.
        points: name -> who says so -> (3,) world mm; the cuts run through the first one's place.
        title: one line that says what is shown.
    """
    count = max(1, len(points))
    fig, axes = plt.subplots(3, count, figsize=(2.0 * count + 0.4, 6.4), dpi=130, layout="constrained", squeeze=False)
    size, first = affine[0, 0], affine[:3, 3]
    for column, (name, sources) in enumerate(points.items()):
        middle = np.asarray(next(iter(sources.values())), float)
        index = np.clip(np.rint((middle - first) / size).astype(int), 0, len(values) - 1)
        for ax, (across, a, b) in zip(axes[:, column], PLANES, strict=True):
            ends = [[first[d] - size / 2, first[d] + size * (len(values) - 0.5)] for d in (a, b)]
            cut = np.take(values, index[across], axis=across)
            ax.imshow(cut.T, origin="lower", cmap="gray", vmin=0, vmax=1.3, extent=(*ends[0], *ends[1]))
            for i, (who, place) in enumerate(sources.items()):
                ax.plot(place[a], place[b], "+", color=COLOURS[i % len(COLOURS)], ms=9, mew=1.8, label=who)
            ax.set(xlim=middle[a] + WINDOW_MM * np.array([-1, 1]), ylim=middle[b] + WINDOW_MM * np.array([-1, 1]))
            ax.tick_params(labelsize=6)
            ax.set_xlabel(f"{'xyz'[a]} (mm)", fontsize=6, labelpad=1)
            ax.set_ylabel(f"{'xyz'[b]} (mm)", fontsize=6, labelpad=1)
        axes[0, column].set_title(name, fontsize=8)
    handles, labels = axes[0, 0].get_legend_handles_labels()
    if len(labels) > 1:
        fig.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=7, frameon=False)
    fig.suptitle(title, fontsize=9)
    return save_figure(fig, path)


def errors_figure(path: Path, errors: Mapping[str, np.ndarray], points: Sequence[str], title: str = "") -> Path:
    """Distances from the points, a box for each method beside each other at every point.

    Args:
        path: a .png or .pdf file.
        errors: method -> (n, p) mm, NaN where there is none.
        points: names of the columns.
        title: one line that says what is shown, and that a cohort is synthetic where it is.
    """
    fig, ax = plt.subplots(figsize=(1.2 + 0.75 * len(points), 3.6), dpi=130, layout="constrained")
    width = 0.8 / max(1, len(errors))
    for i, (name, values) in enumerate(errors.items()):
        colour = COLOURS[i % len(COLOURS)]
        columns = [column[np.isfinite(column)] for column in np.asarray(values).T]
        at = np.arange(len(points)) + (i - (len(errors) - 1) / 2) * width
        ax.boxplot(
            columns,
            positions=at,
            widths=0.85 * width,
            patch_artist=True,
            showfliers=True,
            flierprops={"marker": ".", "markersize": 2, "markeredgecolor": colour},
            boxprops={"facecolor": colour, "alpha": 0.5, "linewidth": 0.6},
            medianprops={"color": "black"},
        )
        ax.plot([], [], "s", color=colour, alpha=0.6, label=name)
    ax.set_xticks(range(len(points)), list(points), rotation=30, ha="right", fontsize=7)
    ax.set_ylim(bottom=0)
    ax.set_ylabel("distance from the point (mm)")
    ax.spines[["top", "right"]].set_visible(False)
    fig.legend(*ax.get_legend_handles_labels(), loc="outside upper right", fontsize=7, frameon=False, ncols=4)
    fig.suptitle(title, fontsize=9, x=0.01, ha="left")
    return save_figure(fig, path)
