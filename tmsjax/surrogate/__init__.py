"""Threshold surrogates: from the field round a neuron to its activation threshold, without simulating it."""

from tmsjax.surrogate import features, uniform
from tmsjax.surrogate.domain import Domain
from tmsjax.surrogate.evaluate import evaluate
from tmsjax.surrogate.support import SupportSpec
from tmsjax.surrogate.train import train
from tmsjax.surrogate.types import Surrogate, SurrogateSpec
from tmsjax.surrogate.uniform import UniformMap
from tmsjax.surrogate.zoo import available, load, save

__all__ = [
    "Domain",
    "SupportSpec",
    "Surrogate",
    "SurrogateSpec",
    "UniformMap",
    "available",
    "evaluate",
    "features",
    "load",
    "save",
    "train",
    "uniform",
]
