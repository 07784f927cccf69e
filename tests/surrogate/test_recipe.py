"""Recipes draw the same neurons from the same seed, and refuse what does not belong together."""

import dataclasses
import json

import numpy as np
import pytest

from tmsjax import head as heads
from tmsjax.core.errors import InputError
from tmsjax.surrogate.recipe import Recipe, check_same, draw, target

RECIPE = Recipe(cell="open/L5_PC_1", layer="L5", thresholds=5000, poses=7, sites=100, rotations=12)
EVERY = {"cell": "a", "layer": "L5", "design": "every", "poses": 3, "sites": 500, "rotations": 3}
SHA256 = "0123456789abcdef" * 4


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


def test_random_draws_are_those_that_datasets_were_made_with():
    drawn = draw(RECIPE)
    np.testing.assert_array_equal(drawn.pose[:6], [0, 1, 0, 1, 4, 6])
    np.testing.assert_array_equal(drawn.sign[:6], [-1, -1, -1, -1, 1, 1])
    np.testing.assert_array_equal(drawn.neuron[:6], [721, 392, 575, 1044, 88, 456])


def test_every_combination_once_in_a_fair_order():
    """36 combinations of 1,500 neurons' in a shuffled order: the first tenth has all poses and directions alike."""
    recipe = Recipe.from_dict(EVERY)
    drawn = draw(recipe)
    assert recipe.thresholds == len(drawn.pose) == 3 * 2 * 500 * 3
    combinations = np.stack([drawn.pose, drawn.sign, drawn.neuron], 1)
    assert len(np.unique(combinations, axis=0)) == recipe.thresholds
    assert set(drawn.sign) == {-1, 1}
    assert (drawn.pose.max(), drawn.neuron.max()) == (2, 1499)
    first = slice(recipe.thresholds // 10)
    np.testing.assert_allclose(np.bincount(drawn.pose[first]) / 900, 1 / 3, atol=0.06)
    assert abs(drawn.sign[first].mean()) < 0.12
    assert abs(drawn.neuron[first].mean() / 749.5 - 1) < 0.08
    other = draw(dataclasses.replace(recipe, seed=1))
    assert (other.neuron != drawn.neuron).mean() > 0.9


def test_every_needs_no_number_of_thresholds_and_takes_only_its_own():
    recipe = Recipe.from_dict(EVERY)
    assert Recipe.from_dict(EVERY | {"thresholds": 9000}) == recipe
    assert Recipe.from_dict(recipe.as_dict()) == recipe
    with pytest.raises(InputError, match="9000"):
        Recipe.from_dict(EVERY | {"thresholds": 8999})


def test_a_target_in_mm_goes_before_no_landmark():
    table = {"cell": "a", "layer": "L5", "target_mm": [-35, 2.5, 40]}
    recipe = Recipe.from_dict(table)
    assert (recipe.target_mm, recipe.landmark) == ((-35.0, 2.5, 40.0), "")
    assert Recipe.from_dict(recipe.as_dict()) == recipe
    check_same(recipe, json.loads(json.dumps(recipe.as_dict())))
    head = heads.from_labels(np.ones((2, 2, 2), int), np.eye(4))
    np.testing.assert_array_equal(target(recipe, head), [-35, 2.5, 40])


def test_another_clone_of_the_same_layer():
    recipe = Recipe.from_dict({"cell": "aberra2019/L23_PC_cADpyr229_1", "layer": "L2/3"})
    other = recipe.of_cell("aberra2019/L23_PC_cADpyr229_4")
    assert other == dataclasses.replace(recipe, cell="aberra2019/L23_PC_cADpyr229_4")
    assert recipe.of_cell("mine").cell == "mine"
    with pytest.raises(InputError, match="layer L23"):
        recipe.of_cell("aberra2019/L4_LBC_cACint209_1")


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
        ('cell = "a"\nlayer = "L7"\n', "layer"),
        ('cell = "a"\nlayer = "L5"\ncoil = "Figure_8"\n', "unknown coil"),
        ('cell = "a"\nlayer = "L5"\ncoil = "mine.ccd"\n', "coil file not found"),
        ('cell = "a"\nlayer = "L5"\nlandmark = "thumb"\n', "landmark"),
        ('cell = "a"\nlayer = "L5"\nlandmark = ""\n', "target"),
        ('cell = "a"\nlayer = "L5"\ndirection = "P-A"\n', "direction"),
        ('cell = "a"\nlayer = "L5"\ndesign = "all"\n', "design"),
        ('cell = "a"\nlayer = "L5"\ntarget_mm = [1, 2]\n', "target_mm"),
        ('cell = "a"\nlayer = "L5"\ntarget_mm = [1, nan, 2]\n', "target_mm"),
        ('cell = "a"\nlayer = "L5"\ntarget_mm = "here"\n', "target_mm"),
        ('cell = "a"\nlayer = "L5"\ntarget_mm = [1, 2, 3]\nlandmark = "hand_knob_left"\n', "target"),
        ('cell = "a"\nlayer = "L5"\nhead = "S2"\n', "head_sha256"),
        ('cell = "a"\nlayer = "L5"\nhead = "S2"\nhead_sha256 = "12"\n', "head_sha256"),
        (f'cell = "a"\nlayer = "L5"\nhead = "S2"\nhead_sha256 = "{SHA256}"\n', "not registered"),
        (f'cell = "a"\nlayer = "L5"\nhead_sha256 = "{SHA256}"\n', "bundled"),
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
