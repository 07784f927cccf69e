"""The command itself, as a user runs it: the whole chain, what it writes, an interruption, bad input."""

import csv
import json
import os
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest
from command_line import command

import tmsjax as tj


def tmsjax(*arguments, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", "from tmsjax.cli import main; main()", *map(str, arguments)],
        capture_output=True,
        text=True,
        env=os.environ | {"COLUMNS": "200"},
        timeout=600,
        check=False,
        **options,
    )


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    out = tmp_path_factory.mktemp("demo") / "out"
    done = tmsjax("demo", "--out", out, "--sites", 40, "--rotations", 3, "--verify", 6, "--seed", 3)
    assert done.returncode == 0, done.stderr
    return out, done.stdout, json.loads((out / "summary.json").read_text())


def test_the_field_converged_and_the_target_is_the_left_hand_knob(run):
    _, said, summary = run
    assert summary["field"]["status"] == "converged"
    assert summary["field"]["residual"] <= 1e-4
    assert summary["target_mm"][0] < 0
    assert "hand knob left" in said


def test_every_layer_has_its_row(run):
    _, said, summary = run
    for layer, row in summary["layers"].items():
        assert row["neurons"] == 120
        assert row["share_in_domain"] > 0.9
        assert 0 < row["a_per_us_p5"] < row["a_per_us_median"] < row["a_per_us_p95"] < 5000
        assert layer.replace("L23", "L2/3") in said
    assert summary["layers"]["L5"]["v_per_m_median"] < summary["layers"]["L23"]["v_per_m_median"]  # Aberra 2020


def test_most_predictions_are_within_5_percent_of_neuron(run):
    _, said, summary = run
    errors = np.array([abs(row["error_percent"]) for row in summary["verified"]])
    assert len(errors) == 6
    assert (errors <= 5).sum() >= 5
    assert "within 5 %" in said


def test_the_csv_holds_every_threshold_of_the_table(run):
    out, _, summary = run
    with (out / "thresholds.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 360
    for layer, numbers in summary["layers"].items():
        values = [float(row["threshold_A_per_us"]) for row in rows if row["layer"] == layer]
        assert np.median(values) == pytest.approx(numbers["a_per_us_median"], rel=1e-3)


def test_field_and_overlays_open_in_other_programs(run):
    out, _, summary = run
    image = nib.load(out / "efield.nii.gz")
    assert image.shape == (*summary["head"]["shape"], 3)
    field = np.asarray(image.dataobj)
    assert np.isfinite(field).all()
    back = tj.efield.load_field(out / "efield.nii.gz")
    assert back.status == "converged"
    assert abs(float(back.didt)) == 1.0
    surface = nib.load(out / "L5.surf.gii")
    overlay = nib.load(out / "L5_threshold.func.gii")
    vertices, faces = surface.agg_data("pointset"), surface.agg_data("triangle")
    values = overlay.agg_data()
    assert len(values) == len(vertices)
    assert faces.max() < len(vertices)
    for image in (surface, overlay):  # Workbench opens none without
        assert image.meta["AnatomicalStructurePrimary"] == "CortexLeft"
    median = summary["layers"]["L5"]["a_per_us_median"]
    assert 0.5 * median < np.median(values) < 2 * median
    assert (out / "demo.png").stat().st_size > 50_000


def test_the_summary_says_what_made_it(run):
    out, _, summary = run
    assert {"jax", "numpy", "neuron"} <= set(summary["versions"])
    assert summary["seed"] == 3
    assert summary["seconds"]["total"] > 0
    assert sorted(summary["files"]) == sorted(item.name for item in out.iterdir())
    assert all(card["sha256"] and card["data_hash"] for card in summary["surrogates"].values())


def test_an_interruption_leaves_nothing(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", "from tmsjax.cli import main; main()", "demo", "--out", str(tmp_path / "out")],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    for _ in range(300):  # until its hidden folder is there: it is at work
        if list(tmp_path.iterdir()):
            break
        time.sleep(0.1)
    time.sleep(2)
    process.send_signal(signal.SIGINT)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 130
    assert "nothing was half-written" in said
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--head", "nowhere.nii.gz"), "nowhere.nii.gz"),
        (("--coil", "Unknown_Coil"), "Unknown_Coil"),
        (("--landmark", "hand_knob_middle"), "hand_knob_middle"),
        (("--verify", "-1"), "verify"),
        (("--gap-mm", "-30"), "gap between coil and scalp"),
    ],
)
def test_bad_input_is_an_error_message_and_not_a_traceback(tmp_path, arguments, said):
    done = command("demo")("--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "expected" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_field_points_forwards_for_pa_whatever_the_coils_own_sign():
    """A positive dI/dt induces towards the handle under the MC-B70 and away from it under the Magstim 70 mm."""
    from tmsjax.cli.demo import induced_along_y
    from tmsjax.coil import CoilPose

    pose = CoilPose.from_matrix(np.eye(4))
    signs = [induced_along_y(tj.coil.load(name), pose) for name in ("MagVenture_MC_B70", "Magstim_70mm_Fig8")]
    assert signs == [-1.0, 1.0]


def test_an_unknown_pulse_is_refused_before_a_dataset_is_made(tmp_path):
    (tmp_path / "r.toml").write_text('cell = "open/L5_PC_1"\nlayer = "L5"\npulse = "zz"\n')
    done = tmsjax("simulate", tmp_path / "r.toml", "--out", tmp_path / "d.zarr")
    assert done.returncode == 2
    assert "unknown pulse" in done.stderr
    assert [item.name for item in tmp_path.iterdir()] == ["r.toml"]


def test_training_on_an_unfinished_dataset_is_refused(tmp_path):
    from tmsjax.simulate import create_dataset
    from tmsjax.surrogate.recipe import Recipe

    recipe = Recipe(cell="open/L5_PC_1", layer="L5", thresholds=3)
    columns = {"pose": np.zeros(3, int), "sign": np.ones(3, int), "neuron": np.arange(3)}
    create_dataset(
        tmp_path / "d.zarr", columns, cell=recipe.cell, pulse=recipe.pulse, seed=0, description=recipe.as_dict()
    )
    done = tmsjax("train", tmp_path / "d.zarr", "--out", tmp_path / "w", "--licence", "CC0-1.0")
    assert done.returncode == 2
    assert "not finished" in done.stderr
    assert not (tmp_path / "w").exists()


def test_brackets_in_a_file_name_are_printed_as_they_are(tmp_path):
    done = tmsjax("demo", "--out", tmp_path / "out", "--head", "x[/bold][red]1.nii")
    assert done.returncode == 2
    assert "x[/bold][red]1.nii" in done.stderr


def test_help_has_an_example():
    done = tmsjax("demo", "--help")
    assert done.returncode == 0
    assert "tmsjax demo --out demo --verify 5" in " ".join(done.stdout.split())
