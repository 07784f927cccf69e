"""The store: a killed run resumes to the same content, and wrong stores are refused."""

import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from tmsjax.cells import cable_model
from tmsjax.core.errors import InputError
from tmsjax.simulate import Status, create_dataset, open_dataset, run_dataset
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


RUN = """
import pickle, sys
import numpy as np
from tmsjax.cells import cable_model
from tmsjax.simulate import open_dataset, run_dataset

cell = pickle.load(open(sys.argv[1], "rb"))
dataset = open_dataset(sys.argv[2])
directions = dataset.recipe()["direction"]
n = cable_model(cell).n
fields_of = lambda rows: np.repeat(directions[rows, None], n, axis=1)
say = lambda text: print(text, flush=True)
run_dataset(dataset, cell, fields_of, engine="cable", workers=int(sys.argv[3]), progress=say)
"""


def _large(path, rows=6 * 1024 + 100):
    directions = np.random.default_rng(7).normal(size=(rows, 3))
    return create_dataset(path, {"direction": directions}, cell="small", pulse="monophasic", seed=7)


def _bytes(path):
    """Every file of a store but the lock, by name."""
    files = sorted(p for p in path.rglob("*") if p.is_file() and p.name != ".lock")
    return {str(p.relative_to(path)): p.read_bytes() for p in files}


def _by_cable(dataset, cell, **options):
    directions = dataset.recipe()["direction"]
    n = cable_model(cell).n
    run_dataset(
        dataset, cell, lambda rows: np.repeat(directions[rows, None], n, axis=1), **{"engine": "cable", **options}
    )


@pytest.fixture(scope="module")
def whole(small_cell, tmp_path_factory):
    """An uninterrupted run of one worker."""
    path = tmp_path_factory.mktemp("whole") / "d"
    _by_cable(_large(path), small_cell, workers=1)
    assert len(open_dataset(path).pending()) == 0
    return path


def test_five_kills_at_random_moments_leave_the_same_bytes(small_cell, whole, tmp_path):
    rng = np.random.default_rng()  # other moments every time
    _large(tmp_path / "d")
    (tmp_path / "cell.pkl").write_bytes(pickle.dumps(small_cell))
    command = [sys.executable, "-c", RUN, str(tmp_path / "cell.pkl"), str(tmp_path / "d")]
    left = [len(open_dataset(tmp_path / "d").pending())]
    for kill in range(5):
        workers = str(1 + kill % 2)
        process = subprocess.Popen([*command, workers], stdout=subprocess.PIPE, text=True)
        if kill:  # the first dies as it starts, the others once they have written something
            process.stdout.readline()
        time.sleep(rng.uniform(0, 0.3))
        process.send_signal(signal.SIGKILL)
        process.communicate()
        left.append(len(open_dataset(tmp_path / "d").pending()))
    assert sorted(left, reverse=True) == left
    assert left[0] > left[-1]
    _by_cable(open_dataset(tmp_path / "d"), small_cell)
    assert _bytes(tmp_path / "d") == _bytes(whole)


def test_two_workers_give_the_same_bytes(small_cell, whole, tmp_path):
    _by_cable(_large(tmp_path / "d"), small_cell, workers=2)
    assert _bytes(tmp_path / "d") == _bytes(whole)


@pytest.mark.parametrize("name", ["v_per_m", "soma", "status"])
def test_a_corrupted_shard_is_found_and_done_again(small_cell, whole, tmp_path, name):
    shutil.copytree(whole, tmp_path / "d")
    (file,) = [p for p in (tmp_path / "d" / name / "c").rglob("*") if p.is_file()]
    content = bytearray(file.read_bytes())
    place = len(content) // 2
    content[place] ^= 1  # one bit
    file.write_bytes(content)
    dataset = open_dataset(tmp_path / "d")
    with pytest.raises(InputError, match="damaged"):
        dataset.results()
    said = []
    _by_cable(dataset, small_cell, progress=said.append)
    assert len(said) >= 1
    assert _bytes(tmp_path / "d") == _bytes(whole)
    assert not len(dataset.mend())


def test_a_lost_shard_is_done_again(small_cell, whole, tmp_path):
    shutil.copytree(whole, tmp_path / "d")
    (file,) = [p for p in (tmp_path / "d" / "status" / "c").rglob("*") if p.is_file()]
    file.write_bytes(file.read_bytes()[:100])
    _by_cable(open_dataset(tmp_path / "d"), small_cell)
    assert _bytes(tmp_path / "d") == _bytes(whole)


FULL = """
import resource, signal
resource.setrlimit(resource.RLIMIT_FSIZE, (20000, 20000))  # writing on fails, as on a full disk
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
"""


def test_a_full_disk_says_so_and_leaves_nothing_half_written(small_cell, whole, tmp_path):
    _large(tmp_path / "d")
    (tmp_path / "cell.pkl").write_bytes(pickle.dumps(small_cell))
    command = [sys.executable, "-c", FULL + RUN, str(tmp_path / "cell.pkl"), str(tmp_path / "d"), "1"]
    died = subprocess.run(command, capture_output=True, text=True, check=False)
    assert died.returncode == 1
    assert "cannot be written" in died.stderr
    assert "make room" in died.stderr
    results = open_dataset(tmp_path / "d").results()
    assert np.isfinite(results["v_per_m"][results["status"] == 0]).all()
    assert (results["status"] == -1).any()
    _by_cable(open_dataset(tmp_path / "d"), small_cell)
    assert _bytes(tmp_path / "d") == _bytes(whole)


def test_two_runs_at_once_are_refused(small_cell, tmp_path):
    dataset = _large(tmp_path / "d")

    def again(_):
        _by_cable(open_dataset(tmp_path / "d"), small_cell)

    with pytest.raises(InputError, match="another run"):
        _by_cable(dataset, small_cell, progress=again)


def test_a_store_has_one_engine_and_the_field_at_the_soma(small_cell, tmp_path):
    dataset = _create(tmp_path / "d")
    directions = dataset.recipe()["direction"]

    def interrupt(_):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        _run(dataset, small_cell, progress=interrupt)
    done = dataset.results()["status"] != -1
    np.testing.assert_allclose(dataset.results()["soma"][done], directions[done], rtol=1e-6)
    assert dataset.attrs["source"].startswith("NEURON")
    with pytest.raises(InputError, match="engine"):
        _by_cable(dataset, small_cell)


def test_a_field_that_is_not_known_everywhere_does_not_stop_a_run(small_cell, tmp_path):
    dataset = _create(tmp_path / "d")
    n = cable_model(small_cell).n

    def fields_of(rows):
        fields = np.repeat(dataset.recipe()["direction"][rows, None], n, axis=1)
        fields[rows == 3, -1] = np.nan
        return fields

    run_dataset(dataset, small_cell, fields_of, engine="cable", guess_of=lambda soma: np.full(len(soma), 300.0))
    results = dataset.results()
    assert results["status"][3] == Status.NOT_COVERED
    assert np.isnan(results["v_per_m"][3])
    assert len(dataset.pending()) == 0
