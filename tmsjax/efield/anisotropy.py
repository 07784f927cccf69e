"""Conductivity tensors of white matter from diffusion tensors."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.arrays import numbers
from tmsjax.core.errors import InputError
from tmsjax.efield.checks import tissues
from tmsjax.efield.medium import block_mean, coarser, grow, kind_of_mean, labels_and_affine, mixture, tissue_share
from tmsjax.head import HeadModel

MAX_RATIO = 10.0
"""Of a conductivity tensor's eigenvalues: more than that in a diffusion tensor is noise (as in SimNIBS)."""


class Anisotropic(NamedTuple):
    """What ``solve_conductivity`` takes, ``sigma`` (i, j, k, 6), ``mask``, ``affine``; voxels whose tensor was bad."""

    sigma: Float[Array, "i j k 6"]
    mask: np.ndarray
    affine: np.ndarray
    bad: int


def anisotropic(
    head: HeadModel,
    tensors: Float[np.ndarray, "i j k 6"],
    *,
    labels: Sequence[int] = (1,),
    partial_volume: str | bool = "arithmetic",
    coarsen: int = 1,
) -> Anisotropic:
    """Tensor conductivity (i, j, k, 6) in S/m: that of some tissues takes its direction from diffusion tensors.

    Volume-normalised mapping (Guellmar et al. 2010, NeuroImage 51:145; "vn" of SimNIBS): the eigenvectors and the
    ratios of the eigenvalues are the diffusion tensor's, and the geometric mean of the eigenvalues is the tissue's
    isotropic conductivity. Other tissues stay isotropic. Differentiable in the head's conductivities.

    Args:
        head: labels and isotropic conductivities.
        tensors: diffusion tensors on the head's voxels, xx, xy, xz, yy, yz, zz in world axes, in any unit.
        labels: the tissues that take them, white matter by default.
        partial_volume: as of ``conductivity``; "geometric" averages logarithms of tensors.
        coarsen: as of ``conductivity``.

    Returns:
        The conductivity, mask and affine, and how many voxels with these labels had no usable tensor and stay
        isotropic: not finite, zero, or with an eigenvalue below - 1/``MAX_RATIO`` of the largest. Eigenvalues below
        1/``MAX_RATIO`` of the largest are set to that.

    Raises:
        InputError: tensors of another shape, a label that the head does not have, as ``conductivity``.
    """
    kind = kind_of_mean(partial_volume)
    own, affine = labels_and_affine(head, coarsen)
    tensors, labels = numbers(tensors, "diffusion tensors", None), tissues(labels)
    if tensors.dtype.kind not in "iuf":
        raise InputError("diffusion tensors are not made of real numbers", got=tensors.dtype, expected="floats")
    if tensors.shape != (*own.shape, 6):
        raise InputError(
            "the diffusion tensors are not on the head's voxels", got=tensors.shape, expected=f"{(*own.shape, 6)}",
            mend="resample them to the head's grid (and turn them with it): xx, xy, xz, yy, yz, zz in world axes",
        )  # fmt: skip
    shares = {}
    for label in labels:
        if label not in head.conductivity or not (own == label).any():
            raise InputError("the head has no such tissue", got=f"label {label}", expected=sorted(head.conductivity))
        shares[label] = tissue_share(head, label) if kind != "none" else (own == label).astype(np.float32)
    together = np.sum(list(shares.values()), axis=0)
    where = np.flatnonzero(together)
    values, vectors, bad = normalised(tensors.reshape(-1, 6)[where])
    scalar = mixture(head, own, kind, octants=False).reshape(-1)
    sigma = scalar[:, None] * jnp.asarray(_six(np.eye(3)), scalar.dtype)
    if kind == "geometric":
        tissue = np.sum([tissue_share(head, int(v)) for v in np.unique(own) if v], axis=0).ravel()[where]
        turned = _six(vectors * (values ** (together.ravel()[where] / tissue)[:, None])[:, None] @ vectors.mT)
        sigma = sigma.at[where].set(scalar[where, None] * jnp.asarray(turned, scalar.dtype))
    else:
        more = jnp.asarray(_six(vectors * values[:, None] @ vectors.mT - np.eye(3)), scalar.dtype)
        for label, share in shares.items():
            sigma = sigma.at[where].add(head.conductivity[label] * share.ravel()[where, None] * more)
    sigma = sigma.reshape(*own.shape, 6)
    if coarsen > 1:
        sigma = block_mean(grow(sigma, coarsen), coarsen)
    bad_here = int(np.count_nonzero(bad & np.isin(own.ravel()[where], labels)))
    return Anisotropic(sigma, *coarser(own > 0, affine, coarsen), bad_here)


def normalised(six: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Eigenvalues (n, 3) of geometric mean 1, eigenvectors (n, 3, 3), and where a tensor is bad (1, 1, 1 there)."""
    finite = np.asarray(np.isfinite(six).all(axis=1))
    full = np.where(finite[:, None], six, 0)[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3)
    values, vectors = np.linalg.eigh(full.astype(np.float64))
    largest = values[:, 2]
    bad = ~finite | (largest <= 0) | (values[:, 0] < -largest / MAX_RATIO)
    values = np.where(bad.reshape(-1, 1), 1.0, np.maximum(values, largest[:, None] / MAX_RATIO))
    return values / np.exp(np.log(values).mean(1, keepdims=True)), vectors, bad


def _six(full: np.ndarray) -> np.ndarray:
    """The entries xx, xy, xz, yy, yz, zz of (..., 3, 3)."""
    return full[..., [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]].astype(np.float32)
