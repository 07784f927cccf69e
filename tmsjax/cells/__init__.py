"""Neurons: morphologies, adult-human scaling, myelination, membrane, compartments, and their NEURON build (no JAX)."""

from tmsjax.cells.types import REGIONS, CableModel, Cell, Section

__all__ = ["REGIONS", "CableModel", "Cell", "Section"]
