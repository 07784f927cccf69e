"""Sweeps through a made-up pose model: they are what ``thresholds`` gives pose by pose, and go on after a kill."""

import dataclasses
import hashlib
import importlib
import json
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest
import xarray
from made_up_pose_model import ball, population, pose_model

import tmsjax as tj
from tmsjax.coil import CoilPose, scalp_chart
from tmsjax.core.errors import InputError
from tmsjax.response import (
    SweepGrid,
    SweepTarget,
    active_share,
    intensity_for,
    square,
    sweep,
    sweep_store,
    thresholds,
)


@pytest.fixture(scope="module")
def head():
    return ball()


@pytest.fixture(scope="module")
def made(head):
    """Pose model, coil and chart."""
    return pose_model(head), tj.coil.load("Circular_50mm"), scalp_chart(head, np.array([0.0, 0, 30]), radius_mm=12.0)


@pytest.fixture(scope="module")
def targets(model):
    """Two layers, the second with another grid; one of its neurons stands at the region's border."""
    other = dataclasses.replace(model, spec=dataclasses.replace(model.spec, cell="synthetic/other", side_mm=2.0))
    upper = population("L23", 5, 2, seed=4)
    upper = dataclasses.replace(upper, positions=upper.positions.at[3].set(jnp.array([0.0, 0, 12.6])))
    return [SweepTarget(population(), model), SweepTarget(upper, other)]


GRID = SweepGrid(
    [[0.0, 0], [3, -2], [-4, 1]], [0.0, 50, 200, 310], intensities=[0.0, 5, 20, 80, 1e9], shares=(0.2, 0.5)
)


@pytest.fixture(scope="module")
def done(made, targets, tmp_path_factory):
    path = tmp_path_factory.mktemp("sweep") / "s.zarr"
    return sweep(path, targets, *made, GRID)


def opened(path, group=None):
    return xarray.open_zarr(path, group=group, consolidated=False, chunks=None)


def test_it_equals_thresholds_of_the_pose_models_fields(made, targets, done):
    pose, coil, chart = made
    for t, target in enumerate(targets):
        every, root = opened(done, target.name), opened(done).isel(target=t)
        for place, angle, current in ((0, 0, 0), (2, 3, 1), (1, 1, 1)):
            at = CoilPose.from_matrix(root.matsimnibs.values[place, angle])
            expected = chart.pose(GRID.places_mm[place], GRID.handle_deg[angle], 2.0)
            np.testing.assert_allclose(at.matrix, expected.matrix, atol=1e-5)
            field = pose.field(coil, at, GRID.current[current])
            direct = thresholds(target.model, field, target.population)
            here = every.isel(place=place, handle_deg=angle, current=current)
            np.testing.assert_allclose(here.threshold_a_per_us, direct.a_per_us, rtol=2e-4)
            status = here.status.values
            np.testing.assert_array_equal(np.where(status == 1, 0, status), direct.status)
            np.testing.assert_array_equal(status == 0, direct.in_domain)
            known = np.asarray(direct.a_per_us, float)
            summary = root.isel(place=place, handle_deg=angle, current=current)
            np.testing.assert_allclose(summary.active_share, active_share(here.threshold_a_per_us, GRID.intensities))
            np.testing.assert_allclose(
                summary.didt_for_share, [intensity_for(known, share) for share in GRID.shares], rtol=2e-4
            )
            assert summary.without_threshold == pytest.approx(np.isnan(known).mean())


def test_the_neuron_at_the_border_has_no_threshold_and_says_why(done, targets):
    data = opened(done, targets[1].name)
    assert (data.status.values[..., 3] == 10).all()
    assert np.isnan(data.threshold_a_per_us.values[..., 3]).all()
    assert "leaves the tissue" in opened(done).attrs["status"]["10"]
    assert (opened(done).without_threshold.isel(target=1) == pytest.approx(0.1)).all()


def test_xarray_finds_every_label(done):
    data = opened(done)
    assert dict(data.sizes) == {
        "target": 2, "place": 3, "handle_deg": 4, "current": 2, "intensity": 5, "share": 2, "row": 4, "column": 4,
    }  # fmt: skip
    assert {"u_mm", "v_mm", "layer", "cell", "pulse"} <= set(data.coords)
    one = data.didt_for_share.sel(handle_deg=50.0, current=-1, share=0.5).isel(place=0)
    assert one.where(data.layer == "L5", drop=True).size == 1
    assert data.didt_for_share.attrs["units"] == "A/us"
    assert data.attrs["coil"] == "Circular_50mm"
    assert data.attrs["finished"]
    shares = data.active_share.values
    assert (shares[..., 0] == 0).all()
    assert (np.diff(shares, axis=-1) >= 0).all()
    neurons = opened(done, "L5-synthetic_random-monophasic")
    assert {"site", "azimuth_deg", "x_mm", "u_mm"} <= set(neurons.coords)


def contents(path: Path) -> dict[str, str]:
    return {
        str(item.relative_to(path)): hashlib.sha256(item.read_bytes()).hexdigest()
        for item in sorted(path.rglob("*"))
        if item.is_file()
    }


def test_after_a_kill_it_goes_on_to_the_same_bytes(made, targets, tmp_path, monkeypatch):
    """Blocks of 7 neurons; the run dies while a later one is written, and leaves a damaged chunk behind."""
    monkeypatch.setattr(importlib.import_module("tmsjax.response.sweep"), "BLOCK", 7)
    whole = sweep(tmp_path / "whole.zarr", targets[:1], *made, GRID)
    path, calls, real, after = tmp_path / "s.zarr", [], sweep_store.write_block, 2

    def dies(store, name, row, found, status, shape):
        if len(calls) == after:
            real(store, name, row, found, np.full_like(status, sweep_store.TO_DO), shape)
            raise KeyboardInterrupt
        calls.append((name, row))
        real(store, name, row, found, status, shape)

    monkeypatch.setattr(sweep_store, "write_block", dies)
    with pytest.raises(KeyboardInterrupt):
        sweep(path, targets[:1], *made, GRID)
    assert not opened(path).attrs["finished"]
    chunk = path / calls[0][0] / "threshold_a_per_us" / "c" / "0" / "0" / "0" / "0"
    chunk.write_bytes(chunk.read_bytes()[:-3])

    again = []
    monkeypatch.setattr(
        sweep_store, "write_block", lambda store, name, row, *rest: (again.append(row), real(store, name, row, *rest))
    )
    said = []
    sweep(path, targets[:1], *made, GRID, progress=lambda what, done, total: said.append((what, done, total)))
    assert len(again) == 3 - after + 1  # what is left, and the damaged one
    assert said[0][1:] == (after - 1, 3)
    assert contents(path) == contents(whole)
    before = len(again)
    sweep(path, targets[:1], *made, GRID)  # finished: nothing is done
    assert len(again) == before


def test_another_sweep_does_not_go_on_in_its_folder(made, targets, done):
    pose, coil, chart = made
    turned = dataclasses.replace(GRID, handle_deg=GRID.handle_deg + 1)
    before = contents(done)
    for differs, call in {
        "coil": lambda: sweep(done, targets, pose, tj.coil.load("MagVenture_Cool_B35"), chart, GRID),
        "poses": lambda: sweep(done, targets, pose, coil, chart, turned),
        "targets": lambda: sweep(done, targets[:1], pose, coil, chart, GRID),
        "pose model": lambda: sweep(done, targets, dataclasses.replace(pose, card="{}"), coil, chart, GRID),
    }.items():
        with pytest.raises(InputError, match=f"another sweep\n.*differs in .*{differs}"):
            call()
    assert contents(done) == before


def test_poses_that_the_model_does_not_cover_are_flagged_and_all_of_them_refused(made, targets, tmp_path):
    pose, coil, chart = made
    some = dataclasses.replace(pose, reach_mm=jnp.asarray(16.5), centre_mm=jnp.asarray([0.0, 0, 18]))
    path = sweep(
        tmp_path / "s.zarr", targets[:1], some, coil, chart, SweepGrid([[0.0, 0], [9, 0], [-2, 0]], GRID.handle_deg)
    )
    data = opened(path, targets[0].name)
    far = data.status.values == sweep_store.NO_POSE
    assert far.all(axis=(1, 2, 3)).tolist() == [False, True, False]
    assert not far[[0, 2]].any()
    assert np.isnan(data.threshold_a_per_us.values[1]).all()
    assert opened(path).without_threshold.values[0, 1].tolist() == [[1.0, 1.0]] * 4
    assert opened(path).attrs["poses_outside_the_model"] == 4
    none = dataclasses.replace(pose, reach_mm=jnp.asarray(1.0))
    with pytest.raises(InputError, match="outside the model's domain"):
        sweep(tmp_path / "none.zarr", targets[:1], none, coil, chart, GRID)
    assert [item.name for item in tmp_path.iterdir()] == ["s.zarr"]


def test_bad_input_is_named_before_anything_is_written(made, targets, tmp_path):
    away = dataclasses.replace(targets[0].population, positions=targets[0].population.positions - 40.0)
    empty = SweepTarget(targets[0].population[:0], targets[0].model)
    points = made[0].resampled(targets[0].population.positions)
    for said, call in {
        "population is empty": lambda: sweep(tmp_path / "s", [empty], *made, GRID),
        "no neuron of L5": lambda: sweep(tmp_path / "s", [SweepTarget(away, targets[0].model)], *made, GRID),
        "a target twice": lambda: sweep(tmp_path / "s", [targets[0], targets[0]], *made, GRID),
        "no grid": lambda: sweep(tmp_path / "s", targets, points, *made[1:], GRID),
        "off the chart": lambda: sweep(tmp_path / "s", targets, *made, SweepGrid([[50.0, 0]], [0.0])),
        "places of a sweep": lambda: SweepGrid([[0.0, np.nan]], [0.0]),
        "angles of a sweep": lambda: SweepGrid([[0.0, 0]], []),
        "a pose twice": lambda: SweepGrid([[0.0, 0]], [0.0, 360.0]),
        "directions of the current": lambda: SweepGrid([[0.0, 0]], [0.0], current=(2,)),
        "intensities": lambda: SweepGrid([[0.0, 0]], [0.0], intensities=[-10.0]),
        "shares of a population": lambda: SweepGrid([[0.0, 0]], [0.0], shares=(0.0,)),
        "grid of places": lambda: square(10.0, 0.0),
    }.items():
        with pytest.raises(InputError, match=said):
            call()
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter.tex").write_text("years of work")
    with pytest.raises(InputError, match="no sweep here"):
        sweep(tmp_path / "thesis", targets, *made, GRID)
    assert (tmp_path / "thesis" / "chapter.tex").read_text() == "years of work"


def test_a_square_of_places():
    assert square(10.0, 5.0).shape == (25, 2)
    assert square(0.0, 5.0).tolist() == [[0.0, 0.0]]
    assert json.dumps(square(7.0, 5.0).max()) == "5.0"
