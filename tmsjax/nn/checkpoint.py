"""Small pytrees of arrays on disk, by Orbax: a folder of few files, written whole or not at all, checked when read."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tmsjax.core.errors import InputError

SUMS = "SHA256SUMS"
"""Checked before Orbax reads: a damaged file is named, and TensorStore never fails half-way in its own threads."""


def save(tree: Any, folder: str | Path) -> None:
    """Write a nested dict of arrays to ``folder`` (made; replaced where it holds an older checkpoint).

    Written beside it and renamed, so that an interrupted save leaves no half-written folder.
    """
    folder = Path(folder).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            checkpointer.save(new, args=ocp.args.PyTreeSave(jax.tree.map(np.asarray, tree)))
        (new / "commit_success.txt").unlink(missing_ok=True)  # holds this machine's path; a rename says it better
        lines = [f"{digest}  {name}\n" for name, digest in _digests(new).items()]
        (new / SUMS).write_text("".join(lines))
        replace(new, folder)


def load(folder: str | Path) -> Any:
    """Read what ``save`` wrote, as numpy arrays: the same on every device and machine.

    Raises
    ------
    InputError
        No such folder, no checkpoint in it, or files that are missing or not what was written.
    """
    path = Path(folder).absolute()
    if not (path / SUMS).is_file():
        raise InputError("there is no checkpoint here", got=str(path), expected="a folder that checkpoint.save wrote")
    pairs = [line.split("  ", 1)[::-1] for line in (path / SUMS).read_text(errors="replace").splitlines()]
    recorded = dict(pair for pair in pairs if len(pair) == 2)
    found = _digests(path)
    wrong = sorted(name for name in {*recorded, *found} if recorded.get(name) != found.get(name))
    if wrong or not recorded:
        raise InputError(
            "this checkpoint is damaged",
            got=f"{path}: {', '.join(wrong) or SUMS} missing or changed",
            expected=f"the files listed in its {SUMS}",
            mend="copy or install it again, or save the model again",
        )
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        structure = checkpointer.metadata(path).item_metadata.tree
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), structure)
        return checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=how))


def replace(new: Path, folder: Path) -> None:
    """Move the finished folder ``new`` to ``folder``, putting what was there into the scratch folder of ``new``."""
    if folder.exists():
        os.replace(folder, new.parent / "old")
    os.replace(new, folder)


def _digests(folder: Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / SUMS)
    return {p.relative_to(folder).as_posix(): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}
