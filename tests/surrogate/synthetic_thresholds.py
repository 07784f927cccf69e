"""Synthetic thresholds: a hidden linear polarisation model in smooth random fields that jump across a plane.

Nothing here is a neuron: it has the form that the surrogate assumes, so that training can be judged exactly.
"""

import numpy as np

from tmsjax.nn import TrainSpec

QUICK = TrainSpec(epochs=60, batch=64, learning_rate=1e-2, weight_decay=3e-2)
SIDE_MM = 1.5


def fields(count: int, seed: int, n: int = 9, gradient: float = 0.2, jump: float = 0.3) -> np.ndarray:
    """(count, n, n, n, 3) patches: a random direction, gradients of about ``gradient``/mm, a jump across a plane."""
    rng = np.random.default_rng(seed)
    tick = np.linspace(-SIDE_MM / 2, SIDE_MM / 2, n)
    grid = np.stack(np.meshgrid(tick, tick, tick, indexing="ij"), -1)
    mean = rng.normal(size=(count, 3))
    mean /= np.linalg.norm(mean, axis=1, keepdims=True)
    slope = gradient * rng.normal(size=(count, 3, 3))
    curve = 0.5 * gradient**2 * rng.normal(size=(count, 3, 3, 3))
    patches = mean[:, None, None, None] + np.einsum("bij,xyzj->bxyzi", slope, grid)
    patches += np.einsum("bijk,xyzj,xyzk->bxyzi", curve, grid, grid)
    normal = rng.normal(size=(count, 3)) * [0.5, 0.5, 1.0]
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    depth = rng.uniform(0.3, 1.5, count)[:, None, None, None]
    beyond = 1 / (1 + np.exp(-(np.einsum("bi,xyzi->bxyz", normal, grid) - depth) / 0.15))
    across = np.einsum("bxyzi,bi->bxyz", patches, normal)
    patches += jump * (beyond * across)[..., None] * normal[:, None, None, None]
    return (patches * rng.uniform(0.1, 10, count)[:, None, None, None, None]).astype(np.float32)


def hidden_functionals(sites: int = 24, n: int = 9, seed: int = 99) -> np.ndarray:
    """(sites, n, n, n, 3) polarisation per V/m: each site sees the field along a short path near its own place."""
    rng = np.random.default_rng(seed)
    tick = np.linspace(-SIDE_MM / 2, SIDE_MM / 2, n)
    grid = np.stack(np.meshgrid(tick, tick, tick, indexing="ij"), -1)
    directions = rng.normal(size=(sites, 3))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    places = directions * rng.uniform(0.1, 0.6, (sites, 1))
    weights = np.exp(-np.sum((grid - places[:, None, None, None]) ** 2, -1) / (2 * 0.3**2))
    weights /= weights.sum((1, 2, 3), keepdims=True)
    gain = rng.uniform(0.8, 1.25, (sites, 1, 1, 1, 1)) / 150  # thresholds near 150 V/m
    return gain * weights[..., None] * directions[:, None, None, None]


def thresholds(patches: np.ndarray, functionals: np.ndarray) -> np.ndarray:
    """(b,) thresholds, V/m at the centre: 1 / max_k <w_k, E> for the field scaled to 1 V/m at the centre."""
    n = patches.shape[1]
    centre = np.linalg.norm(patches[:, n // 2, n // 2, n // 2].astype(np.float64), axis=-1)
    drive = patches.reshape(len(patches), -1).astype(np.float64) @ functionals.reshape(len(functionals), -1).T
    return centre / drive.max(1)
