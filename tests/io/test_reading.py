"""What readers of damaged files raise, and compressed files whose checksum is wrong."""

import gzip
import zlib

import nibabel
import numpy as np
import pytest

from tmsjax.coil import load
from tmsjax.core.errors import InputError
from tmsjax.io.reading import checked_path, reading


@pytest.mark.parametrize("error", [zlib.error("a"), KeyError("a"), AttributeError("a"), MemoryError(), EOFError("a")])
def test_whatever_a_reader_raises_names_the_file(tmp_path, error):
    (tmp_path / "a.bin").write_bytes(b"plain")
    says = pytest.raises(InputError, match=r"no luck[\s\S]*a\.bin[\s\S]*something better")
    with says, reading(tmp_path / "a.bin", "no luck", "something better"):
        raise error


def test_an_error_of_ours_stays_as_it_is(tmp_path):
    (tmp_path / "a.bin").write_bytes(b"")
    with pytest.raises(InputError, match="mine"), reading(tmp_path / "a.bin", "no luck", "something better"):
        raise InputError("mine", got=1, expected=2)
    with pytest.raises(KeyboardInterrupt), reading(tmp_path / "a.bin", "no luck", "something better"):
        raise KeyboardInterrupt


def test_only_whole_compressed_files_are_gone_on_with(tmp_path):
    whole = gzip.compress(np.random.default_rng(0).bytes(3_000_000))
    for name, content, good in (
        ("whole.gz", whole, True),
        ("two.gz", whole + gzip.compress(b"more"), True),
        ("cut.gz", whole[:-3], False),
        ("checksum.gz", whole[:-8] + bytes([whole[-8] ^ 1]) + whole[-7:], False),
        ("long.gz", whole + b"rubbish", False),
    ):
        (tmp_path / name).write_bytes(content)
        reached = False
        try:
            with reading(tmp_path / name, "damaged", "whole"):
                reached = True
        except InputError:
            assert not good
        assert reached == good, name


def test_a_sampled_coil_is_held_to_its_checksum(tmp_path):
    path = tmp_path / "coil.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.ones((6, 6, 6, 3), np.float32), np.eye(4)), path)
    whole = bytearray(path.read_bytes())
    whole[-8] ^= 1
    path.write_bytes(whole)
    with pytest.raises(InputError, match=r"coil file cannot be read[\s\S]*CRC"):
        load(path)


def test_paths():
    assert checked_path("a/b", "a thing").name == "b"
    for wrong in (None, 3, ["a"]):
        with pytest.raises(InputError, match="path of a thing"):
            checked_path(wrong, "a thing")
