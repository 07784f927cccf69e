"""Poses on the scalp."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from numpy.typing import ArrayLike
from scipy.spatial import KDTree

from tmsjax.coil.clearance import coil_points
from tmsjax.coil.library import load
from tmsjax.coil.types import Coil, CoilPose
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import check_finite
from tmsjax.head import HeadModel, Surface, scalp_surface, signed_distance, vertex_normals

NORMAL_RADIUS_MM = 10.0
"""The scalp's normal is the mean over this radius: a coil is held against a patch, not a point."""

MAX_LIFT_MM = 30.0
"""How far a coil is lifted before its wings are said not to fit."""


def pose_on_scalp(
    head: HeadModel,
    target_mm: ArrayLike,
    handle_deg: float = 45.0,
    gap_mm: float = 2.0,
    *,
    coil: Coil | None = None,
    scalp: Surface | None = None,
) -> CoilPose:
    """Hold a coil tangentially on the scalp over a target.

    The centre of the casing's face lies ``gap_mm`` out along the scalp's normal from the scalp point nearest to the
    target, and further out if that is what it takes to keep every winding ``gap_mm`` from the scalp. The handle
    points backwards along the midline at 0 degrees, backwards and away from the midline (by the sign of the scalp
    point's x) at 45, so the y axis points forwards and towards the midline.

    Args:
        head: the head.
        target_mm: (3,) RAS+ mm.
        handle_deg: angle of the handle from the midline, in degrees.
        gap_mm: distance from the scalp in mm, at least 0.
        coil: whose windings must clear the head; the MC-B70 if not given.
        scalp: ``scalp_surface(head)``, if you have it already.

    Raises:
        InputError: the target is not three finite numbers, the gap is negative, the midline's direction is undefined
            (scalp facing straight forwards or backwards), or no lift clears the head ("coil inside the head").
    """
    target = check_finite(target_mm, (3,), "target")
    if not (np.isfinite(gap_mm) and gap_mm >= 0):
        raise InputError("gap between coil and scalp", got=gap_mm, expected="mm, 0 or more")
    if not np.isfinite(handle_deg):
        raise InputError("angle of the handle", got=handle_deg, expected="degrees")
    coil = load("MagVenture_MC_B70") if coil is None else coil
    scalp = scalp_surface(head) if scalp is None else scalp
    point, normal = nearest_scalp_point(scalp, target)
    rotation = tangential_frame(normal, handle_deg, side=-1.0 if point[0] < 0 else 1.0)

    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    lift, clearance = gap_mm, -np.inf
    while lift <= gap_mm + MAX_LIFT_MM:
        matrix[:3, 3] = point + lift * normal
        pose = CoilPose.from_matrix(matrix)
        clearance = float(signed_distance(scalp, coil_points(coil, pose)).min())
        if clearance >= gap_mm - 1e-3:
            return pose
        lift += max(gap_mm - clearance, 0.05)
    raise InputError(
        "coil inside the head",
        got=f"{coil.name} {clearance:.1f} mm from the scalp after a lift of {MAX_LIFT_MM:g} mm at {point.round(1)} mm",
        expected=f"every winding at least {gap_mm:g} mm outside",
        mend="choose another target or handle angle, or a smaller coil",
    )


def nearest_scalp_point(
    scalp: Surface, target_mm: Float[np.ndarray, 3]
) -> tuple[Float[np.ndarray, 3], Float[np.ndarray, 3]]:
    """The scalp vertex (3,) mm nearest to a target, and the outward unit normal (3,) of the scalp round it."""
    vertices = np.asarray(scalp.vertices, float)
    tree = KDTree(vertices)
    nearest = vertices[tree.query(target_mm)[1]]
    normal = vertex_normals(scalp)[tree.query_ball_point(nearest, NORMAL_RADIUS_MM)].astype(float).sum(0)
    return nearest, normal / np.linalg.norm(normal)


def tangential_frame(normal: Float[np.ndarray, 3], handle_deg: float, side: float) -> Float[np.ndarray, "3 3"]:
    """Columns x, y, z of a coil frame: z against the outward ``normal``, y turned from forwards towards the midline.

    ``side`` is the sign of x of the hemisphere: -1 left, +1 right.
    """
    forward = np.array([0.0, 1.0, 0.0]) - normal[1] * normal
    if np.linalg.norm(forward) < 0.2:
        raise InputError(
            "the handle has no direction relative to the midline here",
            got=f"a scalp that faces straight forwards or backwards (normal {normal.round(2)})",
            expected="a target on the top or the side of the head",
            mend="give a pose of your own with CoilPose.from_matrix",
        )
    forward /= np.linalg.norm(forward)
    medial = side * np.cross(normal, forward)
    angle = np.radians(handle_deg)
    y, z = np.cos(angle) * forward + np.sin(angle) * medial, -normal
    return np.stack([np.cross(y, z), y, z], axis=1)
