"""Triangle meshes drawn by matplotlib alone: an orthographic view, shaded, coloured by a value per face.

Polygons sorted by depth are enough for one surface seen from outside: they need no OpenGL and no display, and go into
a PDF as they are.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Int
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.collections import PolyCollection
from matplotlib.colorbar import Colorbar
from matplotlib.colors import LogNorm, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import FormatStrFormatter, NullLocator

BARE = np.array([0.80, 0.79, 0.77])
"""Colour of faces without a value."""


@dataclasses.dataclass(frozen=True)
class View:
    """An orthographic view: rows of ``axes`` are right, up and towards the viewer in world coordinates."""

    axes: Float[np.ndarray, "3 3"]

    @classmethod
    def along(cls, towards_viewer: np.ndarray, up: np.ndarray) -> View:
        """Look at the scene from the direction ``towards_viewer``, with ``up`` upwards in the picture."""
        z = np.asarray(towards_viewer, float) / np.linalg.norm(towards_viewer)
        x = np.cross(up, z)
        x /= np.linalg.norm(x)
        return cls(np.stack([x, np.cross(z, x), z]))

    def project(self, points_mm: np.ndarray) -> np.ndarray:
        """(..., 3) world mm -> (..., 3): right, up and nearness to the viewer, mm."""
        return np.asarray(points_mm) @ self.axes.T


def draw_surface(
    ax: Axes,
    vertices: Float[np.ndarray, "v 3"],
    faces: Int[np.ndarray, "f 3"],
    view: View,
    values: Float[np.ndarray, " f"] | None = None,
    norm: Normalize | None = None,
    cmap: str = "viridis",
) -> PolyCollection:
    """Draw the faces that look towards the viewer; faces whose value is NaN (or all, without values) stay bare.

    Args:
        ax: axes to draw into; their aspect is set to equal and their frame is removed.
        vertices: (v, 3) world mm. faces: (f, 3) indices, counter-clockwise from outside.
        view: where from.
        values: (f,) value of each face, coloured through ``norm`` and ``cmap``.
    """
    triangles = view.project(vertices)[faces]
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    normals /= np.maximum(np.linalg.norm(normals, axis=1, keepdims=True), 1e-12)
    front = np.flatnonzero(normals[:, 2] > 0)
    front = front[np.argsort(triangles[front, :, 2].mean(axis=1))]
    light = np.array([-0.35, 0.45, 0.82])
    shade = 0.55 + 0.45 * np.clip(normals[front] @ (light / np.linalg.norm(light)), 0, 1)
    colours = np.tile(BARE, (len(front), 1))
    if values is not None:
        shown = np.asarray(values, float)[front]
        known = np.isfinite(shown)
        colours[known] = colormaps[cmap]((norm or Normalize())(shown[known]))[:, :3]
    colours = colours * shade[:, None]
    drawing = PolyCollection(
        list(triangles[front, :, :2]), facecolors=colours, edgecolors=colours, linewidths=0.15, rasterized=True
    )
    ax.add_collection(drawing)
    ax.set_aspect("equal")
    ax.autoscale_view()
    ax.set_axis_off()
    return drawing


def scale_bar(ax: Axes, length_mm: float = 10.0) -> None:
    """A scale bar in the lower left corner."""
    (x0, x1), (y0, y1) = ax.get_xlim(), ax.get_ylim()
    x, y = x0 + 0.04 * (x1 - x0), y0 + 0.04 * (y1 - y0)
    ax.plot([x, x + length_mm], [y, y], color="black", lw=2, solid_capstyle="butt")
    ax.text(x + length_mm / 2, y + 0.015 * (y1 - y0), f"{length_mm:g} mm", ha="center", va="bottom", fontsize=8)


TICKS = (50, 75, 100, 150, 200, 300, 400, 600, 800, 1200, 2000)


def threshold_bar(figure: Figure, axes: Sequence[Axes], norm: LogNorm, label: str) -> Colorbar:
    """A bar of thresholds on a logarithmic scale, low ones light, beside ``axes``; ticks are round numbers."""
    bar = figure.colorbar(ScalarMappable(norm, "viridis_r"), ax=list(axes), shrink=0.75, pad=0.01, extend="both")
    bar.set_label(label)
    low, high = norm.vmin or 0, norm.vmax or np.inf
    bar.set_ticks([tick for tick in TICKS if low <= tick <= high])
    bar.ax.yaxis.set_major_formatter(FormatStrFormatter("%g"))
    bar.ax.yaxis.set_minor_locator(NullLocator())
    return bar
