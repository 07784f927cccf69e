"""Layers as pure functions, one trainer, metrics and checkpoints: what every learned model of the library shares."""

from tmsjax.nn import checkpoint, metrics
from tmsjax.nn.functional import Functional, functional, in_chunks
from tmsjax.nn.optimise import TrainSpec
from tmsjax.nn.runs import read_metrics
from tmsjax.nn.trainer import Fit, fit

__all__ = ["Fit", "Functional", "TrainSpec", "checkpoint", "fit", "functional", "in_chunks", "metrics", "read_metrics"]
