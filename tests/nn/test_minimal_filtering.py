import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.nn.minimal_filtering import POINTS, correlate, correlate_directly, transforms


def plain(x, kernel):
    """XLA's own convolution, (n, n, n, b, c) in and out."""
    y = jax.lax.conv_general_dilated(
        x.transpose(3, 0, 1, 2, 4), kernel, (1, 1, 1), "VALID", dimension_numbers=("NDHWC", "DHWIO", "NDHWC"),
        precision=jax.lax.Precision.HIGHEST,
    )  # fmt: skip
    return y.transpose(1, 2, 3, 0, 4)


def case(n, r, key=0):
    data, kernel = jax.random.split(jax.random.key(key))
    return jax.random.normal(data, (n, n, n, 2, 5)), jax.random.normal(kernel, (r, r, r, 5, 4))


@pytest.mark.parametrize(("n", "r"), [(4, 2), (4, 3), (5, 2), (5, 3), (7, 2), (7, 3)])
def test_equals_plain_convolution(n, r):
    x, kernel = case(n, r)
    reference = plain(x, kernel)
    assert jnp.std(correlate(x, kernel) - reference) < 5e-6 * jnp.std(reference)


@pytest.mark.parametrize("n", [3, 6, 9])
def test_direct_form_equals_plain_convolution(n):
    x, kernel = case(n, 3)
    np.testing.assert_allclose(correlate_directly(x, kernel), plain(x, kernel), atol=3e-5)


@pytest.mark.parametrize("n", sorted(POINTS))
def test_exact_in_float64(n):
    t = transforms(n, 3)
    data, kernel = np.random.default_rng(1).standard_normal((2, n))
    ours = t.output @ ((t.kernel @ kernel[:3]) * (t.data @ data))
    np.testing.assert_allclose(ours, np.correlate(data, kernel[:3], "valid"), atol=1e-12)


def test_gradients_are_those_of_plain_convolution():
    x, kernel = case(5, 3)
    ours, theirs = (
        jax.grad(lambda *a, f=f: jnp.sum(f(*a) ** 2), argnums=(0, 1))(x, kernel) for f in (correlate, plain)
    )
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=2e-2)


def test_refuses_sizes_without_points():
    with pytest.raises(InputError, match="minimal filtering"):
        transforms(9, 3)
