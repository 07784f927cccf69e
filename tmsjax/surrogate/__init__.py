"""Threshold surrogates: from the field round a neuron to its activation threshold, without simulating it."""

from tmsjax.surrogate import features, uniform, weise
from tmsjax.surrogate.baselines import from_uniform, to_uniform, train_weise
from tmsjax.surrogate.domain import Domain
from tmsjax.surrogate.evaluate import evaluate
from tmsjax.surrogate.support import SupportSpec
from tmsjax.surrogate.train import train
from tmsjax.surrogate.types import Surrogate, SurrogateSpec
from tmsjax.surrogate.uniform import UniformMap, UniformSpec
from tmsjax.surrogate.weise import WeiseSpec
from tmsjax.surrogate.zoo import available, load, save

__all__ = [
    "Domain",
    "SupportSpec",
    "Surrogate",
    "SurrogateSpec",
    "UniformMap",
    "UniformSpec",
    "WeiseSpec",
    "available",
    "evaluate",
    "features",
    "from_uniform",
    "load",
    "save",
    "to_uniform",
    "train",
    "train_weise",
    "uniform",
    "weise",
]
