"""Threshold surrogates: from the field round a neuron to its activation threshold, without simulating it."""

from tmsjax.surrogate import evaluation, features, uniform, weise
from tmsjax.surrogate.baselines import from_uniform, to_uniform, train_baseline, train_weise
from tmsjax.surrogate.cnn import CnnSpec
from tmsjax.surrogate.cnn_train import train_cnn
from tmsjax.surrogate.domain import Domain
from tmsjax.surrogate.evaluate import evaluate
from tmsjax.surrogate.median import MedianSpec
from tmsjax.surrogate.median_train import median_examples, train_median
from tmsjax.surrogate.support import SupportSpec
from tmsjax.surrogate.train import train
from tmsjax.surrogate.types import Surrogate, SurrogateSpec
from tmsjax.surrogate.uniform import UniformMap, UniformSpec
from tmsjax.surrogate.weise import WeiseSpec
from tmsjax.surrogate.zoo import available, load, save

__all__ = [
    "CnnSpec",
    "Domain",
    "MedianSpec",
    "SupportSpec",
    "Surrogate",
    "SurrogateSpec",
    "UniformMap",
    "UniformSpec",
    "WeiseSpec",
    "available",
    "evaluate",
    "evaluation",
    "features",
    "from_uniform",
    "load",
    "median_examples",
    "save",
    "to_uniform",
    "train",
    "train_baseline",
    "train_cnn",
    "train_median",
    "train_weise",
    "uniform",
    "weise",
]
