"""Left and right: where a head's hemispheres part, and a surface cut there."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int
from scipy import ndimage, optimize

from tmsjax.core.transforms import apply_affine
from tmsjax.head.model import GREY, WHITE, HeadModel, Surface

SAMPLES = 20_000
"""Points of the brain that are mirrored to find its plane of symmetry."""


def halves(
    head: HeadModel, white: Float[np.ndarray, "v 3"], pial: Float[np.ndarray, "v 3"], faces: Int[np.ndarray, "f 3"]
) -> dict[str, Surface]:
    """White and pial surfaces (mm, sharing ``faces``) cut in a left and a right half; no face is lost."""
    right = to_the_right(head, white) > 0
    out = {}
    for side, mine in (("lh", ~right), ("rh", right)):
        kept = faces[mine[faces].sum(1) >= 2]
        used, own = np.unique(kept, return_inverse=True)
        own = own.reshape(-1, 3).astype(np.int32)
        out[f"{side}_white"] = Surface(vertices=white[used].astype(np.float32), faces=own)
        out[f"{side}_pial"] = Surface(vertices=pial[used].astype(np.float32), faces=own)
    return out


def to_the_right(head: HeadModel, points_mm: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, " p"]:
    """How far (p,) points lie to the right of the plane between the hemispheres: positive there, negative left.

    The plane is x = 0 of MNI152 (in whose mm the distance then is) if the head is registered, else the one in which
    the brain's labels are most nearly their own mirror image.
    """
    if head.mni_to_head is not None:
        return apply_affine(np.linalg.inv(np.asarray(head.mni_to_head)), points_mm)[:, 0]
    normal, offset = symmetry_plane(head)
    return points_mm @ normal - offset


def symmetry_plane(head: HeadModel) -> tuple[Float[np.ndarray, 3], float]:
    """Unit normal (3,), pointing right, and offset in mm of the plane n.x = offset that best mirrors the brain."""
    brain = np.isin(np.asarray(head.labels), (WHITE, GREY))
    affine = np.asarray(head.affine, np.float64)
    soft = ndimage.gaussian_filter(brain.astype(np.float32), 2.0 / head.voxel_mm)
    voxels = np.argwhere(brain)
    points = apply_affine(affine, voxels[:: max(1, len(voxels) // SAMPLES)])
    middle, inverse = points.mean(0), np.linalg.inv(affine)

    def plane(numbers: np.ndarray) -> tuple[np.ndarray, float]:
        normal = np.array([1.0, numbers[0], numbers[1]])
        normal /= np.linalg.norm(normal)
        return normal, float(normal @ middle + 10 * numbers[2])

    def miss(numbers: np.ndarray) -> float:
        normal, offset = plane(numbers)
        mirrored = points - 2 * (points @ normal - offset)[:, None] * normal
        return -float(ndimage.map_coordinates(soft, apply_affine(inverse, mirrored).T, order=1).mean())

    start = np.array([[0, 0, 0], [0.2, 0, 0], [0, 0.2, 0], [0, 0, 0.5]], float)
    found = optimize.minimize(miss, start[0], method="Nelder-Mead", options={"initial_simplex": start, "xatol": 1e-3})
    return plane(found.x)
