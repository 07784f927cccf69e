"""M2M-Net: from fields to responses."""

import dataclasses

import jax
import numpy as np
import pytest
from made_up_subject import MUSCLES, subject

from tmsjax.core.errors import InputError
from tmsjax.mep import SHORT_TRAINING, clean, train_forward
from tmsjax.mep.forward import _factors, _respond, _start, grids
from tmsjax.mep.tables import tables

TRAINING = dataclasses.replace(SHORT_TRAINING, epochs=10)


@pytest.fixture(scope="module")
def one():
    return clean(subject(128)).subject


def test_it_learns_responses_from_fields(one):
    model = train_forward(one, TRAINING)
    held = clean(subject(60, seed=5)).subject
    found = model.predict(held.fields)
    error = ((found - held.responses) ** 2).sum()
    mean = ((one.responses.mean(0) - held.responses) ** 2).sum()
    assert found.shape == (len(held), len(MUSCLES))
    assert error < 0.6 * mean
    assert (found >= 0).all()
    assert len(model.histories["fields"]["train"]) == len(model.histories["responses"]["train"]) == 10
    with pytest.raises(InputError, match="another mask"):
        model.predict(held.fields[:, :-1])


def test_synergies_are_fixed_and_their_number_is_checked(one):
    y = one.responses / one.responses.max(0)
    found = _factors(y.astype(np.float32), 2, 0)
    assert found.shape == (2, len(MUSCLES))
    assert (found >= 0).all()
    np.testing.assert_allclose(found.max(1), 1.0, rtol=1e-6)
    with pytest.raises(InputError, match="1 to 4"):
        _factors(y.astype(np.float32), 9, 0)
    cone = tables(one.mask)
    variables = _start(jax.random.key(0), cone, 2)
    grid = np.zeros((3, cone.latent**3), np.float32)
    out = jax.eval_shape(lambda v, g: _respond(grids(cone), v, g, None, found)[0], variables, grid)
    assert out.shape == (3, len(MUSCLES))
