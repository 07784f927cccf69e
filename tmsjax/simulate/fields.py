"""Fields at a cell's compartments: uniform directions, and any field that is a function of the place."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from jaxtyping import Float
from numpy import ndarray

from tmsjax.cells.types import CableModel
from tmsjax.core.errors import InputError, check_number

LEAST_STEP_DEG = 0.1
"""Of a grid of directions: 6 million of them."""


def uniform_directions(theta_step_deg: float = 15.0, phi_step_deg: float = 10.0) -> Float[ndarray, "k 3"]:
    """Unit vectors (k, 3) in the cell's frame: +z, then rings of rising polar angle (phi from +x), then -z.

    The defaults give the 398 directions of Aberra et al. (2020, Brain Stimul 13:175); 5, 5 a grid of 2,522.

    Raises:
        InputError: a step below 0.1 degrees, or that does not divide 180 (polar) or 360 degrees (azimuth).
    """
    steps = []
    for name, step, span in (("theta_step_deg", theta_step_deg, 180.0), ("phi_step_deg", phi_step_deg, 360.0)):
        step = check_number(step, f"grid of directions: {name}", LEAST_STEP_DEG, span, unit="degrees")
        count = span / step
        if abs(count - round(count)) > 1e-9 * count:
            raise InputError(f"grid of directions: {name}", got=step, expected=f"a positive divisor of {span:g}")
        steps.append(round(count))
    theta = np.deg2rad(np.arange(1, steps[0]) * theta_step_deg)[:, None]
    phi = np.deg2rad(np.arange(steps[1]) * phi_step_deg)[None]
    ring = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], axis=-1)
    return np.concatenate([[[0.0, 0.0, 1.0]], ring.reshape(-1, 3), [[0.0, 0.0, -1.0]]])


def fields_at(
    field: Callable[[Float[ndarray, "p 3"]], ndarray],
    cable: CableModel,
    positions_mm: Float[ndarray, ...],
    rotations: Float[ndarray, ...],
) -> Float[ndarray, "k n 3"]:
    """A field (V/m) at every compartment of k copies of a cell, along each copy's own axes.

    Args:
        field: points (p, 3) in mm of the world -> E (p, 3) there: a formula, or a sampler such as
            ``lambda points: efield.at(points, outside="nan")`` of a voxel or mesh field. NaN where it is not known:
            ``thresholds`` then gives that copy a status, and no threshold.
        cable: the cell. positions_mm: of the somata (k, 3). rotations: their axes as columns (k, 3, 3).

    Raises:
        InputError: shapes that do not fit, a matrix that is no rotation, a field of the wrong shape.
    """
    positions, rotations = np.asarray(positions_mm, float), np.asarray(rotations, float)
    if positions.ndim != 2 or positions.shape[1] != 3 or rotations.shape != (len(positions), 3, 3):
        raise InputError(
            "where the cells are", got=f"{positions.shape} and {rotations.shape}", expected="(k, 3) mm and (k, 3, 3)"
        )
    square = np.einsum("kij,kil->kjl", rotations, rotations)
    if not (np.allclose(square, np.eye(3), atol=1e-4) and (np.linalg.det(rotations) > 0).all()):
        raise InputError("axes of the cells", got="a matrix that is no rotation", expected="right-handed unit axes")
    offsets = np.asarray(cable.xyz_um, float) / 1e3
    out = np.empty((len(positions), cable.n, 3))
    for k, (position, rotation) in enumerate(zip(positions, rotations, strict=True)):
        values = np.asarray(field(position + offsets @ rotation.T), float)
        if values.shape != (cable.n, 3):
            raise InputError("the field at a cell's compartments", got=values.shape, expected=(cable.n, 3))
        out[k] = values @ rotation
    return out
