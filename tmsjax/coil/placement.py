"""Poses on the scalp."""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float
from scipy.spatial import KDTree

from tmsjax.coil.clearance import coil_points, face_points, parts_in_tissue
from tmsjax.coil.load import load
from tmsjax.coil.types import Coil, CoilPose
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError, check_number
from tmsjax.core.transforms import apply_affine
from tmsjax.head import HeadModel, Surface, scalp_surface, signed_distance, vertex_normals
from tmsjax.head import target as find_target

NORMAL_RADIUS_MM = 10.0
"""The scalp's normal is the mean over this radius: a coil is held against a patch, not a point."""

MAX_LIFT_MM = 30.0
"""How far a coil is lifted before its wings are said not to fit."""

MAX_OUTSIDE_MM = 30.0
"""A target further outside the head than this is a mistake (in another frame, or in other units)."""

CUT_SHARE = 0.25
"""A head's last slice is a cut if it holds this share of the tissue of its largest slice (a sphere: 4 % at 2 mm)."""

CUT_MM = 3.0
"""What lies this near to a cut's plane belongs to the cut: the surface is smoothed and rounded there."""


def pose_on_scalp(
    head: HeadModel,
    target_mm: str | ArrayLike,
    handle_deg: float = 45.0,
    gap_mm: float = 2.0,
    *,
    hair_mm: float = 0.0,
    coil: Coil | None = None,
    scalp: Surface | None = None,
) -> CoilPose:
    """Hold a coil tangentially on the scalp over a target.

    The centre of the casing's face lies ``gap_mm`` out along the scalp's normal from the scalp point nearest to the
    target, and further out if that is what it takes to keep every winding ``gap_mm`` from the scalp and the casing's
    face out of the tissue (``check_outside`` passes). A bulge of the scalp may come nearer to the face than ``gap_mm``,
    which is measured at the face's centre and from the windings (some mm inside the casing). The handle
    points backwards along the midline at 0 degrees, backwards and away from the midline (by the sign of the scalp
    point's x) at 45, so the y axis points forwards and towards the midline.

    Args:
        head: the head.
        target_mm: (3,) RAS+ mm, in the head or on its scalp, at most ``MAX_OUTSIDE_MM`` outside; or the name of a
            landmark or of a 10-10 electrode (``head.target``).
        handle_deg: angle of the handle from the midline, in degrees.
        gap_mm: distance from the scalp in mm, at least 0.
        hair_mm: thickness of hair, which comes on top of the gap.
        coil: whose windings must clear the head; the MC-B70 if not given.
        scalp: ``scalp_surface(head)``, if you have it already.

    Raises:
        InputError: the target is an unknown name or not three finite numbers, lies far outside the head or nearest to
            where the label map cuts the head off (the neck); the gap is negative; the midline's direction is undefined
            (scalp facing straight forwards or backwards); or no lift clears the head ("coil inside the head").
    """
    handle_deg = check_number(handle_deg, "angle of the handle", unit="degrees")
    gap_mm = check_number(gap_mm, "gap between coil and scalp", low=0, unit="mm")
    gap_mm += check_number(hair_mm, "thickness of hair", low=0, unit="mm")
    coil = load("MagVenture_MC_B70") if coil is None else coil
    scalp = scalp_surface(head) if scalp is None else scalp
    target = find_target(head, target_mm, scalp=scalp)
    point, normal = nearest_scalp_point(scalp, target, cut_vertices(head, scalp))
    rotation = tangential_frame(normal, handle_deg, side=-1.0 if point[0] < 0 else 1.0)

    face = face_points(coil)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    lift, clearance = gap_mm, -np.inf
    while lift <= gap_mm + MAX_LIFT_MM:
        matrix[:3, 3] = point + lift * normal
        pose = CoilPose.from_matrix(matrix)
        clearance = float(signed_distance(scalp, coil_points(coil, pose)).min())
        if clearance >= gap_mm - 1e-3:
            break
        lift += max(gap_mm - clearance, 0.05)
    while lift <= gap_mm + MAX_LIFT_MM:
        matrix[:3, 3] = point + lift * normal
        pose = CoilPose.from_matrix(matrix)
        if not len(parts_in_tissue(head, coil, pose, face)):
            return pose
        lift += 0.25
    raise InputError(
        "coil inside the head",
        got=f"{coil.name} {clearance:.1f} mm from the scalp after a lift of {MAX_LIFT_MM:g} mm at {point.round(1)} mm",
        expected=f"every winding at least {gap_mm:g} mm outside, the casing's face in air",
        mend="choose another target or handle angle, or a smaller coil",
    )


def nearest_scalp_point(
    scalp: Surface,
    target_mm: Float[np.ndarray, 3],
    cut: Bool[np.ndarray, "v"] | None = None,  # noqa: UP037
) -> tuple[Float[np.ndarray, 3], Float[np.ndarray, 3]]:
    """The scalp vertex (3,) mm nearest to a target, and the outward unit normal (3,) of the scalp round it.

    ``cut`` marks vertices (v,) that are not scalp (``cut_vertices``). InputError if the nearest vertex is one of these,
    or if the target is more than ``MAX_OUTSIDE_MM`` outside.
    """
    vertices = np.asarray(scalp.vertices, float)
    cut = np.zeros(len(vertices), bool) if cut is None else cut
    tree = KDTree(vertices)
    distance, index = tree.query(target_mm)
    if distance > MAX_OUTSIDE_MM and signed_distance(scalp, target_mm[None])[0] > MAX_OUTSIDE_MM:
        raise InputError(
            "the target is far outside the head",
            got=f"{distance:.0f} mm from the scalp, at {target_mm.round(1).tolist()} mm",
            expected=f"a target in the head, or at most {MAX_OUTSIDE_MM:g} mm outside",
            mend="targets are in the head's own RAS+ mm; MNI mm go through tmsjax.head.landmark or head.mni_to_head",
        )
    if cut[index]:
        raise InputError(
            "the target has no scalp near it",
            got=f"{target_mm.round(1).tolist()} mm, nearest to where the label map cuts the head off (the neck)",
            expected="a target nearer to the scalp than to the cut",
            mend="aim higher, or give a pose of your own with CoilPose.from_matrix",
        )
    nearest = vertices[index]
    around = np.array(tree.query_ball_point(nearest, NORMAL_RADIUS_MM))
    normal = vertex_normals(scalp)[around[~cut[around]]].astype(float).sum(0)
    return nearest, normal / np.linalg.norm(normal)


def cut_vertices(head: HeadModel, scalp: Surface) -> Bool[np.ndarray, "v"]:  # noqa: UP037
    """(v,) True where a vertex of the scalp lies in a plane that cuts the head off, as the neck of most images is."""
    tissue = np.asarray(head.labels) > 0
    voxels = apply_affine(np.linalg.inv(np.asarray(head.affine, float)), np.asarray(scalp.vertices, float))
    cut = np.zeros(len(voxels), bool)
    for axis, size in enumerate(head.voxel_mm):
        area = tissue.sum(axis=tuple(other for other in range(3) if other != axis))
        low, high = np.flatnonzero(area)[[0, -1]]
        margin = CUT_MM / size
        if area[low] > CUT_SHARE * area.max():
            cut |= voxels[:, axis] < low - 0.5 + margin
        if area[high] > CUT_SHARE * area.max():
            cut |= voxels[:, axis] > high + 0.5 - margin
    return cut


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
