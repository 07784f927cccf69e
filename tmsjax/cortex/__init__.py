"""Layers between white and pial surfaces, neuron placement, cell frames, sampling grids."""

from tmsjax.cortex.blocks import Voxels, pack
from tmsjax.cortex.layers import PAPER_DEPTHS, LayerSurface, column_axes, layer_surface
from tmsjax.cortex.patches import compartment_fields, patches, sampling_grid
from tmsjax.cortex.place import Population, Roi, place

__all__ = [
    "PAPER_DEPTHS",
    "LayerSurface",
    "Population",
    "Roi",
    "Voxels",
    "column_axes",
    "compartment_fields",
    "layer_surface",
    "pack",
    "patches",
    "place",
    "sampling_grid",
]
