"""The store: a killed run resumes to the same content, and wrong stores are refused."""

import os
import pickle
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tmsjax.cells import cable_model
from tmsjax.core.errors import InputError
from tmsjax.simulate import create_dataset, open_dataset, run_dataset
from tmsjax.simulate.dataset import CHUNK

ROWS = CHUNK + 30
SCRIPT = """
import multiprocessing, os, pickle, signal, sys
import numpy as np
from tmsjax.cells import cable_model
from tmsjax.simulate import open_dataset, run_dataset

cell = pickle.load(open(sys.argv[1], "rb"))
dataset = open_dataset(sys.argv[2])
directions = dataset.recipe()["direction"]
n = cable_model(cell).n

def die(_):
    print(*(child.pid for child in multiprocessing.active_children()), flush=True)
    os.kill(os.getpid(), signal.SIGKILL)

fields_of = lambda rows: np.repeat(directions[rows, None], n, axis=1)
run_dataset(dataset, cell, fields_of, workers=1, initiation=False, progress=die)
"""


def _create(path, seed=5):
    directions = np.random.default_rng(seed).normal(size=(ROWS, 3))
    return create_dataset(path, {"direction": directions}, cell="small", pulse="monophasic", seed=seed)


def _run(dataset, cell, **options):
    directions = dataset.recipe()["direction"]
    n = cable_model(cell).n
    run_dataset(
        dataset, cell, lambda rows: np.repeat(directions[rows, None], n, axis=1), workers=1, initiation=False, **options
    )


def _alive(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.skipif(not os.path.isdir("/proc/self"), reason="looks for left-over processes in /proc (Linux)")
def test_a_killed_run_resumes_to_the_same_content(small_cell, tmp_path):
    whole = _create(tmp_path / "whole")
    empty = whole.content_hash()
    _run(whole, small_cell)
    assert len(whole) == ROWS
    assert len(whole.pending()) == 0
    assert whole.content_hash() != empty

    _create(tmp_path / "killed")
    (tmp_path / "cell.pkl").write_bytes(pickle.dumps(small_cell))
    command = [sys.executable, "-c", SCRIPT, str(tmp_path / "cell.pkl"), str(tmp_path / "killed")]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    assert died.returncode == -signal.SIGKILL, died.stderr
    killed = open_dataset(tmp_path / "killed")
    np.testing.assert_array_equal(killed.pending(), np.arange(CHUNK, ROWS))
    assert np.isnan(killed.results()["v_per_m"][CHUNK:]).all()

    said = []
    _run(killed, small_cell, progress=said.append)
    assert len(said) == 1
    assert re.fullmatch(rf"{ROWS} of {ROWS} thresholds of small, [\d.e+]+ a second", said[0])
    assert killed.content_hash() == whole.content_hash()

    workers = [int(pid) for pid in died.stdout.split()]
    assert workers
    deadline = time.monotonic() + 10
    while any(map(_alive, workers)) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(map(_alive, workers)), "worker processes outlive a killed run"


def test_an_interrupted_run_keeps_whole_chunks(small_cell, tmp_path):
    dataset = _create(tmp_path / "d")

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(dataset, small_cell, progress=interrupt)
    results = open_dataset(tmp_path / "d").results()
    assert (results["status"] != -1).sum() == CHUNK
    done = results["status"] == 0
    assert done.sum() > CHUNK - 4  # one direction may need more than the largest amplitude
    assert np.isfinite(results["v_per_m"][done]).all()
    np.testing.assert_allclose(
        results["factor"][done] * np.linalg.norm(dataset.recipe()["direction"][done], axis=1), results["v_per_m"][done]
    )


def test_the_hash_covers_recipe_and_seed(tmp_path):
    hashes = [_create(tmp_path / str(k), seed).content_hash() for k, seed in enumerate((1, 1, 2))]
    assert hashes[0] == hashes[1] != hashes[2]


def test_wrong_stores_are_refused(small_cell, tmp_path):
    dataset = _create(tmp_path / "d")
    with pytest.raises(InputError, match="a folder that exists"):
        _create(tmp_path / "d")
    with pytest.raises(InputError, match="create_dataset made"):
        open_dataset(tmp_path / "none")
    with pytest.raises(InputError, match="columns of one length"):
        create_dataset(tmp_path / "x", {"a": np.zeros(2), "b": np.zeros(3)}, cell="c", pulse="p", seed=0)
    with pytest.raises(InputError, match=r"d: pulse"):
        _run(dataset, small_cell, pulse="biphasic")


def test_a_damaged_file_is_named(tmp_path):
    dataset = _create(tmp_path / "d.zarr")
    dataset.group["v_per_m"][:] = np.linspace(1, 2, ROWS)
    (chunk,) = [p for p in (tmp_path / "d.zarr" / "v_per_m").rglob("*") if p.is_file() and p.name != "zarr.json"]
    content = bytearray(chunk.read_bytes())
    content[-20:] = bytes(20)
    chunk.write_bytes(content)
    with pytest.raises(InputError, match="damaged"):
        open_dataset(tmp_path / "d.zarr").results()
