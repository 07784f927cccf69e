"""Fields of a recipe: the head that it names, and fields that have changed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.surrogate import features
from tmsjax.surrogate.recipe import Recipe
from tmsjax.surrogate.source import Source, check_fields, examples, head_of, joined, tilted


@pytest.fixture(scope="module")
def source(small_source):
    return small_source[0]


def test_a_head_from_its_label_file_has_columns_and_fields(source):
    """Somata at 75 % of a cortex from 23 to 20 mm, axes along the radius, fields that flip with the current."""
    somata, frames = np.asarray(source.population.positions), np.asarray(source.population.rotations)
    radius = np.linalg.norm(somata, axis=1)
    np.testing.assert_allclose(radius, 23 - 0.75 * 3, atol=0.35)
    cosine = np.einsum("pi,pi->p", somata / radius[:, None], frames[:, :, 2])
    assert np.degrees(np.arccos(cosine.min())) < 12
    assert len(source.draw.pose) == 2 * 2 * 20 * 3
    assert source.site.max() == 19
    soma = source.compartments(np.arange(240), np.zeros((1, 3)))[:, 0]
    drawn = source.draw
    pairs = soma[np.lexsort((drawn.sign, drawn.neuron, drawn.pose))].reshape(-1, 2, 3)
    np.testing.assert_allclose(pairs[:, 0], -pairs[:, 1], rtol=1e-6)
    assert (np.linalg.norm(soma, axis=1) > 0).all()


def test_a_head_file_that_is_not_the_recipes_is_refused_before_any_work(small_source, tmp_path):
    source, path = small_source
    recipe = source.recipe
    with pytest.raises(InputError, match="--head FILE"):
        head_of(recipe)
    with pytest.raises(InputError, match="no file"):
        Source(recipe, head_file=tmp_path / "none.nii.gz")
    other = tmp_path / "labels.nii.gz"
    other.write_bytes(path.read_bytes() + b"0")
    with pytest.raises(InputError, match="not the label file of head 'ball'"):
        Source(recipe, head_file=other)
    bundled = Recipe(cell="open/L5_PC_1", layer="L5")
    with pytest.raises(InputError, match="bundled"):
        head_of(bundled, path)


def test_fields_that_changed_since_the_simulation_are_refused():
    at_soma = np.random.default_rng(0).uniform(0.5, 2.0, 50)
    check_fields(at_soma, at_soma * 1.001)
    with pytest.raises(InputError, match="have changed"):
        check_fields(at_soma, at_soma * 1.01)


@pytest.mark.parametrize(("n", "z_shift_mm"), [(4, 0.0), (5, 0.0), (5, -0.4)])
def test_thresholds_are_given_where_the_patch_has_its_centre(source, n, z_shift_mm):
    """An even grid has its centre between samples, a shifted one away from the soma."""
    recipe = source.recipe
    rows = np.arange(0, recipe.thresholds, 3)
    somata = source.compartments(rows, np.zeros((1, 3)))[:, 0]
    np.testing.assert_allclose(source.at_soma(rows), np.linalg.norm(somata, axis=-1), rtol=1e-5)
    factor = np.full(recipe.thresholds, 50.0)
    v_per_m = factor * source.at_soma(np.arange(recipe.thresholds))
    results = {"status": np.zeros(recipe.thresholds, int), "factor": factor, "v_per_m": v_per_m}
    results["initiation"] = np.arange(recipe.thresholds)
    found = examples(source, results, 1.5, z_shift_mm, n)
    centres = np.linalg.norm(jax.vmap(features.centre_field)(jnp.asarray(found.patches)), axis=-1)
    np.testing.assert_allclose(found.v_per_m, 50.0 * centres, rtol=1e-5)
    assert np.array_equal(found.initiation, found.rows)
    both = joined(found, found)
    assert np.array_equal(both.site, [*found.site, *[-1] * len(found.rows)])
    assert np.array_equal(both.patches[len(found.rows) :], found.patches)


def test_tilted_cells_stand_where_the_upright_do_at_every_angle(source):
    upright, other = source.population, tilted(source.population, 3)
    assert np.array_equal(other.positions, upright.positions)
    frames = np.asarray(other.rotations, np.float64)
    np.testing.assert_allclose(frames @ frames.transpose(0, 2, 1), np.broadcast_to(np.eye(3), frames.shape), atol=1e-6)
    np.testing.assert_allclose(np.linalg.det(frames), 1, atol=1e-6)
    radial = np.asarray(upright.positions) / np.linalg.norm(upright.positions, axis=1)[:, None]
    cosine = np.einsum("pi,pi->p", radial, frames[:, :, 2])
    assert np.abs(np.histogram(cosine, 2, (-1, 1))[0] / len(cosine) - 0.5).max() < 0.2  # even over the sphere
    assert np.array_equal(tilted(upright, 3).rotations, other.rotations)
    assert not np.array_equal(tilted(upright, 4).rotations, other.rotations)
