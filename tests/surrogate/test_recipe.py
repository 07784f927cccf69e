"""Recipes draw the same neurons from the same seed, and refuse what does not belong together."""

import dataclasses

import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.surrogate.recipe import Recipe, check_fields, check_same, draw

RECIPE = Recipe(cell="open/L5_PC_1", layer="L5", thresholds=5000, poses=7, sites=100, rotations=12)


def test_a_longer_draw_begins_with_the_shorter_one():
    short, long = draw(dataclasses.replace(RECIPE, thresholds=100)), draw(RECIPE)
    for a, b in zip(dataclasses.astuple(short), dataclasses.astuple(long), strict=True):
        np.testing.assert_array_equal(a, b[:100])


def test_poses_directions_and_neurons_are_used_evenly():
    drawn = draw(RECIPE)
    np.testing.assert_allclose(np.bincount(drawn.pose, minlength=7) / 5000, 1 / 7, atol=0.025)
    assert set(drawn.sign) == {-1, 1}
    assert abs(drawn.sign.mean()) < 0.05
    assert drawn.neuron.min() >= 0
    assert drawn.neuron.max() < 1200
    assert len(np.unique(drawn.neuron)) > 1100


def test_another_seed_draws_others():
    assert (draw(RECIPE).neuron != draw(dataclasses.replace(RECIPE, seed=1)).neuron).mean() > 0.9


def test_a_toml_file_round_trips(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text('cell = "open/L5_PC_1"\nlayer = "L5"\nthresholds = 12\nspread_mm = 10\ninitiation = true\n')
    recipe = Recipe.read(path)
    assert (recipe.thresholds, recipe.spread_mm, recipe.initiation) == (12, 10, True)
    assert Recipe.from_dict(recipe.as_dict()) == recipe


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('cell = "a"\n', "missing"),
        ('cell = "a"\nlayer = "L5"\ncolour = 1\n', "colour"),
        ('cell = "a"\nlayer = "L5"\nposes = "many"\n', "poses"),
        ('cell = "a"\nlayer = "L5"\nposes = true\n', "poses"),
        ("cell = \n", "cannot be read"),
        ('cell = "a"\nlayer = "L5"\nposes = 0\n', "poses"),
        ('cell = "a"\nlayer = "L5"\nfixed_poses = 3\n', "fixed_poses"),
        ('cell = "a"\nlayer = "L5"\nseed = -1\n', "seed"),
        ('cell = "a"\nlayer = "L5"\nengine = "hoc"\n', "engine"),
        ('cell = "a"\nlayer = "L5"\nmembrane = "reduced"\n', "membrane"),
        ('cell = "a"\nlayer = "L5"\nspread_mm = nan\n', "spread_mm"),
    ],
)
def test_a_bad_recipe_is_named(tmp_path, text, said):
    path = tmp_path / "r.toml"
    path.write_text(text)
    with pytest.raises(InputError, match=said):
        Recipe.read(path)


def test_a_recipe_that_is_not_there_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        Recipe.read(tmp_path / "none.toml")


def test_a_dataset_of_another_recipe_is_refused():
    check_same(RECIPE, RECIPE.as_dict())
    with pytest.raises(InputError, match="seed"):
        check_same(dataclasses.replace(RECIPE, seed=3), RECIPE.as_dict())


def test_fields_that_changed_since_the_simulation_are_refused():
    patches = np.random.default_rng(0).normal(size=(50, 3, 3, 3, 3)).astype(np.float32)
    at_soma = np.linalg.norm(patches[:, 1, 1, 1], axis=-1)
    check_fields(patches, at_soma, 0.0)
    with pytest.raises(InputError, match="have changed"):
        check_fields(patches, at_soma * 1.01, 0.0)
