"""Poses as commands take them: over a target, or from a file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tmsjax.coil import CoilPose, load_poses
from tmsjax.core.errors import InputError

KNOB = "hand_knob_left"
"""Target if none is given."""

PLACES = ("target", "target_mm", "mni_mm", "pose")
"""Options that say where a coil is held: at most one is given."""


def check_place(options: Any) -> None:
    """InputError for several places, or the name of a pose without its file."""
    given = [f"--{name.replace('_', '-')}" for name in PLACES if getattr(options, name, None) is not None]
    if len(given) > 1:
        raise InputError("several places for the coil", got=", ".join(given), expected="one of them")
    name = getattr(options, "pose_name", None)
    if name is not None and options.pose is None:
        raise InputError("--pose-name without --pose", got=name, expected="the file that has it")


def target_of(options: Any, head: Any) -> tuple[Any, str]:
    """What ``head.target`` takes (a place, a landmark, an electrode), and where that is in words."""
    import tmsjax as tj

    if options.target_mm is not None:
        return options.target_mm, f"over {list(options.target_mm)} mm"
    if options.mni_mm is not None:
        return tj.head.from_mni(head, options.mni_mm), f"over MNI152 {list(options.mni_mm)} mm"
    target = options.target or KNOB
    return target, f"over {target.replace('_', ' ')}"


def held(options: Any, head: Any, coil: Any) -> tuple[CoilPose, str]:
    """The coil's pose from the options ``PLACES``, handle_deg, gap_mm and hair_mm, and how it was found."""
    import tmsjax as tj

    if options.pose is not None:
        found, name = pose_of_file(options.pose, options.pose_name)
        return found, f"as {options.pose.name} has it" + (f" ({name})" if name else "")
    target, where = target_of(options, head)
    pose = tj.coil.pose_on_scalp(
        head, target, handle_deg=options.handle_deg, gap_mm=options.gap_mm, hair_mm=options.hair_mm, coil=coil
    )
    off = f"{options.gap_mm:g} mm off the scalp" + (f" and {options.hair_mm:g} mm of hair" if options.hair_mm else "")
    return pose, f"{where}, handle {options.handle_deg:g}° to the midline, {off}"


def pose_of_file(path: Path, name: str | None = None) -> tuple[CoilPose, str]:
    """The pose of a file, and its name there ("" if it has none).

    JSON: a 4x4 matrix, or an object with it as "matsimnibs", by itself or in "pose" (what ``tmsjax efield`` writes).
    Everything else as ``tmsjax.coil.load_poses`` reads it.

    Raises:
        InputError: an unreadable file, a matrix that is no rotation, several poses and no ``name``, or none of it.
    """
    if path.suffix.lower() == ".json":
        return CoilPose.from_matrix(_matrix(path)), ""
    poses = load_poses(path)
    if name is not None:
        poses = [pose for pose in poses if pose.name == name]
    if len(poses) != 1:
        names = ", ".join(repr(pose.name) for pose in load_poses(path)[:20])
        raise InputError(
            "which pose of the file?",
            got=f"{len(poses)} poses" + (f" named {name!r}" if name is not None else "") + f" in {path.name}",
            expected=f"one of them: {names}",
            mend="--pose-name NAME",
        )
    return poses[0].pose, poses[0].name


def _matrix(path: Path) -> list:
    expected = 'a 4x4 matrix, or {"matsimnibs": matrix}'
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError("the pose cannot be read", got=f"{path}: {error}", expected=expected) from error
    if isinstance(found, dict):
        found = found.get("pose", found)
    if isinstance(found, dict):
        found = found.get("matsimnibs")
    if not isinstance(found, list):
        raise InputError("the file holds no pose", got=path, expected=expected)
    return found
