"""The B-spline's weights against SciPy's basis elements, for NumPy in double and for JAX."""

import jax.numpy as jnp
import numpy as np
from scipy.interpolate import BSpline

from tmsjax.core.bspline import cubic_weights


def test_weights_are_the_basis():
    t = np.linspace(0, 1, 7).reshape(7, 1) * np.ones(2)
    elements = [BSpline.basis_element(np.arange(5) - 3.0 + n) for n in range(4)]
    weights = cubic_weights(t)
    assert weights.dtype == np.float64
    np.testing.assert_allclose(weights, np.stack([element(t) for element in elements], -1), atol=1e-15)
    found = cubic_weights(jnp.asarray(t, jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, weights, atol=1e-7)
