"""Neurons: morphologies, adult-human scaling, myelination, membrane, compartments, and their NEURON build (no JAX)."""

from tmsjax.cells.cable import cable_model
from tmsjax.cells.fetch import fetch_aberra2019
from tmsjax.cells.library import CellInfo, from_file, info, load, names
from tmsjax.cells.mechanism_library import load_neuron, use_tables
from tmsjax.cells.neuron_cell import NeuronCell, build_neuron, steady_state
from tmsjax.cells.scaling import SCALINGS, Scaling
from tmsjax.cells.types import REGIONS, CableModel, Cell, Membrane, Section

__all__ = [
    "REGIONS",
    "SCALINGS",
    "CableModel",
    "Cell",
    "CellInfo",
    "Membrane",
    "NeuronCell",
    "Scaling",
    "Section",
    "build_neuron",
    "cable_model",
    "fetch_aberra2019",
    "from_file",
    "info",
    "load",
    "load_neuron",
    "names",
    "steady_state",
    "use_tables",
]
