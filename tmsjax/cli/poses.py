"""Poses from files, as commands take them."""

from __future__ import annotations

import json
from pathlib import Path

from tmsjax.coil import CoilPose, load_poses
from tmsjax.core.errors import InputError


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
