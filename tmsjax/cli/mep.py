"""``tmsjax mep``: fields on the motor cortex from the responses of many muscles (Akbar et al. 2024)."""

from __future__ import annotations

import csv
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from tmsjax.core.errors import InputError

if TYPE_CHECKING:
    from tmsjax.mep import Subject

Model = Literal["ae_decoder", "direct_convolutional", "vae_decoder", "vae_sampler_decoder", "direct_variational"]

MADE_UP = "synthetic subject: responses are made up"


@dataclasses.dataclass(frozen=True)
class SubjectOptions:
    """The subject of training and evaluation."""

    subject: tyro.conf.Positional[Path]
    """Folder of a subject: zarr, or mask.nii.gz with responses.csv and fields/ or poses (see tmsjax.mep.files)."""
    pose_model: Path | None = None
    """Pose model of the subject's head (tmsjax optimize --pose-model makes one), where fields are to be computed."""
    coil: str = "Magstim_70mm_Fig8"
    """Bundled coil or coil file, for the same."""
    coarser: int = 1
    """Voxels so many times as large: 2 or 4 train on two cores."""
    box: int = 64
    """Voxels of the box before that."""
    seed: int = 0
    """Of all that is drawn."""


@dataclasses.dataclass(frozen=True)
class Train(SubjectOptions):
    """Train one of the five inverse models on all of a subject's stimulations.

    Example: tmsjax mep train subject.zarr --out model --coarser 2
    """

    out: Path = Path("tmsjax-mep-model")
    """Folder for the weights and card.json."""
    model: Model = "direct_variational"
    """Which of them."""
    variant: Literal["paper", "code"] = "code"
    """As the paper has it, or its authors' program."""
    epochs: int = 40
    """Of each stage of training; the paper's cap is 300."""
    checkpoints: Path | None = None
    """Folder that keeps the run: after an interruption the same command goes on there."""


@dataclasses.dataclass(frozen=True)
class Evaluate(SubjectOptions):
    """Cross-validate models and plain regressions on a subject: tables, and figures on the cortex.

    Example: tmsjax mep evaluate subject.zarr --models direct_variational kernel_ridge --coarser 4 --out report
    """

    out: Path = Path("tmsjax-mep-evaluation")
    """Folder for evaluation.json, table.csv and the figures."""
    models: tuple[str, ...] = ("direct_variational", "mean_field", "ridge", "kernel_ridge", "nearest")
    """Models and baselines."""
    folds: int = 10
    """Of the cross-validation."""
    only: tuple[int, ...] = ()
    """Some of the folds; all if none is named."""
    split: Literal["random", "blocked"] = "random"
    """At random, stratified by intensity as in the paper; or by patches of the scalp, which is harder."""
    variant: Literal["paper", "code"] = "code"
    """As the paper has it, or its authors' program."""
    epochs: int = 40
    """Of each stage of training."""
    checkpoints: Path | None = None
    """Folder that keeps finished folds: after an interruption the same command goes on there."""
    head: str | None = None
    """Head whose pial surface the figures are drawn on (bundled, or as in other commands)."""


@dataclasses.dataclass(frozen=True)
class Invert:
    """Fields from responses, by a trained model: NIfTI volumes and centres of gravity.

    Example: tmsjax mep invert model responses.csv --out fields
    """

    model: tyro.conf.Positional[Path]
    """Folder of tmsjax mep train."""
    responses: tyro.conf.Positional[Path]
    """responses.csv, in mV, with all muscles of the model."""
    out: Path = Path("tmsjax-mep-fields")
    """Folder for NAME.nii.gz (V/m) and centres.csv."""
    draws: int = 0
    """Mean of so many draws of a variational model instead of the field of its mean latent."""


Command = (
    Annotated[Train, tyro.conf.subcommand("train")]
    | Annotated[Evaluate, tyro.conf.subcommand("evaluate")]
    | Annotated[Invert, tyro.conf.subcommand("invert")]
)


def mep(options: Annotated[Command, tyro.conf.arg(name="")]) -> None:
    """Find fields on the motor cortex from the responses of many muscles: train, evaluate, invert.

    Example: tmsjax mep train subject.zarr --out model --coarser 2
    """
    from rich.console import Console

    import tmsjax.viz  # noqa: F401 (before Stages: see catch_interrupts)
    from tmsjax.cli.stages import Stages

    stages = Stages(Console())
    run: Any = {Train: _train, Evaluate: _evaluate, Invert: _invert}[type(options)]
    run(options, stages)


def _subject(options: SubjectOptions, stages: Any) -> Subject:
    import tmsjax as tj
    from tmsjax.efield import posemodel
    from tmsjax.mep import clean, coarser, compute_fields, in_box, load_subject

    with stages("subject") as say:
        if options.pose_model is not None:
            one = compute_fields(options.subject, tj.coil.load(options.coil), posemodel.load(options.pose_model))
        else:
            one = load_subject(options.subject)
        done = clean(one)
        side = options.box if max(one.mask.shape) != min(one.mask.shape) or one.mask.shape[0] != options.box else 0
        boxed = in_box(done.subject, side) if side else done.subject
        found = coarser(boxed, options.coarser)
        say(
            f"{len(found)} of {len(one)} stimulations kept ({done.no_response} without a response, {done.weak_field} "
            f"with hardly a field), {found.fields.shape[1]} voxels of {found.voxel_mm:g} mm"
        )
    if found.synthetic:
        stages.console.print(MADE_UP, highlight=False, markup=False)
    return found


def _train(options: Train, stages: Any) -> None:
    from tmsjax.mep import SHORT_TRAINING, InverseSpec, save_inverse, train_inverse

    _check_epochs(options.epochs)
    subject = _subject(options, stages)
    spec = InverseSpec(options.model, options.variant, len(subject.muscles), voxel_mm=subject.voxel_mm)
    training = dataclasses.replace(SHORT_TRAINING, epochs=options.epochs)
    with stages("training") as say:
        model = train_inverse(subject, spec, training, options.seed, folder=options.checkpoints, progress=say)
    with stages("weights"):
        folder = save_inverse(model, options.out)
    for stage, history in model.card["history"].items():
        last = f"{history['status']}, best of epoch {history['best_epoch'] + 1}, loss {min(history['validation']):.4g}"
        stages.console.print(f"{stage}: {last}", highlight=False, markup=False)
    stages.console.print(f"Weights: {folder}", highlight=False, markup=False)


def _evaluate(options: Evaluate, stages: Any) -> None:
    from tmsjax.core.files import staged_folder
    from tmsjax.mep import BASELINES, MODELS, SHORT_TRAINING, InverseSpec, against_responses, cross_validate, tabulated

    _check_epochs(options.epochs)
    if unknown := [name for name in options.models if name not in (*MODELS, *BASELINES)]:
        raise InputError("--models", got=", ".join(unknown), expected=", ".join((*MODELS, *BASELINES)))
    subject = _subject(options, stages)
    fold = _folds(options, subject)
    runs = {}
    for name in options.models:
        with stages(name) as say:
            runs[name] = cross_validate(
                subject, name, fold,
                spec=InverseSpec(name, options.variant, len(subject.muscles), voxel_mm=subject.voxel_mm)
                if name in MODELS else None,
                training=dataclasses.replace(SHORT_TRAINING, epochs=options.epochs), only=options.only or None,
                seed=options.seed, folder=options.checkpoints and options.checkpoints / name, progress=say,
            )  # fmt: skip
    table = tabulated(runs, fold, subject.intensity_percent)
    for name, row in table.items():
        row["baseline"] = name in BASELINES
    first = runs[options.models[0]]
    figure_5 = against_responses(subject, next(iter(first.values())))
    about = {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(options).items()}
    summary = {
        "subject": subject.name, "synthetic": subject.synthetic, "options": about, "table": table,
        "spearman_of_nrmse": figure_5["spearman"], "stages_s": stages.seconds,
    }  # fmt: skip
    with staged_folder(options.out) as folder:
        _draw(folder, options, subject, table, figure_5, fold)
        _write_table(folder / "table.csv", table)
        (folder / "evaluation.json").write_text(json.dumps(summary, indent=1) + "\n")
    for name, row in table.items():
        numbers = "  ".join(f"{m} {row[m]['mean']:.3f}±{row[m]['sem']:.3f}" for m in ("nrmse", "r2", "corr2", "cog_mm"))
        stages.console.print(f"{name:<30} {numbers}  ({row['folds']} folds)", highlight=False, markup=False)
    stages.console.print(f"Wrote to {options.out}", highlight=False, markup=False)


def _folds(options: Evaluate, subject: Subject) -> Any:
    from tmsjax.mep import blocked_folds, random_folds

    if options.split == "random":
        fold = random_folds(subject.intensity_percent, options.folds, options.seed)
    elif subject.poses is None:
        raise InputError("--split blocked", got="a subject without poses", expected="coil poses of all stimulations")
    else:
        fold = blocked_folds(subject.poses[:, :3, 3], options.folds, options.seed)
    if any(not 0 <= k < options.folds for k in options.only):
        raise InputError("--only", got=options.only, expected=f"folds from 0 to {options.folds - 1}")
    return fold


def _draw(folder: Path, options: Evaluate, subject: Subject, table: dict, figure_5: dict, fold: Any) -> None:
    """The table, figure 5, and one left-out stimulation by kernel ridge, or the first baseline there is."""
    import numpy as np

    import tmsjax as tj
    from tmsjax.mep import BASELINES, fit_baseline
    from tmsjax.viz import models_figure, reconstructions_figure, responses_figure

    note = f"{subject.name}, {options.split} folds" + (f"; {MADE_UP}" if subject.synthetic else "")
    models_figure(folder / "models.png", table, caption=note)
    responses_figure(folder / "responses.png", figure_5["columns"], caption=f"{options.models[0]}: {note}")
    test = fold == (options.only or (0,))[0]
    row = int(np.flatnonzero(test)[np.argmax((subject.responses[test] > 0).sum(1))])
    shown = {"true": subject.fields[row]}
    for name in [name for name in options.models if name in BASELINES][-2:]:
        shown[name.replace("_", " ")] = fit_baseline(name, subject[~test]).predict(subject.responses[row : row + 1])[0]
    cortex = None
    if options.head is not None:
        surface = tj.head.load(options.head).surfaces or {}
        side = "lh_pial" if subject.voxels_mm[:, 0].mean() < 0 else "rh_pial"
        cortex = (np.asarray(surface[side].vertices), np.asarray(surface[side].faces)) if side in surface else None
    reconstructions_figure(
        folder / "reconstruction.png", subject.voxels_mm, shown, cortex=cortex, voxel_mm=subject.voxel_mm,
        responses=(subject.muscles, subject.responses[row]), caption=note,
    )  # fmt: skip


def _write_table(path: Path, table: dict[str, Any]) -> None:
    metrics = ("nrmse", "r2", "corr2", "cog_mm", "shape")
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(
            ["model", "intensity_percent", "folds", "n", *(f"{m}_{s}" for m in metrics for s in ("mean", "sem"))]
        )
        for name, row in table.items():
            for level, values in {"all": row, **row["by_intensity"]}.items():
                cells = [f"{values[m][s]:.6g}" for m in metrics for s in ("mean", "sem")]
                writer.writerow([name, level, row["folds"], values["nrmse"]["n"], *cells])


def _invert(options: Invert, stages: Any) -> None:
    import numpy as np

    from tmsjax.core.files import staged_folder
    from tmsjax.io import write_scalar
    from tmsjax.mep import centre_of_gravity, load_inverse, read_responses

    if options.draws < 0:
        raise InputError("--draws", got=options.draws, expected="0 or more")
    model, table = load_inverse(options.model), read_responses(options.responses)
    missing = [name for name in model.muscles if name not in table.muscles]
    if missing:
        raise InputError(
            "muscles are missing", got=f"no {', '.join(missing)} in {options.responses.name}",
            expected=", ".join(model.muscles), mend="record them, or train a model without them",
        )  # fmt: skip
    y = table.responses[:, [table.muscles.index(name) for name in model.muscles]]
    silent = int((~(y > 0).any(1)).sum())
    if silent == len(y):
        raise InputError("no muscle ever responded", got=f"{len(y)} rows of zeros", expected="responses in mV")
    with stages("fields") as say:
        fields = model.predict(y, draws=options.draws)
        say(f"{len(fields)} stimulations" + (f", {silent} without a response: theirs mean nothing" if silent else ""))
    at = np.argwhere(model.mask) @ model.affine[:3, :3].T + model.affine[:3, 3]
    with staged_folder(options.out) as folder:
        for name, field in zip(table.names, fields, strict=True):
            volume = np.zeros(model.mask.shape, np.float32)
            volume[model.mask] = field
            write_scalar(folder / f"{name}.nii.gz", volume, model.affine, description="|E| V/m from MEPs")
        with (folder / "centres.csv").open("w", newline="") as handle:
            writer = csv.writer(handle)
            writer.writerow(["stimulation", "x_mm", "y_mm", "z_mm", "largest_v_per_m", "muscles_active"])
            for name, cog, field, own in zip(table.names, centre_of_gravity(fields, at), fields, y, strict=True):
                writer.writerow([name, *(f"{c:.2f}" for c in cog), f"{field.max():.4g}", int((own > 0).sum())])
    if model.card.get("synthetic"):
        stages.console.print(f"trained on a {MADE_UP}", highlight=False, markup=False)
    stages.console.print(f"Wrote to {options.out}", highlight=False, markup=False)


def _check_epochs(epochs: int) -> None:
    if epochs < 1:
        raise InputError("--epochs", got=epochs, expected="1 or more")
