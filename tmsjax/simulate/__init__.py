"""Ground truth: pulses, quasipotentials, the NEURON oracle, threshold searches and stores of their results (no JAX)."""

from tmsjax.simulate.circuits import coil_voltage
from tmsjax.simulate.dataset import Dataset, create_dataset, open_dataset, run_dataset
from tmsjax.simulate.pulses import Pulse, on_grid, pulse, recorded
from tmsjax.simulate.quasipotential import quasipotential
from tmsjax.simulate.search import Search, Status, find_threshold
from tmsjax.simulate.truth import fires, thresholds, traces, uniform_thresholds

__all__ = [
    "Dataset",
    "Pulse",
    "Search",
    "Status",
    "coil_voltage",
    "create_dataset",
    "find_threshold",
    "fires",
    "on_grid",
    "open_dataset",
    "pulse",
    "quasipotential",
    "recorded",
    "run_dataset",
    "thresholds",
    "traces",
    "uniform_thresholds",
]
