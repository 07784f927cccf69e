"""``tmsjax target`` on small made-up heads: points out, a model trained and judged on patients, bad input."""

import dataclasses
import json
import warnings

import jax
import nibabel
import numpy as np
import pytest
from blobs import POINTS, SPEC, image
from command_line import command

from tmsjax.nn import TrainSpec
from tmsjax.target import model, train
from tmsjax.target.marks import Mark, read_marks, write_csv, write_fcsv
from tmsjax.target.network import network

run = command("target")
AFFINE = np.diag([4.0, 4.0, 4.0, 1.0])
AFFINE[:3, 3] = (-62.0, -70.0, -55.0)


def save_image(path, values, affine=AFFINE):
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def marks_of(places, rater="a"):
    world = places @ AFFINE[:3, :3] + AFFINE[:3, 3]
    return [Mark(point, tuple(map(float, place)), rater) for point, place in zip(POINTS, world, strict=True)]


@pytest.fixture(scope="module")
def weights(tmp_path_factory):
    """A network that has learnt nothing."""
    variables = jax.jit(network(SPEC).init)(jax.random.key(0))
    card = {"synthetic": True, "images": 24, "bases": ["MNI152", "S1"], "held_out_mm": 6.5}
    return model.save(model.of_members([variables], SPEC), tmp_path_factory.mktemp("weights") / "model", card)


@pytest.fixture
def patients(tmp_path):
    """Four: of one point by three raters in a column, of another with a file a rater, one with swapped sides."""
    folder, rng = tmp_path / "patients", np.random.default_rng(0)
    folder.mkdir()
    for i in range(4):
        values, places = image(rng)
        save_image(folder / f"sub-{i}.nii.gz", values)
        if i == 3:
            write_fcsv(folder / f"sub-{i}_x.fcsv", marks_of(places))
            write_fcsv(folder / f"sub-{i}_y.fcsv", marks_of(places + 0.5))
        else:
            raters = [mark for k, rater in enumerate("abc") for mark in marks_of(places + 0.3 * k, rater)]
            write_csv(folder / f"sub-{i}.csv", raters)
    return folder


@pytest.fixture
def short(monkeypatch):
    monkeypatch.setattr(train, "SHORT_SPEC", SPEC)
    how = train.Training(TrainSpec(epochs=2, batch=2, learning_rate=1e-3), None)
    monkeypatch.setattr(train, "SHORT_TRAINING", how)


def test_points_of_a_t1_are_printed_and_written_for_slicer(tmp_path, weights):
    values, _ = image(np.random.default_rng(3))
    path = save_image(tmp_path / "T1.nii.gz", values)
    said = run("locate", path, "--model", weights, "--out", tmp_path / "p.fcsv", "--views", "2", "--figure",
               tmp_path / "p.png")  # fmt: skip
    assert said.returncode == 0, said.stderr
    text = " ".join(said.stdout.split())
    assert "trained on 24 synthetic images of MNI152, S1" in text
    assert "Errors on anatomies that it has not seen: 6.5 mm" in text
    assert "a field of view of 128 mm may cut the head" in text  # what was assumed
    found = read_marks(tmp_path / "p.fcsv")
    assert [mark.point for mark in found] == list(POINTS)
    assert all("spread" in mark.note for mark in found)
    for mark in found:
        assert f"{mark.place_mm[1]:.1f}" in text
        # A network that knows nothing says the middle of its crops: the head's.
        np.testing.assert_allclose(mark.place_mm, np.full(3, 15.5) @ AFFINE[:3, :3] + AFFINE[:3, 3], atol=25)
    assert (tmp_path / "p.png").stat().st_size > 10_000
    again = run("locate", path, "--model", weights, "--out", tmp_path / "p.csv", "--views", "2")
    assert again.returncode == 0
    np.testing.assert_allclose(
        [m.place_mm for m in read_marks(tmp_path / "p.csv")], [m.place_mm for m in found], atol=1e-3
    )


def test_a_model_is_trained_on_patients(tmp_path, patients, short, monkeypatch):
    """All that ``train.train`` is given, and the card; training itself has tests of its own."""
    seen = []

    def quick(learn, choose, spec, seed, how, folder, progress):
        seen.append((learn.names, choose.names, seed, how, folder.name))
        progress("done")
        report = {"seed": seed, "histories": {}, "status": "finished"}
        return jax.tree.map(np.asarray, jax.jit(network(spec).init)(jax.random.key(seed))), report

    monkeypatch.setattr(train, "train", quick)
    said = run("train", patients, "--out", tmp_path / "model", "--licence", "CC0-1.0", "--repetitions", "2",
               "--checkpoints", tmp_path / "run", "--seed", "7")  # fmt: skip
    assert said.returncode == 0, said.stderr
    assert [entry[2:] for entry in seen] == [
        (7, train.SHORT_TRAINING, "network-0"),
        (8, train.SHORT_TRAINING, "network-1"),
    ]
    assert all(sorted(a + b) == [f"sub-{i}" for i in range(4)] for a, b, *_ in seen)
    card = model.load(tmp_path / "model").card
    assert (card["licence"], card["images"], card["synthetic"], card["members"]) == ("CC0-1.0", 4, False, 2)
    assert [entry["seed"] for entry in card["networks"]] == [7, 8]
    assert card["bases"] == [f"sub-{i}" for i in range(4)]


def test_patients_are_held_out_in_turn_and_raters_judged(tmp_path, patients, short, monkeypatch):
    from tmsjax.target import evaluation

    seen = []

    def no_training(learn, choose, *_, **__):
        seen.append({*learn.bases, *choose.bases})
        return np.zeros((2, 3)) + 15.5, {}

    monkeypatch.setattr(evaluation, "train", no_training)
    monkeypatch.setattr(evaluation, "predict", lambda spec, places, held: np.stack([places] * len(held)))
    said = run("evaluate", patients, "--out", tmp_path / "report", "--repetitions", "2")
    assert said.returncode == 0, said.stderr
    assert [len(names) for names in seen] == [3] * 8
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    row = report["table_2"][0]
    assert row["network"][2] == 8
    assert row["dispersion"][0] == 0
    # Three raters 0.3 voxels of 4 mm apart along each axis: 2.08, 0 and 2.08 mm from their mean; two 0.5 apart 1.73.
    assert row["raters"][0] == pytest.approx((3 * 2 * 2.078 + 2 * 1.732) / 11, rel=1e-3)
    assert report["cohort"]["synthetic"] is False
    assert (tmp_path / "report" / "errors.png").stat().st_size > 5_000
    assert "4 patients, 4 anatomies held out" in " ".join(said.stdout.split())


def test_what_is_refused(tmp_path, patients, weights):
    def error(*arguments):
        said = run(*arguments)
        assert said.returncode == 2, said.stdout
        return " ".join(said.stderr.split())

    values, _ = image(np.random.default_rng(3))
    path = save_image(tmp_path / "T1.nii", values)
    model_of = ("--model", weights)
    assert "no model of target points" in error("locate", path, "--model", tmp_path)
    assert "--out" in error("locate", path, "--out", tmp_path / "p.txt", *model_of)
    assert "--figure" in error("locate", path, "--figure", tmp_path / "p.gif", *model_of)
    assert "no such volume" in error("locate", tmp_path / "absent.nii", *model_of)
    four = save_image(tmp_path / "four.nii", np.stack([values] * 2, -1))
    assert "wrong shape" in error("locate", four, *model_of)
    broken = values.copy()
    broken[0, 0, 0] = np.nan
    assert "1 voxels of NaN" in error("locate", save_image(tmp_path / "nan.nii", broken), *model_of)
    assert not (tmp_path / "target-points.fcsv").exists()
    assert "where the images come from" in error("train", "--out", tmp_path / "m")
    assert "where the images come from" in error("train", patients, "--synthetic", "2", "--out", tmp_path / "m")
    assert "--repetitions" in error("evaluate", patients, "--repetitions", "0")
    assert "no patients here" in error("train", tmp_path / "absent", "--out", tmp_path / "m")
    (patients / "sub-0.csv").unlink()
    assert "images without points: ['sub-0']" in error("train", patients, "--out", tmp_path / "m")
    save_image(patients / "sub-3.nii", values)
    assert "each name once" in error("train", patients, "--out", tmp_path / "m")


def test_swapped_sides_are_warned_of(patients):
    from tmsjax.target import patients as reader

    places = np.array([[20.0, 17, 18], [11.0, 14, 17]])
    write_csv(patients / "sub-0.csv", marks_of(places))
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        reader.cohort_of(reader.read_patients(patients, SPEC.side, SPEC.voxel_mm), SPEC.levels)
    assert sum("LULIMBMC of consensus lies on the other side of the head" in str(each.message) for each in said) == 1


def test_the_schedule_of_the_paper_can_be_asked_for():
    from tmsjax.cli.target import TrainOptions, _network, _schedule

    options = TrainOptions(schedule="paper", epochs=3, network="default", residual="none")
    assert _schedule(options).chained.optimiser == "sgd"
    assert _schedule(options).chained.epochs == 3
    assert _schedule(options).apart is None
    assert (_network(options).field, _network(options).residual) == (16, "none")
    assert dataclasses.replace(_network(options), residual="shared") == type(SPEC)()
