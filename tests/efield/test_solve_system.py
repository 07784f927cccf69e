"""The discretised conductor: linear, batched, transposable, and what ``solve`` is made of."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax import efield
from tmsjax.coil import primary_field
from tmsjax.core.errors import InputError
from tmsjax.efield.system import discretise, induce

TURN = np.array([[0.8, -0.6, 0], [0.6, 0.8, 0], [0, 0, 1]])


def relative(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.fixture(scope="module")
def system(head):
    return discretise(*efield.conductivity(head, octants=True))


@pytest.fixture(scope="module")
def primary(system, coil, pose):
    return primary_field(coil, pose, system.points_mm)


def test_it_is_what_solve_does(system, primary, field):
    values, residual, iterations = induce(system, primary)
    assert relative(values, field.values) < 1e-5
    assert float(residual) == pytest.approx(float(field.residual), rel=1e-2)
    assert int(iterations) == int(field.iterations)


def test_a_batch_is_one_after_the_other(system, primary):
    several = jnp.stack([primary, -2 * primary, primary[:, ::-1]]).reshape(3, 1, *primary.shape)
    values, residual, iterations = induce(system, several)
    assert values.shape == (3, 1, *system.mask.shape, 3)
    assert residual.shape == iterations.shape == (3, 1)
    assert (np.asarray(residual) <= 1e-4).all()
    for n in range(3):
        assert relative(values[n, 0], induce(system, several[n, 0])[0]) < 1e-5


def test_the_transpose(system, primary):
    """<w, E(p)> = <E'(w), p> by vjp and by linear_transpose, for a w of noise."""

    def fields(p):
        return induce(system, p, tolerance=3e-5)[0]

    values, pull = jax.vjp(fields, primary)
    w = jax.random.normal(jax.random.key(1), values.shape)
    w = w * (1 + jnp.arange(3.0))  # no axis like another
    (pulled,) = pull(w)
    (transposed,) = jax.linear_transpose(fields, primary)(w)
    assert relative(transposed, pulled) < 1e-4
    assert float(jnp.vdot(pulled, primary)) == pytest.approx(float(jnp.vdot(w, values)), rel=1e-3)


def test_the_transpose_of_a_batch(system, primary):
    several = jnp.stack([primary, primary[:, ::-1]])
    w = jax.random.normal(jax.random.key(2), (2, *system.mask.shape, 3))
    transpose = jax.linear_transpose(lambda p: induce(system, p)[0], several)
    one = jax.linear_transpose(lambda p: induce(system, p)[0], primary)
    (both,) = transpose(w)
    for n in range(2):
        assert relative(both[n], one(w[n])[0]) < 1e-5


def test_a_gradient_field_induces_nothing(system):
    """A uniform primary field is the gradient of a linear potential, exactly so on edges: charges cancel it."""
    uniform = jnp.broadcast_to(jnp.asarray([1.0, -2.0, 0.5]), system.points_mm.shape)
    assert float(jnp.abs(induce(system, uniform, tolerance=3e-5)[0]).max()) < 1e-3


def test_refinement_reaches_what_float64_can(system, primary):
    """With JAX in float32: 1e-10, and the field of a float32 solve to within that solve's own tolerance."""
    values, residual, _ = induce(system, primary, tolerance=1e-10)
    assert values.dtype == residual.dtype == jnp.float32
    assert 0 < float(residual) <= 1e-10
    assert 0 < relative(induce(system, primary)[0], values) < 1e-3
    assert float(induce(system, primary, precision="float64")[1]) <= 1e-4


def test_refinement_is_transposed_too(system, primary):
    def total(p):
        values = induce(system, p, tolerance=1e-8)[0]
        return jnp.vdot(weight, values)

    weight = jax.random.normal(jax.random.key(3), (*system.mask.shape, 3))
    value, slope = jax.jit(jax.value_and_grad(total))(primary)
    assert slope.dtype == jnp.float32
    assert float(jnp.vdot(slope, primary)) == pytest.approx(float(value), rel=1e-4)


def test_primary_fields_of_whole_numbers_and_of_another_shape(system, primary):
    whole = jnp.round(100 * primary / jnp.abs(primary).max()).astype(int)
    turned = dataclasses.replace(system, affine=system.affine.at[:3, :3].set(system.affine[:3, :3] @ TURN))
    exact = induce(turned, whole.astype(jnp.float32))[0]
    np.testing.assert_array_equal(induce(turned, whole)[0], exact)
    with pytest.raises(InputError, match="not at the system's nodes"):
        induce(system, primary[:-1])


@pytest.mark.parametrize("options", [{"tolerance": 0.0}, {"tolerance": 1e-7, "precision": "float32"}])
def test_tolerance_that_cannot_be_reached(system, primary, options):
    with pytest.raises(InputError, match="tolerance cannot be reached"):
        induce(system, primary, **options)
