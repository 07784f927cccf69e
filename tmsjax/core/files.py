"""Results that appear whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tmsjax.core.errors import InputError


@contextmanager
def staged_folder(out: Path | str) -> Iterator[Path]:
    """Yield an empty folder to write into; its files move to ``out`` when the block ends well, and vanish otherwise.

    An error or Ctrl-C leaves ``out`` as it was. A new folder appears in one step; in one that exists, files of an
    earlier run are replaced one by one in the order they were written (write the summary last), and others stay.

    Raises:
        InputError: ``out`` is a file, or cannot be made or written to.
    """
    out = Path(out)
    if out.exists() and not out.is_dir():
        raise InputError("the output folder is a file", got=out, expected="a folder, or a name that is free")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        stage = Path(tempfile.mkdtemp(prefix=f".{out.name}-", dir=out.parent))
    except OSError as error:
        raise InputError(
            "the output folder cannot be written", got=f"{out} ({error.strerror})", expected="a folder that can be made"
        ) from error
    try:
        yield stage
        if not out.exists():
            stage.chmod(0o777 & ~_umask())
            stage.replace(out)
            return
        for item in sorted(stage.iterdir(), key=lambda item: item.stat().st_mtime_ns):
            target = out / item.name
            if target.is_dir() and item.is_dir():
                shutil.rmtree(target)
            item.replace(target)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def staged_file(out: Path | str) -> Iterator[Path]:
    """Yield a temporary name beside ``out`` (of the same ending); the file moves to ``out`` when the block ends well.

    An error or Ctrl-C leaves ``out`` as it was. A file of that name is replaced.

    Raises:
        InputError: the folder of ``out`` does not exist or cannot be written to.
    """
    out = Path(out)
    try:
        handle, name = tempfile.mkstemp(prefix=".", suffix=f"-{out.name}", dir=out.parent)
    except OSError as error:
        raise InputError(
            "the file cannot be written", got=f"{out} ({error.strerror})", expected="a folder that can be written to"
        ) from error
    os.close(handle)
    stage = Path(name)
    try:
        yield stage
        stage.chmod(0o666 & ~_umask())
        stage.replace(out)
    finally:
        stage.unlink(missing_ok=True)


def _umask() -> int:
    """The process's umask, which can only be read by setting it; temporary folders are made private without it."""
    mask = os.umask(0)
    os.umask(mask)
    return mask
