"""One surrogate trained on synthetic thresholds, for the tests of the room."""

import pytest
from synthetic_thresholds import QUICK, SIDE_MM, fields, hidden_functionals, thresholds

from tmsjax.surrogate import SupportSpec, SurrogateSpec, train


@pytest.fixture(scope="session")
def spec():
    return SurrogateSpec("synthetic/polarisation", side_mm=SIDE_MM, model=SupportSpec((2, 3, 4), 48))


@pytest.fixture(scope="session")
def trained(spec):
    """(surrogate, report, patches, thresholds)."""
    patches = fields(2000, seed=0)
    truth = thresholds(patches, hidden_functionals())
    return *train(patches, truth, spec, 0, candidates=(), training=QUICK), patches, truth


@pytest.fixture(scope="session")
def model(trained):
    return trained[0]
