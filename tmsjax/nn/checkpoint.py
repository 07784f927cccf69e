"""Small pytrees of arrays on disk, by Orbax: a folder of few files, written whole or not at all."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tmsjax.core.errors import InputError


def save(tree: Any, folder: str | Path) -> None:
    """Write a nested dict of arrays to ``folder`` (made; replaced where it holds an older checkpoint).

    Orbax writes to a temporary sibling and renames it, so an interrupted save leaves no half-written folder.
    """
    arrays = jax.tree.map(np.asarray, tree)
    with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
        checkpointer.save(Path(folder).absolute(), args=ocp.args.PyTreeSave(arrays), force=True)


def load(folder: str | Path) -> Any:
    """Read what ``save`` wrote, as numpy arrays: the same on every device and machine.

    Raises
    ------
    InputError
        No such folder, or its files are damaged or no checkpoint.
    """
    path = Path(folder).absolute()
    if not path.is_dir():
        raise InputError("there is no checkpoint here", got=str(path), expected="a folder that checkpoint.save wrote")
    try:
        with ocp.Checkpointer(ocp.PyTreeCheckpointHandler()) as checkpointer:
            structure = checkpointer.metadata(path).item_metadata.tree
            how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), structure)
            return checkpointer.restore(path, args=ocp.args.PyTreeRestore(restore_args=how))
    except Exception as error:  # Orbax and TensorStore raise many kinds for a file that is cut short or missing.
        raise InputError(
            "this checkpoint cannot be read",
            got=f"{path}: {type(error).__name__}: {str(error).splitlines()[0][:200] if str(error) else ''}",
            expected="a whole folder that checkpoint.save wrote",
            mend="copy or install it again, or save the model again",
        ) from error
