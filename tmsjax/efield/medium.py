"""The conductivity of every voxel, as a differentiable function of the tissues' conductivities."""

from __future__ import annotations

import hashlib
from functools import lru_cache

import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.head import HeadModel
from tmsjax.head.conductivity import PER_OCTANT
from tmsjax.head.conductivity import octants as octant_points


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
def _shares(labels: _Labels) -> tuple[tuple[int, np.ndarray, np.ndarray], ...]:
    """``head.conductivity.octants`` of the last label map: poses come by the dozen."""
    return tuple(octant_points(labels.array))


def tissue_share(head: HeadModel, label: int) -> Float[np.ndarray, "i j k"]:
    """Share (i, j, k) float32 of a tissue in every voxel, as ``conductivity`` recovers it from the labels."""
    labels = np.asarray(head.labels)
    share = (labels == label).astype(np.float32)
    for tissue, where, points in _shares(_Labels(labels)):
        if tissue == label:
            share.ravel()[where] = points.mean(axis=1, dtype=np.float32) / PER_OCTANT
    return share


def conductivity(
    head: HeadModel, *, partial_volume: bool = True, coarsen: int = 1, octants: bool = False
) -> tuple[Float[Array, "i j k *o"], np.ndarray, np.ndarray]:
    """Conductivity in S/m, tissue mask (i, j, k) and affine (4, 4) of the grid that ``efield.solve`` uses.

    sigma = sum over tissues of share x conductivity: arithmetic partial volumes, never harmonic (which are worse than
    none). It is (i, j, k), the mean of each voxel; or (i, j, k, 8) with ``octants``, the mean of each of its octants in
    the order of ``np.ndindex(2, 2, 2)``, as ``efield.solve`` takes it: a quarter of the volume is averaged for an edge,
    and errors in grey matter fall by a quarter. ``coarsen`` averages blocks of voxels. Tissue shares are kept for the
    last label map.
    """
    labels, affine = np.asarray(head.labels), np.asarray(head.affine, float)
    if coarsen < 1 or int(coarsen) != coarsen:
        raise InputError("coarsen must be a whole number", got=coarsen, expected="1, 2, 3, ...")
    for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1:
        if int(label) not in head.conductivity:
            raise InputError(
                "a label has no conductivity", got=f"label {label}", expected="S/m for every label but air"
            )
    sigma, mask = _of_octants(head, labels, partial_volume), labels > 0
    if coarsen > 1:
        grown = [(0, -n % coarsen) for n in mask.shape]
        sigma = _merge(_blocks(_split(jnp.pad(sigma, [*grown, (0, 0)])), coarsen).mean((1, 3, 5)))
        mask = _blocks(np.pad(mask, grown), coarsen).mean((1, 3, 5)) >= 0.5
        affine = affine.copy()
        affine[:3, 3] += affine[:3, :3] @ np.full(3, (coarsen - 1) / 2)
        affine[:3, :3] *= coarsen
    return sigma if octants else sigma.mean(-1), mask, affine


def _of_octants(head: HeadModel, labels: np.ndarray, partial_volume: bool) -> Float[Array, "i j k 8"]:
    """S/m of the octants: each label's own, corrected where a voxel holds more than one tissue."""
    table = jnp.zeros(256)
    for label, value in head.conductivity.items():
        table = table.at[label].set(value)
    sigma = jnp.repeat(table[labels].reshape(-1, 1), 8, axis=1)
    for label, where, points in _shares(_Labels(labels)) if partial_volume else ():
        more = points.astype(np.float32) / PER_OCTANT - (labels.ravel()[where] == label)[:, None]
        sigma = sigma.at[where].add(table[label] * more, unique_indices=True, indices_are_sorted=True)
    return jnp.maximum(sigma, 0).reshape(*labels.shape, 8)  # air's share leaves a rounding error


def check_conductivity(sigma: Float[Array, "i j k *o"]) -> None:
    """Raise InputError for another shape, and NaN, negative or all-zero conductivity (unless it is traced)."""
    if sigma.ndim != 3 and not (sigma.ndim == 4 and sigma.shape[-1] in (6, 8)):
        raise InputError(
            "conductivity has the wrong shape",
            got=sigma.shape,
            expected="(i, j, k), or (i, j, k, 8) of octants, or (i, j, k, 6) of tensors",
        )
    if isinstance(sigma, Tracer):
        return
    if not bool(jnp.isfinite(sigma).all()):
        raise InputError("conductivity is not finite", got="NaN or inf", expected="S/m, 0 in air")
    if bool((sigma < 0).any()):
        raise InputError("conductivity is negative", got=float(sigma.min()), expected="S/m >= 0, 0 in air")
    if not bool((sigma > 0).any()):
        raise InputError("conductivity is zero everywhere", got=0.0, expected="tissue with a positive conductivity")


def _split(octants: Float[Array, "i j k 8"]) -> Float[Array, "_ _ _"]:
    """Octants as a grid of half the voxel size."""
    i, j, k = octants.shape[:3]
    return octants.reshape(i, j, k, 2, 2, 2).transpose(0, 3, 1, 4, 2, 5).reshape(2 * i, 2 * j, 2 * k)


def _merge(halves: Float[Array, "_ _ _"]) -> Float[Array, "i j k 8"]:
    """The opposite of ``_split``."""
    i, j, k = (n // 2 for n in halves.shape)
    return halves.reshape(i, 2, j, 2, k, 2).transpose(0, 2, 4, 1, 3, 5).reshape(i, j, k, 8)


def _blocks(a, n: int):
    i, j, k = (s // n for s in a.shape)
    return a.reshape(i, n, j, n, k, n)
