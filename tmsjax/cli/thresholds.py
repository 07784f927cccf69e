"""``tmsjax thresholds``: which neurons of a population fire at which output of the stimulator."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tmsjax.cli.places import PlaceOptions


@dataclasses.dataclass(frozen=True)
class ThresholdsOptions(PlaceOptions):
    """Thresholds of the layers' neurons under a coil: tables, recruitment curves, maps.

    Example: tmsjax thresholds --target hand_knob_left --handle-deg 45 --out M1

    Example: tmsjax thresholds --head m2m_ernie --pose matsimnibs.txt --cells open/L5_PC_1 --stimulator "MagPro X100"

    Example: tmsjax thresholds --gyrus precentral --density full --out gyrus
    """

    out: Path = Path("tmsjax-thresholds")
    """Folder for the files; it must not exist."""
    pose: Path | None = None
    """A file with the pose itself instead of a target: SimNIBS's matsimnibs (text, .json, .mat), Brainsight's text or
    Localite's XML."""
    pose_name: str | None = None
    """Which pose, where the file has several."""
    field: Path | None = None
    """NIfTI of the E-field instead of a coil: one of ``tmsjax efield``, or SimNIBS's. Give --target-mm or --target for
    the region too."""
    field_didt: float | None = None
    """A/us that the field belongs to, where its file does not say (SimNIBS's 1e6 A/s is 1)."""
    handle_deg: float = 45.0
    """Angle of the coil's handle to the midline, backwards and outwards."""
    gap_mm: float = 2.0
    """Distance between coil and scalp."""
    hair_mm: float = 0.0
    """Thickness of hair, which comes on top of the gap."""
    direction: Literal["PA", "AP"] = "PA"
    """Which way the field points under the coil: away from the handle (posterior-anterior with the handle backwards),
    or the current reversed. A field from a file is as it is for PA."""
    cells: tuple[str, ...] = ("open/L23_PC_1", "open/L4_LBC_1", "open/L5_PC_1")
    """Cells whose models predict; several of a layer are clones at the same sites. LAYER=NAME where the name does not
    say the layer."""
    pulse: str = "monophasic"
    """Pulse whose models are used."""
    family: str | None = None
    """Family of models; "support" by default, and for a whole gyrus "fast", the same from 64 samples a neuron."""
    weights: Path | None = None
    """Folder of models of your own, laid out CELL/PULSE/FAMILY; the bundled ones if left out."""
    radius_mm: float = 15.0
    """Radius of the region of cortex: round the target, or the cortex nearest to the coil's centre for a --pose."""
    sites: int = 400
    """Sites per layer."""
    rotations: int = 12
    """Azimuths per site."""
    gyrus: Literal["precentral"] | None = None
    """Every neuron of a gyrus instead of a sample of a region: 1,280 mm2 of cortex round the hand knob, counted and not
    listed. Needs a head that is registered to MNI152."""
    density: str = "full"
    """Of the neurons of --gyrus, all cells together: "full" (120,000 under a mm2 of cortex), or a number."""
    keep_neurons: bool = False
    """Keep the thresholds of all neurons of --gyrus (zarr, 5 bytes a neuron)."""
    stimulator: str | None = None
    """Device whose % of output is given, such as "MagPro X100"; the one documented with this coil if left out."""
    max_didt_a_per_us: float | None = None
    """Largest dI/dt of a stimulator of your own with this coil, instead of a documented one's."""
    intensities: tuple[float, ...] = ()
    """A/us at which recruitment is counted; by default 100 of them up to nearly all neurons."""
    bootstrap: int = 200
    """Draws of the band of the recruitment curves, over positions."""
    seed: int = 0
    """Of the neurons' places and of the bootstrap."""


def thresholds(options: Annotated[ThresholdsOptions, tyro.conf.arg(name="")]) -> None:
    """Thresholds of the layers' neurons under a coil: tables, recruitment curves, maps.

    Example: tmsjax thresholds --target hand_knob_left --handle-deg 45 --out M1

    Example: tmsjax thresholds --head m2m_ernie --pose matsimnibs.txt --cells open/L5_PC_1 --stimulator "MagPro X100"

    Example: tmsjax thresholds --gyrus precentral --density full --out gyrus
    """
    from rich.console import Console

    import tmsjax.response
    import tmsjax.viz  # noqa: F401 (before Stages: see catch_interrupts)
    from tmsjax.cli.gyrus import all_cores
    from tmsjax.cli.populations import check_new
    from tmsjax.cli.stages import Stages
    from tmsjax.core.files import staged_folder

    check_new(options.out)
    if options.gyrus is not None:
        all_cores()
    console = Console()
    stages = Stages(console)
    with staged_folder(options.out) as folder:
        summary, table = _run(options, folder, stages)
        summary["seconds"] = stages.seconds
        summary["files"] = sorted([*(item.name for item in folder.iterdir()), "thresholds.json"])
        (folder / "thresholds.json").write_text(json.dumps(summary, indent=2) + "\n")
    console.print(table)
    console.print(f"\nWrote to {options.out}: {', '.join(summary['files'])}", highlight=False, markup=False)


def _run(options: ThresholdsOptions, folder: Path, stages) -> tuple[dict[str, Any], Any]:
    import numpy as np

    import tmsjax as tj
    from tmsjax.cli import gyrus, populations, thresholds_files
    from tmsjax.core.versions import versions

    _check(options)
    family = options.family or ("support" if options.gyrus is None else "fast")
    models = populations.models_of(options.cells, [options.pulse], family, options.weights)
    coil = None if options.field is not None else tj.coil.load(options.coil)
    coil_name = "unknown coil" if coil is None else coil.name
    device = populations.device_of(options.stimulator, options.max_didt_a_per_us, coil_name)
    with stages("head") as say:
        head, said = populations.load_head(options)
        say(said)
    with stages("field") as say:
        field, pose, centre, aim = _field(options, head, coil, say)
        say(f"{field.status}; {aim}")
    caption = f"{coil_name.replace('_', ' ')}, {aim}, head {head.name}, {options.direction}, {options.pulse} pulse"
    region: dict[str, Any]
    if options.gyrus is not None:
        rows, region = gyrus.run(folder, options, head, field, models, device, caption, stages)
    else:
        region = {"centre_mm": np.asarray(centre).round(3).tolist(), "radius_mm": options.radius_mm}
        rows = _sample(options, folder, head, field, pose, centre, models, device, caption, stages)
    summary = {
        "options": {k: str(v) if isinstance(v, Path) else v for k, v in dataclasses.asdict(options).items()},
        "head": {"name": head.name, "shape": list(head.labels.shape)},
        "coil": coil_name,
        "pose": None if pose is None else {"matsimnibs": np.asarray(pose.matrix).tolist(), "unit": "mm", "how": aim},
        "field": {"status": field.status, "residual": float(field.residual), "didt_a_per_us": float(field.didt)},
        "region": region,
        "stimulator": None if device is None else dataclasses.asdict(device),
        "layers": rows,
        "models": [{"layer": layer, "family": model.spec.family, **_short(model.card)} for layer, model in models],
        "versions": versions("tmsjax", "jax", "jaxlib", "numpy", "zarr", "nibabel"),
    }
    return json.loads(json.dumps(summary, default=str)), thresholds_files.table(rows, options, device)


def _sample(options, folder: Path, head, field, pose, centre, models, device, caption: str, stages):
    """Thresholds of a sample of the neurons in a ball of cortex, and their files; the rows of statistics.csv."""
    import tmsjax as tj
    from tmsjax.cli import populations, thresholds_files

    roi = tj.cortex.Roi.ball(centre, options.radius_mm, hemisphere="lh" if populations.is_left(head, centre) else "rh")
    with stages("neurons") as say:
        placed = {
            layer: tj.cortex.place(head, layer, options.sites, roi, options.rotations, options.seed)
            for layer in dict.fromkeys(layer for layer, _ in models)
        }
        where = f"within {options.radius_mm:g} mm of {centre.round(1).tolist()} mm"
        say(f"{sum(map(len, placed.values()))} in {', '.join(placed)}, {where}")
    responses = []
    with stages("thresholds") as say:
        for layer, model in models:
            found = tj.response.thresholds(
                model,
                field,
                placed[layer],
                progress=lambda done, total, cell=model.spec.cell: say(f"{cell}: {done} of {total}"),
            )
            responses.append(tj.response.Response(placed[layer], found, model.spec.cell, model.spec.pulse))
        say(f"{sum(map(len, responses))} predicted by {len(models)} models")
    with stages("files") as say:
        rows = thresholds_files.write(folder, options, head, field, pose, roi, responses, device, caption)
        say(f"{len(list(folder.iterdir()))} files")
    return rows


def _check(options: ThresholdsOptions) -> None:
    """What fits together, before anything is loaded."""
    from tmsjax.cli import gyrus
    from tmsjax.cli.populations import check_counts
    from tmsjax.cli.poses import check_place
    from tmsjax.core.errors import InputError
    from tmsjax.response.recruitment import checked_intensities

    check_place(options)
    check_counts(options)
    if options.gyrus is not None:
        gyrus.check(options)
    if options.field is not None and options.pose is not None:
        raise InputError("--field and --pose", got="both", expected="a field, or the coil's pose to solve for one")
    if options.field_didt is not None and options.field is None:
        raise InputError("--field-didt without --field", got=options.field_didt, expected="the field's file")
    if options.intensities:
        checked_intensities(options.intensities)


def _field(options: ThresholdsOptions, head, coil, say):
    """The field in V/m, the coil's pose (None for a field from a file), the region's centre, and the aim in words."""
    import numpy as np

    import tmsjax as tj
    from tmsjax.cli.demo import induced_along_y
    from tmsjax.cli.poses import held, target_of
    from tmsjax.head import target as find_target

    if options.field is not None:
        field = tj.efield.load_field(options.field, options.field_didt)
        where, aim = target_of(options, head)
        turned = dataclasses.replace(field, values=-field.values) if options.direction == "AP" else field
        return turned, None, np.asarray(find_target(head, where)), f"field {options.field.name}, {aim}"
    pose, aim = held(options, head, coil)
    say("solving for the potentials")
    forwards = 1.0 if options.direction == "PA" else -1.0
    field = tj.efield.solve(head, coil, pose, didt=forwards * induced_along_y(coil, pose))
    if options.pose is None:
        return field, pose, np.asarray(find_target(head, target_of(options, head)[0])), aim
    return field, pose, _nearest_cortex(head, np.asarray(pose.centre, float)), aim


def _nearest_cortex(head, point_mm):
    """The vertex of the pial surfaces nearest to a point: the cortex under a coil."""
    import numpy as np

    vertices = np.concatenate([np.asarray(head.surfaces[f"{side}_pial"].vertices, float) for side in ("lh", "rh")])
    return vertices[np.linalg.norm(vertices - point_mm, axis=1).argmin()]


def _short(card: dict[str, Any]) -> dict[str, Any]:
    """What says which model this was."""
    return {name: card.get(name) for name in ("cell", "pulse", "sha256", "data_hash", "licence", "date")}
