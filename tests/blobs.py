"""Heads of a target network's tests: a dim ball with a bright and a dark spot in it, whose places are the points."""

import numpy as np

from tmsjax.target import pyramid
from tmsjax.target.cohort import Cohort
from tmsjax.target.network import NetworkSpec

POINTS = ("LULIMBMC", "RULIMBMC")

SPEC = NetworkSpec(
    side=32, levels=3, field=8, channels=4, maps=4, hidden=8, layers=2, width=8, points=POINTS, voxel_mm=4.0
)
"""Voxels of 4 mm, so that 32 of them are a head."""


def image(rng, side=32):
    """(values, places (2, 3) in voxels) of one head; the spots keep their places in it to a voxel or so."""
    grid = np.moveaxis(np.indices((side,) * 3), 0, -1).astype(float)
    middle = (side - 1) / 2 + rng.normal(0, 1.5, 3)
    bright = middle + np.array([-4, 2, 3]) + rng.normal(0, 0.7, 3)
    dark = middle + np.array([4, -2, 2]) + rng.normal(0, 0.7, 3)
    values = 0.5 * (np.linalg.norm(grid - middle, axis=-1) < 9)
    values += 0.8 * np.exp(-((grid - bright) ** 2).sum(-1) / 8) - 0.5 * np.exp(-((grid - dark) ** 2).sum(-1) / 8)
    noisy = np.maximum(values, 0) + 0.02 * rng.random(values.shape)
    return noisy.astype(np.float32), np.stack([bright, dark])


def cohort(count, seed, bases=None):
    """``count`` of these, each its own base unless said otherwise."""
    rng = np.random.default_rng(seed)
    images, places = zip(*(image(rng) for _ in range(count)), strict=True)
    affine = np.diag([4.0, 4.0, 4.0, 1.0])
    names = tuple(f"{seed}-{i}" for i in range(count))
    return Cohort(
        np.stack([pyramid.build(each, 3) for each in images]),
        np.stack(places).astype(np.float32),
        np.stack([affine] * count),
        tuple(bases) if bases else names,
        names,
        POINTS,
        {"synthetic": True, "levels": 3},
    )
