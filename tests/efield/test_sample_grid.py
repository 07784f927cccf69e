"""The two interpolants against scipy, against finite differences, and at the conductor's border."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jax.test_util import check_grads
from scipy.interpolate import CubicHermiteSpline
from scipy.ndimage import map_coordinates

from tmsjax.core.errors import InputError
from tmsjax.efield import EField, interpolate

SHAPE = (9, 8, 10)


def field_of(values, mask=None, affine=None):
    mask = np.ones(values.shape[:3], bool) if mask is None else mask
    values = jnp.where(mask[..., None], jnp.asarray(values, float), 0)
    affine = np.eye(4) if affine is None else affine
    return EField(values, jnp.asarray(mask), jnp.asarray(affine, float), jnp.asarray(1e-5), jnp.asarray(5), 1e-4)


@pytest.fixture(scope="module")
def values():
    return np.random.default_rng(0).normal(size=(*SHAPE, 3)).astype(np.float32)


@pytest.fixture(scope="module")
def inner():
    """Points at least one voxel from the grid's border, where the cubic stencil fits."""
    return np.random.default_rng(1).uniform(1, np.array(SHAPE) - 2, (200, 3)).astype(np.float32)


def hermite(values, point):
    """Keys's interpolant of one point another way: cubic Hermite with central differences, axis by axis (scipy)."""
    out = np.asarray(values, float)
    for x in point:
        n = np.arange(1, len(out) - 1)
        out = CubicHermiteSpline(n, out[1:-1], (out[2:] - out[:-2]) / 2, axis=0)(x)
    return out


def test_linear_is_what_scipy_gives(values, inner):
    expected = np.stack([map_coordinates(values[..., n], inner.T, order=1) for n in range(3)], 1)
    np.testing.assert_allclose(field_of(values).at(inner), expected, atol=3e-6)


def test_cubic_is_what_scipy_gives(values, inner):
    expected = np.stack([hermite(values, point) for point in inner.astype(float)])
    np.testing.assert_allclose(field_of(values).at(inner, method="cubic"), expected, atol=5e-6)


def test_a_smooth_field_is_nearer_by_cubic_convolution(inner):
    """Third order against second."""
    x = np.stack(np.meshgrid(*[np.arange(n) for n in SHAPE], indexing="ij"), -1)

    def smooth(x):
        return np.stack(
            [np.sin(0.5 * x[..., 0] + 0.2 * x[..., 1]), np.cos(0.4 * x[..., 2]), np.sin(0.3 * x.sum(-1))], -1
        )

    field, exact = field_of(smooth(x)), smooth(inner)
    error = {how: np.abs(np.asarray(field.at(inner, method=how)) - exact).max() for how in ("linear", "cubic")}
    assert error["cubic"] < 0.2 * error["linear"]


def test_quadratics_are_exact_and_voxel_centres_keep_their_values(values, inner):
    x = np.stack(np.meshgrid(*[np.arange(n, dtype=float) for n in SHAPE], indexing="ij"), -1)

    def quadratic(x):
        return np.stack([x[..., 0] ** 2 - x[..., 1], x[..., 1] * x[..., 2], 0.5 * x[..., 2] ** 2 + x[..., 0]], -1)

    np.testing.assert_allclose(field_of(quadratic(x)).at(inner, method="cubic"), quadratic(inner), rtol=1e-5, atol=1e-4)
    whole = np.argwhere(np.ones(SHAPE)).astype(np.float32)
    np.testing.assert_allclose(field_of(values).at(whole, method="cubic"), values.reshape(-1, 3), atol=1e-6)


def slopes(field, points, method):
    """dE/dx (p, 3, 3) by reverse mode."""
    return jax.vmap(jax.jacrev(lambda x: field.at(x, method=method)))(jnp.asarray(points))


@pytest.mark.parametrize("border", [False, True])
def test_the_gradient_of_the_cubic_one_is_continuous(values, border):
    """Across the planes of voxel centres, inside the conductor and in its outermost voxels next to air."""
    mask = np.ones(SHAPE, bool)
    if border:
        mask[5:, 3:] = False
        mask[2, 2, 2] = False
    field = field_of(values, mask)
    rng = np.random.default_rng(2)
    points = rng.uniform(1, np.array(SHAPE) - 2, (300, 3)).astype(np.float32)
    axis = rng.integers(0, 3, 300)
    points[np.arange(300), axis] = np.round(points[np.arange(300), axis])
    step = np.zeros_like(points)
    step[np.arange(300), axis] = 1e-4
    sides = [points - step, points + step]
    keep = np.logical_and(*(np.asarray(field.inside(side)) for side in sides))
    jump = {}
    for method in ("linear", "cubic"):
        before, after = (np.asarray(slopes(field, side[keep], method)) for side in sides)
        jump[method] = np.abs(after - before).max()
    assert keep.sum() > 100
    assert jump["cubic"] < 5e-3
    assert jump["linear"] > 0.5


def test_near_air_both_agree_on_a_constant_field():
    mask = np.zeros(SHAPE, bool)
    mask[2:6, 2:6, 2:7] = True
    field = field_of(np.ones((*SHAPE, 3)), mask)
    points = np.random.default_rng(3).uniform(1.5, 5.5, (200, 3)).astype(np.float32)
    for method in ("linear", "cubic"):
        np.testing.assert_allclose(field.at(points, method=method), 1, atol=1e-5)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(["linear", "cubic"]), st.floats(0.0, 0.5))
def test_gradients_match_finite_differences(seed, method, air):
    """In the points and in the field, forward and reverse, with and without air in the stencils."""
    rng = np.random.default_rng(seed)
    mask = rng.uniform(size=(6, 5, 6)) > air
    mask[2:4, 2:4, 2:4] = True
    with jax.enable_x64(True):
        affine = np.diag([1.5, 2.0, 0.8, 1.0])
        field = field_of(rng.normal(size=(*mask.shape, 3)), mask, affine)
        voxel = rng.uniform(2.05, 2.45, (4, 3)) + rng.integers(0, 2, (4, 3)) * 0.5
        points = jnp.asarray(voxel * np.diag(affine)[:3])

        def at(values, points):
            return dataclasses.replace(field, values=values).at(points, "nan", method)

        assert bool(jnp.isfinite(at(field.values, points)).all())
        check_grads(at, (field.values, points), order=1, modes=("fwd", "rev"), atol=1e-5, rtol=1e-5, eps=1e-4)


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_mapped_chunked_and_plain_calls_agree(values, inner, method, monkeypatch):
    field = field_of(values)
    plain = np.asarray(field.at(inner, method=method))
    mapped = jax.vmap(lambda x: field.at(x, method=method))(jnp.asarray(inner).reshape(20, 10, 3))
    np.testing.assert_allclose(mapped.reshape(-1, 3), plain, atol=1e-6)
    compiled = jax.jit(lambda x: field.at(x, method=method))
    np.testing.assert_allclose(compiled(inner), plain, atol=1e-6)

    def objective(values):
        return jnp.sum(dataclasses.replace(field, values=values).at(inner[:151], method=method) ** 2)

    whole = jax.grad(objective)(field.values)
    for name in ("CHUNK", "CUBIC_CHUNK"):
        monkeypatch.setattr(interpolate, name, 64)
    jax.clear_caches()
    np.testing.assert_allclose(field.at(inner[:151], method=method), plain[:151], atol=1e-6)
    np.testing.assert_allclose(jax.grad(objective)(field.values), whole, atol=1e-5)


@pytest.mark.parametrize("method", ["linear", "cubic"])
def test_outside_is_nan_and_adds_nothing_to_gradients(values, method):
    mask = np.ones(SHAPE, bool)
    mask[:4] = False
    field = field_of(values, mask)
    points = np.array([[5.0, 4, 4], [2.0, 4, 4], [50.0, 0, 0], [np.nan, 4, 4]], np.float32)
    found = np.asarray(field.at(points, "nan", method))
    assert np.isfinite(found[0]).all()
    assert np.isnan(found[1:]).all()
    slope = jax.grad(lambda v: jnp.nansum(dataclasses.replace(field, values=v).at(points, "nan", method)[:, 1]))(
        field.values
    )
    assert float(slope.sum()) == pytest.approx(1, abs=1e-5)


def test_a_grid_of_one_layer():
    thin = field_of(np.full((5, 6, 1, 3), 2.0))
    point = np.array([[2.3, 3.1, 0.2]], np.float32)
    for method in ("linear", "cubic"):
        np.testing.assert_allclose(thin.at(point, method=method), 2, atol=1e-6)


def test_unknown_method(values):
    with pytest.raises(InputError, match="unknown method"):
        field_of(values).at([[4.0, 4, 4]], method="nearest")
