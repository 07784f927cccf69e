"""The folder of a training run: what it is, its state by Orbax, and the metrics of every epoch.

``run.json`` settles what is trained, on what, from which seed; ``metrics.jsonl`` has one line an epoch. All of it may
be cut off at any moment: a state is there whole or not at all, and lines that go beyond it are dropped on resuming.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.nn.optimise import TrainSpec

IDENTITY, METRICS, STATES = "run.json", "metrics.jsonl", "states"


class Run:
    """A training run on disk; a context manager."""

    def __init__(self, folder: str | Path, identity: dict[str, Any]) -> None:
        """Open or make the folder; InputError where it holds another run."""
        self.folder = Path(folder).absolute()
        self.folder.mkdir(parents=True, exist_ok=True)
        check_identity(self.folder / IDENTITY, identity)
        options = ocp.CheckpointManagerOptions(max_to_keep=1, enable_async_checkpointing=False)
        self.manager = ocp.CheckpointManager(self.folder / STATES, options=options)
        self.metrics = self.folder / METRICS

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: Any) -> None:
        self.manager.close()

    def latest(self, like: Any) -> Any:
        """The last state (a pytree as ``like``, leaves as numpy), or None; metrics beyond it are dropped."""
        step = self.manager.latest_step()
        how = jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)
        state = None if step is None else self.manager.restore(step, args=ocp.args.PyTreeRestore(like, how))
        lines = self.metrics.read_bytes().splitlines(keepends=True) if self.metrics.is_file() else []
        with staged_file(self.metrics) as stage:
            stage.write_bytes(b"".join(lines[: step or 0]))
        return state

    def save(self, step: int, state: Any) -> None:
        """Keep a state, in place of the one before."""
        self.manager.save(step, args=ocp.args.PyTreeSave(jax.tree.map(np.asarray, state)))

    def record(self, values: dict[str, Any]) -> None:
        """One line of metrics."""
        with self.metrics.open("a") as handle:
            handle.write(json.dumps(values) + "\n")


def read_metrics(folder: str | Path) -> dict[str, list[float]]:
    """Columns of a run's metrics: ``epoch``, ``train``, ``validation``, ``learning_rate``; a line cut off is left out.

    Raises InputError where there are none.
    """
    path = Path(folder) / METRICS
    lines = path.read_text().split("\n")[:-1] if path.is_file() else []
    rows = [json.loads(line) for line in lines]
    if not rows:
        raise InputError("there are no metrics here", got=str(path), expected="a folder that nn.fit was given")
    return {name: [row[name] for row in rows] for name in rows[0]}


def identity(spec: TrainSpec, key: jax.Array, variables: Any, *examples: Any) -> dict[str, Any]:
    """What settles a run's result: settings, seed, and digests of the start and of the examples."""
    return {
        "training": dataclasses.asdict(spec),
        "seed": np.asarray(jax.random.key_data(key)).tolist(),
        "start": digest(variables),
        "examples": [digest(e) for e in examples],
    }


def digest(tree: Any) -> str:
    """SHA-256 of the names, shapes, types and bytes of a pytree's leaves."""
    total = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(tree):
        array = np.ascontiguousarray(leaf)
        total.update(f"{jax.tree_util.keystr(path)} {array.shape} {array.dtype}\n".encode())
        total.update(array.data)
    return total.hexdigest()


def check_identity(path: Path, identity: dict[str, Any]) -> None:
    """Write what a run is, plain values, to a JSON file; where there is one, InputError unless it says the same."""
    if not path.is_file():
        with staged_file(path) as stage:
            stage.write_text(json.dumps(identity, indent=1) + "\n")
        return
    try:
        there = json.loads(path.read_text())
    except ValueError as error:
        raise InputError(
            "this run cannot be read", got=f"{path}: {error}", expected="JSON that tmsjax wrote"
        ) from error
    ours = json.loads(json.dumps(identity))  # tuples are lists there
    differ = sorted(k for k in {*there, *ours} if there.get(k) != ours.get(k))
    if differ:
        raise InputError(
            "this folder holds another training run",
            got=f"{path.parent}: another {', '.join(differ)}",
            expected="the same settings, seed, start and examples",
            mend="give a new folder, or delete this one",
        )
