"""Streaming of thresholds in linear fields, where every patch is known exactly; the surrogate's weights are random."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.cortex import Population, compartment_fields, patches, sampling_grid
from tmsjax.cortex.place import cell_frames
from tmsjax.efield import EField
from tmsjax.response import summarise, thresholds
from tmsjax.surrogate import Surrogate

MEAN = np.array([0.3, -0.5, 0.8])
SLOPE = np.array([[0.02, 0.01, 0.0], [0.0, -0.03, 0.01], [0.01, 0.0, 0.02]])
"""E = MEAN + SLOPE @ position (V/m per A/us, mm): trilinear interpolation is exact for it."""


def linear_field(scale: float = 1.0) -> EField:
    shape = (24, 24, 24)
    affine = np.diag([1.0, 1.0, 1.0, 1.0])
    affine[:3, 3] = -11.5
    centres = np.stack(np.meshgrid(*[np.arange(24) - 11.5] * 3, indexing="ij"), -1)
    return EField(
        values=jnp.asarray(scale * (MEAN + centres @ SLOPE.T), jnp.float32),
        mask=jnp.ones(shape, bool),
        affine=jnp.asarray(affine, jnp.float32),
        residual=jnp.asarray(1e-5),
        iterations=jnp.asarray(1),
        tolerance=1e-4,
    )


def population(count: int = 40, seed: int = 0, spread_mm: float = 6.0) -> Population:
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(count, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    return Population(
        positions=jnp.asarray(rng.uniform(-spread_mm, spread_mm, (count, 3)), jnp.float32),
        rotations=jnp.asarray(cell_frames(axes, rng.uniform(0, 360, count)), jnp.float32),
        site=jnp.arange(count),
        azimuth_deg=jnp.zeros(count),
        weight=jnp.ones(count),
        cell=jnp.zeros(count, jnp.int32),
        layer="L5",
        depth=0.75,
    )


def test_patches_of_a_linear_field_are_exact_in_the_cell_frame():
    pop = population()
    r, x = np.asarray(pop.rotations, np.float64), np.asarray(pop.positions, np.float64)
    grid = np.asarray(sampling_grid(1.5, 0.3, 5), np.float64)
    world = x[:, None, None, None] + np.einsum("pij,xyzj->pxyzi", r, grid)
    expected = np.einsum("pji,pxyzj->pxyzi", r, MEAN + world @ SLOPE.T)
    np.testing.assert_allclose(patches(linear_field(), pop, 1.5, 0.3, 5), expected, atol=2e-5)


def test_compartments_see_the_same_field_as_the_grid():
    pop = population(5)
    grid = np.asarray(sampling_grid(1.5, 0.0, 3), np.float64).reshape(-1, 3)
    at_compartments = compartment_fields(linear_field(), pop, 1e3 * grid)
    np.testing.assert_allclose(at_compartments, patches(linear_field(), pop, 1.5, 0.0, 3).reshape(5, 27, 3), atol=1e-5)


def test_the_grid_is_centred_and_its_axes_are_x_y_z():
    grid = np.asarray(sampling_grid(2.0, -0.49, 9))
    np.testing.assert_allclose(grid[4, 4, 4], [0, 0, -0.49], atol=1e-6)
    np.testing.assert_allclose(grid[8, 4, 4] - grid[0, 4, 4], [2, 0, 0], atol=1e-6)
    np.testing.assert_allclose(grid[4, 4, 8] - grid[4, 4, 0], [0, 0, 2], atol=1e-6)


@pytest.mark.parametrize("scale", [0.1, -1.0, 3.0])
def test_thresholds_scale_with_the_field(model: Surrogate, scale):
    """V/m at the soma does not know the scale; A/us is inversely proportional to it; a reversed field is another."""
    pop = population()
    one, other = (thresholds(model, linear_field(s), pop) for s in (np.sign(scale), scale))
    np.testing.assert_allclose(other.v_per_m, one.v_per_m, rtol=1e-4)
    np.testing.assert_allclose(other.a_per_us * abs(scale), one.a_per_us, rtol=1e-4)
    magnitude = np.linalg.norm(MEAN + np.asarray(pop.positions) @ SLOPE.T, axis=1)
    np.testing.assert_allclose(one.v_per_m, one.a_per_us * magnitude, rtol=1e-4)


@pytest.mark.parametrize("chunk", [1, 7, 40, 1000])
def test_chunks_do_not_change_the_answer(model, chunk):
    pop = population()
    seen = []
    whole = thresholds(model, linear_field(), pop)
    parts = thresholds(model, linear_field(), pop, chunk=chunk, progress=lambda done, total: seen.append((done, total)))
    np.testing.assert_allclose(parts.v_per_m, whole.v_per_m, rtol=1e-5)
    np.testing.assert_array_equal(parts.in_domain, whole.in_domain)
    assert seen[-1] == (40, 40)


def test_turning_head_and_field_together_changes_nothing(model):
    turn = np.array([[0.0, -1, 0], [1, 0, 0], [0, 0, 1]])  # a quarter turn keeps the voxel grid
    pop, field = population(), linear_field()
    turned_field = dataclasses.replace(field, values=jnp.flip(jnp.swapaxes(field.values, 0, 1), 0) @ turn.T)
    turned = dataclasses.replace(
        pop, positions=pop.positions @ turn.T, rotations=jnp.einsum("ij,pjk->pik", jnp.asarray(turn), pop.rotations)
    )
    a, b = thresholds(model, field, pop), thresholds(model, turned_field, turned)
    np.testing.assert_allclose(a.v_per_m, b.v_per_m, rtol=1e-4)


def test_a_neuron_whose_grid_leaves_the_tissue_has_no_threshold_and_says_so(model):
    pop = population()
    away = dataclasses.replace(pop, positions=pop.positions.at[3].set(jnp.array([11.9, 0.0, 0.0])))
    result = thresholds(model, linear_field(), away)
    assert np.isnan(result.v_per_m[3])
    assert not result.in_domain[3]
    assert "leaves the tissue" in result.why(3)
    assert np.isfinite(np.delete(result.v_per_m, 3)).all()


def test_no_field_at_the_centre_is_not_taken_for_a_grid_outside(model):
    field = linear_field()
    hole = dataclasses.replace(field, values=jnp.zeros_like(field.values))
    result = thresholds(model, hole, population(3))
    assert np.isnan(result.v_per_m).all()
    assert not result.in_domain.any()
    assert "no field at the centre" in result.why(0)


@pytest.mark.parametrize("didt", [50.0, -2.0])
def test_a_field_solved_at_another_didt_gives_the_same_a_per_us(model, didt):
    """V/m grow with dI/dt: what the coil needs for threshold does not know at which dI/dt the field was solved."""
    pop = population()
    unit = thresholds(model, linear_field(np.sign(didt)), pop)
    scaled = dataclasses.replace(linear_field(didt), didt=jnp.float32(didt))
    np.testing.assert_allclose(thresholds(model, scaled, pop).a_per_us, unit.a_per_us, rtol=1e-4)


def test_bad_input_is_named(model):
    field = linear_field()
    with pytest.raises(InputError, match="not finite"):
        thresholds(model, dataclasses.replace(field, values=field.values.at[3, 3, 3, 0].set(jnp.nan)), population())
    with pytest.raises(InputError, match="empty"):
        thresholds(model, field, jax.tree.map(lambda leaf: leaf[:0], population()))


def test_a_layer_row_counts_what_it_says(model):
    result = thresholds(model, linear_field(), population())
    limit = float(np.median(result.a_per_us))
    row = summarise(result, limit)
    assert row["neurons"] == 40
    assert row["share_below_maximum"] == pytest.approx(0.5, abs=0.03)
    assert row["a_per_us_p5"] < row["a_per_us_median"] < row["a_per_us_p95"]
