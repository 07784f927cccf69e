"""The notebooks for users, in short over a small sphere in the place of head S1; what is shown is what is written."""

import dataclasses
import json
import runpy
from pathlib import Path

import numpy as np
import pytest
from optimize.sphere_cortex import TOP, sphere_head, sphere_pose_model

import tmsjax as tj
from tmsjax.efield import posemodel

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
GUIDES = ("place_a_coil", "sweep_a_population", "bring_your_simnibs_result", "train_a_surrogate")


@pytest.fixture(scope="module")
def small():
    return sphere_head()


@pytest.fixture(scope="module")
def work(tmp_path_factory, small):
    """One folder for all, with the pose model that the first would make."""
    folder = tmp_path_factory.mktemp("work")
    model = sphere_pose_model(small, TOP, 13.0)
    card = {**json.loads(model.card), "certificate": {"worst_l2": 0.006, "poses": [{"made_up": "for tests"}]}}
    posemodel.save(dataclasses.replace(model, card=json.dumps(card)), folder / "hand_knob_4mm")
    return folder


@pytest.fixture
def run(work, small, monkeypatch):
    """What a notebook's names stand for at its end."""
    monkeypatch.setenv("TMSJAX_NOTEBOOK_SHORT", "1")
    monkeypatch.setenv("TMSJAX_NOTEBOOK_WORK", str(work))
    monkeypatch.setattr(tj.head, "load", lambda name: small)
    monkeypatch.setattr(tj.head, "landmark", lambda head, name: TOP)
    monkeypatch.setattr(tj.head, "target", lambda head, name: TOP)
    return lambda name: runpy.run_path(str(NOTEBOOKS / f"{name}.py"))


def pictures(work):
    return {path.stem for path in work.glob("*.png") if path.read_bytes()[:4] == b"\x89PNG"}


def test_a_coil_is_placed(run, work):
    best = run("place_a_coil")["best"]
    assert np.isfinite(best.value)
    for name in ("matsimnibs.txt", "brainsight.txt", "localite.xml"):
        (found,) = tj.coil.load_poses(work / name)
        np.testing.assert_allclose(found.pose.matrix, best.pose.matrix, atol=2e-4)
    assert "placement" in pictures(work)


def test_a_population_is_swept(run, work):
    found = run("sweep_a_population")
    data, neurons = found["data"], found["neurons"]
    half = data.didt_for_share.sel(share=0.5).isel(target=0)
    threshold = neurons.threshold_a_per_us.transpose("place", "handle_deg", "current", ...)
    known = np.isfinite(half.values)
    assert known.any()
    # The dI/dt at which half fire is a threshold of one of the neurons, above those of half of them.
    below = (threshold.values <= half.values[..., None]).mean(axis=-1)
    assert (below[known] >= 0.5).all()
    assert np.isin(half.values[known].astype(np.float32), threshold.values).all()
    assert {"tuning", "places", "recruitment"} <= pictures(work)


def test_an_imported_field_gives_the_thresholds_of_the_field_it_was_made_of(run, work):
    found = run("bring_your_simnibs_result")
    response = found["responses"]["L5"]
    own = tj.response.thresholds(found["model"], found["made"], response.population)
    np.testing.assert_array_equal(response.thresholds.ok, own.ok)
    np.testing.assert_allclose(response.thresholds.a_per_us[own.ok], own.a_per_us[own.ok], rtol=1e-5)
    assert {"simnibs_recruitment", "simnibs_maps"} <= pictures(work)


def test_a_surrogate_is_trained_and_comes_back(run, work):
    found = run("train_a_surrogate")
    assert found["mine"].card["data_hash"] == found["dataset"].content_hash()
    assert found["dataset"].attrs["cell"] == "mine/L5_PC"
    assert len(found["truth"]) >= 10
    assert np.median(np.abs(found["predicted"]["support"] / found["truth"] - 1)) < 0.3  # two epochs on 80 thresholds
    assert {"training", "predictions"} <= pictures(work)


@pytest.mark.parametrize("name", GUIDES)
def test_what_is_shown_is_of_what_is_written(name):
    """The executed notebook has the script's cells, all run in order and without an error."""
    shown = json.loads((NOTEBOOKS / f"{name}.ipynb").read_text())
    script = (NOTEBOOKS / f"{name}.py").read_text()
    code = [cell for cell in shown["cells"] if cell["cell_type"] == "code"]
    parts = [part.strip() for part in script.split("# %%")[2:]]  # the first is the header
    written = [part for part in parts if not part.startswith("[markdown]")]
    assert ["".join(cell["source"]).strip() for cell in code] == written
    assert [cell["execution_count"] for cell in code] == list(range(1, len(code) + 1))
    outputs = [output for cell in code for output in cell["outputs"]]
    assert not [output for output in outputs if output["output_type"] == "error"]
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert "/" + "work/main" not in json.dumps(shown)
