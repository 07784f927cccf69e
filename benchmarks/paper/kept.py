"""Results in full, kept beside the datasets: the committed tables are made of them, and only what changed is done anew.

A kept result is one compressed .npz with a JSON text about it, whose ``key`` says what it was made of.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tmsjax.core.files import staged_file
from tmsjax.surrogate.evaluation import Judged

ABOUT = "about"


def save(path: Path, about: Mapping[str, Any], **columns: np.ndarray) -> Path:
    """Write columns and what there is to say about them, whole or not at all; the same content gives the same bytes."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with staged_file(path) as stage, stage.open("wb") as handle:
        text = {ABOUT: np.array(json.dumps(dict(about), sort_keys=True))}
        np.savez_compressed(handle, allow_pickle=False, **text, **columns)
    return path


def load(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """(about, columns) of a file that ``save`` wrote."""
    with np.load(path) as stored:
        columns = {name: stored[name] for name in stored.files}
    return json.loads(str(columns.pop(ABOUT))), columns


def fresh(path: Path, key: Any) -> bool:
    """Whether ``path`` was made of what ``key`` says."""
    return path.exists() and load(path)[0].get("key") == json.loads(json.dumps(key))


def of_judged(judged: Judged, prefix: str = "") -> dict[str, np.ndarray]:
    """Columns of what was judged, numbers in single precision; text is left to ``about``."""
    plain = {"v_per_m": judged.v_per_m, **judged.columns}
    plain |= {f"by_{name}": values for name, values in judged.predicted.items()}
    some = {name: np.asarray(values) for name, values in plain.items() if np.asarray(values).dtype.kind != "U"}
    return {prefix + n: v.astype(np.float32) if v.dtype.kind == "f" else v for n, v in some.items()}


def to_judged(columns: Mapping[str, np.ndarray], prefix: str = "", **same: Any) -> Judged:
    """The inverse of ``of_judged``; ``same`` are columns with one value."""
    found = {name[len(prefix) :]: values for name, values in columns.items() if name.startswith(prefix)}
    if not prefix:
        found = {name: values for name, values in found.items() if "__" not in name}
    truth = np.asarray(found.pop("v_per_m"), np.float64)
    predicted = {name[3:]: np.asarray(found.pop(name), np.float64) for name in list(found) if name.startswith("by_")}
    constant = {name: np.full(len(truth), value) for name, value in same.items()}
    return Judged(truth, predicted, {**found, **constant}).check()
