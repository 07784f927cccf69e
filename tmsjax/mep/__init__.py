"""Responses of many muscles and the cortical fields behind them: M2M-Net and M2M-InvNet (Akbar et al. 2024).

A ``Subject`` has the field of every stimulation in a mask of the motor cortex beside the responses of all muscles.
``train_inverse`` learns the way from responses to fields, ``train_forward`` the way back; ``cross_validate`` scores
models and plain regressions alike. Subjects of ``synthetic`` are made up but for their heads and fields.
"""

from tmsjax.mep.baselines import BASELINES, Baseline, fit_baseline
from tmsjax.mep.crossval import (
    Run,
    against_responses,
    blocked_folds,
    cross_validate,
    random_folds,
    tabulated,
)
from tmsjax.mep.files import compute_fields, load_subject, read_responses, save_subject
from tmsjax.mep.forward import ForwardModel, train_forward
from tmsjax.mep.inverse import (
    PAPER_TRAINING,
    SHORT_TRAINING,
    InverseModel,
    load_inverse,
    save_inverse,
    train_inverse,
)
from tmsjax.mep.networks import MODELS, InverseSpec
from tmsjax.mep.preprocess import Cleaned, Scaling, clean, coarser, in_box, scaling
from tmsjax.mep.scores import centre_of_gravity, scores, summary
from tmsjax.mep.types import MUSCLES, Subject

__all__ = [
    "BASELINES",
    "MODELS",
    "MUSCLES",
    "PAPER_TRAINING",
    "SHORT_TRAINING",
    "Baseline",
    "Cleaned",
    "ForwardModel",
    "InverseModel",
    "InverseSpec",
    "Run",
    "Scaling",
    "Subject",
    "against_responses",
    "blocked_folds",
    "centre_of_gravity",
    "clean",
    "coarser",
    "compute_fields",
    "cross_validate",
    "fit_baseline",
    "in_box",
    "load_inverse",
    "load_subject",
    "random_folds",
    "read_responses",
    "save_inverse",
    "save_subject",
    "scaling",
    "scores",
    "summary",
    "tabulated",
    "train_forward",
    "train_inverse",
]
