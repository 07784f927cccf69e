"""Fields of a recipe: the head that it names, and fields that have changed."""

import hashlib

import jax
import jax.numpy as jnp
import nibabel
import numpy as np
import pytest
from spheres import layered_sphere

from tmsjax.core.errors import InputError
from tmsjax.surrogate import features
from tmsjax.surrogate.recipe import Recipe
from tmsjax.surrogate.source import Source, check_fields, examples, head_of

RADII = {5: 32.0, 4: 28.0, 3: 25.0, 2: 23.0, 1: 20.0}


@pytest.fixture(scope="module")
def ball(tmp_path_factory):
    """A label file of a small head of spheres whose cortex is 3 mm thick, and a recipe for it."""
    path = tmp_path_factory.mktemp("ball") / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(*layered_sphere(1.0, RADII, shift=(0.31, -0.22, 0.13))), path)
    table = {
        "cell": "open/L5_PC_1",
        "layer": "L5",
        "head": "ball",
        "head_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "target_mm": [0, 0, 23],
        "coil": "Circular_50mm",
        "design": "every",
        "poses": 2,
        "sites": 30,
        "rotations": 2,
        "radius_mm": 12,
    }
    return path, Recipe.from_dict(table)


@pytest.fixture(scope="module")
def source(ball):
    return Source(ball[1], head_file=ball[0])


def test_a_head_from_its_label_file_has_columns_and_fields(source):
    """Somata at 75 % of a cortex from 23 to 20 mm, axes along the radius, fields that flip with the current."""
    somata, frames = np.asarray(source.population.positions), np.asarray(source.population.rotations)
    radius = np.linalg.norm(somata, axis=1)
    np.testing.assert_allclose(radius, 23 - 0.75 * 3, atol=0.35)
    cosine = np.einsum("pi,pi->p", somata / radius[:, None], frames[:, :, 2])
    assert np.degrees(np.arccos(cosine.min())) < 12
    assert len(source.draw.pose) == 2 * 2 * 30 * 2
    assert source.site.max() == 29
    soma = source.compartments(np.arange(240), np.zeros((1, 3)))[:, 0]
    drawn = source.draw
    pairs = soma[np.lexsort((drawn.sign, drawn.neuron, drawn.pose))].reshape(-1, 2, 3)
    np.testing.assert_allclose(pairs[:, 0], -pairs[:, 1], rtol=1e-6)
    assert (np.linalg.norm(soma, axis=1) > 0).all()


def test_a_head_file_that_is_not_the_recipes_is_refused_before_any_work(ball, tmp_path):
    path, recipe = ball
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
def test_thresholds_are_given_where_the_patch_has_its_centre(ball, n, z_shift_mm):
    """An even grid has its centre between samples, a shifted one away from the soma."""
    path, recipe = ball
    source = Source(recipe, head_file=path)
    rows = np.arange(0, recipe.thresholds, 3)
    somata = source.compartments(rows, np.zeros((1, 3)))[:, 0]
    np.testing.assert_allclose(source.at_soma(rows), np.linalg.norm(somata, axis=-1), rtol=1e-5)
    factor = np.full(recipe.thresholds, 50.0)
    v_per_m = factor * source.at_soma(np.arange(recipe.thresholds))
    results = {"status": np.zeros(recipe.thresholds, int), "factor": factor, "v_per_m": v_per_m}
    found = examples(source, results, 1.5, z_shift_mm, n)
    centres = np.linalg.norm(jax.vmap(features.centre_field)(jnp.asarray(found.patches)), axis=-1)
    np.testing.assert_allclose(found.v_per_m, 50.0 * centres, rtol=1e-5)
