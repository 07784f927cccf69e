"""``tmsjax target``: target points in a T1 by a network; training it on one's own patients, judging it on them."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from tmsjax.core.errors import InputError

if TYPE_CHECKING:
    from tmsjax.cli.stages import Stages
    from tmsjax.target.cohort import Cohort


@dataclasses.dataclass(frozen=True)
class LocateOptions:
    """Find the target points in a T1 and write them for 3D Slicer (.fcsv, LPS).

    Example: tmsjax target locate T1.nii.gz --model my-targets --out points.fcsv --figure points.png
    """

    image: tyro.conf.Positional[Path]
    """T1 of a whole head (NIfTI)."""
    out: Path = Path("target-points.fcsv")
    """File of points for 3D Slicer (.fcsv), or .csv in RAS mm."""
    model: Path | None = None
    """Folder of a model that ``tmsjax target train`` wrote: none comes with the package yet."""
    views: int = 8
    """How often each network looks, the image turned and moved a little, for the spread."""
    figure: Path | None = None
    """Cuts through every point (.png or .pdf)."""


@dataclasses.dataclass(frozen=True)
class CohortOptions:
    """Where images and points come from: a folder of patients, or synthetic images of the bundled head."""

    patients: tyro.conf.Positional[Path | None] = None
    """Folder with NAME.nii.gz and NAME.csv (several raters: a column, or NAME_RATER.fcsv)."""
    synthetic: int = 0
    """In place of patients: this many synthetic images of each base, warped at random."""
    bases: tuple[Path, ...] = ()
    """T1s (NIfTI), each with its .csv beside it, that synthetic images are made of besides the bundled head S1."""
    network: Literal["short", "default"] = "short"
    """Crops of 8 voxels and 8 channels, which train in minutes, or of 16 and 16."""
    residual: Literal["shared", "separate", "none"] = "shared"
    """Residual layers over all points' coordinates: the paper's three variants."""
    schedule: Literal["short", "paper"] = "short"
    """Adam, levels apart and then chained; or the paper's SGD on the chain."""
    epochs: int | None = None
    """Another number of epochs than the schedule's, of each part."""
    repetitions: int = 5
    """Networks from different starts: the members of an ensemble, or repetitions of cross-validation."""
    checkpoints: Path | None = None
    """Folder that keeps the run: after an interruption the same command goes on there."""
    seed: int = 0
    """Of synthetic images and of training."""


@dataclasses.dataclass(frozen=True)
class TrainOptions(CohortOptions):
    """Train an ensemble on patients (or synthetic images) and save its weights with a card.

    Example: tmsjax target train patients --out my-targets --licence CC0-1.0 --checkpoints run
    """

    out: Path = Path("target-model")
    """Folder for weights and card.json."""
    licence: str = "unknown"
    """Licence of the weights, written to the card."""


@dataclasses.dataclass(frozen=True)
class EvaluateOptions(CohortOptions):
    """Cross-validate with every anatomy held out in turn; print the paper's tables 2 and 3 and write them.

    Example: tmsjax target evaluate patients --out report --registration
    """

    out: Path = Path("target-report")
    """Folder for report.json and errors.png."""
    registration: bool = False
    """Also register another patient's T1 to each, affinely and by SyN: a minute or two each (needs dipy)."""


def target(
    options: Annotated[
        Annotated[LocateOptions, tyro.conf.subcommand("locate")]
        | Annotated[TrainOptions, tyro.conf.subcommand("train")]
        | Annotated[EvaluateOptions, tyro.conf.subcommand("evaluate")],
        tyro.conf.arg(name=""),
    ],
) -> None:
    """Target points in a T1: locate them, train the network for it, evaluate it.

    Example: tmsjax target locate T1.nii.gz --model my-targets --out points.fcsv
    """
    from rich.console import Console

    import tmsjax.viz  # noqa: F401 (before Stages: see catch_interrupts)
    from tmsjax.cli.stages import Stages

    console = Console()
    run = {LocateOptions: _locate, TrainOptions: _train, EvaluateOptions: _evaluate}[type(options)]
    for line in run(options, Stages(console)):
        console.print(line, highlight=False, markup=False)


def _locate(options: LocateOptions, stages: Stages) -> list[str]:
    from tmsjax.target import marks, model, volume

    writers = {".fcsv": marks.write_fcsv, ".csv": marks.write_csv}
    if options.out.suffix not in writers:
        raise InputError("--out", got=options.out, expected="a .fcsv or .csv file")
    _check_figure(options.figure)
    with stages("model") as say:
        found_model = model.load(options.model)
        card = found_model.card
        say(f"{len(found_model)} network(s); {_trained_on(card)}")
    with stages("image") as say:
        image = volume.read(options.image, found_model.spec.side, found_model.spec.voxel_mm)
        say("; ".join(image.notes) or "as it is")
    with stages("points") as say:
        found = model.find(found_model, image, views=options.views)
        say(f"{len(found.points)} points, {len(found.estimates_mm)} estimates of each")
    written = [
        marks.Mark(p, tuple(map(float, x)), "network", f"{s}, spread {w:.1f} mm")  # pyright: ignore[reportArgumentType]
        for p, x, w, s in zip(found.points, found.places_mm, found.spread_mm, found.status, strict=True)
    ]
    writers[options.out.suffix](options.out, written)
    if options.figure is not None:
        from tmsjax.viz.target import places_figure

        shown = {p: {"network": x.tolist()} for p, x in zip(found.points, found.places_mm, strict=True)}
        places_figure(options.figure, image.values, image.affine, shown, f"{options.image.name}: {_trained_on(card)}")
    lines = ["", f"{'point':<10} {'x':>7} {'y':>7} {'z':>7}  spread   (world RAS mm)"]
    lines += [
        f"{m.point:<10} " + " ".join(f"{v:7.1f}" for v in m.place_mm) + f"  {w:4.1f} mm  {s if s != 'found' else ''}"
        for m, w, s in zip(written, found.spread_mm, found.status, strict=True)
    ]
    error = card.get("held_out_mm")
    if error is not None:
        lines.append(f"\nErrors on anatomies that it has not seen: {error:.1f} mm on average. Check the points by eye.")
    return [*lines, f"Wrote {options.out}"]


def _trained_on(card: dict[str, Any]) -> str:
    kind = "synthetic images" if card.get("synthetic") else "images of patients"
    return f"trained on {card.get('images', '?')} {kind} of {', '.join(card.get('bases', ['?']))[:80]}"


def _train(options: TrainOptions, stages: Stages) -> list[str]:
    from tmsjax.target import model, train

    spec, training = _network(options), _schedule(options)
    with stages("images") as say:
        cohort = _cohort(options, spec, _patients(options, spec), say)
    with stages("training") as say:
        members, reports = train.train_ensemble(
            cohort, spec, options.seed, training, members=options.repetitions, folder=options.checkpoints, progress=say
        )
    card = {
        "licence": options.licence,
        "synthetic": bool(cohort.recipe["synthetic"]),
        "images": len(cohort),
        "bases": sorted(set(cohort.bases)),
        "networks": [{k: v for k, v in report.items() if k != "histories"} for report in reports],
        "cohort": cohort.recipe,
    }
    folder = model.save(model.of_members(members, spec), options.out, card)
    return ["", f"Weights: {folder}"]


def _evaluate(options: EvaluateOptions, stages: Stages) -> list[str]:
    import numpy as np

    from tmsjax.core.files import staged_folder
    from tmsjax.target import evaluation, registration, report
    from tmsjax.target.consensus import rater_errors
    from tmsjax.viz.target import errors_figure

    spec, training = _network(options), _schedule(options)
    with stages("images") as say:
        patients = _patients(options, spec)
        cohort = _cohort(options, spec, patients, say)
    with stages("cross-validation") as say:
        places = evaluation.cross_validate(
            cohort, spec, training, repetitions=options.repetitions, folder=options.checkpoints, progress=say
        )
    others = {}
    if options.registration:
        with stages("registration") as say:
            others = registration.carry_atlas(cohort, lambda i, n: say(f"{i} of {n}"))
    raters: dict[str, list[float]] = {}
    for patient in patients:
        for point, values in rater_errors(patient.marks).items():
            raters.setdefault(point, []).extend(values)
    rows = report.table_2(cohort, places, others, raters)
    tests = report.table_3(cohort, places, others)
    kind = "synthetic images of few heads" if cohort.recipe["synthetic"] else "patients"
    with staged_folder(options.out) as folder:
        shown = {"network": evaluation.errors(places, cohort.places).reshape(-1, len(spec.points))}
        shown |= {name: evaluation.errors(values, cohort.places) for name, values in others.items()}
        errors_figure(folder / "errors.png", shown, spec.points, f"{len(cohort)} {kind}, anatomies held out")
        content = {
            "cohort": cohort.recipe,
            "images": len(cohort),
            "anatomies": len(set(cohort.bases)),
            "repetitions": options.repetitions,
            "table_2": rows,
            "table_3": [test._asdict() for test in tests],
            "places": np.round(places, 3).tolist(),
        }
        text = json.dumps(content, indent=1, default=lambda value: np.asarray(value).tolist())
        (folder / "report.json").write_text(text.replace("NaN", "null") + "\n")
    lines = ["", f"{len(cohort)} {kind}, {len(set(cohort.bases))} anatomies held out in turn; mm, mean ± SD (n)"]
    for row in rows:
        cells = [f"{name} {m:.1f} ± {s:.1f} ({n})" for name, (m, s, n) in _columns(row) if "anatomies" not in name]
        lines.append(f"{row['point']:<10} " + "   ".join(cells))
    lines += [f"{t.point}: {t.better} is nearer {t.stars} (p {t.p:.3g}, n {t.n})" for t in tests if t.stars]
    return [*lines, f"Wrote to {options.out}: errors.png, report.json"]


def _columns(row: dict[str, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in row.items() if name != "point"]


def _network(options: CohortOptions) -> Any:
    from tmsjax.target.network import NetworkSpec
    from tmsjax.target.train import SHORT_SPEC

    if options.repetitions < 1 or (options.epochs is not None and options.epochs < 1):
        raise InputError("--repetitions, --epochs", got=(options.repetitions, options.epochs), expected="1 or more")
    spec = SHORT_SPEC if options.network == "short" else NetworkSpec()
    return dataclasses.replace(spec, residual=options.residual)


def _schedule(options: CohortOptions) -> Any:
    from tmsjax.target import train

    training = train.SHORT_TRAINING if options.schedule == "short" else train.PAPER_TRAINING
    parts = {name: getattr(training, name) for name in ("apart", "chained")}
    if options.epochs is not None:
        parts = {n: p and dataclasses.replace(p, epochs=options.epochs) for n, p in parts.items()}
    return dataclasses.replace(training, **parts)


def _check_figure(path: Path | None) -> None:
    if path is not None and path.suffix not in (".png", ".pdf"):
        raise InputError("--figure", got=path, expected="a .png or .pdf file")


def _patients(options: CohortOptions, spec: Any) -> list[Any]:
    """The patients of the folder, none where images are to be synthetic."""
    from tmsjax.target.patients import read_patients

    if (options.patients is None) == (options.synthetic < 1):
        raise InputError(
            "where the images come from",
            got=f"patients {options.patients}, --synthetic {options.synthetic}",
            expected="a folder of patients, or --synthetic N with N of 1 or more",
        )
    return [] if options.patients is None else read_patients(options.patients, spec.side, spec.voxel_mm)


def _cohort(options: CohortOptions, spec: Any, patients: list[Any], say: Any) -> Cohort:
    """Patients, or synthetic images of S1 and other bases."""
    import tmsjax as tj
    from tmsjax.target import bases, cohort
    from tmsjax.target.patients import cohort_of

    if patients:
        return cohort_of(patients, spec.levels).only(spec.points)
    size = (spec.side, spec.voxel_mm)
    heads = [bases.from_head(tj.head.load("S1"), None, *size)]
    for path in options.bases:
        name = path.name.removesuffix(".gz").removesuffix(".nii")
        heads.append(bases.from_files(name, path, path.with_name(f"{name}.csv"), None, *size))
    return cohort.synthesise(
        heads, options.synthetic, options.seed, levels=spec.levels, progress=lambda i, n: say(f"{i} of {n}")
    ).only(spec.points)
