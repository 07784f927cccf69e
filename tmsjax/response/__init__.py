"""Thresholds of whole populations: from a field and a surrogate to V/m and A/us of every neuron, and what of it."""

from tmsjax.response.gyrus import DensePopulation, dense_population, hand_knob_region
from tmsjax.response.output import load_responses, save_responses, write_maps, write_neurons
from tmsjax.response.recruitment import (
    Recruitment,
    active_share,
    intensity_for,
    recruitment,
    smooth_active_share,
)
from tmsjax.response.statistics import regions, statistics, write_table
from tmsjax.response.stimulators import Stimulator, equivalent_outputs, stimulator, stimulators
from tmsjax.response.stream import Tally, stream
from tmsjax.response.sweep import SweepGrid, SweepTarget, square, sweep
from tmsjax.response.thresholds import summarise, thresholds
from tmsjax.response.types import Response

__all__ = [
    "DensePopulation",
    "Recruitment",
    "Response",
    "Stimulator",
    "SweepGrid",
    "SweepTarget",
    "Tally",
    "active_share",
    "dense_population",
    "equivalent_outputs",
    "hand_knob_region",
    "intensity_for",
    "load_responses",
    "recruitment",
    "regions",
    "save_responses",
    "smooth_active_share",
    "square",
    "statistics",
    "stimulator",
    "stimulators",
    "stream",
    "summarise",
    "sweep",
    "thresholds",
    "write_maps",
    "write_neurons",
    "write_table",
]
