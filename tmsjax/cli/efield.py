"""``tmsjax efield``: the E-field of a coil in a head, and files of it that other programs open."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from tmsjax.cli.places import PlaceOptions
from tmsjax.core.versions import versions


@dataclasses.dataclass(frozen=True)
class EfieldOptions(PlaceOptions):
    """The E-field of a coil in a head, as NIfTI, GIFTI and (of a mesh) SimNIBS's .msh.

    Example: tmsjax efield --head ernie.msh --engine mesh --coil MagVenture_MC_B70 --target C3 --out C3
    """

    out: Path = Path("tmsjax-efield")
    """Folder for the files; it must not exist."""
    pose: Path | None = None
    """A file with the pose itself instead of a target: SimNIBS's matsimnibs (text, .json, .mat), Brainsight's text or
    Localite's XML. Poses are of the coil's centre in mm, columns x, y (handle axis), z (into the head)."""
    pose_name: str | None = None
    """Which pose, where the file has several."""
    handle_deg: float = 45.0
    """Angle of the coil's handle to the midline, backwards and outwards."""
    gap_mm: float = 2.0
    """Distance between coil and scalp."""
    hair_mm: float = 0.0
    """Thickness of hair, which comes on top of the gap."""
    didt: float = 1.0
    """Rate of change of the coil's current in A/us. SimNIBS's is in A/s: its 1e6 is 1 here."""
    engine: Literal["voxel", "mesh"] = "voxel"
    """Finite differences on voxels, or first-order elements on the tetrahedra of a .msh."""
    conductivity: dict[int, float] = dataclasses.field(default_factory=dict)
    """Label (of a mesh: tag) and S/m, as often as you like, in place of the defaults: --conductivity 5 0.465 4 0.008"""
    conductivity_map: Path | None = None
    """NIfTI of S/m (0 in air) instead of the labels' conductivities; voxel engine only."""
    dti: Path | None = None
    """NIfTI of diffusion tensors (six volumes) that turn white matter's conductivity, volume-normalised."""
    dti_convention: Literal["fsl", "voxel", "mrtrix"] = "fsl"
    """Axes and order of the tensors: of dtifit and dwi2cond, the same in the voxels' own axes, of dwi2tensor."""
    voxel_mm: float | None = None
    """Voxels that a .msh is turned into, and of the NIfTI written from it; 1 mm if left out."""
    tissues: dict[int, int] = dataclasses.field(default_factory=dict)
    """Tag and label of the voxels that a .msh is turned into, for tags that are not SimNIBS's: --tissues 3 2"""
    coarsen: int = 1
    """Solve on voxels this many times larger; voxel engine only."""
    reorder: bool = False
    """Turn a mesh's inverted tetrahedra round instead of refusing them."""
    tolerance: float | None = None
    """Relative residual to reach; 1e-4 on voxels, 1e-6 on a mesh if left out."""


def efield(options: Annotated[EfieldOptions, tyro.conf.arg(name="")]) -> None:
    """The E-field of a coil in a head, as NIfTI, GIFTI and (of a mesh) SimNIBS's .msh.

    Example: tmsjax efield --head ernie.msh --engine mesh --coil MagVenture_MC_B70 --target C3 --out C3
    """
    from rich.console import Console

    import tmsjax.efield  # noqa: F401 (before Stages: see catch_interrupts)
    from tmsjax.cli.stages import Stages
    from tmsjax.core.errors import InputError
    from tmsjax.core.files import staged_folder

    if options.out.exists():
        raise InputError(
            "nothing is overwritten", got=f"{options.out} exists", expected="a new folder", mend="another --out"
        )
    console = Console()
    stages = Stages(console)
    with staged_folder(options.out) as folder:
        summary = _run(options, folder, stages)
        summary["seconds"] = stages.seconds
        summary["files"] = sorted([*(item.name for item in folder.iterdir()), "efield.json"])
        (folder / "efield.json").write_text(json.dumps(summary, indent=2) + "\n")
    for tissue, row in summary["magnE_v_per_m"].items():
        console.print(
            f"|E| in {tissue:<28} median {row['median']:7.3f}, 99 % below {row['p99']:7.3f} V/m", highlight=False
        )
    console.print(f"V/m for dI/dt = {options.didt:g} A/us ({options.didt * 1e6:g} A/s)", highlight=False)
    console.print(f"Wrote to {options.out}: {', '.join(summary['files'])}", highlight=False, markup=False)


def _run(options: EfieldOptions, folder: Path, stages) -> dict[str, Any]:
    import numpy as np

    import tmsjax as tj
    from tmsjax.cli import efield_files
    from tmsjax.cli.poses import held

    _check(options)
    with stages("head") as say:
        head, mesh, surfaces = _load(options)
        name = (mesh if head is None else head).name
        said = [] if head is None else [f"{' x '.join(map(str, head.labels.shape))} voxels"]
        said += [] if mesh is None else [f"{len(mesh.tags)} tetrahedra"]
        say(f"{name}: {', '.join(said)}, {'no' if surfaces is None else len(surfaces)} cortical surfaces")
    with stages("coil") as say:
        coil = tj.coil.load(options.coil)
        pose, aim = held(options, head, coil)
        say(f"{coil.name} {aim}, centre at {np.asarray(pose.centre).round(1).tolist()} mm")
    with stages("field") as say:
        say("solving for the potentials")
        field, medium, about = (
            _on_mesh(options, mesh, coil, pose) if options.engine == "mesh" else _on_voxels(options, head, coil, pose)
        )
        say(f"{field.status}: residual {float(field.residual):.1e} after {int(field.iterations)} iterations{about}")
    with stages("files") as say:
        magnitudes = efield_files.write(folder, options, field, head, mesh, surfaces, pose)
        say(", ".join(sorted(item.name for item in folder.iterdir())))
    return {
        "head": {"name": name, "source": options.head, "shape": None if head is None else list(head.labels.shape)},
        "engine": options.engine,
        "coil": {"name": coil.name, "dipoles": len(coil.positions)},
        "pose": {"matsimnibs": np.asarray(pose.matrix).tolist(), "unit": "mm", "how": aim},
        "didt": {"a_per_us": options.didt, "a_per_s": options.didt * 1e6},
        **medium,
        "unit": "V/m for this dI/dt, components along scanner RAS+",
        "status": field.status,
        "residual": float(field.residual),
        "tolerance": float(field.tolerance),
        "iterations": int(field.iterations),
        "magnE_v_per_m": magnitudes,
        "versions": versions("tmsjax", "jax", "jaxlib", "numpy", "scipy", "nibabel", "pyamg"),
    }


def _check(options: EfieldOptions) -> None:
    """What fits together, before anything is loaded."""
    from tmsjax.cli.poses import check_place
    from tmsjax.core.errors import InputError

    check_place(options)
    whole = Path(options.head).suffix == ".msh"
    if options.engine == "mesh" and not whole:
        raise InputError("--engine mesh needs tetrahedra", got=options.head, expected="a .msh", mend="--engine voxel")
    only_voxels = {"--conductivity-map": options.conductivity_map is not None, "--coarsen": options.coarsen != 1}
    wrong = [name for name, used in only_voxels.items() if used]
    if options.engine == "mesh" and wrong:
        raise InputError("these belong to the voxel engine", got=", ".join(wrong), expected="--engine voxel")
    beside = {"--dti": options.dti, "--coarsen": options.coarsen != 1, "--conductivity": options.conductivity}
    also = [name for name, used in beside.items() if used]
    if options.conductivity_map is not None and also:
        raise InputError(
            "--conductivity-map stands alone", got=f"{' and '.join(also)} too", expected="the map, which says it all"
        )
    if not whole and (options.voxel_mm is not None or options.reorder or options.tissues):
        raise InputError("--voxel-mm, --tissues and --reorder are for meshes", got=options.head, expected="a .msh")


def _load(options: EfieldOptions) -> tuple[Any, Any, Any]:
    """The head as voxels, as a mesh, its surfaces; None of what there is not, or is not needed."""
    from tmsjax.head import load, load_mesh, load_surfaces

    whole = Path(options.head).suffix == ".msh"
    head: Any = None
    mesh: Any = None
    surfaces = None
    # A pose and a mesh need no voxels; a target needs the scalp, which is found on voxels.
    if options.engine == "voxel" or options.pose is None:
        own: dict[str, Any] = {"tissues": options.tissues, "voxel_mm": options.voxel_mm, "reorder": options.reorder}
        head = load(
            options.head,
            surfaces=options.surfaces,
            conductivity=options.conductivity,
            mni_to_head=options.mni_to_head,
            **(own if whole else {}),
        )
        surfaces = head.surfaces
    elif options.surfaces is not None:
        surfaces = load_surfaces(options.surfaces)
    if whole:
        mesh = load_mesh(options.head, conductivity=options.conductivity, reorder=options.reorder)
    _check_tissues(options, mesh.tags if options.engine == "mesh" else head.labels)
    return head, mesh, surfaces


def _check_tissues(options: EfieldOptions, tissues) -> None:
    """Conductivities of tissues that are not there change nothing: a label mistyped."""
    import numpy as np

    from tmsjax.core.errors import InputError

    present = np.unique(tissues)
    missing = [label for label in options.conductivity if label not in present]
    if missing:
        raise InputError(
            "--conductivity of a tissue that the head does not have",
            got=missing,
            expected=f"labels or tags that are there: {present[present > 0].tolist()}",
        )


def _on_mesh(options: EfieldOptions, mesh, coil, pose):
    """The field, what the summary says of the conductivity, and what is printed of it."""
    import tmsjax as tj
    from tmsjax.cli import efield_medium

    medium = efield_medium.of_mesh(options, mesh)
    tolerance = 1e-6 if options.tolerance is None else options.tolerance
    found = tj.efield.solve_mesh(mesh, coil, pose, options.didt, conductivity=medium.sigma, tolerance=tolerance)
    return found, medium.facts, medium.about


def _on_voxels(options: EfieldOptions, head, coil, pose):
    """As ``_on_mesh``."""
    import tmsjax as tj
    from tmsjax.cli import efield_medium
    from tmsjax.coil.clearance import check_outside

    tolerance = 1e-4 if options.tolerance is None else options.tolerance
    medium = efield_medium.of_voxels(options, head)
    if medium.sigma is None:
        found = tj.efield.solve(head, coil, pose, options.didt, tolerance=tolerance, coarsen=options.coarsen)
        return found, medium.facts, medium.about
    for conductor in medium.conductors:
        check_outside(conductor, coil, pose)
    found = tj.efield.solve_conductivity(
        medium.sigma, medium.mask, medium.affine, coil, pose, options.didt, tolerance=tolerance
    )
    return found, medium.facts, medium.about
