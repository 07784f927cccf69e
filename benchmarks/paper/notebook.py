"""Run `notebooks/paper_table.py` into its .ipynb and Markdown page: `python -m benchmarks.paper.notebook`.

Needs the extra `dev` (jupytext, nbclient, nbconvert, ipykernel).
"""

from __future__ import annotations

import os
import re
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

from tmsjax.core.files import staged_file

ROOT = Path(__file__).parents[2]
NAME = "paper_table"


def main() -> None:
    folder = ROOT / "notebooks"
    pictures = folder / NAME
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    os.environ |= {"PAPER_TABLE_OUT": NAME, "PYTHONPATH": str(ROOT)}
    notebook = jupytext.read(folder / f"{NAME}.py")
    NotebookClient(
        notebook, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    for number, cell in enumerate(notebook.cells):  # what changes from run to run says nothing
        cell["id"] = f"cell-{number}"
        cell.get("metadata", {}).pop("execution", None)
    notebook.metadata.pop("language_info", None)
    with staged_file(folder / f"{NAME}.ipynb") as stage:
        stage.write_text(nbformat.writes(notebook) + "\n")
    text, resources = MarkdownExporter(exclude_input=True).from_notebook_node(notebook)
    for name, content in resources["outputs"].items():  # the same bytes as the files that the notebook wrote
        drawn = next(path for path in pictures.iterdir() if path.read_bytes() == content)
        text = text.replace(f"![png]({name})", f"![{drawn.stem}]({NAME}/{drawn.name})")
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.splitlines()))
    with staged_file(folder / f"{NAME}.md") as stage:
        stage.write_text(text.strip() + "\n")
    print(f"{len(notebook.cells)} cells, {len(list(pictures.glob('*.png')))} figures")


if __name__ == "__main__":
    main()
