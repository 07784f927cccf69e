"""``tmsjax simulate``: a dataset of a recipe made, gone on with and mended; a user's own neuron; bad options."""

import lzma
import shutil
from contextlib import nullcontext
from importlib.resources import files

import numpy as np
import pytest

import tmsjax.simulate
from tmsjax.cells import cable_model, load
from tmsjax.cli.simulate import SimulateOptions, simulate
from tmsjax.core.errors import InputError
from tmsjax.simulate import open_dataset
from tmsjax.surrogate import generate
from tmsjax.surrogate.generate import simulate_recipe
from tmsjax.surrogate.recipe import Recipe

RECIPE = """
cell = "{cell}"
layer = "L23"
thresholds = {thresholds}
poses = 1
engine = "{engine}"
tolerance = 0.05
"""
CELL = "open/L4_LBC_1"


class Uniform:
    """Fields of a recipe without a head: uniform ones of random directions."""

    def __init__(self, recipe, say, head_file=None):
        self.units = np.random.default_rng(recipe.seed).normal(size=(recipe.thresholds, 3))
        say("uniform fields")

    def compartments(self, rows, xyz_um):
        return np.repeat(self.units[rows, None], len(xyz_um), axis=1)


@pytest.fixture(autouse=True)
def _uniform_fields(monkeypatch):
    monkeypatch.setattr(generate, "Source", Uniform)


def _recipe(folder, cell=CELL, thresholds=70, engine="cable"):
    path = folder / "recipe.toml"
    path.write_text(RECIPE.format(cell=cell, thresholds=thresholds, engine=engine))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("made")
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(generate, "Source", Uniform)
        simulate(SimulateOptions(_recipe(folder), folder / "d.zarr"))
    return folder


def test_a_recipe_becomes_a_dataset_and_is_not_done_twice(made, capsys):
    dataset = open_dataset(made / "d.zarr")
    results = dataset.results()
    assert len(dataset) == 70
    assert (results["status"] == 0).sum() > 60
    assert dataset.attrs["source"] == "cable engine, full membrane, numba float32"
    assert dataset.attrs["simulation"]["search"]["tolerance"] == 0.05
    simulate(SimulateOptions(made / "recipe.toml", made / "d.zarr"))
    said = " ".join(capsys.readouterr().out.split())
    assert "70 of 70 thresholds are there, 0 to do" in said
    assert dataset.content_hash() in said


def test_the_first_rows_and_then_the_rest_are_the_same_dataset(made, tmp_path):
    recipe, said = Recipe.read(made / "recipe.toml"), []
    for rows, there in ((30, 30), (30, 30), (None, 70)):
        dataset = simulate_recipe(
            recipe,
            load(CELL),
            tmp_path / "d.zarr",
            stage=lambda name: nullcontext(said.append),
            tell=said.append,
            rows=rows,
        )
        assert len(dataset) - len(dataset.pending()) == there
    assert [text for text in said if " to do" in text] == [
        f"{CELL}: 0 of 70 thresholds are there, 30 to do",
        f"{CELL}: 30 of 70 thresholds are there, 0 to do",
        f"{CELL}: 30 of 70 thresholds are there, 40 to do",
    ]
    done = [text.split(",")[0] for text in said if "a second" in text]
    assert [text for text in done if text.endswith(CELL)] == [
        f"{there} thresholds of {CELL}" for there in ("30 of 30", "70 of 70")
    ]
    assert dataset.content_hash() == open_dataset(made / "d.zarr").content_hash()


def test_what_is_damaged_is_done_again(made, tmp_path, capsys):
    shutil.copytree(made, tmp_path / "made")
    shutil.rmtree(tmp_path / "made" / "d.zarr" / "v_per_m" / "c")
    simulate(SimulateOptions(made / "recipe.toml", tmp_path / "made" / "d.zarr"))
    assert "2 damaged chunks" in capsys.readouterr().out
    assert open_dataset(tmp_path / "made" / "d.zarr").content_hash() == open_dataset(made / "d.zarr").content_hash()


def test_another_recipe_and_a_backend_of_another_engine_are_refused(made, tmp_path):
    with pytest.raises(InputError, match="another recipe"):
        simulate(SimulateOptions(_recipe(tmp_path, thresholds=71), made / "d.zarr"))
    with pytest.raises(InputError, match="--backend"):
        simulate(SimulateOptions(_recipe(tmp_path, engine="neuron"), tmp_path / "d", backend="jax"))
    assert not (tmp_path / "d").exists()


def test_the_backend_reaches_the_engine(tmp_path, monkeypatch):
    seen = []

    def asked(*_, **options):
        seen.append(options["backend"])
        raise InterruptedError

    monkeypatch.setattr(tmsjax.simulate, "uniform_thresholds", asked)
    with pytest.raises(InterruptedError):
        simulate(SimulateOptions(_recipe(tmp_path), tmp_path / "d", backend="jax"))
    assert seen == ["jax"]


def test_a_neuron_of_ones_own(tmp_path, monkeypatch):
    """The same reconstruction from a user's file, under a name of the recipe's, with a membrane of ours."""
    packed = files("tmsjax") / "data" / "cells" / "open" / "L4_LBC_1.swc.xz"
    (tmp_path / "mine.swc").write_bytes(lzma.decompress(packed.read_bytes()))
    seen = []

    def asked(cell, *_, **__):
        seen.append(cell)
        raise InterruptedError

    monkeypatch.setattr(tmsjax.simulate, "uniform_thresholds", asked)
    options = {"reconstruction": tmp_path / "mine.swc", "biophysics": "L4_LBC"}
    with pytest.raises(InterruptedError):
        simulate(SimulateOptions(_recipe(tmp_path, cell="mine"), tmp_path / "d", **options))
    assert seen[0].name == "mine" == open_dataset(tmp_path / "d").attrs["cell"]
    assert cable_model(seen[0]).n > 100
    assert seen[0].biophysics == load(CELL).biophysics
    with pytest.raises(InputError, match="both --reconstruction and --biophysics"):
        simulate(SimulateOptions(_recipe(tmp_path, cell="mine"), tmp_path / "e", biophysics="L4_LBC"))


def test_another_clone_by_name(made, tmp_path):
    """The cell that was given is simulated, and the dataset says so."""
    recipe = _recipe(tmp_path, thresholds=3)
    simulate(SimulateOptions(recipe, tmp_path / "d.zarr", cell="open/L23_PC_1"))
    attrs = open_dataset(tmp_path / "d.zarr").attrs
    assert attrs["cell"] == attrs["recipe"]["cell"] == "open/L23_PC_1"
    with pytest.raises(InputError, match="another recipe"):
        simulate(SimulateOptions(recipe, tmp_path / "d.zarr"))
    with pytest.raises(InputError, match="layer L23"):
        simulate(SimulateOptions(recipe, tmp_path / "e.zarr", cell="open/L5_PC_1"))
    with pytest.raises(InputError, match="there is no such cell"):
        simulate(SimulateOptions(recipe, tmp_path / "e.zarr", cell="open/L23_PC_99"))
    assert not (tmp_path / "e.zarr").exists()


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('head = "S2"', "head_sha256"),
        ('coil = "none"', "unknown coil"),
        ('pulse = "triphasic"', "unknown pulse"),
        (f'head = "S2"\nhead_sha256 = "{64 * "0"}"\ntarget_mm = [0, 0, 60]', "--head FILE"),
    ],
)
def test_what_there_is_not_is_refused_before_any_work(tmp_path, line, said):
    path = _recipe(tmp_path)
    path.write_text(path.read_text() + line)
    with pytest.raises(InputError, match=said):
        simulate(SimulateOptions(path, tmp_path / "d.zarr"))
    assert not (tmp_path / "d.zarr").exists()


def test_a_dataset_whose_recipe_was_changed_is_refused(made, tmp_path):
    """Also where only what is stored differs: the rows belong to what they were simulated with."""
    shutil.copytree(made / "d.zarr", tmp_path / "d.zarr")
    group = open_dataset(tmp_path / "d.zarr").group
    group.attrs["recipe"] = {**group.attrs["recipe"], "gap_mm": 4.0}
    with pytest.raises(InputError, match="gap_mm"):
        simulate(SimulateOptions(made / "recipe.toml", tmp_path / "d.zarr"))
