"""No part of a coil may be in the head."""

from __future__ import annotations

import numpy as np

from tmsjax.coil.types import Coil, CoilPose
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine
from tmsjax.head import HeadModel


def coil_points(coil: Coil, pose: CoilPose) -> np.ndarray:
    """World mm (n, 3) of everything of the coil that must stay outside: dipoles and windings."""
    return apply_affine(pose.matrix, np.concatenate([np.asarray(coil.positions), np.asarray(coil.windings)]))


def check_outside(head: HeadModel, coil: Coil, pose: CoilPose) -> None:
    """Raise InputError "coil inside the head" if a dipole or winding point of the coil lies in tissue."""
    points = coil_points(coil, pose)
    labels = np.asarray(head.labels)
    index = np.rint(apply_affine(np.linalg.inv(np.asarray(head.affine, float)), points)).astype(int)
    in_grid = np.all((index >= 0) & (index < labels.shape), axis=1)
    hit = np.zeros(len(points), bool)
    hit[in_grid] = labels[tuple(index[in_grid].T)] > 0
    if hit.any():
        where = ", ".join(f"{x:.1f}" for x in points[hit][0])
        raise InputError(
            "coil inside the head",
            got=f"{int(hit.sum())} of {len(points)} points of {coil.name} in tissue, the first at ({where}) mm",
            expected="every part of the coil in air",
            mend="move the coil out along its own -z axis, or take a pose from tmsjax.coil.pose_on_scalp",
        )
