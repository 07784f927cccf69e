"""``tmsjax evaluate``: surrogates against the simulated thresholds of a dataset, as tables and figures."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from tmsjax.core.errors import InputError

if TYPE_CHECKING:
    from tmsjax.surrogate import Surrogate


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Judge surrogates by a dataset of ``tmsjax simulate``, on a head that they were trained on or on another.

    Example: tmsjax evaluate open/L5_PC_1 L5_other_head.zarr --head labels.nii.gz --family support uniform --out report
    """

    model: tyro.conf.Positional[str]
    """Name of a cell with surrogates (bundled, or under --root), or the folder of one."""
    dataset: tyro.conf.Positional[Path]
    """Dataset folder (zarr)."""
    out: Path = Path("tmsjax-evaluation")
    """Folder for the tables (CSV), figures and summary.json."""
    family: tuple[str, ...] = ()
    """Families to judge side by side: support, cnn, uniform, weise, median. All that there are, if none is named."""
    root: Path | None = None
    """Folder of surrogates instead of the bundled ones."""
    head: Path | None = None
    """Label file of the dataset's head, where that is not bundled."""
    cells: Path | None = None
    """Folder of cells that are not bundled: where the dataset knows initiation sites, their places are asked for."""
    unseen: bool = False
    """Of the dataset that the first surrogate was trained on, judge only the sites that its training held out."""
    most: int = 4000
    """Random thresholds that errors are explained with (gradients, initiation sites)."""
    depth_bins: int = 5
    """Ranges of depth below the scalp, with as many thresholds each."""
    figures: bool = True
    """Also draw figures."""


def evaluate(options: Annotated[EvaluateOptions, tyro.conf.arg(name="")]) -> None:
    """Judge surrogates by a dataset of ``tmsjax simulate``, on a head that they were trained on or on another.

    Example: tmsjax evaluate open/L5_PC_1 L5_other_head.zarr --head labels.nii.gz --family support uniform --out report
    """
    from rich.console import Console

    import tmsjax.viz  # noqa: F401 (before Stages: see catch_interrupts)
    from tmsjax.cli.evaluation_report import write
    from tmsjax.cli.stages import Stages
    from tmsjax.core.files import staged_folder
    from tmsjax.simulate import open_dataset
    from tmsjax.surrogate import source as sources
    from tmsjax.surrogate.evaluation import binned, error_sources, judge
    from tmsjax.surrogate.recipe import Recipe

    for name, value in (("--most", options.most), ("--depth-bins", options.depth_bins)):
        if value < 1:
            raise InputError(name, got=value, expected="at least 1")
    console = Console()
    stages = Stages(console)
    dataset = open_dataset(options.dataset)
    recipe = Recipe.from_dict(dataset.attrs["recipe"])
    results = dataset.results()
    sources.check_head(recipe, options.head)
    models = _models(options, recipe)
    with stages("fields") as say:
        source = sources.Source(recipe, say, options.head)
        head = sources.head_of(recipe, options.head)
    with stages("thresholds") as say:
        judged, patches = judge(models, source, results, head, say)
        if options.unseen:
            kept = _held_out(next(iter(models.values())), dataset, judged)
            judged, patches = judged[kept], {name: values[kept] for name, values in patches.items()}
        judged = judged.with_columns(depth_range_mm=binned(judged.columns["depth_mm"], options.depth_bins))
        say(f"{len(judged)} of {len(dataset)} thresholds judged")
    with stages("error sources") as say:
        first = next(iter(models.values())).spec
        explained = error_sources(
            judged, source, results, _places(options, recipe, results, say), first.side_mm, first.z_shift_mm, first.n,
            options.most,
        )  # fmt: skip
        say(f"{len(explained)} thresholds")
    with stages("files") as say, staged_folder(options.out) as folder:
        about = {"dataset": dataset.content_hash(), "recipe": recipe.as_dict(), "pending": len(dataset.pending())}
        where = head, source.population.depth
        tables = write(folder, about, models, judged, explained, patches, *where, options.figures, say)
    for table in tables:
        console.print(table)
    console.print(f"\nTables and figures: {options.out}", highlight=False, markup=False)


def _models(options: EvaluateOptions, recipe: Any) -> dict[str, Surrogate]:
    """The surrogates by family, those that were asked for first; all of the dataset's pulse."""
    import tmsjax as tj

    folder = (Path(options.model) / "card.json").is_file()
    if folder and len(options.family) > 1:
        raise InputError("--family", got=options.family, expected="one at most: a folder holds one surrogate")
    families = options.family or tuple(
        family
        for cell, pulse, family in tj.surrogate.available(options.root)
        if (cell, pulse) == (options.model, recipe.pulse)
    )
    if folder:
        given = options.family[0] if options.family else None
        found = [tj.surrogate.load(options.model, recipe.pulse, given)]
    else:  # none there: loading one says so, and what there is
        names = sorted(families, key=lambda f: f != "support") if not options.family else options.family
        found = [tj.surrogate.load(options.model, recipe.pulse, name, options.root) for name in names or ("support",)]
    for model in found:
        if model.spec.cell != recipe.cell and model.spec.family not in ("median", "weise"):
            raise InputError(
                "this surrogate is of another cell than the dataset",
                got=model.spec.cell,
                expected=recipe.cell,
                mend="name the surrogate of the dataset's cell (the families median and weise also stand for several)",
            )
    return {model.spec.family: model for model in found}


def _held_out(model: Surrogate, dataset: Any, judged: Any) -> Any:
    """Rows that training held out, where the dataset is the one that the model was trained on."""
    import numpy as np

    from tmsjax.surrogate.split import split

    card = model.card
    if card.get("data_hash") != dataset.content_hash():
        raise InputError(
            "--unseen: the surrogate was not trained on this dataset, all of it is unseen",
            got=f"dataset {dataset.content_hash()[:12]}",
            expected=f"dataset {str(card.get('data_hash'))[:12]}",
            mend="leave out --unseen",
        )
    if card.get("data", {}).get("thresholds") != len(judged):
        raise InputError(
            "--unseen: other rows than in training",
            got=f"{len(judged)} with a patch within the tissue",
            expected=f"{card.get('data', {}).get('thresholds')}, as on the card",
            mend="judge the surrogate alone, with --family of its own",
        )
    return np.sort(split(len(judged), card["seed"], groups=judged.columns["site"]).held_out)


def _places(options: EvaluateOptions, recipe: Any, results: dict, say) -> Any:
    """Where the cell's compartments are (c, 3) um, or None where the dataset or the folder of cells does not say."""
    import tmsjax as tj

    if not (results["initiation"] >= 0).any():
        return None
    if recipe.cell not in tj.cells.names() and options.cells is None:
        say(f"--cells not given: initiation sites of {recipe.cell} are left out")
        return None
    return tj.cells.cable_model(tj.cells.load(recipe.cell, root=options.cells)).xyz_um
