"""The conductivity of every voxel, as a differentiable function of the tissues' conductivities."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.head import HeadModel
from tmsjax.head.conductivity import fractions

STEPS = 64
"""Shares of a voxel come in 1/64 (4x4x4 points a voxel), so that a byte holds them."""


class _Labels:
    """A label map as a cache's key, by content: labels changed in place are other labels."""

    def __init__(self, labels: np.ndarray) -> None:
        self.array = labels
        content = hashlib.blake2b(labels.tobytes(), digest_size=16).digest()
        self.key = (labels.shape, labels.dtype.str, content)

    def __hash__(self) -> int:
        return hash(self.key)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Labels) and self.key == other.key


@lru_cache(maxsize=1)
def _shares(labels: _Labels) -> tuple[tuple[int, np.ndarray], ...]:
    """(label, share in 1/STEPS as uint8) of each tissue; kept for the last label map, as poses come by the dozen."""
    return tuple((label, np.rint(share * STEPS).astype(np.uint8)) for label, share in fractions(labels.array))


def conductivity(
    head: HeadModel, *, partial_volume: bool = True, coarsen: int = 1
) -> tuple[Float[Array, "i j k"], np.ndarray, np.ndarray]:
    """Conductivity (i, j, k) S/m, tissue mask (i, j, k) and affine (4, 4) of the grid that ``efield.solve`` uses.

    sigma = sum over tissues of share x conductivity: arithmetic partial volumes, never harmonic (which are worse than
    none). ``coarsen`` averages blocks of voxels. Tissue shares are kept for the last label map.
    """
    labels, affine = np.asarray(head.labels), np.asarray(head.affine, float)
    if coarsen < 1 or int(coarsen) != coarsen:
        raise InputError("coarsen must be a whole number", got=coarsen, expected="1, 2, 3, ...")
    sigma = jnp.zeros(labels.shape)
    for label, share in _tissues(labels, partial_volume):
        if label not in head.conductivity:
            raise InputError(
                "a label has no conductivity", got=f"label {label}", expected="S/m for every label but air"
            )
        sigma = sigma + jnp.asarray(head.conductivity[label], float) * (jnp.asarray(share, float) / STEPS)
    mask = labels > 0
    if coarsen == 1:
        return sigma, mask, affine
    grown = [(0, -n % coarsen) for n in mask.shape]
    sigma = _blocks(jnp.pad(sigma, grown), coarsen).mean((1, 3, 5))
    mask = _blocks(np.pad(mask, grown), coarsen).mean((1, 3, 5)) >= 0.5
    coarse = affine.copy()
    coarse[:3, :3] *= coarsen
    coarse[:3, 3] += affine[:3, :3] @ np.full(3, (coarsen - 1) / 2)
    return sigma, mask, coarse


def check_conductivity(sigma: Float[Array, "i j k"]) -> None:
    """Raise InputError for NaN, negative or all-zero conductivity (nothing is checked under tracing)."""
    if isinstance(sigma, Tracer):
        return
    if not bool(jnp.isfinite(sigma).all()):
        raise InputError("conductivity is not finite", got="NaN or inf", expected="S/m, 0 in air")
    if bool((sigma < 0).any()):
        raise InputError("conductivity is negative", got=float(sigma.min()), expected="S/m >= 0, 0 in air")
    if not bool((sigma > 0).any()):
        raise InputError("conductivity is zero everywhere", got=0.0, expected="tissue with a positive conductivity")


def _tissues(labels: np.ndarray, partial_volume: bool) -> Iterable[tuple[int, np.ndarray]]:
    """(label, share in 1/STEPS as uint8) of each tissue."""
    if not partial_volume:
        return [(int(v), (labels == v).astype(np.uint8) * np.uint8(STEPS)) for v in np.unique(labels) if v]
    return _shares(_Labels(labels))


def _blocks(a, n: int):
    i, j, k = (s // n for s in a.shape)
    return a.reshape(i, n, j, n, k, n)
