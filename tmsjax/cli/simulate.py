"""``tmsjax simulate``: thresholds of a recipe's neurons in NEURON or the cable engine, resumed after a kill."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from tmsjax.core.errors import InputError

if TYPE_CHECKING:
    from tmsjax.cells import Cell


@dataclasses.dataclass(frozen=True)
class SimulateOptions:
    """Simulate the thresholds of a recipe (in its engine); run it again to go on after an interruption.

    Example: tmsjax simulate benchmarks/recipes/open_L5_PC_1.toml --out L5.zarr
    """

    recipe: tyro.conf.Positional[Path]
    """TOML file: which neurons of which head under which coil poses."""
    out: Path
    """Dataset folder (zarr): made, or gone on with."""
    cell: str | None = None
    """Another cell of the same layer than the recipe's, such as another clone."""
    head: Path | None = None
    """Label file of the recipe's head if that is not bundled; its sha256 must be the recipe's."""
    workers: int | None = None
    """Processes or threads; one a core by default."""
    scheduler: str | None = None
    """Address of a Dask scheduler (tcp://host:port): its workers simulate instead of this machine."""
    backend: Literal["numba", "jax"] = "numba"
    """Of the cable engine: numba on the processor, or JAX on every device that it sees."""
    cells: Path | None = None
    """Folder of cells that are not bundled (asc/CELL.asc)."""
    reconstruction: Path | None = None
    """A neuron of one's own (.asc or .swc) under the name that the recipe gives as its cell."""
    biophysics: str | None = None
    """Its membrane: a table of ours (L23_PC, L4_LBC, L5_TTPC2), or a file (my.toml, my.toml#TABLE)."""
    mechanisms: Path | None = None
    """Folder of .mod files with channels that such a file names beyond ours (NEURON only)."""
    scaling: str = "adult human"
    """Of the reconstruction: "adult human", "adult rat" or "none"."""


def simulate(options: Annotated[SimulateOptions, tyro.conf.arg(name="")]) -> None:
    """Simulate the thresholds of a recipe (in its engine); run it again to go on after an interruption.

    Example: tmsjax simulate benchmarks/recipes/open_L5_PC_1.toml --out L5.zarr
    """
    from rich.console import Console

    from tmsjax.cli.stages import Stages
    from tmsjax.surrogate.generate import simulate_recipe
    from tmsjax.surrogate.recipe import Recipe

    console = Console()
    recipe = Recipe.read(options.recipe)
    if options.cell is not None:
        recipe = recipe.of_cell(options.cell)
    dataset = simulate_recipe(
        recipe,
        _cell(recipe.cell, options),
        options.out,
        stage=Stages(console),
        tell=lambda text: console.print(text, highlight=False, markup=False),
        head_file=options.head,
        workers=options.workers,
        scheduler=options.scheduler,
        backend=options.backend,
    )
    console.print(f"\nDataset: {options.out}, sha256 {dataset.content_hash()}", highlight=False, markup=False)


def _cell(name: str, options: SimulateOptions) -> Cell:
    """The recipe's cell: bundled, from a folder of cells, or from the user's own files."""
    import tmsjax as tj

    if (options.reconstruction is None) != (options.biophysics is None):
        raise InputError("a neuron of one's own", got="one file", expected="both --reconstruction and --biophysics")
    if options.reconstruction is None or options.biophysics is None:
        return tj.cells.load(name, root=options.cells)
    return tj.cells.from_file(
        options.reconstruction,
        options.biophysics,
        name=name,
        scaling=options.scaling,
        mechanisms=options.mechanisms,
    )
