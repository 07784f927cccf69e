"""Brainsight's text export: targets and samples, and targets back to it.

Brainsight's coil has x and z turned round (z out of the head): its matrix is ours times diag(-1, 1, -1, 1). Columns
m0n0 to m2n2 are its x, y and z axes one after the other.

"NIfTI:S:Aligned", "NIfTI:Aligned", the same with Scanner or with Q for S, are RAS+ mm of the image's sform or qform,
taken as the head's world frame; where these differ, export the one that nibabel uses (the sform, if there is one).
"World" is DICOM's (LPS), converted. "Brainsight" (the corner of the image) and template spaces (MNI-152, Talairach,
Other-Template) do not lead to the head without the image and are refused.
"""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
from jaxtyping import Float

from tmsjax.coil.named import LPS, NamedPose, finite_numbers, rounded_pose
from tmsjax.core.errors import InputError

AXES = np.diag([-1.0, 1.0, -1.0, 1.0])
"""Brainsight's coil axes in ours, and ours in Brainsight's."""

COLUMNS = ("Loc. X", "Loc. Y", "Loc. Z", *(f"m{i}n{j}" for i in range(3) for j in range(3)))


def read_brainsight(path: Path, lines: list[str]) -> list[NamedPose]:
    """The poses of all targets and samples; InputError for what is not Brainsight's."""
    world, columns, kind, poses = _world(path, lines), None, "", []
    for number, line in enumerate(lines, 1):
        if line.startswith("#"):
            header = line.lstrip("# ").split("\t")
            kind = {"Target Name": "target", "Sample Name": "sample"}.get(header[0].strip(), "")
            columns = [name.strip() for name in header] if kind else None
            missing = [name for name in COLUMNS if name not in columns] if columns else []
            if missing:
                raise InputError(
                    "a Brainsight section lacks columns",
                    got=f"{path.name}:{number} without {missing}",
                    expected="Loc. X, Y, Z and m0n0 to m2n2",
                )
        elif columns and line.strip():
            cells = dict(zip(columns, (cell.strip() for cell in line.split("\t")), strict=False))
            where = f"{path.name}:{number}"
            values = finite_numbers([cells.get(name, "") for name in COLUMNS], where)
            if values is None:  # a sample that was not tracked
                warnings.warn(f"{where}: {cells[columns[0]]!r} has no position, left out", stacklevel=4)
                continue
            matrix = np.eye(4)
            matrix[:3, 3], matrix[:3, :3] = values[:3], values[3:].reshape(3, 3).T
            when = " ".join(cells[name] for name in ("Date", "Time") if cells.get(name))
            name = cells[columns[0]]
            poses.append(NamedPose(name, rounded_pose(world @ matrix @ AXES, f"{where} ({name})"), kind, when))
    return poses


def brainsight_text(poses: list[NamedPose]) -> str:
    """The poses as an export of targets, in NIfTI:Aligned."""
    lines = [
        "# Version: 12",
        "# Coordinate system: NIfTI:Aligned",
        "# Created by: tmsjax",
        "# Units: millimetres, degrees, milliseconds, and microvolts",
        "# Encoding: UTF-8",
        "# Notes: Each column is delimited by a tab. Each value within a column is delimited by a semicolon.",
        "# Target Name\t" + "\t".join(COLUMNS),
    ]
    for named in poses:
        m = named.pose.matrix @ AXES
        cells = [*m[:3, 3], *m[:3, :3].T.ravel()]
        lines.append("\t".join([" ".join(named.name.split()), *(f"{value:.7f}" for value in cells)]))
    return "\n".join(lines) + "\n"


def _world(path: Path, lines: list[str]) -> Float[np.ndarray, "4 4"]:
    """From the coordinate system of a Brainsight export to RAS+ mm of its image."""
    system = next((s.split(":", 1)[1].strip() for s in lines if s.startswith("# Coordinate system:")), "")
    parts = system.lower().split(":")
    if parts[0] == "nifti" and parts[-1] in ("aligned", "scanner") and len(parts) <= 3:
        return np.eye(4)
    if system.lower() == "world":
        return LPS
    raise InputError(
        "coordinate system of a Brainsight export",
        got=f"{system or 'none'} in {path.name}",
        expected="NIfTI:Aligned, NIfTI:Scanner (also with S or Q), or World",
        mend="choose one of these when exporting; 'Brainsight' counts from a corner of the image, which is not known",
    )
