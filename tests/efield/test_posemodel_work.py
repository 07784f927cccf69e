"""Finished batches of a pose model's solves: read again when whole, computed again when not."""

import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.efield.posemodel_work import BATCH, Work

TOTAL = 2 * BATCH + 3


def run(folder, request=("head", 3)):
    """All batches, and which of them were computed."""
    computed = []

    def compute(start, count):
        computed.append(start)
        return {"response": np.arange(start, start + count, dtype=np.float32)}

    work = Work(folder, request, np.zeros((2, 3)))
    found = work.batches("forward solves", TOTAL, compute, lambda *_: None)
    np.testing.assert_array_equal(np.concatenate([batch["response"] for batch in found]), np.arange(TOTAL))
    return computed


def test_whole_batches_are_read_and_those_of_other_requests_are_not(tmp_path):
    assert run(tmp_path / "work") == [0, BATCH, 2 * BATCH]
    assert run(tmp_path / "work") == []
    assert run(tmp_path / "work", ("another head", 3)) == [0, BATCH, 2 * BATCH]
    assert run(None) == [0, BATCH, 2 * BATCH]


@pytest.mark.parametrize(
    "damage", [lambda b: b[: len(b) // 2], lambda _: b"", lambda b: b.replace(b"\0\0@@", b"\0\0A@"), lambda _: b"text"]
)
def test_damaged_batches_are_computed_again(tmp_path, damage):
    run(tmp_path)
    path = next(p for p in tmp_path.iterdir() if p.name.endswith("forward-0.npz"))
    whole = path.read_bytes()
    path.write_bytes(damage(whole))
    assert path.read_bytes() != whole
    assert run(tmp_path) == [0]
    assert run(tmp_path) == []


def test_a_full_disk_leaves_nothing_half_written(tmp_path, monkeypatch):
    def full(file, **_):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    with pytest.raises(InputError, match=r"cannot be kept\n.*No space left"):
        run(tmp_path / "work")
    assert not list((tmp_path / "work").iterdir())


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").write_text("x")
    for folder in (tmp_path / "file", tmp_path / "file" / "work"):
        with pytest.raises(InputError, match="cannot be kept"):
            run(folder)
