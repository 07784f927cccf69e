"""Heads: tissue labels, conductivities, cortical surfaces, landmarks, the scalp."""

from tmsjax.head.model import (
    PAPER_CONDUCTIVITY,
    TISSUES,
    HeadModel,
    Surface,
    from_labels,
)

__all__ = [
    "PAPER_CONDUCTIVITY",
    "TISSUES",
    "HeadModel",
    "Surface",
    "from_labels",
]
