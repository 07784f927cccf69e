"""Subjects on disk: our zarr group, and a folder of common files as other programs leave them.

The folder holds ``mask.nii.gz`` (not 0 in the motor cortex), ``responses.csv`` and either ``fields/NAME.nii.gz``, |E|
in V/m on the mask's grid for every stimulation NAME, or ``poses.txt``, ``.xml`` or ``.mat`` (``coil.load_poses``:
Brainsight, Localite, SimNIBS) in the table's order, from which ``compute_fields`` makes them. ``responses.csv`` has one
row a stimulation: ``stimulation`` (NAME), ``intensity_percent`` (of the resting motor threshold), ``didt_a_per_us``
(needed where fields are computed), and a column in mV for each muscle. An empty cell is a missing response, which is
an error and not a zero.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial import KDTree

from tmsjax.coil import Coil, CoilPose, ScalpChart, load_poses
from tmsjax.core.errors import InputError
from tmsjax.efield.posemodel import PoseModel
from tmsjax.io import read_scalar
from tmsjax.mep.types import Subject
from tmsjax.response.labelled import Group, Labelled, read_labelled, write_labelled
from tmsjax.response.sweep_modes import SweepModes, sweep_modes

KIND = "tmsjax mep subject 1"

TABLE_COLUMNS = ("stimulation", "intensity_percent", "didt_a_per_us")
"""Columns of a table of responses that are no muscles."""

IN_REGION = 0.95
"""Of a mask's voxels, at least this share lies in the head's tissue near the pose model's centre."""


class Table(NamedTuple):
    """A table of responses: names (n,), responses (n, m) mV, muscles, per cent of RMT (n,), dI/dt (n,) or None."""

    names: list[str]
    responses: np.ndarray
    muscles: tuple[str, ...]
    intensity_percent: np.ndarray
    didt_a_per_us: np.ndarray | None


def read_responses(path: str | Path) -> Table:
    """Read ``responses.csv``; InputError names the row and column of what is missing, no number or negative."""
    path = Path(path)
    try:
        with path.open(newline="", encoding="utf-8-sig") as handle:
            rows = list(csv.DictReader(handle))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError("table of responses cannot be read", got=f"{path}: {error}", expected="a CSV file") from error
    columns = [name for name in (rows[0] if rows else {}) if name is not None]
    muscles = tuple(name for name in columns if name not in TABLE_COLUMNS)
    missing = [name for name in TABLE_COLUMNS[:2] if name not in columns]
    if not rows or missing or not muscles:
        raise InputError(
            "table of responses", got=f"{path.name} with {len(rows)} rows, columns {columns}",
            expected="stimulation, intensity_percent and a column in mV for each muscle",
        )  # fmt: skip

    def number(row: int, name: str) -> float:
        text = (rows[row].get(name) or "").strip()
        try:
            value = float(text)
        except ValueError:
            value = np.nan
        if not (np.isfinite(value) and value >= 0):
            raise InputError(
                f"response table {path.name}, row {row + 2}, column {name}", got=repr(text),
                expected="a number, 0 or more",
                mend="leave the muscle or the stimulation out, or write 0 for no response",
            )  # fmt: skip
        return value

    def column(name: str) -> np.ndarray:
        return np.array([number(row, name) for row in range(len(rows))])

    return Table(
        [(row["stimulation"] or "").strip() for row in rows],
        np.stack([column(name) for name in muscles], 1),
        muscles,
        column("intensity_percent"),
        column("didt_a_per_us") if "didt_a_per_us" in columns else None,
    )


def save_subject(subject: Subject, path: str | Path) -> Path:
    """Write a subject as a zarr group (xarray opens it), whole or not at all; InputError where something is there."""
    n = "stimulation"
    arrays = {
        "field": Labelled((n, "voxel"), subject.fields, {"units": "V/m", "long_name": "|E| at the intensity given"}),
        "response": Labelled((n, "muscle"), subject.responses, {"units": "mV", "long_name": "peak-to-peak MEP"}),
        "intensity_percent": Labelled((n,), subject.intensity_percent, {"units": "% of resting motor threshold"}),
        "index": Labelled(("voxel", "axis"), np.argwhere(subject.mask).astype(np.int16)),
        "affine": Labelled(("row", "column"), subject.affine, {"units": "mm"}),
    }
    if subject.poses is not None:
        arrays["matsimnibs"] = Labelled((n, "row", "column"), subject.poses)
    if subject.didt_a_per_us is not None:
        arrays["didt_a_per_us"] = Labelled((n,), subject.didt_a_per_us, {"units": "A/us"})
    about = {
        "kind": KIND, "name": subject.name, "synthetic": subject.synthetic, "note": subject.note,
        "shape": list(subject.mask.shape),
    }  # fmt: skip
    return write_labelled(path, Group(arrays, {"muscle": Labelled(("muscle",), np.array(subject.muscles))}, about))


def load_subject(path: str | Path) -> Subject:
    """Read a subject: what ``save_subject`` wrote, or a folder as described above that has its fields.

    Raises InputError for anything else, and for what ``Subject`` refuses.
    """
    path = Path(path)
    if not (path / "zarr.json").is_file():
        return _of_folder(path)
    arrays, attrs = read_labelled(path)
    if attrs.get("kind") != KIND:
        raise InputError("this is no subject", got=f"{path}: {attrs.get('kind')}", expected=KIND)
    mask = np.zeros(attrs["shape"], bool)
    mask[tuple(arrays["index"].astype(int).T)] = True
    return Subject(
        arrays["field"], mask, arrays["affine"], arrays["response"], arrays["intensity_percent"],
        tuple(arrays["muscle"].tolist()), arrays.get("matsimnibs"), arrays.get("didt_a_per_us"), attrs["name"],
        attrs["synthetic"], attrs["note"],
    )  # fmt: skip


def _of_folder(path: Path) -> Subject:
    if not (path / "mask.nii.gz").is_file() or not (path / "responses.csv").is_file():
        raise InputError(
            "this is no subject", got=path, expected="a zarr group of tmsjax, or mask.nii.gz and responses.csv",
        )  # fmt: skip
    mask, affine = read_scalar(path / "mask.nii.gz")
    table, fields = read_responses(path / "responses.csv"), []
    if not (path / "fields").is_dir():
        raise InputError(
            "this subject has no fields", got=f"{path} without fields/", expected="fields/NAME.nii.gz, V/m",
            mend="tmsjax mep train --pose-model FOLDER computes them from poses; or tmsjax.mep.compute_fields",
        )  # fmt: skip
    for name in table.names:
        values, grid = read_scalar(path / "fields" / f"{name}.nii.gz")
        if values.shape != mask.shape or not np.allclose(grid, affine, atol=1e-3):
            raise InputError(
                f"field of stimulation {name} is on another grid than the mask",
                got=f"shape {values.shape}, origin {grid[:3, 3].round(1).tolist()} mm",
                expected=f"shape {mask.shape}, origin {affine[:3, 3].round(1).tolist()} mm",
                mend="is this the mask of another head? tmsjax.io.onto resamples a volume",
            )
        fields.append(values[mask > 0])
    poses = read_poses(path, len(table.names)) if pose_file(path) else None
    return Subject(
        np.array(fields), mask > 0, affine, table.responses, table.intensity_percent, table.muscles, poses,
        table.didt_a_per_us, path.name,
    )  # fmt: skip


def pose_file(path: str | Path) -> Path | None:
    """The file of poses in a subject's folder, if there is one."""
    return next((found for end in (".txt", ".xml", ".mat") if (found := Path(path) / f"poses{end}").is_file()), None)


def read_poses(path: str | Path, count: int) -> np.ndarray:
    """Matrices (count, 4, 4) of a folder's file of poses; InputError where there are more or fewer than responses."""
    file = pose_file(path)
    if file is None:
        raise InputError("this subject has no poses", got=path, expected="poses.txt, poses.xml or poses.mat")
    poses = load_poses(file)
    if len(poses) != count:
        raise InputError(
            "poses and responses do not pair up", got=f"{len(poses)} poses in {file.name}, {count} rows of responses",
            expected="one pose a row, in the same order", mend="leave out stimulations that were not tracked from both",
        )  # fmt: skip
    return np.stack([named.pose.matrix for named in poses]).astype(float)


def compute_fields(path: str | Path, coil: Coil, model: PoseModel) -> Subject:
    """The subject of a folder that has poses and no fields: they are computed by a pose model of its own head.

    Raises InputError for a folder without dI/dt or poses, poses that the model does not cover, and a mask that does
    not lie in the model's region (one of another head).
    """
    path = Path(path)
    mask, affine = read_scalar(path / "mask.nii.gz")
    table = read_responses(path / "responses.csv")
    if table.didt_a_per_us is None:
        raise InputError("responses.csv", got="no column didt_a_per_us", expected="dI/dt of each pulse, A/us")
    matrices = read_poses(path, len(table.names))
    points = np.argwhere(mask > 0) @ affine[:3, :3].T + affine[:3, 3]
    fields = fields_at(model, coil, matrices, points) * table.didt_a_per_us[:, None]
    return Subject(
        fields, mask > 0, affine, table.responses, table.intensity_percent, table.muscles, matrices,
        table.didt_a_per_us, path.name, note=f"fields: pose model, {coil.name}",
    )  # fmt: skip


def fields_at(model: PoseModel, coil: Coil, matrices: np.ndarray, points_mm: np.ndarray) -> np.ndarray:
    """|E| (n, v) in V/m per A/us at points (v, 3) of n poses; InputError as ``compute_fields``."""
    modes = modes_at(model, coil, matrices, points_mm)
    return np.linalg.norm(np.einsum("vcr,nr->nvc", modes.fields, modes.amplitudes, optimize=True), axis=2)


def modes_at(
    model: PoseModel, coil: Coil, matrices: np.ndarray, points_mm: np.ndarray, strict: bool = True
) -> SweepModes:
    """``response.sweep_modes`` of poses at points; InputError for points off the model's region.

    Poses that the model does not cover are refused too where ``strict``.
    """
    inside = np.asarray(model.inside(points_mm))
    if inside.mean() < IN_REGION:
        raise InputError(
            "the mask does not lie in the pose model's region",
            got=f"{int((~inside).sum())} of {len(inside)} voxels outside its tissue",
            expected=f"at least {IN_REGION:.0%} inside",
            mend="is this the mask of another head? Otherwise make a pose model of a larger radius",
        )
    at = np.asarray(points_mm, np.float32)
    if not inside.all():  # a voxel of the rim takes the field of the nearest one inside
        at = at.copy()
        at[~inside] = at[inside][KDTree(at[inside]).query(at[~inside])[1]]
    modes = sweep_modes(model.resampled(at), coil, stacked(matrices))
    if strict and not modes.covered.all():
        raise InputError(
            "poses outside the pose model's domain", got=f"{int((~modes.covered).sum())} of {len(modes.covered)}",
            expected="coils outside the scalp and near the region", mend="leave them out, or make another pose model",
        )  # fmt: skip
    return modes


def stacked(matrices: np.ndarray) -> CoilPose:
    """Matrices (n, 4, 4) as one pose of leading axis n."""
    found = jnp.asarray(matrices, jnp.float32)
    return CoilPose(found[:, :3, :3], found[:, :3, 3])


def matrices_of(poses: CoilPose) -> Float[np.ndarray, "n 4 4"]:
    """A pose of leading axis n as matrices: the inverse of ``stacked``."""
    out = np.tile(np.eye(4), (len(poses.centre), 1, 1))
    out[:, :3, :3], out[:, :3, 3] = poses.rotation, poses.centre
    return out


@jax.jit
def held(chart: ScalpChart, place_mm: Array, handle_deg: Array, gap_mm: Array) -> CoilPose:
    """Coils held over places (n, 2) mm of a chart with handles (n,) degrees, as one pose of leading axis n."""
    return jax.vmap(lambda place, angle: chart.pose(place, angle, gap_mm))(place_mm, handle_deg)
