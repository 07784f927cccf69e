"""Figures of population responses and sweeps: recruitment, maps of thresholds, direction tuning, pulses."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from tmsjax.viz.files import save_figure
from tmsjax.viz.surface import View, draw_surface, scale_bar, threshold_bar

if TYPE_CHECKING:
    from tmsjax.response import Recruitment

Mesh = tuple[np.ndarray, np.ndarray]

LAYERS = {"L1": "#8a8a8a", "L23": "#1b6ca8", "L4": "#4d8b31", "L5": "#b3541e", "L6": "#6a4c93"}


def layer_name(name: str) -> str:
    """L23 as it is written: L2/3."""
    return name.replace("L23", "L2/3")


def _title(fig: Figure, caption: str) -> None:
    """The caption over the figure, in as many lines as its width asks for."""
    fig.suptitle(textwrap.fill(caption, int(15 * fig.get_size_inches()[0])), fontsize=9)


def recruitment_figure(
    path: Path,
    curves: Sequence[Recruitment],
    *,
    max_didt_a_per_us: float | None = None,
    device: str = "",
    caption: str = "",
) -> Path:
    """Share of each population that is active against intensity, with its bootstrap band.

    Args:
        path: a .png or .pdf file. curves: one a population, named by layer.
        max_didt_a_per_us: of the stimulator: a second axis in % of its output, a line at 100 %. device: its name.
        caption: one line that says what is shown.
    """
    fig, ax = plt.subplots(figsize=(5.2, 3.8), dpi=160, layout="constrained")
    for i, curve in enumerate(curves):
        colour = LAYERS.get(curve.name.split()[0], f"C{i}")
        ax.plot(curve.intensity, curve.share, color=colour, lw=1.6, label=layer_name(curve.name))
        if np.isfinite(curve.low).any():
            ax.fill_between(curve.intensity, curve.low, curve.high, color=colour, alpha=0.2, lw=0)
    ax.set(ylim=(0, 1), xlim=(0, None), xlabel="|dI/dt| (A/µs)", ylabel="share of neurons active")
    ax.yaxis.set_major_formatter(PercentFormatter(1.0))
    if max_didt_a_per_us is not None:
        limit = max_didt_a_per_us
        ax.axvline(limit, color="black", lw=0.8, ls="--")
        top = ax.secondary_xaxis(
            "top", functions=(lambda a: np.asarray(a) * (100 / limit), lambda p: np.asarray(p) * (limit / 100))
        )
        top.set_xlabel(f"% of maximum output{f' of {device}' if device else ''}", fontsize=8)
    ax.spines["right"].set_visible(False)
    band = next((f"band: {100 * c.level:g} %, positions drawn anew" for c in curves if np.isfinite(c.low).any()), None)
    ax.legend(fontsize=8, frameon=False, title=band, title_fontsize=7)
    _title(fig, caption)
    return save_figure(fig, path)


def threshold_maps_figure(
    path: Path,
    meshes: Mapping[str, Mesh],
    values: Mapping[str, Mapping[str, np.ndarray]],
    towards_viewer: np.ndarray,
    *,
    caption: str = "",
    label: str = "median threshold (A/µs)",
) -> Path:
    """Maps of thresholds on the layers: a row a layer, a column a condition (one, or the orientations of a coil).

    Args:
        path: a .png or .pdf file. meshes: layer -> (vertices mm, faces).
        values: layer -> condition -> (f,) A/us of each face, NaN where there is none.
        towards_viewer: (3,) direction to look from. caption: one line that says what is shown.
    """
    columns = list(dict.fromkeys(name for each in values.values() for name in each))
    one_row = len(columns) == 1
    rows, cols = (1, len(meshes)) if one_row else (len(meshes), len(columns))
    fig, axes = plt.subplots(
        rows, cols, figsize=(2.7 * cols + 0.7, 2.9 * rows + 0.4), dpi=160, layout="constrained", squeeze=False
    )
    known = [v[np.isfinite(v)] for each in values.values() for v in each.values()]
    joined = np.concatenate(known) if known else np.zeros(0)
    low, high = np.percentile(joined, [1, 95]) if len(joined) else (1.0, 10.0)
    norm = LogNorm(low, max(high, 1.01 * low))
    view = View.along(np.asarray(towards_viewer), np.array([0.0, 1.0, 0.0]))
    for r, (layer, mesh) in enumerate(meshes.items()):
        for c, column in enumerate(columns):
            ax = axes[0, r] if one_row else axes[r, c]
            draw_surface(ax, *mesh, view, values[layer].get(column), norm, cmap="viridis_r")
            ax.set_title(", ".join(filter(None, (layer_name(layer), column))), fontsize=9)
    scale_bar(axes[0, 0])
    threshold_bar(fig, list(axes.ravel()), norm, label)
    _title(fig, caption)
    return save_figure(fig, path)


def tuning_figure(
    path: Path,
    handle_deg: np.ndarray,
    levels: Mapping[str, Mapping[str, np.ndarray]],
    *,
    caption: str = "",
    label: str = "A/µs",
) -> Path:
    """Direction tuning: dI/dt against the angle of the handle, a polar panel a layer and a line a current direction.

    Args:
        path: a .png or .pdf file. handle_deg: (a,) angles of the handle.
        levels: panel (layer) -> line -> (a,) dI/dt; NaN where a share is never reached.
        caption: one line that says what is shown.
    """
    fig, axes = plt.subplots(
        1, len(levels), figsize=(3.2 * len(levels) + 0.3, 3.9), dpi=160, squeeze=False,
        layout=ConstrainedLayoutEngine(h_pad=0.12),  # titles of polar axes stand out of them
        subplot_kw={"projection": "polar"},
    )  # fmt: skip
    order = np.argsort(handle_deg)
    angles = np.deg2rad(np.asarray(handle_deg, float)[order])
    turns = len(angles) > 2 and np.ptp(angles) + np.diff(angles).max() > 2 * np.pi - 1e-6
    for ax, (panel, lines) in zip(axes[0], levels.items(), strict=True):
        for i, (name, values) in enumerate(lines.items()):
            shown = np.asarray(values, float)[order]
            at, shown = (np.append(a, a[:1]) if turns else a for a in (angles, shown))
            ax.plot(at, shown, "o-", ms=2.5, lw=1.3, color=f"C{i}", label=name)
        ax.set_theta_zero_location("N")  # pyright: ignore[reportAttributeAccessIssue]
        ax.set_rmin(0)  # pyright: ignore[reportAttributeAccessIssue]
        ax.tick_params(labelsize=7)
        ax.set_title(f"{layer_name(panel)} ({label})", fontsize=9)
    handles, names = axes[0, 0].get_legend_handles_labels()
    fig.legend(handles, names, loc="outside lower center", ncols=3, fontsize=8, frameon=False)
    _title(fig, caption)
    return save_figure(fig, path)


def places_figure(
    path: Path, u_mm: np.ndarray, v_mm: np.ndarray, levels: Mapping[str, np.ndarray], *, caption: str = ""
) -> Path:
    """dI/dt at the places of a coil on its chart of the scalp, a panel each population.

    Args:
        path: a .png or .pdf file. u_mm, v_mm: (n,) places, to the right and forwards seen from outside.
        levels: population -> (n,) A/us. caption: one line that says what is shown.
    """
    fig, axes = plt.subplots(
        1, len(levels), figsize=(2.9 * len(levels) + 0.3, 2.9), dpi=160, layout="constrained", squeeze=False
    )
    for ax, (name, values) in zip(axes[0], levels.items(), strict=True):
        shown = ax.scatter(u_mm, v_mm, c=values, s=160, marker="s", cmap="viridis_r")
        ax.set(aspect="equal", xlabel="right (mm)", title=layer_name(name))
        ax.margins(0.15)
        fig.colorbar(shown, ax=ax, shrink=0.75, label="|dI/dt| (A/µs)")
    axes[0, 0].set_ylabel("forwards (mm)")
    _title(fig, caption)
    return save_figure(fig, path)


def strength_duration_figure(
    path: Path, duration_ms: Mapping[str, float], levels: Mapping[str, Mapping[str, float]], *, caption: str = ""
) -> Path:
    """dI/dt of each population against the duration of the pulse's first phase, for the pulses that have models.

    Args:
        path: a .png or .pdf file. duration_ms: pulse -> duration. levels: population -> pulse -> A/us.
        caption: one line that says what is shown.
    """
    fig, ax = plt.subplots(figsize=(4.6, 3.5), dpi=160, layout="constrained")
    for i, (name, values) in enumerate(levels.items()):
        pulses = sorted(values, key=lambda pulse: duration_ms[pulse])
        at = [1e3 * duration_ms[pulse] for pulse in pulses]
        colour = LAYERS.get(name.split()[0], f"C{i}")
        ax.plot(at, [values[pulse] for pulse in pulses], "o-", color=colour, label=layer_name(name))
        for x, pulse in zip(at, pulses, strict=True):
            ax.annotate(pulse, (x, values[pulse]), fontsize=6, xytext=(2, 3), textcoords="offset points")
    ax.set(xlabel="first phase of the pulse (µs)", ylabel="|dI/dt| (A/µs)", ylim=(0, None))
    ax.spines[["top", "right"]].set_visible(False)
    ax.legend(fontsize=8, frameon=False)
    _title(fig, caption)
    return save_figure(fig, path)
