"""Clean a five-tissue label map: close speckle and air pockets, keep the skull whole, smooth the outline."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

PAD = 12
BRAIN, BONE, SOFT = (1, 2, 3), 4, 5


def clean(raw: np.ndarray, vault: np.ndarray) -> tuple[np.ndarray, dict]:
    """Cleaned labels on the same grid, and how many voxels each step changed.

    ``vault`` is True where the skull is a closed double-walled shell (above the eyes and ears): only there is the
    diploe between the tables, which a T1 shows as bright as fat, made bone.
    """
    facts: dict[str, int] = {}
    sides = ((PAD, PAD), (PAD, PAD), (0, PAD))
    labels = np.pad(np.pad(raw, sides), ((0, 0), (0, 0), (PAD, 0)), mode="edge")  # the neck goes on below
    vault = np.pad(vault, ((PAD, PAD),) * 3)

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
    under_skin = ndimage.distance_transform_edt(head) > 3
    diploe = closing((labels == BONE) | inside, 6) & vault & (depth < 20) & (labels == SOFT) & under_skin
    diploe |= (labels == SOFT) & ~largest(labels == SOFT)
    facts["diploe_made_bone"] = int(diploe.sum())
    labels[diploe] = BONE

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
