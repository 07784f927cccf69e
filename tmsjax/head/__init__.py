"""Heads: tissue labels, conductivities, cortical surfaces, landmarks, the scalp."""

from tmsjax.head.conductivity import fractions
from tmsjax.head.landmarks import LANDMARKS, landmark
from tmsjax.head.load import load
from tmsjax.head.model import (
    PAPER_CONDUCTIVITY,
    TISSUES,
    HeadModel,
    Surface,
    from_labels,
)
from tmsjax.head.scalp import scalp_surface, signed_distance, vertex_normals
from tmsjax.head.surfaces import load_surfaces

__all__ = [
    "LANDMARKS",
    "PAPER_CONDUCTIVITY",
    "TISSUES",
    "HeadModel",
    "Surface",
    "fractions",
    "from_labels",
    "landmark",
    "load",
    "load_surfaces",
    "scalp_surface",
    "signed_distance",
    "vertex_normals",
]
