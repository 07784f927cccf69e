"""``tmsjax demo``: the whole chain on a real head, from the coil to the thresholds."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Literal

import tyro

LAYERS = {"L23": "open/L23_PC_1", "L4": "open/L4_LBC_1", "L5": "open/L5_PC_1"}
"""The bundled cell that stands for each layer."""


@dataclasses.dataclass(frozen=True)
class DemoOptions:
    """Place a coil over the left motor hand knob of a real head and find which neurons fire.

    Example: tmsjax demo --out demo --verify 5
    """

    out: Path = Path("tmsjax-demo")
    """Folder for the figure, the field, the overlays, the CSV and summary.json."""
    verify: int = 0
    """Re-simulate this many of the predicted neurons in NEURON and print both thresholds."""
    head: str = "S1"
    """Bundled head, or a label map (NIfTI)."""
    surfaces: Path | None = None
    """Folder of FreeSurfer or GIFTI surfaces, for a head of your own."""
    coil: str = "MagVenture_MC_B70"
    """Bundled coil, or a .ccd file."""
    landmark: str = "hand_knob_left"
    """Target: a named landmark of the head, found through its registration to MNI."""
    target_mm: tuple[float, float, float] | None = None
    """Target in the head's own world mm instead of a landmark: for heads that are not registered."""
    handle_deg: float = 45.0
    """Angle of the coil's handle to the midline, backwards and outwards."""
    gap_mm: float = 2.0
    """Distance between coil and scalp."""
    direction: Literal["PA", "AP"] = "PA"
    """Which way the induced field points under the coil: posterior-anterior, or the current reversed."""
    pulse: Literal["monophasic"] = "monophasic"
    """Pulse whose surrogates are used."""
    radius_mm: float = 15.0
    """Radius of the region of cortex round the target."""
    sites: int = 400
    """Sites per layer."""
    rotations: int = 12
    """Azimuths per site."""
    max_didt_a_per_us: float = 150.0
    """The stimulator's maximum in A/us. The default is a round number, no device's: give your own."""
    seed: int = 0
    """Of the neurons' places and of which are verified."""


def demo(options: Annotated[DemoOptions, tyro.conf.arg(name="")]) -> None:
    """Place a coil over the left motor hand knob of a real head and find which neurons fire.

    Example: tmsjax demo --out demo --verify 5
    """
    from rich.console import Console

    import tmsjax.response
    import tmsjax.viz  # noqa: F401 (before Stages: see catch_interrupts)
    from tmsjax.cli.stages import Stages
    from tmsjax.core.files import staged_folder

    console = Console()
    stages = Stages(console)
    with staged_folder(options.out) as folder:
        summary = _run(options, folder, console, stages)
        files = sorted(item.name for item in folder.iterdir())
        summary["files"] = [*files, "summary.json"]
        (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    console.print(f"\nWrote to {options.out}: {', '.join(summary['files'])}", highlight=False, markup=False)


def _run(options: DemoOptions, folder: Path, console, stages) -> dict:
    import jax
    import numpy as np

    import tmsjax as tj
    from tmsjax.cli import outputs, report
    from tmsjax.core.errors import InputError
    from tmsjax.core.transforms import check_finite

    counts = {"verify": (options.verify, 0), "sites": (options.sites, 1), "rotations": (options.rotations, 1)}
    for name, (value, least) in counts.items():
        if value < least:
            raise InputError(f"--{name}", got=value, expected=f"at least {least}")
    for name, value in (("radius-mm", options.radius_mm), ("max-didt-a-per-us", options.max_didt_a_per_us)):
        if not 0 < value < float("inf"):
            raise InputError(f"--{name}", got=value, expected="a positive number")
    console.print(f"tmsjax {tj.__version__} on {jax.devices()[0].platform}, {jax.device_count()} device(s)\n")
    with stages("head") as say:
        head = tj.head.load(options.head, surfaces=options.surfaces)
        if options.target_mm is None:
            target, aim = tj.head.landmark(head, options.landmark), options.landmark.replace("_", " ")
        else:
            target, aim = check_finite(options.target_mm, (3,), "--target-mm"), "target"
        say(f"{head.name}: {aim} at {np.array2string(target, precision=1)} mm")
    with stages("coil") as say:
        coil = tj.coil.load(options.coil)
        pose = tj.coil.pose_on_scalp(head, target, handle_deg=options.handle_deg, gap_mm=options.gap_mm, coil=coil)
        gap = float(np.linalg.norm(np.asarray(pose.centre) - target))
        say(f"{coil.name}, handle {options.handle_deg:g}° to the midline, centre {gap:.1f} mm from the target")
    with stages("field") as say:
        say("solving for the potentials")
        forwards = 1.0 if options.direction == "PA" else -1.0
        didt = forwards * induced_along_y(coil, pose)
        field = tj.efield.solve(head, coil, pose, didt=didt)
        say(f"{field.status}: residual {float(field.residual):.1e} after {int(field.iterations)} iterations")
        if field.status != "converged":
            console.print(f"[yellow]the field has {field.status}[/]")
    roi = tj.cortex.Roi.ball(target, options.radius_mm, hemisphere=_hemisphere(options))
    populations, models, results = {}, {}, {}
    with stages("neurons") as say:
        for layer in LAYERS:
            populations[layer] = tj.cortex.place(
                head, layer, n=options.sites, roi=roi, rotations=options.rotations, seed=options.seed
            )
        count = sum(map(len, populations.values()))
        say(f"{count} in {', '.join(LAYERS)}, within {options.radius_mm:g} mm of the target")
    with stages("thresholds") as say:
        for layer, name in LAYERS.items():
            models[layer] = tj.surrogate.load(name, pulse=options.pulse)
            results[layer] = tj.response.thresholds(
                models[layer],
                field,
                populations[layer],
                progress=lambda done, total, layer=layer: say(f"{layer}: {done} of {total}"),
            )
        say(f"{count} predicted by {len(LAYERS)} surrogates")
    rows = {layer: tj.response.summarise(results[layer], options.max_didt_a_per_us) for layer in LAYERS}
    verified = []
    if options.verify:
        with stages("NEURON") as say:
            verified = report.verify(LAYERS, field, populations, results, options, say)
    with stages("files"):
        outputs.write(folder, options, aim, head, coil, pose, target, field, roi, populations, results)
    console.print(report.layer_table(rows, options))
    if verified:
        console.print(report.verify_table(verified))
    return report.summary(options, head, coil, pose, target, field, rows, verified, stages.seconds, models)


def _hemisphere(options: DemoOptions) -> str | None:
    """The side that a landmark's name gives: its region must not reach across the midline."""
    sides = {"left": "lh", "right": "rh"}
    return None if options.target_mm else sides.get(options.landmark.rsplit("_", 1)[-1])


def induced_along_y(coil, pose) -> float:
    """+1 where a positive dI/dt induces a field along the coil's +y (away from the handle) under its centre, else -1.

    Coils differ in it: the MC-B70 induces towards the handle, the Magstim 70 mm away from it, as their .ccd files do.
    """
    from tmsjax.coil import primary_field

    below = pose.centre + 20.0 * pose.rotation[:, 2]
    return 1.0 if float(primary_field(coil, pose, below[None])[0] @ pose.rotation[:, 1]) > 0 else -1.0
