"""Fields in files: NIfTI of voxel fields, read back; .msh of mesh fields."""

from __future__ import annotations

from pathlib import Path

import jax.numpy as jnp
import numpy as np

from tmsjax.core.errors import InputError, check_number
from tmsjax.efield.mesh_field import MeshField
from tmsjax.efield.types import EField
from tmsjax.io import read_vector, write_msh, write_vector
from tmsjax.io.reading import checked_path


def save_field(field: EField | MeshField, path: str | Path) -> Path:
    """Write a field, whole or not at all: an ``EField`` to .nii.gz or .nii, a ``MeshField`` to .msh.

    NIfTI: (i, j, k, 3) float32 V/m for the field's dI/dt, along the world's axes whatever the voxels' are, 0 outside;
    dI/dt, residual and tolerance are in a text extension of the header. A .msh has E, magnE and v, as SimNIBS writes
    them (``MeshField.as_msh``); gmsh and SimNIBS open it.
    """
    path = checked_path(path, "a field")
    if not isinstance(field, EField | MeshField):
        raise InputError("this is no field", got=type(field).__name__, expected="an EField or a MeshField")
    if isinstance(field, MeshField):
        if path.suffix != ".msh":
            raise InputError("the name of a mesh's field", got=path.name, expected="NAME.msh")
        return write_msh(path, field.as_msh())
    notes = {
        "didt_a_per_us": float(field.didt),
        "residual": float(field.residual),
        "iterations": int(field.iterations),
        "tolerance": float(field.tolerance),
    }
    return write_vector(
        path, np.asarray(field.values), np.asarray(field.affine), description="E, V/m, RAS+", notes=notes
    )


def load_field(path: str | Path, didt: float | None = None) -> EField:
    """Read an E-field NIfTI of ours or of another program (SimNIBS's subject volumes) back into an ``EField``.

    The mask is where the field is finite and not zero. Components must be along the world's axes, as ours and
    SimNIBS's are.

    Args:
        path: NIfTI of (i, j, k, 3) or (i, j, k, 1, 3), V/m.
        didt: A/us that the values belong to. Our files say it themselves; SimNIBS's do not, and its dI/dt is in A/s
            (1e6 A/s, its default, is 1 A/us).

    Returns:
        The field on the grid of the closest RAS+ axes. Of a file that does not say its residual this is NaN, and
        ``status`` is "unknown".

    Raises:
        InputError: an unreadable file, no field in it, or nothing that says its dI/dt.
    """
    values, affine, notes = read_vector(path)
    if didt is None and "didt_a_per_us" not in notes:
        raise InputError(
            "the file does not say which dI/dt its field belongs to",
            got=path,
            expected="A/us",
            mend="load_field(path, didt=1.0); SimNIBS's default, 1e6 A/s, is 1 A/us",
        )
    rate = check_number(notes["didt_a_per_us"] if didt is None else didt, "didt", unit="A/us")
    mask = np.isfinite(values).all(axis=-1) & (values != 0).any(axis=-1)
    if not mask.any():
        raise InputError("there is no field in the file", got=path, expected="V/m that are not all zero or NaN")
    return EField(
        values=jnp.asarray(np.where(mask[..., None], values, 0)),
        mask=jnp.asarray(mask),
        affine=jnp.asarray(affine, float),
        residual=jnp.asarray(notes.get("residual", np.nan), float),
        iterations=jnp.asarray(notes.get("iterations", 0)),
        tolerance=float(notes.get("tolerance", 0.0)) if "residual" in notes else 0.0,
        didt=jnp.asarray(rate, float),
    )
