"""Poses from neuronavigation and for it: Brainsight's text, Localite's XML, SimNIBS's matrices.

Every file is in the world frame of the T1 that the navigator was given, which must be the head's. Coil frames differ:
here, as in SimNIBS, x runs across the wings, y along the handle away from the grip, z into the head; ``brainsight`` and
``localite`` say how theirs do. Files are read as SimNIBS 4.1 reads them (simnibs/utils/nnav.py: facts, no code; of
Brainsight's it takes NIfTI:Aligned only). Its Brainsight writer is not followed: that turns the axes of the world where
its reader turns the coil's (from the left, not from the right), so it does not read what it writes; it and we read what
is written here. A file of either program was not at hand.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tmsjax.coil.brainsight import brainsight_text, read_brainsight
from tmsjax.coil.localite import localite_text, read_localite
from tmsjax.coil.named import NamedPose, rounded_pose
from tmsjax.coil.types import CoilPose
from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file

SESSION_SECONDS = 120
"""A .mat file that takes longer than this to read is refused."""


def load_poses(path: Any) -> list[NamedPose]:
    """Read the poses of a neuronavigation file.

    - ``.txt``: Brainsight's export (begins with "# Version"), or SimNIBS's matrices: rows of four numbers, four rows a
      matrix (``numpy.savetxt`` of a ``matsimnibs``).
    - ``.xml``: Localite's TriggerMarkers or InstrumentMarkers. Markers of an untracked coil (no position) are left out
      with a warning.
    - ``.mat``: a SimNIBS session (``poslist{..}.pos(..).matsimnibs``), or one variable ``matsimnibs``; read in a
      process of its own, since a damaged one may crash SciPy's reader.

    Raises:
        InputError: a missing or malformed file, a coordinate system that does not lead to the head, no pose in it, or
            a matrix that is no rotation.
    """
    source = Path(path) if isinstance(path, str | os.PathLike) else Path("")
    readers = {".txt": _read_text, ".xml": read_localite, ".mat": _read_session}
    if source.suffix.lower() not in readers or not source.is_file():
        raise InputError(
            "there is no such file of poses",
            got=repr(path) if not isinstance(path, str | os.PathLike) else str(path),
            expected="a file: Brainsight or matrices (.txt), Localite (.xml), SimNIBS session (.mat)",
        )
    poses = readers[source.suffix.lower()](source)
    if not poses:
        raise InputError("the file holds no pose", got=source.name, expected="one pose or more")
    return poses


def save_poses(
    poses: Sequence[NamedPose | CoilPose] | NamedPose | CoilPose, path: str | os.PathLike[str], form: str
) -> None:
    """Write poses for a navigator or for SimNIBS; the file appears whole or not at all.

    Args:
        poses: one pose or several, with a name (``NamedPose``) or without.
        path: the file, with the suffix of its form (.txt, .xml, .txt).
        form: "brainsight" (targets, NIfTI:Aligned), "localite" (InstrumentMarkers, RAS) or "matsimnibs".

    Raises:
        InputError: an unknown form, the suffix of another, no poses, something else, or a place that cannot be written.
    """
    writers = {"brainsight": (brainsight_text, ".txt"), "localite": (localite_text, ".xml"),
               "matsimnibs": (_matrix_text, ".txt")}  # fmt: skip
    given = [poses] if isinstance(poses, NamedPose | CoilPose) else poses
    if not isinstance(given, list | tuple) or not all(isinstance(pose, NamedPose | CoilPose) for pose in given):
        raise InputError("poses to write", got=repr(poses)[:80], expected="a CoilPose, a NamedPose, or a list of them")
    bare = "pose_{}" if len(given) > 1 else "pose"
    named = [NamedPose(bare.format(i), pose) if isinstance(pose, CoilPose) else pose for i, pose in enumerate(given)]
    if form not in writers:
        raise InputError("poses are not written in this form", got=repr(form), expected=", ".join(writers))
    write, suffix = writers[form]
    target = Path(path) if isinstance(path, str | os.PathLike) else Path("")
    if target.suffix.lower() != suffix or not named:
        raise InputError(
            f"poses for {form}", got=f"{len(named)} poses to {target.name}", expected=f"1 or more, {suffix}"
        )
    text = write(named)
    with staged_file(target) as staged:
        staged.write_text(text, encoding="utf-8")


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError("file of poses cannot be read", got=f"{path.name}: {error}", expected="UTF-8 text") from error


def _read_text(path: Path) -> list[NamedPose]:
    lines = _lines(path)
    if any(line.startswith("# Version") for line in lines[:5]):
        return read_brainsight(path, lines)
    rows = [line.split("#")[0].replace(",", " ").split() for line in lines]
    try:
        table = np.array([row for row in rows if row], float)
    except ValueError:
        table = np.zeros((0, 0))
    if table.ndim != 2 or table.shape[1:] != (4,) or len(table) % 4:
        raise InputError(
            "matrices cannot be read",
            got=f"{path.name} with {sum(map(bool, rows))} rows",
            expected="rows of four numbers, four rows a matrix; or Brainsight's export, from '# Version' on",
        )
    names = [path.stem] if len(table) == 4 else [f"{path.stem}_{i}" for i in range(len(table) // 4)]
    matrices = table.reshape(-1, 4, 4)
    return [NamedPose(name, rounded_pose(m, f"matrix of {name}")) for name, m in zip(names, matrices, strict=True)]


def _matrix_text(poses: list[NamedPose]) -> str:
    blocks = []
    for named in poses:
        rows = "\n".join(" ".join(f"{value:.9e}" for value in row) for row in named.pose.matrix)
        blocks.append(f"# {' '.join(named.name.split())}\n{rows}")
    return "\n".join(blocks) + "\n"


def _read_session(path: Path) -> list[NamedPose]:
    """Poses of a .mat file, read by another process (``matlab_session``): a damaged file may crash it."""
    program = Path(__file__).with_name("matlab_session.py")
    answer: dict[str, Any]
    try:
        # -P: the program's folder holds modules named as some of the standard library's.
        ended = subprocess.run(
            [sys.executable, "-P", str(program), str(path)],
            capture_output=True, text=True, timeout=SESSION_SECONDS, check=False,
        )  # fmt: skip
        answer = (
            json.loads(ended.stdout)
            if ended.returncode == 0
            else {"error": f"crash of SciPy's reader ({ended.returncode})"}
        )
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        answer = {"error": str(error)}
    if "error" in answer:
        raise InputError(
            "file of poses cannot be read",
            got=f"{path.name}: {answer['error']}",
            expected="a whole .mat file of SimNIBS, not of version 7.3",
        )
    poses = []
    for entry in answer["poses"]:
        name = entry["name"] or f"{path.stem}_{entry['index']}"
        rate = entry["didt"] * 1e-6 if entry["didt"] else None
        poses.append(
            NamedPose(name, rounded_pose(np.array(entry["matrix"], float), f"matsimnibs of {name}"), didt=rate)
        )
    return poses
