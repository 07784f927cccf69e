"""Figures: the only room that imports plotting packages."""

from tmsjax.viz.demo import demo_figure
from tmsjax.viz.surface import View, draw_surface

__all__ = ["View", "demo_figure", "draw_surface"]
