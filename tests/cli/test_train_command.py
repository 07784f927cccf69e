"""``tmsjax train`` on a synthetic dataset: both families, the search, going on after an interruption, bad options."""

import dataclasses
import json
import subprocess
import sys
from pathlib import Path

import jax
import numpy as np
import pytest
from surrogate.synthetic_thresholds import fields, hidden_functionals, thresholds

import tmsjax.simulate
from tmsjax.cli.train import TrainOptions, train
from tmsjax.core.errors import InputError
from tmsjax.core.thresholds import Thresholds
from tmsjax.surrogate import cnn_train, load, source
from tmsjax.surrogate.cnn import CnnSpec
from tmsjax.surrogate.recipe import Recipe
from tmsjax.surrogate.search import Ranges

PATCHES = fields(120, seed=5)
RECIPE = Recipe(cell="open/L4_LBC_1", layer="L4", thresholds=120)


class Synthetic:
    """A finished dataset of the hidden law's thresholds; the last two rows found none."""

    attrs = {"recipe": RECIPE.as_dict(), "versions": {"tmsjax": "test"}, "cell": RECIPE.cell}  # noqa: RUF012
    left: tuple = ()

    def __init__(self, path):
        self.path = path

    def __len__(self):
        return len(PATCHES)

    def pending(self):
        return self.left

    def content_hash(self):
        return f"hash of {Path(self.path).name}"

    def results(self):
        v = thresholds(PATCHES, hidden_functionals())
        soma = np.linalg.norm(PATCHES[:, 4, 4, 4].astype(np.float64), axis=-1)
        first = np.arange(120) % 4 - 1
        return {"status": np.repeat([0, 1], [118, 2]), "v_per_m": v, "factor": v / soma, "initiation": first}


class Fields(source.Source):
    """Stands for the fields of a recipe, which take minutes; counts how often they are solved."""

    solved = 0

    def __init__(self, recipe, say, head_file=None):
        type(self).solved += 1
        self.count = recipe.thresholds

    @property
    def site(self):
        return np.arange(self.count) // 2

    def at_soma(self, indices):
        return np.linalg.norm(PATCHES[indices][:, 4, 4, 4].astype(np.float64), axis=-1)

    def patches(self, indices, side_mm, z_shift_mm=0.0, n=9):
        return PATCHES[indices] if n == 9 else fields(120, seed=5, n=n)[indices]


@pytest.fixture(autouse=True)
def _synthetic(monkeypatch):
    monkeypatch.setattr(tmsjax.simulate, "open_dataset", Synthetic)
    monkeypatch.setattr(source, "Source", Fields)
    monkeypatch.setattr(cnn_train, "SHORT_MODEL", CnnSpec(filters=4, kernel=3, units=4, output="log"))
    monkeypatch.setattr(Fields, "solved", 0)


def options(folder, **others):
    how = {"uniform": False, "licence": "CC0-1.0", "out": folder / "weights", "epochs": 2}
    return TrainOptions(Path("synthetic.zarr"), **{**how, **others})


def test_the_network_with_curves_and_a_card(tmp_path, capsys):
    train(options(tmp_path, family="cnn", curves=tmp_path / "curves.png", checkpoints=tmp_path / "run"))
    model = load(tmp_path / "weights")
    assert model.spec.family == "cnn"
    assert model.card["licence"] == "CC0-1.0"
    assert model.card["data_hash"] == "hash of synthetic.zarr"
    assert model.card["data"]["thresholds"] == 118
    assert (tmp_path / "curves.png").stat().st_size > 10_000
    said = capsys.readouterr().out
    assert "118 of 120 thresholds have a patch" in " ".join(said.split())
    assert "mape_percent" in said
    assert len((tmp_path / "run" / "cnn" / "metrics.jsonl").read_text().splitlines()) == 2


def test_a_further_dataset_trains_and_never_judges(tmp_path, monkeypatch):
    """The sites that judge stay those of the first; the card says what was used."""
    one, both = (options(tmp_path, family="weise", also=also) for also in ((), (Path("tilted.zarr"),)))
    train(one)
    alone = load(tmp_path / "weights").card
    train(dataclasses.replace(both, out=tmp_path / "more"))
    card = load(tmp_path / "more").card
    assert card["data_hash"] == alone["data_hash"] == "hash of synthetic.zarr"
    assert [each["data_hash"] for each in card["data"]["also"]] == ["hash of tilted.zarr"]
    assert card["n_held_out"] == alone["n_held_out"]
    assert card["n_train"] == alone["n_train"] + 118
    plain = Synthetic.attrs
    other = plain | {"recipe": dataclasses.replace(RECIPE, pulse="biphasic").as_dict()}
    monkeypatch.setattr(Synthetic, "attrs", property(lambda self: other if "tilted" in str(self.path) else plain))
    with pytest.raises(InputError, match=r"--also tilted.zarr\n.*biphasic"):
        train(dataclasses.replace(both, out=tmp_path / "none"))


@pytest.mark.parametrize("family", ["support", "cnn"])
def test_goes_on_after_an_interruption_to_the_same_weights(tmp_path, family, monkeypatch):
    """The fields are not solved twice, and what an epoch left is used."""
    from tmsjax.nn import runs

    how = {"family": family, "polarisation": False, "samples": 9}
    train(options(tmp_path, out=tmp_path / "whole", **how))
    record = runs.Run.record

    def interrupted(self, values):
        record(self, values)
        raise KeyboardInterrupt

    monkeypatch.setattr(runs.Run, "record", interrupted)
    with pytest.raises(KeyboardInterrupt):
        train(options(tmp_path, checkpoints=tmp_path / "run", **how))
    monkeypatch.setattr(runs.Run, "record", record)
    train(options(tmp_path, checkpoints=tmp_path / "run", **how))
    assert Fields.solved == 2
    ours, theirs = (jax.tree.leaves(load(tmp_path / name).variables) for name in ("weights", "whole"))
    assert [np.asarray(a).tobytes() for a in ours] == [np.asarray(b).tobytes() for b in theirs]


@pytest.mark.parametrize("family", ["uniform", "weise"])
def test_baselines_are_saved_with_their_scores(tmp_path, family, monkeypatch):
    grid = tmsjax.surrogate.uniform.directions()
    none = np.zeros(len(grid), int)
    table = Thresholds(
        v_per_m=np.full(len(grid), 150.0), factor=np.full(len(grid), 150.0), initiation=none, status=none, runs=none
    )
    monkeypatch.setattr(tmsjax.simulate, "uniform_thresholds", lambda *_, **__: table)
    train(options(tmp_path, family=family, samples=None, epochs=None))
    model = load(tmp_path / "weights")
    assert (model.spec.family, model.spec.n, model.spec.side_mm) == (family, 9, 1.5)
    predicted = model.predict(PATCHES[:5])
    assert np.allclose(predicted, 150.0) == (family == "uniform")
    assert model.card["n_train"] == (0 if family == "uniform" else 94)
    assert model.card["scores"]["surrogate"]["n"] == 24
    assert model.card["data"]["recipe"]["cell"] == RECIPE.cell


@pytest.mark.parametrize(("family", "samples"), [("support", 4), ("cnn", 3)])
def test_fewer_samples(tmp_path, family, samples):
    train(options(tmp_path, family=family, samples=samples, polarisation=False, epochs=1))
    model = load(tmp_path / "weights")
    assert model.spec.n == samples
    assert np.isfinite(model.predict(fields(3, seed=0, n=samples))).all()


def test_the_search_trains_the_best_of_what_it_drew(tmp_path, monkeypatch, capsys):
    from tmsjax.surrogate import search

    small = Ranges((1, 1), (3, 3), (3, 4), (1, 1), (3, 4), batch=(16, 32), learning_rate=(1e-3, 1e-2))
    monkeypatch.setattr(search, "SHORT_RANGES", small)
    train(options(tmp_path, family="cnn", search=2, epochs=1, checkpoints=tmp_path / "run"))
    lines = [json.loads(line) for line in (tmp_path / "run" / "search" / "trials.jsonl").read_text().splitlines()]
    best = min(lines, key=lambda line: line["loss"])
    model = load(tmp_path / "weights").spec.model
    assert (model.filters, model.units, model.batch_norm) == tuple(
        best["model"][name] for name in ("filters", "units", "batch_norm")
    )
    assert "1 convolutions of 3 from" in " ".join(capsys.readouterr().out.split())


def test_the_support_family_starts_from_the_cells_polarisation(tmp_path, monkeypatch, capsys):
    import tmsjax.surrogate

    seen = {}

    def asked(*_, **options):
        seen.update(options)
        raise InterruptedError

    monkeypatch.setattr(tmsjax.surrogate, "train", asked)
    with pytest.raises(InterruptedError):
        train(options(tmp_path))
    assert seen["sites"].shape[-4:] == (5, 5, 5, 3)  # layer 4's own grid
    assert seen["training"].epochs == 2
    assert "ends of the axon" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"search": 3}, "--search"),
        ({"search": 3, "family": "cnn"}, "--checkpoints"),
        ({"epochs": 0}, "--epochs"),
        ({"samples": 4, "family": "cnn"}, "no network"),
        ({"curves": Path("curves.txt")}, "--curves"),
        ({"curves": Path("curves.png"), "family": "weise"}, "--curves"),
    ],
)
def test_options_that_do_not_go_together(tmp_path, wrong, message):
    with pytest.raises(InputError, match=message):
        train(options(tmp_path, **wrong))
    assert Fields.solved == 0


def test_an_unfinished_dataset_and_a_folder_of_another_are_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(Synthetic, "left", (3, 4))
    with pytest.raises(InputError, match="2 of 120 thresholds still to do"):
        train(options(tmp_path))
    monkeypatch.setattr(Synthetic, "left", ())
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "examples.json").write_text('{"dataset": "another"}')
    with pytest.raises(InputError, match="another training"):
        train(options(tmp_path, checkpoints=tmp_path / "run"))


def test_help_shows_an_example():
    done = subprocess.run(
        [sys.executable, "-c", "from tmsjax.cli import main; main()", "train", "--help"], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    text = " ".join(done.stdout.replace("│", " ").split())
    for part in ("tmsjax train L5.zarr", "--family", "--search", "--epochs", "--checkpoints", "--curves"):
        assert part in text
