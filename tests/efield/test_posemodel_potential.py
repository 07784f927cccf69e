"""The potential of dipoles at a pose model's sources: its formula and its own derivative."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.test_util import check_grads

from tmsjax.efield.posemodel_potential import potentials


def case():
    rng = np.random.default_rng(0)
    far = rng.normal(size=(7, 3))
    far *= 30 / np.linalg.norm(far, axis=1, keepdims=True)
    return jnp.asarray(far), jnp.asarray(rng.normal(size=(7, 3))), jnp.asarray(rng.uniform(-5, 5, (4, 3)))


def test_it_is_minus_the_flux_of_each_dipole_through_the_field_of_a_point_source():
    with jax.enable_x64(True):
        positions, moments, sources = (np.asarray(a, float) for a in case())
        expected = np.zeros(4)
        for r, m in zip(positions, moments, strict=True):
            for n, y in enumerate(sources):
                expected[n] -= m @ (r - y) / np.linalg.norm(r - y) ** 3
        np.testing.assert_allclose(potentials(*case()), expected, rtol=1e-12)


def test_its_derivatives_match_finite_differences():
    """In dipoles, moments and sources; forward, reverse and second order."""
    with jax.enable_x64(True):
        check_grads(
            lambda *a: potentials(*map(jnp.asarray, a)), case(), order=2, modes=("fwd", "rev"), atol=1e-6, rtol=1e-6
        )
