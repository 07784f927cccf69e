"""Run notebooks of `notebooks/` from their scripts into .ipynb: `python -m benchmarks.notebook [NAME ...]`.

Without names, the users' guides. Needs the extra `dev` (jupytext, nbclient, ipykernel).
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

import jupytext
import nbformat
from nbclient import NotebookClient

from tmsjax.core.files import staged_file

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "notebooks"
GUIDES = ("place_a_coil", "sweep_a_population", "bring_your_simnibs_result", "train_a_surrogate")


def execute(name: str, environment: dict[str, str] | None = None) -> Any:
    """Run `notebooks/NAME.py` and write NAME.ipynb beside it, whole or not at all; the notebook with its outputs."""
    os.environ |= {"PYTHONPATH": str(ROOT), **(environment or {})}
    notebook = jupytext.read(FOLDER / f"{name}.py")
    where = {"metadata": {"path": str(FOLDER)}}
    NotebookClient(notebook, timeout=3600, kernel_name="python3", resources=where).execute()
    for number, cell in enumerate(notebook.cells):  # what changes from run to run says nothing
        cell["id"] = f"cell-{number}"
        cell.get("metadata", {}).pop("execution", None)
    notebook.metadata.pop("language_info", None)
    with staged_file(FOLDER / f"{name}.ipynb") as stage:
        stage.write_text(nbformat.writes(notebook) + "\n")
    return notebook


def main() -> None:
    for name in sys.argv[1:] or GUIDES:
        print(f"{name}: {len(execute(name).cells)} cells", flush=True)


if __name__ == "__main__":
    main()
