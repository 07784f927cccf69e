"""Ground truth: pulses, fields at cells, NEURON and the cable engine, threshold searches and stores of their results.

Imports no JAX, but for the cable engine's device side (``backend="jax"``, ``threshold_gradient``) when it is asked for.
"""

from typing import TYPE_CHECKING, Any

from tmsjax.simulate.circuits import coil_voltage
from tmsjax.simulate.dataset import Dataset, create_dataset, open_dataset
from tmsjax.simulate.dataset_run import run_dataset
from tmsjax.simulate.fields import fields_at, uniform_directions
from tmsjax.simulate.pulses import Pulse, on_grid, pulse, recorded
from tmsjax.simulate.quasipotential import quasipotential
from tmsjax.simulate.search import Search, Status, find_threshold
from tmsjax.simulate.shapes import monophasic_pulse, rectangular_pulse, sampled_pulse, sine_pulse
from tmsjax.simulate.truth import fires, thresholds, traces, uniform_thresholds

if TYPE_CHECKING:
    from tmsjax.simulate.cable.gradient import threshold_gradient

__all__ = [
    "Dataset",
    "Pulse",
    "Search",
    "Status",
    "coil_voltage",
    "create_dataset",
    "fields_at",
    "find_threshold",
    "fires",
    "monophasic_pulse",
    "on_grid",
    "open_dataset",
    "pulse",
    "quasipotential",
    "recorded",
    "rectangular_pulse",
    "run_dataset",
    "sampled_pulse",
    "sine_pulse",
    "threshold_gradient",
    "thresholds",
    "traces",
    "uniform_directions",
    "uniform_thresholds",
]


def __getattr__(name: str) -> Any:
    if name == "threshold_gradient":
        from tmsjax.simulate.cable.gradient import threshold_gradient

        return threshold_gradient
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
