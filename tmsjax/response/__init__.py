"""Thresholds of whole populations: from a field and a surrogate to V/m and A/us of every neuron."""

from tmsjax.response.thresholds import summarise, thresholds

__all__ = ["summarise", "thresholds"]
