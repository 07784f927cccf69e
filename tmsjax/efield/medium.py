"""The conductivity of every voxel, as a differentiable function of the tissues' conductivities."""

from __future__ import annotations

import hashlib
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.efield.checks import check_head
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
    head: HeadModel, *, partial_volume: str | bool = "arithmetic", coarsen: int = 1, octants: bool = False
) -> tuple[Float[Array, "i j k *o"], np.ndarray, np.ndarray]:
    """Conductivity in S/m, tissue mask (i, j, k) and affine (4, 4) of the grid that ``efield.solve`` uses.

    It is (i, j, k), the mean of each voxel; or (i, j, k, 8) with ``octants``, the mean of each of its octants in the
    order of ``np.ndindex(2, 2, 2)``, as ``efield.solve`` takes it: a quarter of the volume is averaged for an edge, and
    errors in grey matter fall by a quarter. ``coarsen`` averages blocks of voxels. Tissue shares are kept for the last
    label map.

    ``partial_volume`` says what a voxel or octant of more than one tissue gets: "arithmetic" (or True), the sum of
    share x conductivity; "geometric", the share of all tissues x exp of the mean of their log conductivities (air only
    thins it out); "none" (or False), the conductivity of its own label. The harmonic mean is worse than none.
    """
    kind = kind_of_mean(partial_volume)
    labels, affine = labels_and_affine(head, coarsen)
    mask = labels > 0
    halved = octants and coarsen % 2  # octants of an even number of voxels are whole voxels
    sigma = mixture(head, labels, kind, bool(halved))
    if coarsen > 1:
        sigma = _split(grow(sigma, coarsen)) if halved else grow(sigma, coarsen)
        sigma = block_mean(sigma, coarsen if halved or not octants else coarsen // 2)
        sigma = _merge(sigma) if octants else sigma
    return sigma, *coarser(mask, affine, coarsen)


def kind_of_mean(kind: str | bool) -> str:
    """The name of a ``partial_volume``, checked."""
    kind = {True: "arithmetic", False: "none"}.get(kind, kind) if isinstance(kind, bool) else kind
    if kind not in ("arithmetic", "geometric", "none"):
        raise InputError("unknown partial_volume", got=repr(kind), expected='"arithmetic", "geometric" or "none"')
    return kind


def labels_and_affine(head: HeadModel, coarsen: int) -> tuple[np.ndarray, np.ndarray]:
    """Of a head, all whose labels have a conductivity; ``coarsen`` is checked too."""
    check_head(head)
    labels = np.asarray(head.labels)
    if not isinstance(coarsen, int | np.integer) or coarsen < 1:
        raise InputError("coarsen must be a whole number", got=repr(coarsen), expected="1, 2, 3, ...")
    for label in np.flatnonzero(np.bincount(labels.ravel(), minlength=1)[1:]) + 1:
        if int(label) not in head.conductivity:
            raise InputError(
                "a label has no conductivity", got=f"label {label}", expected="S/m for every label but air"
            )
    return labels, np.asarray(head.affine, float)


def mixture(head: HeadModel, labels: np.ndarray, kind: str, octants: bool) -> Float[Array, "i j k *o"]:
    """S/m of the voxels or octants: each label's own, and a mean where there is more than one tissue."""
    # Numpy scatters ten times as fast as XLA on CPUs, but knows no tracers.
    np_ = jnp if any(isinstance(v, Tracer) for v in head.conductivity.values()) else np
    table = np_.stack([np_.asarray(head.conductivity.get(n, 0.0), jnp.zeros(()).dtype) for n in range(256)])
    sigma = table[labels.reshape(-1)]
    if octants:
        sigma = np_.repeat(sigma[:, None], 8, axis=1)
    if kind != "none":
        where, counts = _mixed(_Labels(labels))
        if not octants:
            counts = {label: n.sum(1, dtype=np.uint8) for label, n in counts.items()}
        total = np.sum(list(counts.values()), axis=0)
        full = np.float32(PER_OCTANT if octants else 8 * PER_OCTANT)
        if kind == "arithmetic":
            mixed = sum(table[label] * (n / full) for label, n in counts.items())
        else:
            tissue = np.maximum(total, 1).astype(np.float32)
            mixed = (total / full) * np_.exp(sum(np_.log(table[label]) * (n / tissue) for label, n in counts.items()))
        if isinstance(sigma, np.ndarray):
            sigma[where] = mixed
        else:
            sigma = sigma.at[where].set(mixed, unique_indices=True, indices_are_sorted=True)
    return jnp.asarray(sigma).reshape(*labels.shape, *sigma.shape[1:])


@lru_cache(maxsize=1)
def _mixed(labels: _Labels) -> tuple[np.ndarray, dict[int, np.ndarray]]:
    """Flat indices (m,) of the voxels of more than one tissue, and points (m, 8) of each tissue in their octants."""
    parts = _shares(labels)
    flat = labels.array.ravel()
    mixed = np.zeros(flat.size, bool)
    for _, where, _ in parts:
        mixed[where] = True
    at = np.flatnonzero(mixed)
    row = np.cumsum(mixed, dtype=np.int32) - 1
    counts = {}
    for label, where, points in parts:
        counts[label] = np.repeat((flat[at] == label)[:, None] * np.uint8(PER_OCTANT), 8, axis=1)
        counts[label][row[where]] = points
    return at, counts


def grow(a: Array, n: int) -> Array:
    """Air added at the end of each axis, to blocks of n voxels."""
    return jnp.pad(a, [(0, -s % n) for s in a.shape[:3]] + [(0, 0)] * (a.ndim - 3))


@partial(jax.jit, static_argnums=1)
def block_mean(a: Array, n: int) -> Array:
    """Mean over blocks of n voxels."""
    return _blocks(a, n).mean((1, 3, 5))


def coarser(mask: np.ndarray, affine: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Mask and affine of blocks of n voxels."""
    if n == 1:
        return mask, affine
    affine = affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.full(3, (n - 1) / 2)
    affine[:3, :3] *= n
    return _blocks(np.pad(mask, [(0, -s % n) for s in mask.shape]), n).mean((1, 3, 5)) >= 0.5, affine


def check_conductivity(values: ArrayLike) -> Float[Array, "i j k *o"]:
    """Conductivities in S/m as an array; InputError for another shape, for NaN, negative or all-zero ones (concrete).

    A tensor that is neither zero nor positive definite is negative, or zero, in some direction: refused.
    """
    shapes = "(i, j, k), or (i, j, k, 8) of octants, or (i, j, k, 6) of tensors"
    try:
        found = jnp.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError("conductivity is no array of numbers", got=repr(values)[:80], expected=shapes) from error
    if not (jnp.issubdtype(found.dtype, jnp.floating) or jnp.issubdtype(found.dtype, jnp.integer)):
        raise InputError("conductivity is not made of real numbers", got=found.dtype, expected="S/m, 0 in air")
    if found.ndim != 3 and not (found.ndim == 4 and found.shape[-1] in (6, 8)):
        raise InputError("conductivity has the wrong shape", got=found.shape, expected=shapes)
    sigma = jnp.asarray(found, float)  # float32 unless a test has switched float64 on
    if isinstance(sigma, Tracer):
        return sigma
    if not bool(jnp.isfinite(sigma).all()):
        raise InputError("conductivity is not finite", got="NaN or inf", expected="S/m, 0 in air")
    if sigma.ndim == 4 and sigma.shape[-1] == 6:
        indefinite = int(_indefinite(sigma))
        if indefinite:
            raise InputError(
                "conductivity tensors are not positive definite",
                got=f"{indefinite} voxels",
                expected="positive eigenvalues in S/m, or six zeros in air",
                mend="make them from diffusion tensors by tmsjax.efield.anisotropic, which mends noise",
            )
    elif bool((sigma < 0).any()):
        raise InputError("conductivity is negative", got=float(sigma.min()), expected="S/m >= 0, 0 in air")
    if not bool((sigma != 0).any()):
        raise InputError("conductivity is zero everywhere", got=0.0, expected="tissue with a positive conductivity")
    return sigma


@jax.jit
def _indefinite(sigma: Array) -> Array:
    """Number of tensors that have a leading minor which is not positive (Sylvester), the zero tensor left out."""
    xx, xy, xz, yy, yz, zz = (sigma[..., n] for n in range(6))
    second = xx * yy - xy * xy
    third = xx * (yy * zz - yz * yz) - xy * (xy * zz - yz * xz) + xz * (xy * yz - yy * xz)
    return jnp.sum(((xx <= 0) | (second <= 0) | (third <= 0)) & (sigma != 0).any(-1))


def _split(octants: Float[Array, "i j k 8"]) -> Float[Array, "_ _ _"]:
    """Octants as a grid of half the voxel size."""
    i, j, k = octants.shape[:3]
    return octants.reshape(i, j, k, 2, 2, 2).transpose(0, 3, 1, 4, 2, 5).reshape(2 * i, 2 * j, 2 * k)


def _merge(halves: Float[Array, "_ _ _"]) -> Float[Array, "i j k 8"]:
    """The opposite of ``_split``."""
    i, j, k = (n // 2 for n in halves.shape)
    return halves.reshape(i, 2, j, 2, k, 2).transpose(0, 2, 4, 1, 3, 5).reshape(i, j, k, 8)


def _blocks(a, n: int):
    i, j, k = (s // n for s in a.shape[:3])
    return a.reshape(i, n, j, n, k, n, *a.shape[3:])
