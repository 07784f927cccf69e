"""Files of other programs, damaged ones too: paths that are paths, compressed data that are whole."""

from __future__ import annotations

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from xml.parsers.expat import ExpatError

from nibabel.filebasedimages import ImageFileError
from nibabel.orientations import OrientationError
from nibabel.spatialimages import HeaderDataError, HeaderTypeError

from tmsjax.core.errors import InputError

UNREADABLE = (
    ImageFileError, HeaderDataError, HeaderTypeError, OrientationError, OSError, EOFError, ValueError, LookupError,
    TypeError, AttributeError, AssertionError, ArithmeticError, MemoryError, zlib.error, ExpatError,
)  # fmt: skip
"""What NumPy, nibabel and the decompressors raise for damaged files: an array of 2**60 voxels is a MemoryError, an XML
file of another kind an AttributeError, and zlib.error is none of Python's own kinds."""

GZIP = b"\x1f\x8b"
"""How a compressed file begins, whatever it is called."""

BLOCK = 1 << 20


def checked_path(path: Any, what: str) -> Path:
    """A path (text or ``Path``), or InputError."""
    try:
        return Path(path)
    except TypeError as error:
        raise InputError(f"the path of {what}", got=repr(path)[:80], expected="text or a pathlib.Path") from error


@contextmanager
def reading(path: Path, what: str, expected: str) -> Iterator[None]:
    """Inside, whatever a damaged file raises becomes an InputError; a compressed file is first read to its checksum.

    nibabel stops at the last voxel, before the checksum of a .gz: without this, changed bytes would be other numbers.
    """
    try:
        _check_compressed(path)
        yield
    except InputError:
        raise
    except UNREADABLE as error:
        raise InputError(what, got=f"{path}: {type(error).__name__}: {error}", expected=expected) from error


def _check_compressed(path: Path) -> None:
    """Decompress a .gz to its end, so that its checksum is tested; nothing for other files."""
    with path.open("rb") as file:
        if file.read(len(GZIP)) != GZIP:
            return
    with gzip.open(path) as file:
        while file.read(BLOCK):
            pass
