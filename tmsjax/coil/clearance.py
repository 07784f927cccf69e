"""No part of a coil may be in the head: a check, and a distance to hold it by."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float
from scipy.spatial import ConvexHull, KDTree, QhullError

from tmsjax.coil.types import Coil, CoilPose
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine
from tmsjax.head import HeadModel, ScalpDistance

FACE_SPACING_MM = 4.0
"""Spacing of the points that fill the casing's face."""


def coil_points(coil: Coil, pose: CoilPose) -> Float[np.ndarray, "n 3"]:
    """World mm (n, 3) of the coil's dipoles and windings."""
    return apply_affine(pose.matrix, np.concatenate([np.asarray(coil.positions), np.asarray(coil.windings)]))


def face_points(coil: Coil) -> Float[np.ndarray, "f 3"]:
    """Points (f, 3) mm, in the coil's frame, on the face of the casing on the head's side.

    The face is the plane z = 0, and where windings are bent further towards the head it follows them: dipoles, windings
    and the origin at max(z, 0), and a grid of ``FACE_SPACING_MM`` between them inside the outline (convex hull) of the
    windings. Coils of fewer than three dipoles, or of dipoles in a row, have no outline to fill.
    """
    solid = np.concatenate([np.asarray(coil.positions, float), np.asarray(coil.windings, float), np.zeros((1, 3))])
    solid[:, 2] = np.maximum(solid[:, 2], 0)
    xy, member = np.unique(solid[:, :2].round(2), axis=0, return_inverse=True)
    depth = np.zeros(len(xy))
    np.maximum.at(depth, member.ravel(), solid[:, 2])
    try:
        sides = ConvexHull(xy).equations  # outward normal and offset of each side
    except (QhullError, ValueError):
        return solid
    axes = [np.arange(low, high, FACE_SPACING_MM) for low, high in zip(xy.min(0), xy.max(0), strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    grid = grid[(grid @ sides[:, :2].T + sides[:, 2] <= 1e-6).all(1)]
    near = KDTree(xy).query(grid, 1)[1]
    return np.concatenate([solid, np.column_stack([grid, depth[near]])])


def in_tissue(head: HeadModel, points_mm: Float[np.ndarray, "p 3"]) -> Bool[np.ndarray, "p"]:  # noqa: UP037
    """(p,) True where the voxel nearest to a point (p, 3) mm holds tissue; False off the grid."""
    labels = np.asarray(head.labels)
    index = np.rint(apply_affine(np.linalg.inv(np.asarray(head.affine, float)), points_mm)).astype(int)
    in_grid = np.all((index >= 0) & (index < labels.shape), axis=1)
    hit = np.zeros(len(index), bool)
    hit[in_grid] = labels[tuple(index[in_grid].T)] > 0
    return hit


def parts_in_tissue(
    head: HeadModel, coil: Coil, pose: CoilPose, face: Float[np.ndarray, "f 3"] | None = None
) -> Float[np.ndarray, "_ 3"]:
    """World mm of the coil's points that lie in tissue: dipoles, windings and the casing's face.

    The face may touch: it is held half a voxel back, since a voxel at the skin reaches that far into the air. ``face``
    is ``face_points(coil)``, if you have it already.
    """
    face = face_points(coil) if face is None else face
    back = np.array([0.0, 0.0, float(head.voxel_mm.max()) / 2])
    points = np.concatenate([coil_points(coil, pose), apply_affine(pose.matrix, face - back)])
    return points[in_tissue(head, points)]


def clearance(
    distance: ScalpDistance, face: Float[np.ndarray, "f 3"], pose: CoilPose, *, softness_mm: float = 0.0
) -> Float[Array, ""]:
    """Signed distance in mm between the scalp of the whole head and the casing's face: negative inside, differentiable.

    The least distance of the face's points; with ``softness_mm`` their smooth minimum
    -s log sum exp(-d / s), which is below it by s log f at most. ``jax.vmap`` over poses.

    Args:
        distance: ``head.scalp_distance(head)``.
        face: (f, 3) mm of the casing in the coil's frame: ``face_points(coil)``.
        pose: where the coil is.
        softness_mm: 0 for the plain minimum, whose gradient is that of the nearest point alone.
    """
    world = jnp.asarray(face, jnp.float32) @ pose.rotation.T + pose.centre
    each = distance.at(world)
    if softness_mm == 0:
        return jnp.min(each)
    return -softness_mm * jax.nn.logsumexp(-each / softness_mm)


def check_outside(head: HeadModel, coil: Coil, pose: CoilPose) -> None:
    """Raise InputError "coil inside the head" if a part of the coil lies in tissue.

    Tested are the dipoles, the windings and the face of the casing (``face_points``: the plane z = 0 of the coil's
    frame, and windings bent beyond it), to half a voxel.
    """
    hit = parts_in_tissue(head, coil, pose)
    if len(hit):
        where = ", ".join(f"{x:.1f}" for x in hit[0])
        raise InputError(
            "coil inside the head",
            got=f"{len(hit)} points of {coil.name} in tissue, the first at ({where}) mm",
            expected="every part of the coil in air, the casing's face (z = 0 of its frame) too",
            mend="move the coil out along its own -z axis, or take a pose from tmsjax.coil.pose_on_scalp",
        )
