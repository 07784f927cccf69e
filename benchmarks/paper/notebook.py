"""Run `notebooks/paper_table.py` into its .ipynb and Markdown page: `python -m benchmarks.paper.notebook`.

Needs the extra `dev` (jupytext, nbclient, nbconvert, ipykernel).
"""

from __future__ import annotations

import re

from nbconvert import MarkdownExporter

from benchmarks.notebook import FOLDER, execute
from tmsjax.core.files import staged_file

NAME = "paper_table"


def main() -> None:
    pictures = FOLDER / NAME
    pictures.mkdir(exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    notebook = execute(NAME, {"PAPER_TABLE_OUT": NAME})
    text, resources = MarkdownExporter(exclude_input=True).from_notebook_node(notebook)
    for name, content in resources["outputs"].items():  # the same bytes as the files that the notebook wrote
        drawn = next(path for path in pictures.iterdir() if path.read_bytes() == content)
        text = text.replace(f"![png]({name})", f"![{drawn.stem}]({NAME}/{drawn.name})")
    text = re.sub(r"\n{3,}", "\n\n", "\n".join(line.rstrip() for line in text.splitlines()))
    with staged_file(FOLDER / f"{NAME}.md") as stage:
        stage.write_text(text.strip() + "\n")
    print(f"{len(notebook.cells)} cells, {len(list(pictures.glob('*.png')))} figures")


if __name__ == "__main__":
    main()
