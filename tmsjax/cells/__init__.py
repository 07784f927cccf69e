"""Neurons: morphologies, adult-human scaling, myelination, membrane, compartments, and their NEURON build (no JAX)."""

from tmsjax.cells.cable import cable_model
from tmsjax.cells.library import from_file, load, names
from tmsjax.cells.mechanism_library import load_neuron, use_tables
from tmsjax.cells.neuron_cell import NeuronCell, build_neuron, steady_state
from tmsjax.cells.types import REGIONS, CableModel, Cell, Section

__all__ = [
    "REGIONS",
    "CableModel",
    "Cell",
    "NeuronCell",
    "Section",
    "build_neuron",
    "cable_model",
    "from_file",
    "load",
    "load_neuron",
    "names",
    "steady_state",
    "use_tables",
]
