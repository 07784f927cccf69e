"""Responses in files: each is opened by what it is for, and gives back what was written."""

import csv
import dataclasses

import jax
import nibabel
import numpy as np
import pytest
import xarray
from meshes import icosphere
from synthetic import response

from tmsjax.core.errors import InputError
from tmsjax.cortex import LayerSurface
from tmsjax.response import load_responses, save_responses, write_maps, write_neurons
from tmsjax.response.labelled import Group, Labelled, write_labelled
from tmsjax.response.output import by_site


def pair():
    a = response(layer="L23").thresholds.a_per_us.copy()
    a[3:9] = np.nan
    one, two = response(region=np.repeat(["M1", "S1"], 100)), response(layer="L23", a_per_us=a, cell="synthetic/b")
    return [one, dataclasses.replace(two, region=np.full(200, "M1"))]


def test_zarr_gives_the_responses_back(tmp_path):
    found = pair()
    back = load_responses(save_responses(tmp_path / "r.zarr", found, {"coil": "none"}))
    for old, new in zip(found, back, strict=True):
        assert (new.layer, new.cell, new.pulse) == (old.layer, old.cell, old.pulse)
        for a, b in zip(jax.tree.leaves(old.population), jax.tree.leaves(new.population), strict=True):
            np.testing.assert_array_equal(a, b)
        for name in ("v_per_m", "a_per_us", "status", "in_domain"):
            np.testing.assert_array_equal(getattr(new.thresholds, name), getattr(old.thresholds, name))
        assert new.thresholds.why(3) == old.thresholds.why(3)
        assert new.thresholds.source == "made up"
        np.testing.assert_array_equal(new.region, old.region)


def test_xarray_opens_it_with_coordinates(tmp_path):
    found = pair()
    with xarray.open_zarr(save_responses(tmp_path / "r.zarr", found), consolidated=False, chunks=None) as data:
        assert {"layer", "cell", "site", "azimuth_deg", "x_mm", "region"} <= set(data.coords)
        assert data.threshold_a_per_us.attrs["units"] == "A/us"
        five = data.where(data.layer == "L5", drop=True)
        np.testing.assert_array_equal(five.threshold_a_per_us, found[0].thresholds.a_per_us)
        by_azimuth = five.threshold_a_per_us.groupby("azimuth_deg").median()
        expected = np.median(found[0].thresholds.a_per_us.reshape(50, 4), axis=0)
        np.testing.assert_allclose(by_azimuth, expected, rtol=1e-6)
        assert data.rotation.dims == ("neuron", "world", "cell_axis")


def test_a_csv_line_a_neuron(tmp_path):
    found = pair()
    with write_neurons(tmp_path / "n.csv", found).open(newline="") as handle:
        rows = list(csv.DictReader(handle))
    assert len(rows) == 400
    values = [float(row["threshold_A_per_us"]) for row in rows if row["layer"] == "L5"]
    np.testing.assert_allclose(values, found[0].thresholds.a_per_us, atol=1e-3)
    assert {row["status"] for row in rows} == {"0", "10"}


@pytest.fixture(scope="module")
def sphere():
    """A layer's surface of 40 mm radius in both hemispheres."""
    vertices, faces = icosphere(3)
    apart = np.array([50.0, 0.0, 0.0])
    both = np.concatenate([40 * vertices - apart, 40 * vertices + apart])
    return LayerSurface(
        vertices=both,
        faces=np.concatenate([faces, faces + len(vertices)]),
        columns=np.concatenate([vertices, vertices]) * 2.5,
        depth=0.65,
        hemisphere=np.repeat([0, 1], len(vertices)),
    )


def test_gifti_maps_fit_the_layers_surface(tmp_path, sphere):
    """Neurons all round the left sphere only: a value at (nearly) every vertex of it, and no files of the right one."""
    found = response(2000, 2)
    moved = dataclasses.replace(found.population, positions=found.population.positions + np.array([-50.0, 0, 0]))
    moved = dataclasses.replace(moved, weight=moved.weight * 0 + 4 * np.pi * 40**2 / 4000)
    written = write_maps(tmp_path, dataclasses.replace(found, population=moved), sphere)
    assert [path.name for path in written] == ["L5.lh.surf.gii", "L5.lh.func.gii"]
    surface, maps = (nibabel.load(path) for path in written)
    count = len(sphere.vertices) // 2
    vertices, faces = surface.agg_data("pointset"), surface.agg_data("triangle")
    assert len(vertices) == count
    assert faces.max() == count - 1
    np.testing.assert_allclose(vertices, sphere.vertices[:count], atol=1e-4)
    values = {array.meta["Name"]: array.data for array in maps.darrays}
    assert all(len(v) == count for v in values.values())
    for image in (surface, maps):  # Workbench opens none without
        assert image.meta["AnatomicalStructurePrimary"] == "CortexLeft"
    medians = np.median(found.thresholds.a_per_us.reshape(2000, 2), axis=1)
    places = np.asarray(moved.positions)[::2]
    known = np.isfinite(values["median threshold (A/us)"])
    assert known.mean() > 0.99
    nearest = np.linalg.norm(vertices[:, None] - places, axis=2).argmin(1)
    np.testing.assert_allclose(values["median threshold (A/us)"][known], medians[nearest][known], rtol=1e-5)
    assert (values["in domain"][known] == 1).all()


def test_vertices_far_from_all_neurons_have_no_value(tmp_path, sphere):
    found = response(2000, 1)
    top = np.flatnonzero(np.asarray(found.population.positions)[:, 2] > 20)
    thresholds = dataclasses.replace(
        found.thresholds,
        **{n: getattr(found.thresholds, n)[top] for n in ("v_per_m", "factor", "initiation", "status", "runs")},
        in_domain=found.thresholds.in_domain[top],
    )
    moved = dataclasses.replace(found.population, positions=found.population.positions + np.array([50.0, 0, 0]))
    moved = dataclasses.replace(moved, weight=moved.weight * 0 + 4 * np.pi * 40**2 / 2000)
    written = write_maps(tmp_path, dataclasses.replace(found, population=moved[top], thresholds=thresholds), sphere)
    values = nibabel.load(written[1]).darrays[0].data
    heights = nibabel.load(written[0]).agg_data("pointset")[:, 2]
    assert written[0].name == "L5.rh.surf.gii"
    assert np.isnan(values[heights < 5]).all()
    assert np.isfinite(values[heights > 22]).all()


def test_nothing_is_overwritten_nor_half_written(tmp_path):
    save_responses(tmp_path / "r.zarr", pair())
    with pytest.raises(InputError, match="nothing is overwritten"):
        save_responses(tmp_path / "r.zarr", pair())
    with pytest.raises(InputError, match="what JSON can hold"):
        save_responses(tmp_path / "other.zarr", pair(), {"coil": object()})
    assert [item.name for item in tmp_path.iterdir()] == ["r.zarr"]


def test_bad_input_is_named(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_responses(tmp_path / "nowhere.zarr")
    write_labelled(tmp_path / "x.zarr", Group({"x": Labelled(("a",), np.zeros(3))}, {}, {}))
    with pytest.raises(InputError, match="no responses"):
        load_responses(tmp_path / "x.zarr")
    arrays = {"x": Labelled(("a",), np.zeros(3)), "y": Labelled(("a",), np.zeros(2))}
    with pytest.raises(InputError, match="dimension a of y"):
        write_labelled(tmp_path / "y.zarr", Group(arrays, {}, {}))
    with pytest.raises(InputError, match="dimensions of x"):
        write_labelled(tmp_path / "y.zarr", Group({"x": Labelled(("a",), np.zeros((3, 3)))}, {}, {}))
    with pytest.raises(InputError, match="several layers"):
        by_site(pair())
