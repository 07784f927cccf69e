"""Coils by name or from files, and back to files."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from tmsjax.coil.ccd import read_ccd, write_ccd
from tmsjax.coil.library import BUNDLED, generate
from tmsjax.coil.sampled import read_sampled, write_sampled
from tmsjax.coil.tcd import read_tcd, write_tcd
from tmsjax.coil.types import Coil
from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file

READERS = {".ccd": read_ccd, ".tcd": read_tcd, ".nii": read_sampled, ".nii.gz": read_sampled}
WRITERS = {".ccd": write_ccd, ".tcd": write_tcd, ".nii": write_sampled, ".nii.gz": write_sampled}


def load(source: Any) -> Coil:
    """Load a bundled coil by name (``BUNDLED``), or a coil file of SimNIBS by path.

    - ``.ccd``: dipoles, as they are.
    - ``.tcd``: dipoles as they are, line elements as the sheets they bound, sampled fields as below; moving parts at
      the initial values of their deformations.
    - ``.nii``, ``.nii.gz``: the vector potential on a grid, to which dipoles are fitted; ``.fit`` states the error.

    Raises:
        InputError: the name is not bundled, or the file is missing or malformed.
    """
    if isinstance(source, str) and source in BUNDLED:
        return generate(source)
    kind = _kind(source)
    if kind not in READERS:
        raise InputError(
            "unknown coil",
            got=repr(source) if not isinstance(source, str | os.PathLike) else str(source),
            expected=f"one of {sorted(BUNDLED)}, or the path of a {', '.join(READERS)} file",
            mend="spell the name as above, or export the coil from SimNIBS as .ccd",
        )
    path = Path(source)
    if not path.is_file():
        raise InputError("coil file not found", got=str(path), expected=f"the path of a {kind} file")
    return READERS[kind](path)


def save(coil: Coil, path: str | os.PathLike[str]) -> None:
    """Write a coil for SimNIBS: ``.ccd`` or ``.tcd`` (its dipoles), or ``.nii``, ``.nii.gz`` (sampled every 2 mm).

    The file appears whole or not at all.

    Raises:
        InputError: another suffix, or a place that cannot be written.
    """
    kind = _kind(path)
    if kind not in WRITERS:
        raise InputError("coils are not written like this", got=repr(path), expected=", ".join(WRITERS))
    with staged_file(Path(path)) as staged:
        WRITERS[kind](coil, staged)


def _kind(path: object) -> str:
    if not isinstance(path, str | os.PathLike):
        return ""
    name = os.fspath(path)
    return ".nii.gz" if str(name).endswith(".nii.gz") else Path(str(name)).suffix
