"""Datasets from recipes: fields, a quick uniform map to search from, thresholds; resumed after a kill."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import numpy as np
from jaxtyping import Int

from tmsjax import cells, simulate
from tmsjax.cells import Cell
from tmsjax.core.errors import InputError
from tmsjax.simulate.dataset import Dataset
from tmsjax.simulate.search import Search
from tmsjax.surrogate import uniform
from tmsjax.surrogate.recipe import Recipe, check_same, draw
from tmsjax.surrogate.source import Source, check_head

Say = Callable[[str], None]
Stage = Callable[[str], AbstractContextManager[Say]]

GUESS_STEP_DEG = 15.0
"""Grid of the uniform-field map that searches start from: 266 directions."""


@dataclasses.dataclass(frozen=True)
class FirstRows(Dataset):
    """A dataset of which only the first rows are to be simulated now."""

    rows: int

    def __len__(self) -> int:
        return min(self.rows, super().__len__())

    def pending(self) -> Int[np.ndarray, " p"]:
        """Rows among the first that are not simulated yet."""
        pending = super().pending()
        return pending[pending < self.rows]


def simulate_recipe(
    recipe: Recipe,
    cell: Cell,
    out: Path,
    *,
    stage: Stage,
    tell: Say,
    source: Callable[[Say], Source] | None = None,
    head_file: Path | None = None,
    rows: int | None = None,
    workers: int | None = None,
    scheduler: str | None = None,
    backend: str = "numba",
) -> Dataset:
    """Simulate the thresholds of a recipe's neurons; call it again to go on after an interruption.

    Args:
        recipe: what to simulate. cell: the cell of its name.
        out: the dataset's folder: made, or gone on with.
        stage: opens a stage of the work by its name, and gives what to say its progress to.
        tell: takes what is said between stages.
        source: makes the recipe's fields when they are needed; they serve all cells of a recipe. ``Source`` if None.
        head_file: labels of a head that is not bundled.
        rows: simulate only the first so many rows now; all of them if None.
        workers: processes or threads, one a core by default. scheduler: address of a Dask scheduler.
        backend: of the cable engine.

    Raises:
        InputError: before any work: a pulse or head that there is not, a dataset of another recipe, or a backend of
            another engine.
    """
    simulate.pulse(recipe.pulse)
    check_head(recipe, head_file)
    if recipe.engine != "cable" and backend != "numba":
        raise InputError("--backend", got=backend, expected='a recipe with engine = "cable"')
    dataset = _open_or_create(recipe, cell, out)
    damaged = dataset.mend()
    if len(damaged):
        tell(f"{len(damaged)} damaged chunks of {out} are done again")
    now = dataset if rows is None else FirstRows(dataset.path, dataset.group, rows)
    lack, todo = len(dataset.pending()), len(now.pending())
    tell(f"{cell.name}: {len(dataset) - lack} of {len(dataset)} thresholds are there, {todo} to do")
    if not todo:
        return dataset
    engine: dict = {"engine": recipe.engine, "workers": workers}
    if recipe.engine == "cable":
        engine |= {"membrane": recipe.membrane, "backend": backend}
    if scheduler:
        engine["scheduler"] = scheduler
    with stage("fields") as say:
        fields = Source(recipe, say, head_file) if source is None else source(say)
    with stage("uniform map") as say:
        grid = uniform.directions(GUESS_STEP_DEG)
        quick = simulate.uniform_thresholds(
            cell, grid, recipe.pulse, tolerance=0.05, initiation=False, progress=say, **engine
        )
        guess = uniform.from_table(grid, quick.v_per_m, GUESS_STEP_DEG)
    xyz = cells.cable_model(cell).xyz_um
    with stage("thresholds") as say:
        simulate.run_dataset(
            now,
            cell,
            lambda some: fields.compartments(some, xyz),
            pulse=recipe.pulse,
            guess_of=lambda soma: np.asarray(guess.predict(soma)),
            search=Search(tolerance=recipe.tolerance, step=1.1),
            initiation=recipe.initiation,
            progress=say,
            **engine,
        )
    return dataset


def _open_or_create(recipe: Recipe, cell: Cell, out: Path) -> Dataset:
    if out.exists():
        dataset = simulate.open_dataset(out)
        check_same(recipe, dataset.attrs["recipe"])
        return dataset
    drawn = draw(recipe)
    columns = {"pose": drawn.pose, "sign": drawn.sign, "neuron": drawn.neuron}
    return simulate.create_dataset(
        out, columns, cell=cell.name, pulse=recipe.pulse, seed=recipe.seed, description=recipe.as_dict()
    )
