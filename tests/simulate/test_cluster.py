"""Engines on a Dask cluster of two local workers: the same bytes as on this machine; nobody at the address."""

import numpy as np
import pytest

from tmsjax.cells import cable_model
from tmsjax.core.errors import InputError
from tmsjax.simulate import cluster, create_dataset, fires, run_dataset, thresholds, traces

pytestmark = pytest.mark.filterwarnings("ignore::ResourceWarning", "ignore::DeprecationWarning")


@pytest.fixture(scope="module")
def scheduler():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, host="127.0.0.1"
    ) as local:
        yield local.scheduler_address


def _fields(cell, k):
    directions = np.random.default_rng(3).normal(size=(k, 1, 3))
    return directions * np.ones((1, cable_model(cell).n, 1))


@pytest.mark.parametrize("engine", ["neuron", "cable"])
def test_the_same_answers_as_here(small_cell, scheduler, engine):
    fields = _fields(small_cell, 9)
    here = thresholds(small_cell, fields, engine=engine, workers=1)
    said = []
    there = thresholds(small_cell, fields, engine=engine, scheduler=scheduler, progress=said.append)
    for name in ("v_per_m", "factor", "initiation", "status", "runs"):
        np.testing.assert_array_equal(getattr(there, name), getattr(here, name))
    assert there.source == here.source
    assert said[-1] == "9 of 9 fields"
    some = np.flatnonzero(here.ok)[:3]
    fired = fires(small_cell, fields[some], here.v_per_m[some, None] * [0.98, 1], engine=engine, scheduler=scheduler)
    np.testing.assert_array_equal(fired, [[False, True]] * len(some))
    options = {"engine": engine, "rows": [0, 4]}
    np.testing.assert_array_equal(
        traces(small_cell, fields[0], 300.0, **options, scheduler=scheduler),
        traces(small_cell, fields[0], 300.0, **options),
    )


def test_a_dataset_is_the_same_to_the_byte(small_cell, scheduler, tmp_path):
    fields = _fields(small_cell, 200)
    files = []
    for name, options in (("here", {}), ("there", {"scheduler": scheduler})):
        made = create_dataset(tmp_path / name, {"row": np.arange(200)}, cell="small", pulse="monophasic", seed=0)
        run_dataset(made, small_cell, lambda rows: fields[rows], engine="cable", **options)
        found = sorted(p for p in (tmp_path / name).rglob("*") if p.is_file() and p.name != ".lock")
        files.append({str(p.relative_to(tmp_path / name)): p.read_bytes() for p in found})
    assert files[0] == files[1]


def test_nobody_at_the_address(small_cell, monkeypatch):
    monkeypatch.setattr(cluster, "TIMEOUT_S", 1)
    for address in ("tcp://127.0.0.1:1", "nowhere"):
        with pytest.raises(InputError, match="the scheduler"):
            thresholds(small_cell, _fields(small_cell, 1), engine="cable", scheduler=address)
    with pytest.raises(InputError, match="backend on a cluster"):
        thresholds(small_cell, _fields(small_cell, 1), engine="cable", backend="jax", scheduler="tcp://127.0.0.1:1")
