"""``tmsjax thresholds`` as a user runs it, on a ball with a cortex: synthetic, but with the bundled models."""

import csv
import json

import nibabel
import numpy as np
import pytest
import xarray
from command_line import command
from meshes import icosphere
from spheres import layered_sphere, pose_over

import tmsjax as tj
from tmsjax.io import write_surface
from tmsjax.response import intensity_for, load_responses

CELLS = ("open/L5_PC_1", "L4=open/L5_PC_1")
"""The second stands for another layer than its name says: no anatomy here."""


@pytest.fixture(scope="module")
def tmsjax():
    return command("thresholds")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("heads")
    labels, affine = layered_sphere(6.0)
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    vertices, faces = icosphere(3)
    for side, out in (("lh", 0.0), ("rh", -50.0)):  # all of the cortex is left; the right one lies deep inside
        for kind, radius in (("white", 73.0), ("pial", 76.0)):
            write_surface(
                folder / f"{side}.{kind}.surf.gii", (radius + out) * vertices, faces, structure=f"{side}_{kind}"
            )
    np.savetxt(folder / "pose.txt", pose_over().matrix)
    return folder


@pytest.fixture(scope="module")
def run(tmsjax, folder, tmp_path_factory):
    """One run from a pose, of two populations."""
    out = tmp_path_factory.mktemp("runs") / "new" / "out"
    done = tmsjax(
        "--head", folder / "labels.nii.gz", "--pose", folder / "pose.txt", "--cells", *CELLS, "--sites", 30,
        "--rotations", 2, "--radius-mm", 20, "--bootstrap", 20, "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return out, json.loads((out / "thresholds.json").read_text()), done.stdout


def table(path):
    with path.open(newline="", encoding="utf-8") as handle:
        return list(csv.DictReader(handle))


def test_all_files_are_there_and_say_the_same(run):
    out, said, _ = run
    assert sorted(said["files"]) == sorted(item.name for item in out.iterdir())
    assert {"recruitment.png", "map.png", "pose.txt", "stimulator_output.csv", "L5.lh.func.gii"} <= set(said["files"])
    responses = load_responses(out / "thresholds.zarr")
    assert [(r.layer, r.cell) for r in responses] == [("L5", "open/L5_PC_1"), ("L4", "open/L5_PC_1")]
    rows = {row["layer"]: row for row in table(out / "statistics.csv")}
    neurons = table(out / "thresholds.csv")
    assert len(neurons) == 120
    for response in responses:
        a = response.thresholds.a_per_us
        assert np.isfinite(a).all()
        assert float(rows[response.layer]["didt_for_0.5"]) == pytest.approx(intensity_for(a, 0.5), rel=1e-5)
        listed = [float(row["threshold_A_per_us"]) for row in neurons if row["layer"] == response.layer]
        np.testing.assert_allclose(listed, a, atol=2e-3)
    assert len(table(out / "statistics_azimuths.csv")) == 4
    with xarray.open_zarr(out / "thresholds.zarr", consolidated=False, chunks=None) as data:
        assert data.sizes["neuron"] == 120


def test_they_are_the_thresholds_of_the_field_in_python(run, folder):
    out, said, _ = run
    head = tj.head.load(folder / "labels.nii.gz")
    coil = tj.coil.load("MagVenture_MC_B70")
    pose = tj.coil.CoilPose.from_matrix(np.loadtxt(out / "pose.txt"))
    np.testing.assert_allclose(pose.matrix, said["pose"]["matsimnibs"], atol=1e-5)
    field = tj.efield.solve(head, coil, pose, didt=said["field"]["didt_a_per_us"])
    first = load_responses(out / "thresholds.zarr")[0]
    direct = tj.response.thresholds(tj.surrogate.load("open/L5_PC_1"), field, first.population)
    np.testing.assert_allclose(first.thresholds.a_per_us, direct.a_per_us, rtol=1e-3)
    below = np.asarray(field.at(np.asarray(pose.centre) + 20 * np.asarray(pose.rotation)[:, 2]))
    assert float(below @ np.asarray(pose.rotation)[:, 1]) > 0  # PA: away from the handle
    centre = np.asarray(said["region"]["centre_mm"])
    assert np.linalg.norm(centre) == pytest.approx(76, abs=0.1)
    assert centre @ np.asarray(pose.centre) > 0.99 * 76 * np.linalg.norm(pose.centre)  # the cortex under the coil


def test_the_devices_output_and_the_recruitment_curve(run):
    out, said, printed = run
    assert said["stimulator"]["name"] == "MagPro X100"
    assert "MagPro X100 with MC-B70" in printed
    for row in table(out / "stimulator_output.csv"):
        assert float(row["percent"]) == pytest.approx(100 * float(row["didt_a_per_us"]) / 155.33, rel=1e-4)
        assert "doi:" in row["source"]
    curve = [row for row in table(out / "recruitment.csv") if row["population"] == "L5"]
    shares = np.array([[float(row[name]) for name in ("low", "share_active", "high")] for row in curve])
    assert (np.diff(shares[:, 1]) >= 0).all()
    assert (shares[:, 0] <= shares[:, 1]).all()
    assert (shares[:, 1] <= shares[:, 2]).all()
    assert shares[0, 1] == 0
    assert shares[-1, 1] > 0.98


def test_maps_open_and_fit_their_surface(run):
    out, _, _ = run
    for layer in ("L4", "L5"):
        surface, maps = nibabel.load(out / f"{layer}.lh.surf.gii"), nibabel.load(out / f"{layer}.lh.func.gii")
        assert surface.meta["AnatomicalStructurePrimary"] == "CortexLeft"
        values = maps.darrays[0].data
        assert len(values) == len(surface.agg_data("pointset")) == 642
        assert 5 < np.isfinite(values).sum() < 200
    assert (out / "map.png").stat().st_size > 20_000


def test_a_field_of_a_file_and_the_current_reversed(tmsjax, folder, tmp_path, run):
    """The field of another program: no coil, so no output; reversed, another threshold."""
    head, coil = tj.head.load(folder / "labels.nii.gz"), tj.coil.load("MagVenture_MC_B70")
    pose = tj.coil.CoilPose.from_matrix(np.loadtxt(folder / "pose.txt"))
    field = tj.efield.solve(head, coil, pose, didt=run[1]["field"]["didt_a_per_us"])
    tj.efield.save_field(field, tmp_path / "e.nii.gz")
    found = {}
    for way in ("PA", "AP"):
        done = tmsjax(
            "--head", folder / "labels.nii.gz", "--field", tmp_path / "e.nii.gz", "--target-mm",
            *run[1]["region"]["centre_mm"], "--cells", CELLS[0], "--sites", 30, "--rotations", 2, "--radius-mm", 20,
            "--bootstrap", 0, "--direction", way, "--max-didt-a-per-us", 100, "--out", tmp_path / way,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        (found[way],) = load_responses(tmp_path / way / "thresholds.zarr")
        assert json.loads((tmp_path / way / "thresholds.json").read_text())["coil"] == "unknown coil"
    first = load_responses(run[0] / "thresholds.zarr")[0]
    np.testing.assert_allclose(found["PA"].thresholds.a_per_us, first.thresholds.a_per_us, rtol=1e-3)
    assert np.abs(found["AP"].thresholds.a_per_us / found["PA"].thresholds.a_per_us - 1).max() > 0.05


def test_a_whole_gyrus_is_counted(tmsjax, folder, tmp_path):
    """Thin, and of a ball: about 1,280 neurons of one cell in 1,280 mm2, and the same counts from what is kept."""
    np.savetxt(tmp_path / "mni.txt", np.eye(4))
    out = tmp_path / "out"
    done = tmsjax(
        "--head", folder / "labels.nii.gz", "--mni-to-head", tmp_path / "mni.txt", "--gyrus", "precentral",
        "--density", 1, "--rotations", 3, "--cells", CELLS[0], "--keep-neurons", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = json.loads((out / "thresholds.json").read_text())
    assert sorted(said["files"]) == sorted(item.name for item in out.iterdir())
    assert said["region"]["neurons"] == pytest.approx(1280, abs=3)
    assert said["region"]["peak_memory_gib"] > 0.1
    assert [model["family"] for model in said["models"]] == ["fast"]
    with xarray.open_zarr(out / "L5-open_L5_PC_1.zarr", consolidated=False, chunks=None) as data:
        a = data.threshold_a_per_us.values.ravel()
    (row,) = table(out / "statistics.csv")
    assert int(row["neurons"]) == len(a)
    for share in (0.1, 0.5):
        assert float(row[f"didt_for_{share:g}"]) == pytest.approx(intensity_for(a, share), rel=5e-3)
    curve = table(out / "recruitment.csv")
    for line in curve[10::30]:
        share = np.mean(a <= float(line["intensity_a_per_us"]))
        assert float(line["share_active"]) == pytest.approx(share, abs=5e-3)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gyrus", "precentral", "--density", "dense"), "--density"),
        (("--gyrus", "precentral", "--density", "-5"), "--density"),
        (("--gyrus", "precentral", "--target-mm", "0", "0", "0"), "--gyrus has its own place"),
        (("--cells", "open/L5_PC_99"), "no surrogate"),
        (("--cells", "mine/neuron"), "which layer"),
        (("--cells", "open/L5_PC_1", "open/L5_PC_1"), "each once"),
        (("--pulse", "square"), "no surrogate"),
        (("--sites", "0"), "--sites"),
        (("--radius-mm", "-3"), "--radius-mm"),
        (("--intensities", "50", "-10"), "intensities"),
        (("--target", "C3", "--target-mm", "0", "0", "0"), "several places"),
        (("--field-didt", "1.0"), "--field-didt without --field"),
        (("--head", "nowhere.nii.gz"), "nowhere.nii.gz"),
    ],
)
def test_bad_input_is_a_message_and_leaves_nothing(tmsjax, tmp_path, arguments, said):
    done = tmsjax("--out", tmp_path / "out", *arguments)
    assert done.returncode == 2
    assert said in done.stderr
    assert "expected" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_region_without_cortex_an_unknown_device_and_a_folder_that_exists(tmsjax, folder, tmp_path):
    base = ("--head", folder / "labels.nii.gz", "--pose", folder / "pose.txt", "--cells", CELLS[0])
    done = tmsjax(*base, "--stimulator", "Zapper 9000", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "not documented" in done.stderr
    done = tmsjax(*base[:2], "--target-mm", 0, 0, 85, "--radius-mm", 2, "--cells", CELLS[0], "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "region holds no cortex" in done.stderr
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "out").mkdir()
    done = tmsjax(*base, "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "nothing is overwritten" in done.stderr


def test_help_has_an_example(tmsjax):
    done = tmsjax("--help")
    assert done.returncode == 0
    assert "tmsjax thresholds --target hand_knob_left --handle-deg 45 --out M1" in " ".join(done.stdout.split())
