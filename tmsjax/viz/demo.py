"""The demo's figure: coil over the head, field on the cortex, thresholds of each layer."""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg", force=False)

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.cm import ScalarMappable
from matplotlib.colors import LogNorm, Normalize

from tmsjax.viz.files import save_figure
from tmsjax.viz.surface import View, draw_surface, scale_bar, threshold_bar

Mesh = tuple[np.ndarray, np.ndarray]


def demo_figure(
    path: Path,
    *,
    scalp: Mesh,
    cortex: Mesh,
    field_on_cortex: np.ndarray,
    windings_mm: np.ndarray,
    pose_matrix: np.ndarray,
    layer_meshes: dict[str, Mesh],
    layer_values: dict[str, np.ndarray],
    target_mm: np.ndarray,
    caption: str,
) -> Path:
    """Draw the chain of the demo, from the coil to the thresholds, and write it to ``path``.

    Args:
        path: a .png or .pdf file.
        scalp: (vertices mm, faces) of the head. cortex: the same of the pial surface.
        field_on_cortex: (f,) |E| in V/m per A/us on the cortex's faces.
        windings_mm: (w, 3) the coil's windings, world. pose_matrix: (4, 4) its pose.
        layer_meshes: layer -> (vertices, faces) of the region. layer_values: layer -> (f,) median threshold, A/us.
        target_mm: (3,) the target.
        caption: one line that says what is shown.
    """
    layers = list(layer_meshes)
    fig = plt.figure(figsize=(3.2 * (2 + len(layers)), 4.1), dpi=160, layout="constrained")
    axes = fig.subplots(1, 2 + len(layers))
    from_coil = View.along(-pose_matrix[:3, 2], np.array([0.0, 1.0, 0.0]))
    _coil_panel(axes[0], scalp, windings_mm, pose_matrix)
    _field_panel(fig, axes[1], cortex, field_on_cortex, from_coil, target_mm)
    finite = np.concatenate([v[np.isfinite(v)] for v in layer_values.values()])
    norm = LogNorm(*np.percentile(finite, [1, 90]))
    for ax, layer in zip(axes[2:], layers, strict=True):
        draw_surface(ax, *layer_meshes[layer], from_coil, layer_values[layer], norm, cmap="viridis_r")
        ax.set_title(f"{layer.replace('L23', 'L2/3')}: threshold", fontsize=10)
    scale_bar(axes[2])
    threshold_bar(fig, list(axes[2:]), norm, "median threshold over azimuths (A/µs)")
    fig.suptitle(caption, fontsize=10)
    return save_figure(fig, path)


def _coil_panel(ax, scalp: Mesh, windings_mm: np.ndarray, pose_matrix: np.ndarray) -> None:
    view = View.along(np.array([-0.75, -0.55, 0.75]), np.array([0.0, 0.0, 1.0]))  # from behind: no face
    draw_surface(ax, *scalp, view)
    points = view.project(windings_mm)
    ax.plot(points[:, 0], points[:, 1], ".", ms=1.0, color="#b3541e", alpha=0.7)
    centre, handle = pose_matrix[:3, 3] - 10 * pose_matrix[:3, 2], -pose_matrix[:3, 1]
    line = view.project(np.stack([centre + 40 * handle, centre + 120 * handle]))
    ax.plot(line[:, 0], line[:, 1], color="#b3541e", lw=4, solid_capstyle="round")
    ax.set_title("coil and handle", fontsize=10)


def _field_panel(fig, ax, cortex: Mesh, magnitude: np.ndarray, view: View, target_mm: np.ndarray) -> None:
    norm = Normalize(0, float(np.nanpercentile(magnitude, 99.9)))
    draw_surface(ax, *cortex, view, magnitude, norm, cmap="magma")
    x, y, _ = view.project(target_mm)
    ax.plot(x, y, "o", ms=9, mfc="none", mec="#00c2c7", mew=1.6)
    ax.set_title("|E| on the cortex (ring: target)", fontsize=10)
    fig.colorbar(ScalarMappable(norm, "magma"), ax=ax, shrink=0.6, pad=0.01, label="V/m per A/µs")
