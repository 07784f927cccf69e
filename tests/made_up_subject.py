"""A subject without a head: fields of blobs that move over a thin sheet, muscles that look at places of it."""

import numpy as np

from tmsjax.mep import Subject

SIDE, VOXEL_MM, MUSCLES = 16, 4.0, ("FDI", "APB", "ADM", "EDC")


def mask():
    i, j, k = np.indices((SIDE,) * 3) - (SIDE - 1) / 2
    return (np.abs(i + 0.5 * j) < 1.0) & (np.abs(j) < 5) & (np.abs(k) < 5)


def subject(count=64, seed=0, **changes):
    """Stimulations at places spread over the sheet; responses grow with the field at the muscles' places."""
    rng = np.random.default_rng(seed)
    at = np.argwhere(mask()) * VOXEL_MM
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    place = at[rng.integers(0, len(at), count)] + rng.normal(0, 2.0, (count, 3))
    level = rng.choice([110.0, 120.0, 140.0], count)
    fields = level[:, None] * np.exp(-((at[None] - place[:, None]) ** 2).sum(-1) / (2 * 16.0**2))
    looks = at[np.linspace(0, len(at) - 1, len(MUSCLES)).astype(int)]
    drive = np.exp(-((at[:, None] - looks) ** 2).sum(-1) / (2 * 6.0**2))
    responses = np.maximum((fields @ drive) / drive.sum(0) / 100 - 0.3, 0) * 2.0
    poses = np.tile(np.eye(4), (count, 1, 1))
    poses[:, :3, 3] = place
    given = {"poses": poses, "didt_a_per_us": level, "name": "made up", "synthetic": True} | changes
    return Subject(fields, mask(), affine, responses, level, MUSCLES, **given)
