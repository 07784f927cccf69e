"""The figure of a coil placement: the objective round the pose that was found, and the way there."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np
from jaxtyping import Float

from tmsjax.viz.files import save_figure


def placement_figure(
    path: Path,
    around: dict[str, Any],
    history: Sequence[dict[str, Any]],
    *,
    at_mm: Float[np.ndarray, 2],
    radius_mm: float,
    value: float,
    unit: str,
    caption: str = "",
) -> Path:
    """Draw the objective over the scalp, over the handle's angle in both polarities, and during the search.

    Args:
        path: a .png or .pdf file.
        around: ``place_mm`` (n, 2), a whole grid, with ``value`` (n,); ``handle_deg`` (a,) with ``by_angle`` (a,) and
            ``reversed_by_angle`` (a,) (``optimize.report.objective_map``).
        history: rows of ``evaluations`` and ``value``.
        at_mm: (2,) place of the pose on the chart. radius_mm: of the search. value: of the pose. unit: of values.
        caption: one line that says what is shown.
    """
    unit = unit.replace("A/us", "A/µs")
    fig, axes = plt.subplots(1, 3, figsize=(11.0, 3.8), dpi=160, layout="constrained")
    _map_panel(fig, axes[0], around, np.asarray(at_mm), radius_mm, unit)
    order = np.argsort(around["handle_deg"])
    handle = np.asarray(around["handle_deg"])[order]
    for name, label, colour in (
        ("by_angle", "current as found", "#1b6ca8"),
        ("reversed_by_angle", "reversed", "#b3541e"),
    ):
        shown = np.asarray(around[name], float)[order]
        axes[1].plot(handle, np.where(np.isfinite(shown), shown, np.nan), color=colour, lw=1.6, label=label)
    axes[1].axhline(value, color="black", lw=0.8, ls="--")
    axes[1].set(xlabel="handle angle (°)", ylabel=unit, xticks=range(-180, 181, 90), title="angle, at its place")
    axes[1].legend(fontsize=8, frameon=False)
    done = [row for row in history if np.isfinite(row["value"])]
    axes[2].step([r["evaluations"] for r in done], [r["value"] for r in done], where="post", color="#1b6ca8", lw=1.6)
    axes[2].axhline(value, color="black", lw=0.8, ls="--", label="neurons not searched with")
    axes[2].set(xlabel="evaluations", ylabel=f"best so far ({unit})", title="search")
    axes[2].legend(fontsize=8, frameon=False)
    for ax in axes[1:]:
        ax.spines[["top", "right"]].set_visible(False)
    fig.suptitle(textwrap.fill(caption, 150), fontsize=9)
    return save_figure(fig, path)


def _map_panel(fig, ax, around: dict[str, Any], at_mm: np.ndarray, radius_mm: float, unit: str) -> None:
    """The objective on the scalp round the pose, with the search's border where it is in sight."""
    places, values = np.asarray(around["place_mm"], float), np.asarray(around["value"], float)
    side = round(np.sqrt(len(values)))
    u, v = (places[:, n].reshape(side, side) for n in range(2))
    grid = np.ma.masked_invalid(values.reshape(side, side))
    drawn = ax.pcolormesh(u, v, grid, shading="nearest", cmap="viridis_r")
    ax.plot(*at_mm, "*", ms=12, color="white", mec="black", mew=0.8)
    turn = np.linspace(0, 2 * np.pi, 181)
    ax.plot(radius_mm * np.cos(turn), radius_mm * np.sin(turn), color="black", lw=0.8, ls=":")
    ax.set(xlim=(u.min(), u.max()), ylim=(v.min(), v.max()), aspect="equal", title="place, at its angle")
    ax.set(xlabel="to the right on the scalp (mm)", ylabel="forwards (mm)")
    fig.colorbar(drawn, ax=ax, shrink=0.8, pad=0.02, label=unit)
