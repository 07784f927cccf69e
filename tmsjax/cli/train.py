"""``tmsjax train``: a surrogate from a simulated dataset, scored on sites that it has not seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Train a surrogate on a dataset of ``tmsjax simulate`` and save its weights with a card.

    Example: tmsjax train L5.zarr --out weights/open/L5_PC_1/monophasic --licence CC-BY-4.0
    """

    dataset: tyro.conf.Positional[Path]
    """Dataset folder (zarr)."""
    out: Path
    """Folder for the weights and card.json."""
    licence: str
    """Licence of the weights, written to the card: it follows the reconstruction's."""
    side_mm: float = 1.5
    """Side of the sampling grid."""
    z_shift_mm: float = 0.0
    """Shift of the grid along the somatodendritic axis."""
    seed: int = 0
    """Of the split, the start and the order of training."""
    uniform: bool = True
    """Also simulate the 2,522-direction uniform-field map of the paper and score it beside the surrogate."""
    cells: Path | None = None
    """Folder of cells that are not bundled."""


def train(options: Annotated[TrainOptions, tyro.conf.arg(name="")]) -> None:
    """Train a surrogate on a dataset of ``tmsjax simulate`` and save its weights with a card.

    Example: tmsjax train L5.zarr --out weights/open/L5_PC_1/monophasic --licence CC-BY-4.0
    """
    from rich.console import Console

    import tmsjax as tj
    from tmsjax.cli.stages import Stages
    from tmsjax.core.errors import InputError
    from tmsjax.simulate import open_dataset
    from tmsjax.surrogate import source as sources
    from tmsjax.surrogate.recipe import Recipe

    console = Console()
    stages = Stages(console)
    dataset = open_dataset(options.dataset)
    recipe = Recipe.from_dict(dataset.attrs["recipe"])
    if len(dataset.pending()):
        raise InputError(
            "the dataset is not finished",
            got=f"{len(dataset.pending())} of {len(dataset)} thresholds still to do",
            expected="every row simulated",
            mend="run the same tmsjax simulate again: it goes on where it stopped",
        )
    with stages("fields") as say:
        source = sources.Source(recipe, say)
        data = sources.examples(source, dataset.results(), options.side_mm, options.z_shift_mm)
        say(f"{len(data.rows)} of {len(dataset)} thresholds have a patch within the tissue")
    baseline = None
    if options.uniform:
        with stages("uniform map") as say:
            cell = tj.cells.load(recipe.cell, root=options.cells)
            grid = tj.surrogate.uniform.directions()
            truth = tj.simulate.uniform_thresholds(
                cell, grid, recipe.pulse, tolerance=0.01, initiation=False, engine="cable", progress=say
            )
            baseline = tj.surrogate.uniform.from_table(grid, truth.v_per_m)
    with stages("training") as say:
        spec = tj.surrogate.SurrogateSpec(
            cell=recipe.cell, pulse=recipe.pulse, side_mm=options.side_mm, z_shift_mm=options.z_shift_mm
        )
        model, report = tj.surrogate.train(
            data.patches,
            data.v_per_m,
            spec,
            seed=options.seed,
            groups=data.site,
            uniform=baseline,
            progress=say,
        )
    with stages("weights"):
        card = {
            "data_hash": dataset.content_hash(),
            "data": {"recipe": recipe.as_dict(), "thresholds": len(data.rows), "versions": dataset.attrs["versions"]},
            "licence": options.licence,
        }
        folder = tj.surrogate.save(model, options.out, card=card)
    for name, score in report["scores"].items():
        if isinstance(score, dict):
            numbers = "  ".join(f"{key} {value:.3g}" for key, value in score.items())
            console.print(f"{name:<10} {numbers}", highlight=False, markup=False)
    console.print(f"\nWeights: {folder}", highlight=False, markup=False)
