"""Seconds against the number of thresholds (Aberra et al. 2023, figure 7)."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt

from tmsjax.viz.evaluation import COLOURS
from tmsjax.viz.files import save_figure

MARKERS = "osD^vPX"

OTHERS = ("#d55e00", "#7f7f7f", "#000000", "#56b4e9")
"""Colours of methods that are no family of surrogates."""


def timing_figure(path: Path, rows: Sequence[Mapping[str, Any]], group: str = "", title: str = "") -> Path:
    """Seconds by number of thresholds on logarithmic axes: colours for methods, markers for groups (cells).

    Lines are whole where they were measured and dotted where they go on in proportion.

    Args:
        path: a .png or .pdf file. rows: of ``time_by_count``. group: a column that tells cells apart, "" for none.
    """
    methods = list(dict.fromkeys(row["method"] for row in rows))
    groups = list(dict.fromkeys(row.get(group, "") for row in rows))
    others = [name for name in methods if not any(family in name for family in COLOURS)]
    tones = dict(zip(others, itertools.cycle(OTHERS), strict=False))
    tones |= {n: tone for n in methods for family, tone in COLOURS.items() if family in n}
    fig, ax = plt.subplots(figsize=(5.6, 4.0), dpi=160, layout="constrained")
    ax.spines[["top", "right"]].set_visible(False)
    for method in methods:
        for j, name in enumerate(groups):
            mine = sorted(
                (row for row in rows if row["method"] == method and row.get(group, "") == name),
                key=lambda row: row["thresholds"],
            )
            x, y = [row["thresholds"] for row in mine], [row["seconds"] for row in mine]
            known = [row["thresholds"] for row in mine if row["measured"]]
            style = {"color": tones[method], "marker": MARKERS[j % len(MARKERS)], "ms": 4}
            ax.plot(x, y, ls=":", lw=1, **style, label=method if j == 0 else None)
            whole = [k for k, count in enumerate(x) if known and min(known) <= count <= max(known)]
            ax.plot([x[k] for k in whole], [y[k] for k in whole], lw=1.6, **style)
    ax.set(xscale="log", yscale="log", xlabel="thresholds", ylabel="CPU-seconds of one core")
    first = ax.legend(fontsize=7, frameon=False, loc="upper left")
    if len(groups) > 1:
        marks = [ax.plot([], [], ls="", color="grey", marker=MARKERS[j % len(MARKERS)])[0] for j in range(len(groups))]
        ax.add_artist(first)
        ax.legend(marks, groups, fontsize=7, frameon=False, loc="lower right")
    fig.suptitle(title, fontsize=10)
    return save_figure(fig, path)
