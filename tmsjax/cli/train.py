"""``tmsjax train``: a surrogate from a simulated dataset, scored on sites that it has not seen."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import tyro

from tmsjax.cli.train_families import FITTED, Job, network_model
from tmsjax.core.errors import InputError

if TYPE_CHECKING:
    from tmsjax.cli.stages import Say
    from tmsjax.simulate import Dataset
    from tmsjax.surrogate import SurrogateSpec
    from tmsjax.surrogate.recipe import Recipe
    from tmsjax.surrogate.source import Examples


@dataclasses.dataclass(frozen=True)
class TrainOptions:
    """Train a surrogate on a dataset of ``tmsjax simulate`` and save its weights with a card.

    Example: tmsjax train L5.zarr --out weights/open/L5_PC_1/monophasic/support --licence CC-BY-4.0

    Example: tmsjax train L5.zarr --out L5_cnn --licence CC-BY-4.0 --family cnn --checkpoints L5_run --curves L5.png
    """

    dataset: tyro.conf.Positional[Path]
    """Dataset folder (zarr)."""
    out: Path
    """Folder for the weights and card.json."""
    licence: str
    """Licence of the weights, written to the card: it follows the reconstruction's."""
    also: tuple[Path, ...] = ()
    """Further datasets of the same cell and pulse, such as one of tilted cells: they train and never judge."""
    family: Literal["support", "fast", "cnn", "uniform", "weise"] = "support"
    """Functionals of the field, the same from 64 samples ("fast"), or the network of Aberra et al. (2023); or a
    baseline: the map of thresholds in uniform fields, which takes only the cell and the domain from the dataset, or the
    average by angle and gradient of Weise et al. (2023)."""
    schedule: Literal["short", "paper"] = "short"
    """Of the network: what two cores finish, or the paper's (2,000 epochs of Adam at 1e-5, mean squared error)."""
    search: int = 0
    """Networks to draw at random from the paper's ranges, of which the best is trained; the paper drew 52."""
    epochs: int | None = None
    """Another number of epochs than the schedule's (of the search's networks too)."""
    checkpoints: Path | None = None
    """Folder that keeps the run: after an interruption the same command goes on there, to the same weights."""
    curves: Path | None = None
    """Figure of the training curves (.png or .pdf)."""
    side_mm: float | None = None
    """Side of the sampling grid, mm; by default the paper's for the layer, as the shift."""
    samples: int | None = None
    """Samples along it: 9 by default, 5 or 6 for a support function (216 are fewer to look up than 729); networks take
    3, 5, 7 or 9."""
    z_shift_mm: float | None = None
    """Shift of the grid along the somatodendritic axis, mm."""
    polarisation: bool = True
    """Support functions start from what the ends of the cell's axon feel of the field; otherwise they fit any cell."""
    head: Path | None = None
    """Label file of the recipe's head if that is not bundled; its sha256 must be the recipe's."""
    seed: int = 0
    """Of the split, the start and the order of training."""
    uniform: bool = True
    """Also simulate the 2,522-direction uniform-field map of the paper and score it beside the surrogate."""
    cells: Path | None = None
    """Folder of cells that are not bundled."""


def train(options: Annotated[TrainOptions, tyro.conf.arg(name="")]) -> None:
    """Train a surrogate on a dataset of ``tmsjax simulate`` and save its weights with a card.

    Example: tmsjax train L5.zarr --out weights/open/L5_PC_1/monophasic/support --licence CC-BY-4.0

    Example: tmsjax train L5.zarr --out L5_cnn --licence CC-BY-4.0 --family cnn --checkpoints L5_run --curves L5.png
    """
    from rich.console import Console

    import tmsjax as tj
    from tmsjax.cli.stages import Stages

    _check(options)
    console = Console()
    stages = Stages(console)
    (dataset, recipe), *further = opened = _opened(options)
    spec = _spec(options, recipe)
    with stages("fields") as say:
        data = _examples(options, opened, spec, say)
        say(f"{len(data.rows)} of {sum(len(each) for each, _ in opened)} thresholds have a patch within the tissue")
    table = None
    if options.uniform or options.family == "uniform":
        with stages("uniform map") as say:
            cell = tj.cells.load(recipe.cell, root=options.cells)
            grid = tj.surrogate.uniform.directions()
            truth = tj.simulate.uniform_thresholds(
                cell, grid, recipe.pulse, tolerance=0.01, initiation=False, engine="cable", progress=say
            )
            table = tj.surrogate.uniform.from_table(grid, truth.v_per_m)
    model, report = FITTED[options.family](Job(options, spec, data, table, stages, console))
    with stages("weights"):
        card = {
            "data_hash": dataset.content_hash(),
            "data": {
                **model.card.get("data", {}),
                "recipe": recipe.as_dict(),
                "thresholds": len(data.rows),
                "versions": dataset.attrs["versions"],
                "also": [{"data_hash": each.content_hash(), "recipe": own.as_dict()} for each, own in further],
            },
            "licence": options.licence,
        }
        folder = tj.surrogate.save(model, options.out, card=card)
    if options.curves is not None:
        from tmsjax.viz import training_curves

        names = [f"member {i + 1}" for i in range(len(report["histories"]))]
        training_curves(
            options.curves,
            dict(zip(names, report["histories"], strict=True)),
            caption=f"{recipe.cell}, {recipe.pulse} pulse, {options.family}",
        )
    for name, score in report["scores"].items():
        if isinstance(score, dict):
            numbers = "  ".join(f"{key} {value:.3g}" for key, value in score.items())
            console.print(f"{name:<10} {numbers}", highlight=False, markup=False)
    console.print(f"\nWeights: {folder}", highlight=False, markup=False)


def _check(options: TrainOptions) -> None:
    """Refuse what cannot be done before fields are solved for it."""
    if options.search and (options.family != "cnn" or options.checkpoints is None):
        raise InputError(
            "--search", got=f"--family {options.family}", expected="--family cnn, and --checkpoints to keep its trials"
        )
    for name, value in (("--epochs", options.epochs), ("--search", options.search or None)):
        if value is not None and value < 1:
            raise InputError(name, got=value, expected="1 or more")
    if options.family == "cnn":
        network_model(options, options.samples or 9)  # refuses a number of samples that there is no network for
    if options.curves is not None and options.family in ("uniform", "weise"):
        raise InputError("--curves", got=f"--family {options.family}", expected="support or cnn, which are trained")
    if options.curves is not None and options.curves.suffix not in (".png", ".pdf"):
        raise InputError("--curves", got=options.curves, expected="a .png or .pdf file")


def _spec(options: TrainOptions, recipe: Recipe) -> SurrogateSpec:
    """What to train, on the grid that was asked for or the layer's own."""
    from tmsjax.surrogate import SupportSpec, SurrogateSpec, UniformSpec, WeiseSpec
    from tmsjax.surrogate.grid import recommended

    said = {"side_mm": options.side_mm, "z_shift_mm": options.z_shift_mm, "n": options.samples}
    grid = recommended(recipe.layer, options.family)._replace(**{k: v for k, v in said.items() if v is not None})

    def functionals() -> SupportSpec:
        return SupportSpec(degrees=tuple(d for d in (2, 3, 4) if d < grid.n))

    model = {
        "support": functionals,
        "fast": functionals,
        "cnn": lambda: network_model(options, grid.n),
        "uniform": UniformSpec,
        "weise": WeiseSpec,
    }[options.family]()
    return SurrogateSpec(recipe.cell, recipe.pulse, grid.n, grid.side_mm, grid.z_shift_mm, model, options.family)


def _opened(options: TrainOptions) -> list[tuple[Dataset, Recipe]]:
    """The datasets with their recipes: finished, and of one cell and pulse."""
    from tmsjax.simulate import open_dataset
    from tmsjax.surrogate.recipe import Recipe

    found = []
    for path in (options.dataset, *options.also):
        dataset = open_dataset(path)
        recipe = Recipe.from_dict(dataset.attrs["recipe"])
        if len(dataset.pending()):
            raise InputError(
                "the dataset is not finished",
                got=f"{path}: {len(dataset.pending())} of {len(dataset)} thresholds still to do",
                expected="every row simulated",
                mend="run the same tmsjax simulate again: it goes on where it stopped",
            )
        found.append((dataset, recipe))
        whose, first = ((each.cell, each.pulse) for each in (recipe, found[0][1]))
        if whose != first:
            raise InputError(f"--also {path}", got=f"thresholds of {whose}", expected=f"of {first}, as the first")
    return found


def _examples(options: TrainOptions, opened: list[tuple[Dataset, Recipe]], spec: SurrogateSpec, say: Say) -> Examples:
    """The datasets' patches: solving their fields takes minutes, so that a run's folder keeps them."""
    import numpy as np

    from tmsjax.core.files import staged_file
    from tmsjax.nn.runs import check_identity
    from tmsjax.surrogate import source as sources

    def make() -> Examples:
        parts = []
        for dataset, recipe in opened:
            source = sources.Source(
                recipe, say, head_file=options.head if recipe.head_sha256 or len(opened) == 1 else None
            )
            parts.append(sources.examples(source, dataset.results(), spec.side_mm, spec.z_shift_mm, spec.n))
        return sources.joined(*parts)

    if options.checkpoints is None:
        return make()
    options.checkpoints.mkdir(parents=True, exist_ok=True)
    grid = {"side_mm": spec.side_mm, "z_shift_mm": spec.z_shift_mm, "samples": spec.n}
    about = {"datasets": [dataset.content_hash() for dataset, _ in opened], **grid}
    check_identity(options.checkpoints / "examples.json", about)
    path = options.checkpoints / "examples.npz"
    if not path.is_file():
        data = make()
        with staged_file(path) as stage:
            np.savez(stage, **{field.name: getattr(data, field.name) for field in dataclasses.fields(data)})
    with np.load(path) as kept:
        return sources.Examples(**kept)
