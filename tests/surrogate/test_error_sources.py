"""Equations 1 to 3 of Aberra 2023 on fields with known derivatives, and the regression against a known law."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from tmsjax.core.errors import InputError
from tmsjax.cortex import sampling_grid
from tmsjax.surrogate.evaluation import directional_gradients, initiation_errors, interpolated, jacobian_norm, regress

SIDE, SHIFT = 1.5, -0.49


def linear_patches(b=5, n=9, seed=0, shift=0.0):
    """Patches of random linear fields, their Jacobians (per mm) and the field at the soma."""
    rng = np.random.default_rng(seed)
    slope, mean = 0.3 * rng.normal(size=(b, 3, 3)), rng.normal(size=(b, 3))
    grid = np.asarray(sampling_grid(SIDE, shift, n), np.float64)
    return (mean[:, None, None, None] + np.einsum("bij,xyzj->bxyzi", slope, grid)).astype(np.float32), slope, mean


def test_the_jacobian_of_a_linear_field():
    patches, slope, mean = linear_patches()
    expected = np.linalg.norm(slope, axis=(1, 2)) / np.linalg.norm(mean, axis=1)
    medians, largest = directional_gradients(7 * patches, SIDE)
    np.testing.assert_allclose(medians, expected, rtol=1e-4)
    np.testing.assert_allclose(largest, expected, rtol=1e-4)


def test_the_jacobian_of_a_quadratic_field_is_exact_inside():
    ticks = np.linspace(-1, 1, 9)
    x = ticks[:, None, None] * np.ones((9, 9, 9))
    patch = np.stack([1 + x**2, 0 * x, 0 * x], -1).astype(np.float32)
    norms = np.asarray(jacobian_norm(jnp.asarray(patch), 2.0))
    np.testing.assert_allclose(norms[1:-1], np.abs(2 * x)[1:-1], atol=1e-5)
    np.testing.assert_allclose(norms[0], 2 - 0.25, atol=1e-5)  # a one-sided difference


def test_coarser_grids_lose_gradients():
    """A wave of 0.6 mm is there on 13 samples and gone on 3: what figure 5D shows."""
    ticks = {n: np.linspace(-SIDE / 2, SIDE / 2, n) for n in (3, 13)}
    medians = {}
    for n, t in ticks.items():
        wave = 1 + 0.2 * np.sin(2 * np.pi * t / 0.6)
        patch = np.zeros((1, n, n, n, 3), np.float32)
        patch[..., 2] = wave[None, :, None, None]
        medians[n] = directional_gradients(patch, SIDE)[0][0]
    assert medians[3] < 0.3 * medians[13]


def test_linear_fields_are_interpolated_exactly_within_the_cube_only():
    patches, slope, mean = linear_patches(shift=SHIFT)
    points = np.array([[0, 0, 0], [0.7, -0.7, 0.2], [0.1, 0.2, SHIFT - 0.75], [0.8, 0, 0], [0, 0, SHIFT + 0.76]])
    found = interpolated(patches, SIDE, SHIFT, points)
    expected = mean + np.einsum("bij,bj->bi", slope, points)
    np.testing.assert_allclose(found[:3], expected[:3], atol=1e-5)
    assert np.isnan(found[3:]).all()
    with pytest.raises(InputError, match="one point"):
        interpolated(patches, SIDE, SHIFT, points[:2])


def test_errors_of_magnitude_and_angle_by_hand():
    actual = np.array([[0, 0, 2.0], [1, 0, 0], [0, 3, 4], [0, 0, 0], [0, 0, 1]])
    found = np.array([[0, 0, 2.2], [0, 1, 0], [0, 3, 4], [1, 0, 0], [np.nan] * 3])
    magnitude, angle = initiation_errors(found, actual)
    np.testing.assert_allclose(magnitude, [10, 0, 0, np.nan, np.nan], atol=1e-9)
    np.testing.assert_allclose(angle, [0, 90, 0, np.nan, np.nan], atol=1e-9)
    tilted = np.array([[0, np.sin(1e-5), np.cos(1e-5)]])
    np.testing.assert_allclose(initiation_errors(tilted, np.array([[0, 0, 1.0]]))[1], np.rad2deg(1e-5), rtol=1e-6)


def test_a_known_law_is_recovered():
    """y = 2 + 3 a/sd(a) - b/sd(b) + noise: coefficients per standard deviation, R2 and intervals that hold it."""
    rng = np.random.default_rng(0)
    a, b = 10 * rng.normal(size=4000), 0.1 * rng.exponential(size=4000)
    y = 2 + 3 * a / a.std() - b / b.std() + 2 * rng.normal(size=4000)
    found = regress(y, {"a": a, "b": b})
    rows = {row["predictor"]: row for row in found.rows}
    assert rows["a"]["low"] < 3 < rows["a"]["high"]
    assert rows["b"]["low"] < -1 < rows["b"]["high"]
    assert rows["a"]["high"] - rows["a"]["low"] == pytest.approx(2 * 1.96 * 2 / np.sqrt(4000), rel=0.05)
    assert found.r2 == pytest.approx(10 / 14, abs=0.02)
    assert rows["a"]["beta"] == pytest.approx(rows["a"]["per_sd"] / y.std())
    assert rows["a"]["single_r2"] == pytest.approx(9 / 14, abs=0.03)
    assert found.adjusted_r2 < found.r2
    assert rows["a"]["p"] < 1e-10


def test_one_predictor_agrees_with_scipy():
    rng = np.random.default_rng(1)
    x = rng.normal(size=60)
    y = 0.3 * x + rng.normal(size=60)
    row, reference = regress(y, {"x": x}).rows[0], stats.linregress(x / x.std(), y)
    assert row["per_sd"] == pytest.approx(reference.slope)
    assert row["p"] == pytest.approx(reference.pvalue)
    assert row["high"] - row["low"] == pytest.approx(2 * stats.t.ppf(0.975, 58) * reference.stderr)
    assert row["single_r2"] == pytest.approx(reference.rvalue**2)


def test_intervals_widen_where_rows_of_a_group_go_together():
    """Sixty groups of twenty copies know as much as sixty rows."""
    rng = np.random.default_rng(2)
    x, y = rng.normal(size=(2, 60))
    width = lambda row: row["high"] - row["low"]  # noqa: E731
    few = width(regress(y, {"x": x}).rows[0])
    copies = np.repeat(np.arange(60), 20)
    naive = width(regress(y[copies], {"x": x[copies]}).rows[0])
    robust = width(regress(y[copies], {"x": x[copies]}, groups=copies).rows[0])
    assert naive < 0.3 * few
    assert robust == pytest.approx(few, rel=0.3)


def test_rows_that_are_not_known_are_left_out_and_counted():
    rng = np.random.default_rng(3)
    x, y = rng.normal(size=(2, 50))
    x[:5], y[7] = np.nan, np.nan
    found = regress(y, {"x": x})
    assert (found.n, found.left_out) == (44, 6)


@pytest.mark.parametrize("case", ["flat", "double", "few", "lengths"])
def test_regressions_that_cannot_be(case):
    x = np.random.default_rng(4).normal(size=20)
    predictors = {"flat": {"x": np.ones(20)}, "double": {"x": x, "z": 2 * x + 1}}.get(case, {"x": x})
    y = {"few": np.where(np.arange(20) < 2, x**2, np.nan), "lengths": x[:-1]}.get(case, x**2)
    with pytest.raises(InputError):
        regress(y, predictors)
