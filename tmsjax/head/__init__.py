"""Heads: tissue labels, conductivities, cortical surfaces, landmarks, the scalp."""

from tmsjax.head.load import load
from tmsjax.head.model import (
    PAPER_CONDUCTIVITY,
    TISSUES,
    HeadModel,
    Surface,
    from_labels,
)
from tmsjax.head.surfaces import load_surfaces

__all__ = [
    "PAPER_CONDUCTIVITY",
    "TISSUES",
    "HeadModel",
    "Surface",
    "from_labels",
    "load",
    "load_surfaces",
]
