"""``tmsjax simulate``: thresholds of a recipe's neurons in NEURON or the cable engine, resumed after a kill."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from tmsjax.core.errors import InputError

if TYPE_CHECKING:
    from tmsjax.cells import Cell

GUESS_STEP_DEG = 15.0
"""Grid of the uniform-field map that searches start from: 266 directions."""


@dataclasses.dataclass(frozen=True)
class SimulateOptions:
    """Simulate the thresholds of a recipe (in its engine); run it again to go on after an interruption.

    Example: tmsjax simulate benchmarks/recipes/open_L5_PC_1.toml --out L5.zarr
    """

    recipe: tyro.conf.Positional[Path]
    """TOML file: which neurons of which head under which coil poses."""
    out: Path
    """Dataset folder (zarr): made, or gone on with."""
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

    import tmsjax as tj
    from tmsjax.cli.stages import Stages
    from tmsjax.simulate import create_dataset, open_dataset, run_dataset
    from tmsjax.simulate.search import Search
    from tmsjax.surrogate import recipe as recipes

    console = Console()
    stages = Stages(console)
    recipe = recipes.Recipe.read(options.recipe)
    tj.simulate.pulse(recipe.pulse)  # an unknown one is refused before anything is made
    if recipe.engine != "cable" and options.backend != "numba":
        raise InputError("--backend", got=options.backend, expected='a recipe with engine = "cable"')
    cell = _cell(recipe.cell, options)
    drawn = recipes.draw(recipe)
    if options.out.exists():
        dataset = open_dataset(options.out)
        recipes.check_same(recipe, dataset.attrs["recipe"])
    else:
        columns = {"pose": drawn.pose, "sign": drawn.sign, "neuron": drawn.neuron}
        dataset = create_dataset(
            options.out, columns, cell=cell.name, pulse=recipe.pulse, seed=recipe.seed, description=recipe.as_dict()
        )
    damaged = dataset.mend()
    if len(damaged):
        console.print(f"{len(damaged)} damaged chunks of {options.out} are done again")
    todo = len(dataset.pending())
    console.print(f"{cell.name}: {len(dataset) - todo} of {len(dataset)} thresholds are there, {todo} to do")
    engine: dict = {"engine": recipe.engine}
    if recipe.engine == "cable":
        engine |= {"membrane": recipe.membrane, "backend": options.backend}
    if options.scheduler:
        engine["scheduler"] = options.scheduler
    if todo:
        with stages("fields") as say:
            source = recipes.Source(recipe, say)
        with stages("uniform map") as say:
            grid = tj.surrogate.uniform.directions(GUESS_STEP_DEG)
            quick = tj.simulate.uniform_thresholds(
                cell,
                grid,
                recipe.pulse,
                tolerance=0.05,
                initiation=False,
                workers=options.workers,
                progress=say,
                **engine,
            )
            guess = tj.surrogate.uniform.from_table(grid, quick.v_per_m, GUESS_STEP_DEG)
        xyz = tj.cells.cable_model(cell).xyz_um
        with stages("thresholds") as say:
            run_dataset(
                dataset,
                cell,
                lambda rows: source.compartments(rows, xyz),
                pulse=recipe.pulse,
                guess_of=guess.predict,
                search=Search(tolerance=recipe.tolerance, step=1.1),
                initiation=recipe.initiation,
                workers=options.workers,
                progress=say,
                **engine,
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
