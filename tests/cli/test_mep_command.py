"""``tmsjax mep`` on a subject that is made up: train, invert, evaluate, and what it refuses."""

import csv
import json

import nibabel
import numpy as np
import pytest
from command_line import command
from made_up_subject import MUSCLES, subject

from tmsjax.mep import clean, save_subject

mep = command("mep")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    where = tmp_path_factory.mktemp("mep")
    save_subject(subject(96), where / "subject.zarr")
    rows = clean(subject(96)).subject
    lines = [",".join(("stimulation", "intensity_percent", *MUSCLES, "BRD"))]
    lines += [f"n{i},110,{','.join(map(str, rows.responses[i]))},0" for i in range(3)]
    (where / "responses.csv").write_text("\n".join(lines) + "\n")
    return where


def test_train_then_invert(folder):
    done = mep("train", folder / "subject.zarr", "--out", folder / "model", "--box", 16, "--epochs", 2)
    assert done.returncode == 0, done.stderr
    assert "synthetic subject" in done.stdout
    assert "stimulations kept" in done.stdout
    card = json.loads((folder / "model" / "card.json").read_text())
    assert card["muscles"] == list(MUSCLES)
    assert card["synthetic"]
    done = mep("invert", folder / "model", folder / "responses.csv", "--out", folder / "fields")
    assert done.returncode == 0, done.stderr
    image = nibabel.load(folder / "fields" / "n1.nii.gz")
    assert image.shape == (16, 16, 16)
    centres = list(csv.DictReader((folder / "fields" / "centres.csv").read_text().splitlines()))
    assert [row["stimulation"] for row in centres] == ["n0", "n1", "n2"]
    values = np.asarray(image.dataobj, float)
    index = np.argwhere(values > 0) @ image.affine[:3, :3].T + image.affine[:3, 3]
    wanted = values[values > 0] @ index / values.sum()
    np.testing.assert_allclose([float(centres[1][c]) for c in ("x_mm", "y_mm", "z_mm")], wanted, atol=0.02)

    (folder / "short.csv").write_text("stimulation,intensity_percent,FDI\na,110,0.2\n")
    refused = mep("invert", folder / "model", folder / "short.csv", "--out", folder / "none")
    assert refused.returncode == 2
    assert "no APB, ADM, EDC in short.csv" in refused.stderr
    assert not (folder / "none").exists()
    zeros = ",".join(["0"] * len(MUSCLES))
    (folder / "zero.csv").write_text(f"stimulation,intensity_percent,{','.join(MUSCLES)}\na,110,{zeros}\n")
    refused = mep("invert", folder / "model", folder / "zero.csv", "--out", folder / "none")
    assert "no muscle ever responded" in refused.stderr


def test_evaluate_draws_and_tabulates(folder):
    arguments = ("--box", 16, "--models", "ridge", "nearest", "mean_field", "--folds", 4, "--split", "blocked")
    done = mep("evaluate", folder / "subject.zarr", "--out", folder / "report", *arguments)
    assert done.returncode == 0, done.stderr
    names = sorted(item.name for item in (folder / "report").iterdir())
    assert names == ["evaluation.json", "models.png", "reconstruction.png", "responses.png", "table.csv"]
    summary = json.loads((folder / "report" / "evaluation.json").read_text())
    assert summary["synthetic"]
    assert summary["table"]["ridge"]["nrmse"]["mean"] < summary["table"]["mean_field"]["nrmse"]["mean"]
    rows = list(csv.DictReader((folder / "report" / "table.csv").read_text().splitlines()))
    assert {row["intensity_percent"] for row in rows} == {"all", "110", "120", "140"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("evaluate", "{}/subject.zarr", "--models", "magic"), "--models"),
        (("evaluate", "{}/subject.zarr", "--box", "16", "--only", "12"), "folds from 0 to 9"),
        (("train", "{}/subject.zarr", "--epochs", "0"), "--epochs"),
        (("train", "{}/nothing"), "this is no subject"),
        (("train", "{}/subject.zarr", "--box", "16", "--coarser", "3"), "multiples of the factor"),
        (("invert", "{}/subject.zarr", "{}/responses.csv"), "no inverse model"),
    ],
)
def test_what_cannot_be_is_refused(folder, arguments, said):
    done = mep(*(text.format(folder) for text in arguments))
    assert done.returncode == 2
    assert said in done.stderr
