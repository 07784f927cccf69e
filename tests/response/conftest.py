"""A surrogate whose weights are random: these tests are about streaming and frames, not about neurons."""

import jax
import numpy as np
import pytest

from tmsjax.surrogate import SupportSpec, Surrogate, SurrogateSpec, domain, features, support


@pytest.fixture(scope="session")
def model() -> Surrogate:
    return random_model()


def random_model() -> Surrogate:
    spec = SurrogateSpec("synthetic/random", side_mm=1.5, model=SupportSpec(degrees=(1, 2), functionals=16))
    key = jax.random.key(0)
    variables = {
        f"member_{i}": support.member(spec.model, degree).init(jax.random.fold_in(key, i))
        for i, degree in enumerate(spec.model.degrees)
    }
    c = np.random.default_rng(0).normal(size=(500, features.count(3))) * 0.3
    return Surrogate(variables, domain.fit(c, 3), spec)
