"""``tmsjax sweep`` as a user runs it, on a ball with a made-up pose model and the bundled models of cells."""

import csv
import hashlib
import json

import nibabel
import numpy as np
import pytest
import xarray
from command_line import command
from made_up_pose_model import CENTRE, ball, write_ball

import tmsjax as tj
from tmsjax.efield import posemodel
from tmsjax.response import sweep_store


@pytest.fixture(scope="module")
def tmsjax():
    return command("sweep")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ball(tmp_path_factory.mktemp("ball"))


@pytest.fixture(scope="module")
def arguments(folder):
    return (
        "--head", folder / "ball.nii.gz", "--pose-model", folder / "pose_model", "--coil", "Circular_50mm",
        "--target-mm", *CENTRE, "--reach-mm", 3, "--step-mm", 3, "--angle-step-deg", 90, "--radius-mm", 3,
        "--sites", 12, "--rotations", 2, "--cells", "open/L5_PC_1", "L4=open/L5_PC_1", "--intensities", 1, 10, 100,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmsjax, arguments, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "out"
    done = tmsjax(*arguments, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, json.loads((out / "sweep.json").read_text())


def contents(path):
    files = (item for item in sorted(path.rglob("*")) if item.is_file())
    return {str(item.relative_to(path)): hashlib.sha256(item.read_bytes()).hexdigest() for item in files}


def test_files_labels_and_figures(run):
    out, said = run
    assert sorted(said["files"]) == sorted(item.name for item in out.iterdir())
    assert {"tuning.png", "maps.png", "places.png", "poses.csv", "sweep.zarr"} <= set(said["files"])
    assert said["poses_outside_the_model"] == 0
    assert "strength_duration.png" not in said["files"]  # one pulse only
    with xarray.open_zarr(out / "sweep.zarr", consolidated=False, chunks=None) as data:
        assert {name: data.sizes[name] for name in ("target", "place", "handle_deg", "current", "intensity")} == {
            "target": 2, "place": 9, "handle_deg": 4, "current": 2, "intensity": 3,
        }  # fmt: skip
        assert (data.without_threshold == 0).all()
        with (out / "poses.csv").open(newline="") as handle:
            rows = list(csv.DictReader(handle))
        assert len(rows) == 2 * 9 * 4 * 2
        row = next(
            r for r in rows if (r["layer"], r["place"], r["handle_deg"], r["current"]) == ("L4", "5", "90", "-1")
        )
        one = data.isel(target=1, place=5).sel(handle_deg=90.0, current=-1, share=0.5)
        assert float(row["didt_for_0.5"]) == pytest.approx(float(one.didt_for_share), rel=1e-5)
        for best in said["best"]:
            every = data.didt_for_share.sel(target=best["target"], share=best["share"])
            assert best["didt_a_per_us"] == pytest.approx(float(every.min()))
    assert (out / "tuning.png").stat().st_size > 20_000


def test_it_is_thresholds_of_the_pose_models_field(run, folder):
    out, said = run
    head = tj.head.load(folder / "ball.nii.gz", name="ball")
    model = posemodel.load(folder / "pose_model", head)
    roi = tj.cortex.Roi.ball(CENTRE, 3.0, hemisphere="lh")
    population = tj.cortex.place(head, "L5", 12, roi, 2, 0)
    with xarray.open_zarr(out / "sweep.zarr", consolidated=False, chunks=None) as root:
        pose = tj.coil.CoilPose.from_matrix(root.matsimnibs.values[4, 1])
    field = model.field(tj.coil.load("Circular_50mm"), pose, -1.0)
    direct = tj.response.thresholds(tj.surrogate.load("open/L5_PC_1"), field, population)
    group = next(best["target"] for best in said["best"] if best["target"].startswith("L5"))
    with xarray.open_zarr(out / "sweep.zarr", group=group, consolidated=False, chunks=None) as every:
        here = every.threshold_a_per_us.isel(place=4).sel(handle_deg=90.0, current=-1)
        np.testing.assert_allclose(here, direct.a_per_us, rtol=5e-4)


def test_interrupted_it_goes_on_to_the_same_bytes(tmsjax, arguments, tmp_path, monkeypatch, run):
    out, real = tmp_path / "out", sweep_store.write_block

    def interrupted(store, name, row, found, status, shape):
        if name.startswith("L4"):
            raise KeyboardInterrupt
        real(store, name, row, found, status, shape)

    monkeypatch.setattr(sweep_store, "write_block", interrupted)
    done = tmsjax(*arguments, "--out", out)
    assert done.returncode == 130
    assert [item.name for item in out.iterdir()] == ["sweep.zarr"]
    other = tmsjax(*arguments, "--gap-mm", 3, "--out", out)
    assert other.returncode == 2
    assert "another sweep" in other.stderr
    monkeypatch.setattr(sweep_store, "write_block", real)
    done = tmsjax(*arguments, "--out", out)
    assert done.returncode == 0, done.stderr
    assert contents(out / "sweep.zarr") == contents(run[0] / "sweep.zarr")
    again = tmsjax(*arguments, "--out", out)
    assert again.returncode == 2
    assert "holds a finished sweep" in again.stderr


def test_pulses_with_models_get_a_strength_duration_figure(tmp_path):
    """From what a sweep of two pulses would hold: no such models are bundled."""
    from tmsjax.cli.sweep_files import _pulses, first_phase_ms

    levels = np.array([100.0, 70.0]).reshape(2, 1, 1, 1, 1) * np.ones((2, 1, 4, 2, 1))
    data = {
        "layer": np.array(["L5", "L5"]), "cell": np.array(["a", "a"]), "pulse": np.array(["halfsine", "monophasic"]),
        "share": np.array([0.5]), "didt_for_share": levels,
    }  # fmt: skip
    _pulses(tmp_path / "s.png", data, 0, "synthetic")
    assert (tmp_path / "s.png").stat().st_size > 10_000
    assert 0.05 < first_phase_ms("monophasic") < 0.12  # a quarter of its 0.3 ms cosine
    assert first_phase_ms("biphasic") == pytest.approx(first_phase_ms("halfsine"), rel=0.2)


@pytest.mark.parametrize(
    ("more", "said"),
    [
        (("--angle-step-deg", "0"), "--angle-step-deg"),
        (("--step-mm", "-1"), "grid of places"),
        (("--intensities", "-10"), "intensities"),
        (("--shares", "1.5"), "shares of a population"),
        (("--current", "2"), "directions of the current"),
        (("--pulses", "square"), "no surrogate"),
        (("--target", "C3"), "several places"),
        (("--sites", "0"), "--sites"),
    ],
)
def test_bad_input_is_a_message_and_leaves_nothing(tmsjax, arguments, tmp_path, more, said):
    done = tmsjax(*arguments, *more, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_pose_model_of_another_head_or_place_and_a_folder_of_something_else(tmsjax, arguments, folder, tmp_path):
    labels = np.asarray(ball().labels).copy()
    labels[labels == 4] = 5
    nibabel.save(nibabel.Nifti1Image(labels, np.asarray(ball().affine)), tmp_path / "other.nii.gz")
    done = tmsjax(*arguments, "--head", tmp_path / "other.nii.gz", "--surfaces", folder, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "belongs to another head" in done.stderr
    done = tmsjax(*arguments, "--target-mm", 20, 0, 0, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "no neuron of L5" in done.stderr
    assert not (tmp_path / "out").exists()
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    done = tmsjax(*arguments, "--out", tmp_path / "thesis")
    assert done.returncode == 2
    assert "something else is in the place" in done.stderr


def test_help_has_an_example(tmsjax):
    done = tmsjax("--help")
    assert done.returncode == 0
    assert "tmsjax sweep --target hand_knob_left --reach-mm 10" in " ".join(done.stdout.split())
