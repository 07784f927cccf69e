"""Layers between white and pial surfaces, neuron placement, cell frames, sampling grids."""

from tmsjax.cortex.layers import PAPER_DEPTHS, LayerSurface, column_axes, layer_surface
from tmsjax.cortex.patches import compartment_fields, patches, sampling_grid
from tmsjax.cortex.place import Population, Roi, place

__all__ = [
    "PAPER_DEPTHS",
    "LayerSurface",
    "Population",
    "Roi",
    "column_axes",
    "compartment_fields",
    "layer_surface",
    "patches",
    "place",
    "sampling_grid",
]
