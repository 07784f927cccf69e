"""A pose's gradient through very many points, where jaxlib 0.10.1 crashed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.coil import CoilPose, from_dipoles, primary_field


def test_gradient_to_the_centre_over_many_points():
    coil = from_dipoles([[0, 0, 0], [10, 0, 0]], [[0, 0, 1e-3], [0, 1e-3, 0]])
    points = np.random.default_rng(0).uniform(-80, 80, (700_000, 3)).astype(np.float32) + np.float32([0, 0, 100])

    def f(centre):
        return jnp.mean(primary_field(coil, CoilPose(jnp.eye(3), centre), points)[:, 0])

    slope = jax.jit(jax.grad(f))(jnp.zeros(3))
    step = 1.0
    numeric = [float(f(step * e) - f(-step * e)) / (2 * step) for e in np.eye(3, dtype=np.float32)]
    assert np.asarray(slope) == pytest.approx(numeric, rel=2e-2, abs=2e-3 * np.abs(numeric).max())
