"""``tmsjax sweep``: thresholds of populations over coil positions, handle angles, current directions and pulses."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from tmsjax.cli.places import PlaceOptions

MARGIN_MM = 3.0
"""How far the pose model's region reaches beyond the neurons': their sampling grids, and a voxel."""

STORE, SUMMARY, POSE_MODEL, WORK = "sweep.zarr", "sweep.json", "pose_model", "pose_model.work"


@dataclasses.dataclass(frozen=True)
class SweepOptions(PlaceOptions):
    """Thresholds of populations over a grid of coil positions, angles and current directions; goes on after a kill.

    Example: tmsjax sweep --target hand_knob_left --reach-mm 10 --step-mm 5 --angle-step-deg 30 --out M1

    Example: tmsjax sweep --pose-model M1/pose_model --reach-mm 0 --angle-step-deg 10 --out tuning
    """

    out: Path = Path("tmsjax-sweep")
    """Folder for the files: new, or that of the same sweep, which goes on."""
    pose_model: Path | None = None
    """Folder of the region's pose model; made there if it is not there yet, in OUT if left out. It serves any coil."""
    rank: int = 60
    """Modes of a pose model that has to be made: 130 solves of the head."""
    coarsen: int = 1
    """Make it on voxels this many times larger."""
    reach_mm: float = 10.0
    """The grid of places goes this far from the scalp point over the target, along both axes; 0 is one place."""
    step_mm: float = 5.0
    """Step of places."""
    angle_step_deg: float = 30.0
    """Step of handle angles, over the whole turn from 0 (backwards along the midline)."""
    current: tuple[int, ...] = (1, -1)
    """Signs of dI/dt."""
    gap_mm: float = 2.0
    """Distance between coil and scalp."""
    hair_mm: float = 0.0
    """Thickness of hair, which comes on top of the gap."""
    intensities: tuple[float, ...] = tuple(range(10, 301, 10))
    """A/us at which active neurons are counted."""
    shares: tuple[float, ...] = (0.1, 0.5)
    """Shares of a population whose dI/dt is given."""
    cells: tuple[str, ...] = ("open/L23_PC_1", "open/L4_LBC_1", "open/L5_PC_1")
    """Cells whose models predict; several of a layer are clones at the same sites. LAYER=NAME where the name does not
    say the layer."""
    pulses: tuple[str, ...] = ("monophasic",)
    """Pulses that the cells have models for."""
    family: str = "support"
    """Family of models."""
    weights: Path | None = None
    """Folder of models of your own, laid out CELL/PULSE/FAMILY; the bundled ones if left out."""
    radius_mm: float = 12.0
    """Radius of the region of cortex round the target."""
    sites: int = 100
    """Sites per layer."""
    rotations: int = 6
    """Azimuths per site."""
    seed: int = 0
    """Of the neurons' places."""


def sweep(options: Annotated[SweepOptions, tyro.conf.arg(name="")]) -> None:
    """Thresholds of populations over a grid of coil positions, angles and current directions; goes on after a kill.

    Example: tmsjax sweep --target hand_knob_left --reach-mm 10 --step-mm 5 --angle-step-deg 30 --out M1

    Example: tmsjax sweep --pose-model M1/pose_model --reach-mm 0 --angle-step-deg 10 --out tuning
    """
    from rich.console import Console

    import tmsjax.response
    import tmsjax.viz  # noqa: F401 (before Stages: see catch_interrupts)
    from tmsjax.cli.stages import Stages
    from tmsjax.core.files import staged_folder

    _check(options)
    console = Console()
    stages = Stages(console)
    summary, write = _run(options, stages)
    with staged_folder(options.out) as folder:
        with stages("files") as say:
            write(folder)
            say(", ".join(sorted(item.name for item in folder.iterdir())))
        summary["seconds"] = stages.seconds
        summary["files"] = sorted([STORE, SUMMARY, *(item.name for item in folder.iterdir())])
        (folder / SUMMARY).write_text(json.dumps(summary, indent=2, default=str) + "\n")
    console.print(f"\nWrote to {options.out}: {', '.join(summary['files'])}", highlight=False, markup=False)


def _check(options: SweepOptions) -> None:
    """What can be asked before anything is loaded: above all whether ``out`` is free, or this sweep's."""
    from tmsjax.cli.populations import check_counts
    from tmsjax.cli.poses import check_place
    from tmsjax.core.errors import InputError, check_number

    check_place(options)
    check_counts(options)
    check_number(options.angle_step_deg, "--angle-step-deg", above=0.0, high=360.0)
    held = {item.name for item in options.out.iterdir()} if options.out.is_dir() else set()
    if SUMMARY in held:
        raise InputError("nothing is overwritten", got=f"{options.out} holds a finished sweep", expected="a new folder",
                         mend="another --out")  # fmt: skip
    if options.out.exists() and not (options.out.is_dir() and held <= {STORE, POSE_MODEL, WORK}):
        raise InputError(
            "something else is in the place of this sweep",
            got=options.out,
            expected="a new folder, or that of a sweep that was interrupted",
        )


def _run(options: SweepOptions, stages):
    """Do the sweep; returns the summary, and a function that writes figures and tables into a folder."""
    import numpy as np

    import tmsjax as tj
    from tmsjax.cli import populations, sweep_files
    from tmsjax.cli.poses import target_of
    from tmsjax.core.versions import versions
    from tmsjax.head import target as find_target
    from tmsjax.response import SweepGrid, SweepTarget, square
    from tmsjax.response import sweep as run

    grid = SweepGrid(
        square(options.reach_mm, options.step_mm),
        np.arange(0.0, 360.0 - 1e-6, options.angle_step_deg),
        options.gap_mm,
        options.current,
        options.intensities,
        options.shares,
    )
    models = populations.models_of(options.cells, options.pulses, options.family, options.weights)
    with stages("head") as say:
        head, said = populations.load_head(options)
        say(said)
    with stages("coil") as say:
        coil = tj.coil.load(options.coil)
        where, aim = target_of(options, head)
        centre = np.asarray(find_target(head, where), float)
        reach = float(np.linalg.norm(grid.places_mm, axis=1).max())
        chart = tj.coil.scalp_chart(head, centre, radius_mm=max(reach + 1.0, 10.0), hair_mm=options.hair_mm)
        n, a, d = grid.shape
        say(f"{coil.name} at {n} places {aim} x {a} angles x {d} directions: {n * a * d} poses")
    side = "lh" if populations.is_left(head, centre) else "rh"
    roi = tj.cortex.Roi.ball(centre, options.radius_mm, hemisphere=side)
    with stages("neurons") as say:
        placed = {
            layer: tj.cortex.place(head, layer, options.sites, roi, options.rotations, options.seed)
            for layer in dict.fromkeys(layer for layer, _ in models)
        }
        say(f"{sum(map(len, placed.values()))} in {', '.join(placed)}, within {options.radius_mm:g} mm of the target")
    with stages("pose model") as say:
        pose_model = _pose_model(options, head, centre, say)
        say(f"{pose_model.basis.shape[2]} modes, worst held-out error {100 * pose_model.certificate['worst_l2']:.2g} %")
    targets = [SweepTarget(placed[layer], model) for layer, model in models]
    with stages("sweep") as say:
        store = run(
            options.out / STORE, targets, pose_model, coil, chart, grid,
            progress=lambda what, done, total: say(f"{what}: {done} of {total}"),
        )  # fmt: skip
        off = d * sweep_files.poses_outside(store)
        known = (n * a * d - off) * sum(len(t.population) for t in targets)
        say(f"{known} thresholds" + (f"; {off} of {n * a * d} poses too near or far for the pose model" if off else ""))
    rows = sweep_files.rows_of(store)
    summary = {
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(options).items()},
        "head": {"name": head.name, "shape": list(head.labels.shape)},
        "coil": coil.name,
        "chart": {"fit_rms_mm": chart.fit_rms_mm, "radius_mm": chart.radius_mm},
        "region": {"centre_mm": centre.round(3).tolist(), "radius_mm": options.radius_mm},
        "poses_outside_the_model": off,
        "best": sweep_files.best(rows, grid.shares),
        "open_with": 'xarray.open_zarr("sweep.zarr", consolidated=False), group=TARGET for every neuron',
        "versions": versions("tmsjax", "jax", "jaxlib", "numpy", "zarr"),
    }
    return summary, lambda folder: sweep_files.write(folder, store, rows, head, coil, roi, placed)


def _pose_model(options: SweepOptions, head, centre, say):
    """The pose model of a folder, or one made there: what is solved is kept until it is whole."""
    import shutil

    from tmsjax.efield import posemodel

    folder = options.out / POSE_MODEL if options.pose_model is None else options.pose_model
    if (folder / "card.json").is_file():
        return posemodel.load(folder, head)
    work = folder.with_name(f"{folder.name}.work")
    model = posemodel.precompute_region(
        head,
        centre,
        options.radius_mm + MARGIN_MM,
        rank=options.rank,
        coarsen=options.coarsen,
        seed=options.seed,
        progress=lambda what, done, total: say(f"{what}: {done} of {total}"),
        work=work,
    )
    posemodel.save(model, folder)
    shutil.rmtree(work, ignore_errors=True)
    return model
