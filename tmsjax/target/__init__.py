"""Target points in a T1 by the multi-resolution network of Baxter et al. (2021, doi 10.1007/s11548-021-02386-1)."""

from tmsjax.target import bases, cohort, consensus, evaluation, marks, model, registration, report, train, volume
from tmsjax.target.cohort import Cohort, of_patients, synthesise
from tmsjax.target.marks import Mark, read_marks, write_csv, write_fcsv
from tmsjax.target.model import Found, Localiser, find, load, save
from tmsjax.target.network import NetworkSpec
from tmsjax.target.patients import cohort_of, read_patients
from tmsjax.target.points import MOTOR, POINTS
from tmsjax.target.train import Training, train_ensemble
from tmsjax.target.volume import Volume, prepare, read

__all__ = [
    "MOTOR",
    "POINTS",
    "Cohort",
    "Found",
    "Localiser",
    "Mark",
    "NetworkSpec",
    "Training",
    "Volume",
    "bases",
    "cohort",
    "cohort_of",
    "consensus",
    "evaluation",
    "find",
    "load",
    "marks",
    "model",
    "of_patients",
    "prepare",
    "read",
    "read_marks",
    "read_patients",
    "registration",
    "report",
    "save",
    "synthesise",
    "train",
    "train_ensemble",
    "volume",
    "write_csv",
    "write_fcsv",
]
