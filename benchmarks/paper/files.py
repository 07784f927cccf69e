"""The files of the tables: CSV, and a manifest with the sha256 of every file and of what they were made of."""

from __future__ import annotations

import csv
import hashlib
import json
from pathlib import Path
from typing import Any

import tmsjax as tj
from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.surrogate.evaluation import Rows

FOLDER = Path(__file__).parent / "tables"
MANIFEST = "manifest.json"


def check(folder: Path = FOLDER, datasets: Path | None = None) -> int:
    """How many datasets were compared; raises InputError for a file or dataset of another hash than the manifest's."""
    manifest = json.loads((folder / MANIFEST).read_text())
    for name, digest in manifest["files"].items():
        if not (folder / name).exists() or file_hash(folder / name) != digest:
            raise InputError(
                f"table {name} is not the one of its manifest",
                got="another sha256" if (folder / name).exists() else "no file",
                expected=digest,
                mend="python -m benchmarks.paper.judge --steps tables",
            )
    compared = 0
    for stem, key in manifest["rows"].items():
        path = None if datasets is None else datasets / f"{stem}.zarr"
        if path is not None and path.exists():
            digest = tj.simulate.open_dataset(path).content_hash()
            if digest != key["dataset"]:
                raise InputError(
                    f"the tables are of another dataset than {path.name}",
                    got=digest,
                    expected=key["dataset"],
                    mend="python -m benchmarks.paper.judge",
                )
            compared += 1
    return compared


def write_rows(path: Path, rows: Rows) -> Path:
    """A CSV file, numbers with six digits."""
    names = list(dict.fromkeys(key for row in rows for key in row))
    with staged_file(path) as stage, stage.open("w", newline="") as handle:
        writer = csv.DictWriter(handle, names, lineterminator="\n")
        writer.writeheader()
        writer.writerows({k: f"{v:.6g}" if isinstance(v, float) else v for k, v in row.items()} for row in rows)
    return path


def read_rows(path: Path) -> Rows:
    """The rows of a CSV file, numbers as numbers; none where there is no file."""
    if not path.exists():
        return []
    with path.open(newline="") as handle:
        return [{name: _value(text) for name, text in row.items()} for row in csv.DictReader(handle)]


def _value(text: str) -> Any:
    if text in ("True", "False"):
        return text == "True"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def file_hash(path: Path) -> str:
    """sha256 of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()
