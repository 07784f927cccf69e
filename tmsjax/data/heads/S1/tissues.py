"""Clean a five-tissue label map: close speckle and air pockets, keep the skull whole, smooth the outline."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

PAD = 12
BRAIN, BONE, SOFT = (1, 2, 3), 4, 5


def clean(raw: np.ndarray, height: np.ndarray) -> tuple[np.ndarray, dict]:
    """Cleaned labels on the same grid, and how many voxels each step changed.

    ``height`` is the MNI z of each voxel in mm. Only in the vault (above 10 mm) is the diploe between the tables,
    which a T1 shows as bright as fat, made bone; where the outer table itself is missing (above 30 mm), the scalp's
    thickness is carried over from around.
    """
    facts: dict[str, int] = {}
    sides = ((PAD, PAD), (PAD, PAD), (0, PAD))
    labels = np.pad(np.pad(raw, sides), ((0, 0), (0, 0), (PAD, 0)), mode="edge")  # the neck goes on below
    height = np.pad(height, ((PAD, PAD),) * 3)

    # Outline: without spikes and loose noise; air pockets inside become bone or soft tissue by their surroundings.
    head = ndimage.binary_fill_holes(closing(labels > 0, 3))
    head = largest(opening(head, 3))
    facts["outline_removed"] = int(((labels > 0) & ~head).sum())
    facts["air_filled"] = int(((labels == 0) & head).sum())
    labels = np.where(head, np.where(labels == 0, votes(labels, (BONE, SOFT), 2.0), labels), 0).astype(np.uint8)

    # Inside of the skull, and islands of one brain tissue in another.
    brain = np.isin(labels, BRAIN)
    inside = largest(dilate(largest(opening(brain, 2)), 3) & brain)
    inside = ndimage.binary_fill_holes(closing(inside, 3))
    stray = np.isin(labels, (1, 2)) & ~inside
    facts["brain_outside_the_skull"] = int(stray.sum())
    labels[stray] = 0
    for tissue, least in ((1, 300), (2, 300), (3, 10)):
        small = islands(labels == tissue, least)
        if tissue == 3:
            small |= islands(labels == 3, 1000) & ~inside  # the eyes stay
        facts[f"islands_{tissue}"] = int(small.sum())
        labels[small] = 0
    hole = (labels == 0) & head
    labels[hole] = np.where(inside, votes(labels, BRAIN, 1.5), votes(labels, (BONE, SOFT), 2.0))[hole]
    loose = inside & np.isin(labels, (BONE, SOFT)) & islands(np.isin(labels, (BONE, SOFT)), 2000)
    facts["bone_and_soft_inside"] = int(loose.sum())
    labels[loose] = 3
    inside &= np.isin(labels, BRAIN)

    # Skull: at least 2 voxels all round but at the foramen magnum; diploe of the vault is bone.
    depth = ndimage.distance_transform_edt(~inside)
    exit_ = spinal_exit(inside)
    gaps = (depth > 0) & (depth <= 2.3) & (labels == SOFT) & ~exit_
    facts["skull_gaps_closed"] = int(gaps.sum())
    labels[gaps] = BONE
    skin = ndimage.distance_transform_edt(head)
    diploe = closing((labels == BONE) | inside, 6) & (height > 10) & (depth < 20) & (labels == SOFT) & (skin > 3)
    diploe |= (labels == SOFT) & ~largest(labels == SOFT)
    facts["diploe_made_bone"] = int(diploe.sum())
    labels[diploe] = BONE
    holes = (labels == SOFT) & (height > 30) & (skin > usual_scalp(labels, skin, inside) + 0.5)
    facts["outer_table_restored"] = int(holes.sum())
    labels[holes] = BONE

    # Speckle of bone and soft tissue away from the brain.
    away = (depth > 6) & np.isin(labels, (BONE, SOFT))
    smooth = votes(labels, (BONE, SOFT), 1.2)
    facts["smoothed"] = int((away & (smooth != labels)).sum())
    labels[away] = smooth[away]
    small = islands(labels == BONE, 1500)
    facts["bone_islands"] = int(small.sum())
    labels[small] = SOFT
    labels[(labels == SOFT) & ~largest(labels == SOFT)] = BONE
    return labels[PAD:-PAD, PAD:-PAD, PAD:-PAD], facts


def usual_scalp(labels: np.ndarray, skin: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Depth under the skin (voxels) at which bone usually begins, in the direction of each voxel.

    The depth of the outermost bone is mapped over the directions from the brain's centre and opened (grey), which
    drops patches of up to about 25 degrees where only the inner table was found.
    """
    centre = np.argwhere(inside).mean(0)
    polar, azimuth = np.deg2rad(np.arange(0.5, 100)), np.deg2rad(np.arange(0.5, 360))
    sin = np.sin(polar)[:, None]
    ways = np.stack([sin * np.cos(azimuth), sin * np.sin(azimuth), np.cos(polar)[:, None] + 0 * azimuth])
    steps = np.arange(30, 150, 0.5)
    points = centre[:, None, None, None] + ways[..., None] * steps
    bone = ndimage.map_coordinates(labels, points, order=0) == BONE
    last = len(steps) - 1 - np.argmax(bone[..., ::-1], axis=-1)
    depth = ndimage.map_coordinates(
        skin.astype(np.float32), np.take_along_axis(points, last[None, ..., None], -1)[..., 0], order=1
    )
    wrapped = np.pad(depth, ((0, 0), (60, 60)), mode="wrap")
    wrapped = np.pad(wrapped, ((20, 20), (0, 0)), mode="reflect")
    opened = ndimage.gaussian_filter(ndimage.grey_opening(ndimage.median_filter(wrapped, 5), size=(25, 45)), 3)[
        20:-20, 60:-60
    ]
    offset = [np.arange(n, dtype=np.float32) - c for n, c in zip(labels.shape, centre, strict=True)]
    x, y, z = np.meshgrid(*offset, indexing="ij", sparse=True)
    theta = np.rad2deg(np.arctan2(np.hypot(x, y), z)) - 0.5
    phi = np.rad2deg(np.arctan2(y, x)) % 360 - 0.5 + 0 * z
    return ndimage.map_coordinates(opened, [theta, phi], order=1, mode="nearest")


def contacts(labels: np.ndarray) -> np.ndarray:
    """(6, 6) number of shared voxel faces between tissues."""
    out = np.zeros((6, 6), int)
    for axis in range(3):
        a = np.moveaxis(labels, axis, 0).astype(np.int64)
        out += np.bincount((a[:-1] * 6 + a[1:]).ravel(), minlength=36).reshape(6, 6)
    return out + out.T - np.diag(np.diag(out))


def spinal_exit(inside: np.ndarray) -> np.ndarray:
    """A cylinder of 20 mm round the lowest end of the brain, where the cord leaves the skull."""
    bottom = np.argwhere(inside)[:, 2].min()
    x0, y0 = np.argwhere(inside[:, :, bottom : bottom + 3]).mean(0)[:2]
    x, y, z = np.ogrid[tuple(slice(n) for n in inside.shape)]
    return ((x - x0) ** 2 + (y - y0) ** 2 < 400) & (z < bottom + 12)


def largest(mask: np.ndarray) -> np.ndarray:
    """The largest 6-connected part."""
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = 0
    return parts == sizes.argmax()


def islands(mask: np.ndarray, least: int) -> np.ndarray:
    """The 6-connected parts of fewer than ``least`` voxels."""
    parts, _ = ndimage.label(mask)
    sizes = np.bincount(parts.ravel())
    sizes[0] = least
    return (sizes < least)[parts]


def votes(labels: np.ndarray, candidates: tuple[int, ...], sigma: float) -> np.ndarray:
    """Which candidate has most Gaussian weight around each voxel."""
    weights = [ndimage.gaussian_filter((labels == c).astype(np.float32), sigma) for c in candidates]
    return np.array(candidates, np.uint8)[np.argmax(weights, axis=0)]


def dilate(mask: np.ndarray, radius: float) -> np.ndarray:
    """Dilation by a ball (voxels)."""
    return ndimage.distance_transform_edt(~mask) <= radius


def erode(mask: np.ndarray, radius: float) -> np.ndarray:
    """Erosion by a ball (voxels)."""
    return ndimage.distance_transform_edt(mask) > radius


def closing(mask: np.ndarray, radius: float) -> np.ndarray:
    """Closing by a ball (voxels)."""
    return erode(dilate(mask, radius), radius)


def opening(mask: np.ndarray, radius: float) -> np.ndarray:
    """Opening by a ball (voxels)."""
    return dilate(erode(mask, radius), radius)
