"""Damaged stores: what is lost is found and emptied, whatever is killed meanwhile. New stores are whole or absent."""

import itertools
import os
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.simulate import Status, create_dataset, open_dataset
from tmsjax.simulate.layout import CHUNK, RESULTS, alone

ROWS = 3 * CHUNK + 8


class Killed(BaseException):
    """As if the process had ended here."""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A store as a run leaves it, of made-up thresholds."""
    path = tmp_path_factory.mktemp("finished") / "d"
    dataset = create_dataset(path, {"row": np.arange(ROWS)}, cell="small", pulse="monophasic", seed=0)
    values = np.arange(1.0, ROWS + 1)
    for name in ("v_per_m", "factor", "initiation"):
        dataset.group[name][:] = values
    dataset.group["soma"][:] = values[:, None] * [1.0, 0.0, 0.0]
    dataset.group["status"][:] = np.zeros(ROWS, np.int8)
    dataset.group.attrs["simulation"] = {"initiation": True}
    return path


def _damage(path, name, chunk=1):
    """Flip a bit in the data of one chunk."""
    file = path / name / "c" / "/".join(["0"] * (2 if name == "soma" else 1))
    content = bytearray(file.read_bytes())
    dataset = open_dataset(path)
    for place in range(len(content)):
        content[place] ^= 1
        file.write_bytes(content)
        if _lost(dataset.group[name]) == [chunk]:
            return
        content[place] ^= 1
    raise AssertionError("no bit of this chunk")


def _lost(array):
    lost = []
    for start in range(0, ROWS, CHUNK):
        try:
            array[start : start + CHUNK]
        except (ValueError, OSError, RuntimeError):
            lost.append(start // CHUNK)
    return lost


def _check_mended(path, finished, chunks=(1,)):
    """All rows but the chunks' are as they were, and the chunks' are to be done."""
    dataset = open_dataset(path)
    lost = np.isin(np.arange(ROWS) // CHUNK, chunks)
    np.testing.assert_array_equal(dataset.pending(), np.flatnonzero(lost))
    before, after = open_dataset(finished).results(), dataset.results()
    for name in RESULTS:
        np.testing.assert_array_equal(after[name][~lost], before[name][~lost])
    assert not list(path.rglob("*.partial"))


@pytest.mark.parametrize("name", ["v_per_m", "soma", "status"])
def test_a_kill_after_any_write_of_a_mend_hides_nothing(finished, tmp_path, monkeypatch, name):
    """Ended after its first, second, ... change of a file, a mend begun again still empties all that is damaged."""
    shutil.copytree(finished, tmp_path / "damaged")
    _damage(tmp_path / "damaged", name)
    moved = Path.replace
    path, writes = tmp_path, 0
    for writes in itertools.count(1):
        path, done = tmp_path / str(writes), 0
        shutil.copytree(tmp_path / "damaged", path)

        def replace(self, target, last=writes):
            nonlocal done
            there = moved(self, target)
            if threading.current_thread() is threading.main_thread():
                done += 1
                if done == last:
                    raise Killed
            return there

        monkeypatch.setattr(Path, "replace", replace)
        try:
            open_dataset(path).mend()
            finish = True
        except Killed:
            finish = False
        monkeypatch.undo()
        if finish:
            break
        open_dataset(path).mend()
        _check_mended(path, finished)
    assert writes == len(RESULTS) + 1  # a kill after each of the files
    _check_mended(path, finished)


@pytest.mark.parametrize("name", list(RESULTS))
def test_a_file_that_is_gone_is_missed(finished, tmp_path, name):
    shutil.copytree(finished, tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / name / "c")
    dataset = open_dataset(tmp_path / "d")
    assert (dataset.mend().tolist() == [0, 1, 2, 3]) == (name != "status")  # without a status nothing counts as done
    np.testing.assert_array_equal(dataset.pending(), np.arange(ROWS))


def test_what_is_rightly_not_there_is_left_alone(finished, tmp_path):
    """No first compartment where none was looked for; no field at the soma where none is known."""
    shutil.copytree(finished, tmp_path / "d")
    dataset = open_dataset(tmp_path / "d")
    shutil.rmtree(tmp_path / "d" / "initiation" / "c")
    dataset.group.attrs["simulation"] = {"initiation": False}
    dataset.group["status"][:2] = np.array([Status.NOT_COVERED, Status.NOT_REACHED], np.int8)
    dataset.group["v_per_m"][:2] = np.nan
    dataset.group["soma"][0] = np.nan
    assert not len(open_dataset(tmp_path / "d").mend())


def test_what_a_kill_left_half_written_goes(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "d")
    for place in (".", "v_per_m", "soma/c/0"):
        (tmp_path / "d" / place / "0.0123.partial").write_bytes(b"half")
    (tmp_path / "d" / "mend.partial" / "v_per_m").mkdir(parents=True)
    dataset = open_dataset(tmp_path / "d")
    with alone(tmp_path / "d"), pytest.raises(InputError, match="another run"):
        dataset.mend()
    assert (tmp_path / "d" / "v_per_m" / "0.0123.partial").exists()  # perhaps the other run's
    assert not len(dataset.mend())
    assert not list((tmp_path / "d").rglob("*.partial"))


KILL = """
import os, signal, sys
from pathlib import Path
import numpy as np
from tmsjax.simulate import create_dataset, open_dataset

def die(self, target, really=getattr(Path, sys.argv[1])):
    if sys.argv[1] == "replace":
        really(self, target)
    if "partial" in str(self) and (sys.argv[1] == "rename" or "mend" in str(self)):
        os.kill(os.getpid(), signal.SIGKILL)
    return target

setattr(Path, sys.argv[1], die)
if sys.argv[1] == "rename":
    create_dataset(sys.argv[2], {"row": np.arange(9)}, cell="small", pulse="monophasic", seed=0)
else:
    open_dataset(sys.argv[2]).mend()
"""


def _killed(*arguments):
    done = subprocess.run([sys.executable, "-c", KILL, *map(str, arguments)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr.decode()


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_a_killed_mend_is_done_again(finished, tmp_path):
    shutil.copytree(finished, tmp_path / "d")
    _damage(tmp_path / "d", "factor")
    _killed("replace", tmp_path / "d")
    assert list((tmp_path / "d").rglob("*.partial"))
    open_dataset(tmp_path / "d").mend()
    _check_mended(tmp_path / "d", finished)


@pytest.mark.skipif(os.name != "posix", reason="kills as POSIX does")
def test_a_killed_create_leaves_the_name_free(tmp_path):
    _killed("rename", tmp_path / "d")
    assert not (tmp_path / "d").exists()
    made = create_dataset(tmp_path / "d", {"row": np.arange(9)}, cell="small", pulse="monophasic", seed=0)
    assert len(open_dataset(made.path)) == 9


def _create(path, column=(1, 2, 3), name="row", description=None):
    recipe = {"other": np.arange(3), name: column}
    return create_dataset(path, recipe, cell="c", pulse="p", seed=0, description=description)


def test_a_full_disk_leaves_no_new_store(tmp_path, monkeypatch):
    import zarr

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(zarr.Group, "create_group", full)
    with pytest.raises(InputError, match=r"cannot be written[\s\S]*No space left"):
        _create(tmp_path / "d")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"column": np.array([{}, 1, 2], object)}, "column row"),
        ({"column": np.ones(3, complex)}, "column row"),
        ({"name": "a/b"}, "name of a column"),
        ({"name": "__a"}, "name of a column"),
        ({"description": {"when": object()}}, "description"),
    ],
)
def test_what_cannot_be_stored_is_refused_before_anything_is_made(tmp_path, given, says):
    with pytest.raises(InputError, match=says):
        _create(tmp_path / "d", **given)
    assert not list(tmp_path.iterdir())


def test_a_parent_that_is_a_file_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        _create(tmp_path / "file" / "d")


def test_versions_are_those_that_are_installed(tmp_path, monkeypatch):
    import importlib.metadata

    real = importlib.metadata.version

    def without_neuron(name):
        if name == "neuron":
            raise importlib.metadata.PackageNotFoundError(name)
        return real(name)

    assert {"numba", "jax", "zarr", "neuron"} <= set(_create(tmp_path / "a").attrs["versions"])
    monkeypatch.setattr(importlib.metadata, "version", without_neuron)
    assert "neuron" not in _create(tmp_path / "b").attrs["versions"]
