"""Samples read in blocks of voxels are those that are read point by point, off the tissue and off the grid as well."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.cortex import Population, blocks, pack, patches
from tmsjax.cortex.patches import _by_points
from tmsjax.cortex.place import cell_frames
from tmsjax.efield import EField

SHAPE = (17, 19, 18)


def field(seed: int = 0, share: float = 0.8, affine: np.ndarray | None = None) -> EField:
    rng = np.random.default_rng(seed)
    mask = rng.random(SHAPE) < share
    values = np.where(mask[..., None], rng.normal(size=(*SHAPE, 3)), 0)
    affine = np.eye(4) if affine is None else affine
    unknown = jnp.float32(np.nan)
    return EField(
        jnp.asarray(values, jnp.float32), jnp.asarray(mask), jnp.asarray(affine, jnp.float32), unknown, 0, 0.0
    )


def turned(voxel_mm: float) -> np.ndarray:
    """An affine of voxels that are not square, turned and moved."""
    affine = np.eye(4)
    axis = np.array([[0.2, -0.5, 0.84]]) / np.linalg.norm([0.2, -0.5, 0.84])
    affine[:3, :3] = cell_frames(axis, np.array([33.0]))[0] * (voxel_mm * np.array([1.0, 1.2, 1.4]))
    affine[:3, 3] = [5, -30, 12]
    return affine


def population(some: EField, count: int = 150) -> Population:
    """Neurons everywhere on the grid, beyond its border, and on whole and half voxels."""
    rng = np.random.default_rng(1)
    voxels = rng.uniform(-2, np.array(SHAPE) + 1, (count, 3))
    voxels[:40] = np.round(2 * voxels[:40]) / 2
    affine = np.asarray(some.affine, np.float64)
    axes = rng.normal(size=(count, 3))
    frames = cell_frames(axes / np.linalg.norm(axes, axis=1, keepdims=True), rng.uniform(0, 360, count))
    frames[:20] = np.eye(3)
    return Population(
        positions=jnp.asarray(voxels @ affine[:3, :3].T + affine[:3, 3], jnp.float32),
        rotations=jnp.asarray(frames, jnp.float32),
        site=jnp.arange(count),
        azimuth_deg=jnp.zeros(count),
        weight=jnp.ones(count),
        cell=jnp.zeros(count, jnp.int32),
        layer="L5",
        depth=0.5,
    )


@pytest.mark.parametrize(("n", "side_mm", "shift_mm"), [(4, 1.5, 0.0), (9, 1.2, -0.49)])
def test_blocks_give_what_single_points_give(n, side_mm, shift_mm):
    some = field()
    pop = population(some)
    in_blocks = np.asarray(jax.jit(lambda f: patches(f, pop, side_mm, shift_mm, n))(pack(some)))
    one_by_one = np.asarray(_by_points(some, pop, side_mm, shift_mm, n))
    assert 0.2 < np.isnan(one_by_one).mean() < 0.8
    np.testing.assert_array_equal(np.isnan(in_blocks), np.isnan(one_by_one))
    np.testing.assert_allclose(in_blocks, one_by_one, atol=3e-5)


@pytest.mark.parametrize("voxel_mm", [0.7, 1.5])
def test_voxels_of_any_size_and_direction(voxel_mm):
    """0.7 mm: pieces of a few samples; under a transformation that hides the voxels' size, point by point."""
    some = field(affine=turned(voxel_mm))
    pop = population(some, 60)
    one_by_one = np.asarray(_by_points(some, pop, 1.5, 0.0, 5))
    hidden = jax.jit(lambda f: patches(pack(f), pop, 1.5, 0.0, 5))(some)
    for found in (patches(pack(some), pop, 1.5, 0.0, 5), hidden):
        agree = np.isnan(found) == np.isnan(one_by_one)
        assert agree.mean() > 0.999  # a point half way between two voxels is a matter of rounding
        np.testing.assert_allclose(np.where(agree, found, 0), np.where(agree, one_by_one, 0), atol=1e-4)


def test_a_field_that_is_not_finite_stays_so_where_it_is_read_and_nowhere_else():
    whole = field(share=2.0)
    broken = dataclasses.replace(whole, values=whole.values.at[8, 9, 9].set(jnp.nan))
    pop = population(whole)
    found, kept = (np.asarray(patches(pack(f), pop, 1.5, 0.0, 4)) for f in (broken, whole))
    expected = np.asarray(_by_points(broken, pop, 1.5, 0.0, 4))
    lost = np.isnan(found) & ~np.isnan(kept)
    assert lost.any()
    assert (np.isnan(expected) | ~lost).all()
    np.testing.assert_array_equal(found[~lost], kept[~lost])


def test_gradients_in_the_field_and_in_the_places_are_those_of_single_points():
    some = field(share=0.97)
    pop = population(some, 40)[20:]

    def loss(how, values, positions):
        moved = dataclasses.replace(pop, positions=positions)
        found = how(dataclasses.replace(some, values=values), moved, 1.5, 0.2, 4)
        return jnp.sum(jnp.sin(jnp.where(jnp.isnan(found), 0, found)))

    blockwise = jax.jit(jax.grad(lambda v, x: loss(lambda f, *a: patches(pack(f), *a), v, x), (0, 1)))
    pointwise = jax.jit(jax.grad(lambda v, x: loss(_by_points, v, x), (0, 1)))
    for ours, theirs in zip(blockwise(some.values, pop.positions), pointwise(some.values, pop.positions), strict=True):
        assert np.abs(theirs).max() > 0.1
        np.testing.assert_allclose(ours, theirs, atol=2e-3 * np.abs(theirs).max())


@pytest.mark.parametrize("n", [2, 4, 5, 9])
def test_pieces_cover_a_grid_and_are_no_wider_than_asked(n):
    pieces = blocks.parted(n, 4.0)
    assert pieces is not None
    assert 2 * np.linalg.norm(pieces.offsets, axis=1).max() <= 4.0 + 1e-6
    samples = {tuple(x) for x in (pieces.centres[:, None] + pieces.offsets).reshape(-1, 3) + (n - 1) / 2}
    assert {(i, j, k) for i in range(n) for j in range(n) for k in range(n)} <= samples
    assert blocks.parted(n, 0.9) is None


def test_many_neurons_are_the_same_as_few():
    some = pack(field())
    pop = population(field(), 150)
    whole = patches(some, pop, 1.5, 0.0, 4)
    assert len(pop) > blocks.at_once(4)
    few = jnp.concatenate([patches(some, pop[i : i + 50], 1.5, 0.0, 4) for i in range(0, 150, 50)])
    np.testing.assert_allclose(whole, few, atol=1e-5)


def test_the_part_of_a_field_round_some_neurons_is_all_that_they_see():
    rng = np.random.default_rng(4)
    shape = (60, 61, 59)
    unknown = jnp.float32(np.nan)
    values = jnp.asarray(rng.normal(size=(*shape, 3)), jnp.float32)
    whole = EField(values, jnp.ones(shape, bool), jnp.asarray(turned(1.0), jnp.float32), unknown, 0, 0.0)
    voxels = rng.uniform([20, 45, 0], [30, 55, 10], (30, 3))
    positions = voxels @ turned(1.0)[:3, :3].T + turned(1.0)[:3, 3]
    pop = dataclasses.replace(population(whole, 30), positions=jnp.asarray(positions, jnp.float32))
    part = blocks.around(whole, np.asarray(pop.positions), 1.5)
    assert part.mask.size < whole.mask.size / 4
    seen, kept = (np.asarray(patches(pack(f), pop, 1.5, 0.0, 4)) for f in (whole, part))
    np.testing.assert_array_equal(np.isnan(seen), np.isnan(kept))
    np.testing.assert_allclose(kept, seen, atol=5e-5)
