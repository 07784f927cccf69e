"""``tmsjax optimize`` as a user runs it, on a ball with a made-up pose model and the bundled models of cells."""

import json

import numpy as np
import pytest
from command_line import command
from made_up_pose_model import CENTRE, write_ball

import tmsjax as tj
from tmsjax.efield import posemodel
from tmsjax.io import write_scalar


@pytest.fixture(scope="module")
def tmsjax():
    return command("optimize")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_ball(tmp_path_factory.mktemp("ball"))


@pytest.fixture(scope="module")
def arguments(folder):
    return (
        "--head", folder / "ball.nii.gz", "--pose-model", folder / "pose_model", "--coil", "MagVenture_Cool_B35",
        "--target-mm", *CENTRE, "--radius-mm", 3, "--search-mm", 8, "--sites", 12, "--held-out", 15, "--rotations", 2,
    )  # fmt: skip


@pytest.fixture(scope="module")
def run(tmsjax, arguments, tmp_path_factory):
    out = tmp_path_factory.mktemp("runs") / "out"
    done = tmsjax(*arguments, "--out", out)
    assert done.returncode == 0, done.stderr
    return out, json.loads((out / "optimize.json").read_text()), done.stdout


def test_it_writes_what_it_says(run):
    out, summary, said = run
    assert sorted(item.name for item in out.iterdir()) == summary["files"]
    assert {"matsimnibs.txt", "brainsight.txt", "localite.xml", "placement.png", "optimize.json"} == set(
        summary["files"]
    )
    assert f"{summary['value']:.4g} A/µs" in said
    assert summary["status"] in said
    assert (out / "placement.png").read_bytes()[:4] == b"\x89PNG"
    assert summary["options"]["sites"] == 12
    assert summary["pose_model"]["head"] == "ball"


def test_the_poses_of_all_files_are_the_one_that_was_found(run):
    out, summary, _ = run
    for name in ("matsimnibs.txt", "brainsight.txt", "localite.xml"):
        (found,) = tj.coil.load_poses(out / name)
        np.testing.assert_allclose(found.pose.matrix, summary["matsimnibs"], atol=2e-4)
    head_z = np.array(summary["matsimnibs"])[:3, 2]
    assert head_z @ np.array(summary["matsimnibs"])[:3, 3] < 0  # into the head


def test_the_number_is_that_of_thresholds_at_the_pose(run, folder):
    """Half of the cells within 3 mm fire at it, by ``response.thresholds`` in the model's field: other neurons."""
    _, summary, _ = run
    head = tj.head.load(folder / "ball.nii.gz", surfaces=folder, name="ball")
    model = posemodel.load(folder / "pose_model", head)
    pose = tj.coil.CoilPose.from_matrix(summary["matsimnibs"])
    coil = tj.coil.load("MagVenture_Cool_B35")
    neurons = tj.cortex.place(head, "L5", 60, tj.cortex.Roi.ball(CENTRE, 3.0, "lh"), 2, seed=5)
    field = model.field(coil, pose, didt=float(summary["polarity"]))
    didt = np.median(tj.response.thresholds(tj.surrogate.load("open/L5_PC_1"), field, neurons).a_per_us)
    assert didt == pytest.approx(summary["value"], rel=0.1)


def test_a_mask_is_a_target(tmsjax, arguments, folder, tmp_path):
    head = tj.head.load(folder / "ball.nii.gz")
    grid = np.stack(np.meshgrid(*map(np.arange, np.shape(head.labels)), indexing="ij"), -1)
    affine = np.asarray(head.affine, float)
    near = np.linalg.norm(grid @ affine[:3, :3].T + affine[:3, 3] - CENTRE, axis=-1) < 3.0
    write_scalar(tmp_path / "mask.nii.gz", near.astype(np.float32), affine)
    done = tmsjax(
        *arguments, "--mask", tmp_path / "mask.nii.gz", "--objective", "mean-field", "--out", tmp_path / "out"
    )
    assert done.returncode == 0, done.stderr
    summary = json.loads((tmp_path / "out" / "optimize.json").read_text())
    assert summary["target"] == "mask.nii.gz"
    assert summary["unit"] == "V/m per A/us"
    assert summary["field_optimum"] is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        (("--target-mm", 0, 0, 60), "outside the head"),
        (("--target-mm", 0, 0, -20), "pose model"),
        (("--share", 0), "share of the target"),
        (("--simulate", -2), "neurons to simulate"),
        (("--gap-mm", 5, 2), "contradict each other"),
        (("--current", 2), "polarities of the current"),
        (("--cells", "open/L5_PC_1", "open/L5_PC_1"), "each once"),
        (("--cells", "open/L9_PC_1"), "layer"),
        (("--mask", "no.nii.gz"), "no.nii.gz"),
        (("--search-mm", 1), "radius of the search"),
    ],
)
def test_bad_input_leaves_nothing(tmsjax, arguments, tmp_path, changed, said):
    options = list(arguments)
    if changed[0] in options:
        at = options.index(changed[0])
        options[at : at + len(changed)] = changed
    else:
        options += changed
    done = tmsjax(*options, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert said in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(tmsjax, arguments, run):
    out, *_ = run
    before = (out / "optimize.json").read_bytes()
    done = tmsjax(*arguments, "--out", out)
    assert done.returncode == 2
    assert "nothing is overwritten" in done.stderr
    assert (out / "optimize.json").read_bytes() == before
