"""``tmsjax evaluate``: tables and figures from a synthetic dataset on a small head of its own; bad options."""

import csv
import dataclasses
import json
import subprocess
import sys

import numpy as np
import pytest
from small_head import results
from surrogate.synthetic_thresholds import QUICK, fields, hidden_functionals, thresholds

import tmsjax.surrogate.source
from tmsjax import surrogate
from tmsjax.cli.evaluate import EvaluateOptions, evaluate
from tmsjax.core.errors import InputError
from tmsjax.simulate import create_dataset, open_dataset
from tmsjax.surrogate import SupportSpec, SurrogateSpec, from_uniform, train, train_weise, uniform
from tmsjax.surrogate.evaluation import uniform_patches
from tmsjax.surrogate.recipe import draw

CELL = "open/L5_PC_1"


def store(path, made, simulated):
    """A dataset as ``tmsjax simulate`` leaves it, of given results."""
    drawn = draw(made)
    columns = {"pose": drawn.pose, "sign": drawn.sign, "neuron": drawn.neuron}
    dataset = create_dataset(
        path, columns, cell=made.cell, pulse=made.pulse, seed=made.seed, description=made.as_dict()
    )
    for name, values in simulated.items():
        dataset.group[name][:] = values
    return dataset


@pytest.fixture(scope="module")
def made(tmp_path_factory, small_source):
    """A label file, a dataset of synthetic thresholds in its fields, and three families of surrogates."""
    folder = tmp_path_factory.mktemp("evaluate")
    source, labels = small_source
    weights = hidden_functionals()
    (folder / "labels.nii.gz").symlink_to(labels)
    store(folder / "d.zarr", source.recipe, results(source, lambda patches: thresholds(patches, weights)))
    patches = fields(600, seed=0)
    truth = thresholds(patches, weights)
    spec = SurrogateSpec(CELL, model=SupportSpec((2,), 32))
    training = dataclasses.replace(QUICK, epochs=20)
    model, _ = train(patches, truth, spec, 0, candidates=(), training=training)
    grid = uniform.directions()
    table = uniform.from_table(grid, thresholds(uniform_patches(grid, 9), weights))
    models = {
        "support": model,
        "uniform": from_uniform(table, spec, model.domain),
        "weise": train_weise(patches, truth, spec),
    }
    for family, each in models.items():
        surrogate.save(each, folder / "zoo" / CELL / "monophasic" / family, card={"licence": "CC0-1.0"})
    return folder


@pytest.fixture(scope="module")
def done(made):
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("COLUMNS", "200")
        evaluate(
            EvaluateOptions(
                CELL, made / "d.zarr", made / "out", root=made / "zoo", head=(made / "labels.nii.gz").resolve()
            )
        )
    return made / "out"


def rows_of(path):
    with path.open() as handle:
        return list(csv.DictReader(handle))


def test_tables_of_all_families_side_by_side(done):
    scores = {row["estimator"]: row for row in rows_of(done / "scores.csv")}
    assert list(scores) == ["support", "uniform", "weise"]
    errors = {name: float(row["mape_percent"]) for name, row in scores.items()}
    assert errors["uniform"] < 1  # the fields of spheres hardly change within a cell
    assert errors["support"] < 5 < errors["weise"]
    assert len(rows_of(done / "by_depth.csv")) == 15
    assert [row["family"] for row in rows_of(done / "uniform_fields.csv")] == ["support", "weise"]


def test_every_threshold_is_written_and_adds_up(done):
    rows = rows_of(done / "thresholds.csv")
    truth, predicted = (np.array([float(row[key]) for row in rows]) for key in ("v_per_m", "support_v_per_m"))
    score = next(row for row in rows_of(done / "scores.csv") if row["estimator"] == "support")
    assert int(score["n"]) == len(rows) > 150
    assert 100 * np.abs(predicted / truth - 1).mean() == pytest.approx(float(score["mape_percent"]), rel=1e-3)
    assert {row["pose"] for row in rows} == {"0", "1"}


def test_point_sources_are_told_from_the_dataset(done):
    row = rows_of(done / "point_sources.csv")[0]
    assert row["distance_mm"] == "all"
    assert float(row["auc"]) > 0.99
    assert float(row["flagged_share"]) > 0.95


def test_errors_are_explained_by_gradients_and_initiation_sites(done):
    """Initiation sites of a bundled cell are known without a folder of cells."""
    rows = [row for row in rows_of(done / "error_sources.csv") if row["estimator"] == "uniform"]
    assert [row["predictor"] for row in rows] == [
        "gradient_per_mm",
        "initiation_error_percent",
        "initiation_angle_deg",
    ]
    assert all(float(row["low"]) < float(row["per_sd"]) < float(row["high"]) for row in rows)


def test_the_summary_and_the_figures(done):
    summary = json.loads((done / "summary.json").read_text())
    assert summary["recipe"]["head"] == "ball"
    assert summary["surrogates"]["support"]["licence"] == "CC0-1.0"
    assert summary["tables"]["scores"][0]["estimator"] == "support"
    names = {path.stem for path in done.glob("*.png")}
    assert {"predictions", "errors", "by_depth", "point_sources", "uniform_fields_support", "cortex_plus"} <= names
    assert all(path.stat().st_size > 10_000 for path in done.glob("*.png"))


def test_what_it_prints(made, small_source, capsys, monkeypatch):
    monkeypatch.setattr(tmsjax.surrogate.source, "Source", lambda *_: small_source[0])
    monkeypatch.setenv("COLUMNS", "200")
    options = {
        "root": made / "zoo",
        "head": (made / "labels.nii.gz").resolve(),
        "family": ("uniform",),
        "figures": False,
    }
    evaluate(EvaluateOptions(CELL, made / "d.zarr", made / "one", **options))
    said = " ".join(capsys.readouterr().out.split())
    assert "MAPE %" in said
    assert f"Tables and figures: {made / 'one'}" in said
    assert not list((made / "one").glob("*.png"))
    assert [row["estimator"] for row in rows_of(made / "one" / "scores.csv")] == ["uniform"]


def test_bad_options_are_refused_before_any_work(made):
    good = {"root": made / "zoo", "head": (made / "labels.nii.gz").resolve(), "out": made / "no"}
    for changes, said in (
        ({"model": "open/L1_DAC_1"}, "no surrogate"),
        ({"family": ("cnn",)}, "no surrogate"),
        ({"head": None}, "not bundled"),
        ({"most": 0}, "--most"),
        ({"dataset": made / "nowhere.zarr"}, "nowhere"),
    ):
        with pytest.raises(InputError, match=said):
            evaluate(EvaluateOptions(**{"model": CELL, "dataset": made / "d.zarr", **good, **changes}))
    folder = str(made / "zoo" / CELL / "monophasic" / "support")
    with pytest.raises(InputError, match="one surrogate"):
        evaluate(EvaluateOptions(folder, made / "d.zarr", **good, family=("support", "uniform")))
    assert not (made / "no").exists()


def test_a_surrogate_of_another_cell_is_refused(made, tmp_path):
    source = surrogate.load(CELL, root=made / "zoo")
    other = dataclasses.replace(source, spec=dataclasses.replace(source.spec, cell="open/L5_PC_2"))
    surrogate.save(other, tmp_path / "other")
    with pytest.raises(InputError, match="another cell"):
        evaluate(EvaluateOptions(str(tmp_path / "other"), made / "d.zarr", head=(made / "labels.nii.gz").resolve()))


def test_unseen_is_for_the_dataset_of_the_training(made, small_source, monkeypatch):
    monkeypatch.setattr(tmsjax.surrogate.source, "Source", lambda *_: small_source[0])
    options = {"root": made / "zoo", "head": (made / "labels.nii.gz").resolve(), "unseen": True, "out": made / "no"}
    with pytest.raises(InputError, match="not trained on this dataset"):
        evaluate(EvaluateOptions(CELL, made / "d.zarr", **options))
    assert len(open_dataset(made / "d.zarr")) == 240


def test_help_has_an_example():
    command = [sys.executable, "-c", "from tmsjax.cli import main; main()", "evaluate", "--help"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0
    assert "tmsjax evaluate open/L5_PC_1 L5_other_head.zarr" in " ".join(done.stdout.split())
