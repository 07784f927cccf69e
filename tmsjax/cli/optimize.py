"""``tmsjax optimize``: where to hold a coil so that part of the cortex fires at the lowest output."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tmsjax.cli.places import PlaceOptions

MARGIN_MM = 3.0
"""How far the pose model's region reaches beyond the neurons': their sampling grids, and a voxel."""

SUMMARY = "optimize.json"


@dataclasses.dataclass(frozen=True)
class OptimizeOptions(PlaceOptions):
    """Find the coil position, angle and current direction that activate a target at the lowest dI/dt.

    Example: tmsjax optimize --target hand_knob_left --kind bank --pose-model M1-poses --out M1

    Example: tmsjax optimize --target-mm -40 -20 52 --cells open/L5_PC_1 --share 0.1 --resolve --out deep
    """

    out: Path = Path("tmsjax-optimize")
    """Folder for the files; it must not exist."""
    kind: Literal["ball", "bank"] = "ball"
    """All cells round the target, or those of one bank of a sulcus: the columns within 50 degrees of its own."""
    mask: Path | None = None
    """NIfTI whose voxels above 0 are the target, in place of a ball or a bank."""
    radius_mm: float = 8.0
    """Radius of the target."""
    objective: Literal["lowest-didt", "selectivity", "mean-field", "percentile-field"] = "lowest-didt"
    """What is sought: the lowest dI/dt that activates a share; the smallest active share of the ring at it; |E|."""
    share: float = 0.5
    """Share of the target that is to fire."""
    ring_mm: tuple[float, float] = (12.0, 20.0)
    """Ring that is to be spared, from and to; for selectivity."""
    cap_a_per_us: float = 150.0
    """Largest dI/dt that selectivity may spend. The default is a round number, no device's: give your own."""
    cells: tuple[str, ...] = ("open/L5_PC_1",)
    """Cell of each layer, in whose models it is sought; LAYER=NAME where the name does not say the layer."""
    pulse: str = "monophasic"
    """Pulse that the cells have models for."""
    family: str = "support"
    """Family of models."""
    weights: Path | None = None
    """Folder of models of your own, laid out CELL/PULSE/FAMILY; the bundled ones if left out."""
    pose_model: Path | None = None
    """Folder of the region's pose model (of ``tmsjax sweep`` too); made there if it is not there yet. If left out it
    is made and forgotten."""
    rank: int = 80
    """Modes of a pose model that has to be made: 170 solves of the head."""
    coarsen: int = 1
    """Make it on voxels this many times larger."""
    search_mm: float = 25.0
    """How far on the scalp the search goes from the point over the target."""
    gap_mm: tuple[float, float] = (2.0, 2.0)
    """Least and largest gap between coil and scalp."""
    hair_mm: float = 0.0
    """Thickness of hair, which comes on top of the gap."""
    tilt_deg: float = 0.0
    """Largest tilt about the coil's own axes; 0 holds it tangentially."""
    current: tuple[int, ...] = (1, -1)
    """Signs of dI/dt that may be used."""
    sites: int = 600
    """Sites per layer that the search sees."""
    rotations: int = 6
    """Azimuths per site."""
    held_out: int = 900
    """Other sites per layer, by which the result is judged."""
    resolve: bool = False
    """Solve the field of the pose found anew on the head's own voxels, and judge it in that too."""
    simulate: int = 0
    """Simulate this many neurons of each layer in NEURON at the pose found (implies --resolve)."""
    seed: int = 0
    """Of all that is drawn."""


def optimize(options: Annotated[OptimizeOptions, tyro.conf.arg(name="")]) -> None:
    """Find the coil position, angle and current direction that activate a target at the lowest dI/dt.

    Example: tmsjax optimize --target hand_knob_left --kind bank --pose-model M1-poses --out M1

    Example: tmsjax optimize --target-mm -40 -20 52 --cells open/L5_PC_1 --share 0.1 --resolve --out deep
    """
    from rich.console import Console

    import tmsjax.optimize
    import tmsjax.viz  # noqa: F401 (before Stages: see catch_interrupts)
    from tmsjax.cli.populations import check_counts, check_new
    from tmsjax.cli.poses import check_place
    from tmsjax.cli.stages import Stages
    from tmsjax.core.files import staged_folder

    check_new(options.out)
    check_place(options)
    check_counts(options)
    console = Console()
    stages = Stages(console)
    best = _run(options, stages)
    summary = {
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(options).items()},
        **best.summary(),
    }
    with staged_folder(options.out) as folder:
        with stages("files") as say:
            _write(folder, best)
            say(", ".join(sorted(item.name for item in folder.iterdir())))
        summary["stages_s"] = stages.seconds
        summary["files"] = sorted([SUMMARY, *(item.name for item in folder.iterdir())])
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2) + "\n")
    for line in _said(best):
        console.print(line, highlight=False, markup=False)
    console.print(f"Wrote to {options.out}: {', '.join(summary['files'])}", highlight=False, markup=False)


def _run(options: OptimizeOptions, stages) -> Any:
    import numpy as np

    import tmsjax as tj
    from tmsjax.cli import populations
    from tmsjax.cli.poses import target_of
    from tmsjax.head import target as find_target
    from tmsjax.optimize.check import check_count
    from tmsjax.optimize.objectives import check_layers

    if options.simulate:
        check_count(options.simulate)
    objective = _objective(options)
    limits = tj.optimize.Variables(
        options.search_mm, options.gap_mm, options.tilt_deg, options.current, 0.0, options.hair_mm
    ).checked()
    models = dict(populations.models_of(options.cells, (options.pulse,), options.family, options.weights))
    with stages("head") as say:
        head, said = populations.load_head(options)
        say(said)
    with stages("target") as say:
        where, aim = target_of(options, head)
        target = _target(options, head, np.asarray(find_target(head, where), float), tuple(models))
        say(f"{target.name} {'' if options.mask else aim + ' '}at {target.centre_mm.round(1).tolist()} mm")
    coil = tj.coil.load(options.coil)
    with stages("pose model") as say:
        pose_model = _pose_model(options, head, target, say)
        worst = pose_model.certificate.get("worst_l2")
        say(f"{pose_model.basis.shape[2]} modes" + ("" if worst is None else f", worst error {100 * worst:.2g} %"))
    with stages("neurons") as say:
        problem = tj.optimize.prepare(
            head, coil, target, models, pose_model=pose_model, variables=limits, seed=options.seed,
            progress=lambda what, done, total: say(f"{what}: {done} of {total}"),
        )  # fmt: skip
        check_layers(objective, problem.search)
        count = [sum(map(len, groups)) for groups in (problem.search, problem.held_out)]
        say(
            f"{count[0]} to search with and {count[1]} to judge by, seen through {problem.modes.weights.shape[1]} modes"
        )
    with stages("search") as say:
        best = tj.optimize.place(
            problem, objective, head=head if options.resolve or options.simulate else None, simulate=options.simulate,
            seed=options.seed, progress=lambda what, done, total: say(f"{what}: {done} of about {total} evaluations"),
        )  # fmt: skip
        say(f"{best.evaluations} evaluations, {best.gradients} of them with gradients: {best.status}")
    return best


def _objective(options: OptimizeOptions) -> Any:
    import tmsjax as tj

    if options.objective == "selectivity":
        return tj.optimize.selectivity(options.cap_a_per_us, options.share)
    if options.objective == "lowest-didt":
        return tj.optimize.lowest_didt(options.share)
    return tj.optimize.mean_field() if options.objective == "mean-field" else tj.optimize.percentile_field()


def _target(options: OptimizeOptions, head: Any, centre: Any, layers: tuple[str, ...]) -> Any:
    import tmsjax as tj
    from tmsjax.cli.populations import is_left

    draw = {"sites": options.sites, "azimuths": options.rotations, "held_out": options.held_out, "seed": options.seed}
    if options.mask is not None:
        from tmsjax.io import read_scalar

        values, affine = read_scalar(options.mask)
        return tj.optimize.targets.mask(head, values > 0, affine, layers=layers, name=options.mask.name, **draw)
    ring = options.ring_mm if options.objective == "selectivity" else None
    side = "lh" if is_left(head, centre) else "rh"
    make = tj.optimize.targets.ball if options.kind == "ball" else tj.optimize.targets.bank
    return make(head, centre, options.radius_mm, ring_mm=ring, layers=layers, hemisphere=side, **draw)


def _pose_model(options: OptimizeOptions, head: Any, target: Any, say) -> Any:
    """The pose model of a folder, or one made for the target, and kept where a folder was named."""
    import shutil

    from tmsjax.efield import posemodel

    folder = options.pose_model
    if folder is not None and (folder / "card.json").is_file():
        return posemodel.load(folder, head)
    work = None if folder is None else folder.with_name(f"{folder.name}.work")
    model = posemodel.precompute_region(
        head, target.centre_mm, target.reach_mm + MARGIN_MM, rank=options.rank, coarsen=options.coarsen,
        seed=options.seed, work=work, progress=lambda what, done, total: say(f"{what}: {done} of {total}"),
    )  # fmt: skip
    if folder is not None and work is not None:
        posemodel.save(model, folder)
        shutil.rmtree(work, ignore_errors=True)
    return model


def _write(folder: Path, best: Any) -> None:
    """Pose for SimNIBS and for neuronavigation, and the figure."""
    from tmsjax.coil import NamedPose, save_poses
    from tmsjax.viz import placement_figure

    named = NamedPose("optimum", best.pose, didt=float(best.polarity))
    for form, name in (
        ("matsimnibs", "matsimnibs.txt"),
        ("brainsight", "brainsight.txt"),
        ("localite", "localite.xml"),
    ):
        save_poses(named, folder / name, form)
    problem = best.problem
    placement_figure(
        folder / "placement.png",
        best.map,
        best.history,
        at_mm=best.x[:2],
        radius_mm=problem.variables.radius_mm,
        value=best.value,
        unit=best.unit,
        caption=f"{best.objective} of {problem.target}, {problem.head_name}, {problem.coil.name}: {best.status}",
    )


def _said(best: Any) -> list[str]:
    """What is printed at the end."""
    unit = best.unit.replace("A/us", "A/µs")
    relative = unit.startswith(("A/", "V/"))
    error = f"{100 * best.sampling_error:.1f} %" if relative else f"{best.sampling_error:.3f}"
    lines = [
        "",
        f"{best.objective}: {best.value:.4g} {unit} of neurons not searched with (standard error {error})",
        f"status: {best.status}",
        f"current: dI/dt {'positive' if best.polarity > 0 else 'negative'} in the coil's own sense",
    ]
    if best.field_optimum is not None:
        rows = [best.field_optimum[name] for name in ("better", "worse")]
        losses = [f"{100 * row['loss']:+.1f} %" if relative else f"{row['loss']:+.3f}" for row in rows]
        lines.append(f"the pose of the largest mean |E|: {losses[0]} in its better polarity, {losses[1]} in the worse")
    slip = best.tolerance
    if relative:
        lines.append(f"slipping by 5 mm costs {100 * slip['loss_5mm']:.1f} %, by 15° {100 * slip['loss_15deg']:.1f} %")
    if best.direct is not None:
        lines.append(f"in a field solved anew: {best.direct['value']:.4g} {unit} ({best.direct['status']})")
    for row in best.neuron or []:
        found = "none" if row["simulated_a_per_us"] is None else f"{row['simulated_a_per_us']:.4g}"
        lines.append(f"NEURON, {row['layer']}: {found} A/µs, predicted {row['predicted_a_per_us']:.4g}")
    return lines
