"""How much a field changes within a patch: the norm of its Jacobian (Aberra et al. 2023, equation 1, figure 5D)."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from tmsjax.core.errors import InputError
from tmsjax.surrogate import features

BLOCK = 1024
"""Patches differentiated in one compiled call."""

FINE = 13
"""Samples a side with which the paper measures gradients that coarser grids miss."""


def jacobian_norm(patch: features.Patch, side_mm: float | Float[Array, ""]) -> Float[Array, "n n n"]:
    """``sqrt(sum_ij (dE_i/dx_j)^2)`` at every sample, per mm, of the field over its magnitude at the centre.

    Central differences within the grid, one-sided ones on its faces. (Equation 1 as printed repeats some of its nine
    terms; the text calls it the norm of the Jacobian.)
    """
    unit = features.normalise(patch).patch
    spacing = side_mm / (patch.shape[0] - 1)
    slopes = jnp.stack([_difference(unit, axis) for axis in range(3)])
    return jnp.sqrt(jnp.sum(slopes**2, axis=(0, -1))) / spacing


def directional_gradients(patches: Any, side_mm: float) -> tuple[Float[ndarray, " b"], Float[ndarray, " b"]]:
    """Median and largest Jacobian norm within each patch (b, n, n, n, 3), per mm of the field at its centre."""
    n = np.shape(patches)[1]
    if n < 2 or not side_mm > 0:
        raise InputError("no gradient on this grid", got=f"n {n}, side {side_mm} mm", expected="n >= 2, side above 0")
    blocks = [
        np.asarray(_block(jnp.asarray(np.asarray(patches[i : i + BLOCK]), jnp.float32), jnp.float32(side_mm)))
        for i in range(0, len(patches), BLOCK)
    ]
    medians, largest = np.concatenate([np.zeros((0, 2)), *blocks]).T.astype(np.float64)
    return medians, largest


@jax.jit
def _block(patches: Float[Array, "b n n n 3"], side_mm: Float[Array, ""]) -> Float[Array, "b 2"]:
    norms = jax.vmap(lambda patch: jacobian_norm(patch, side_mm))(patches).reshape(len(patches), -1)
    return jnp.stack([jnp.median(norms, axis=1), norms.max(axis=1)], -1)


def _difference(patch: features.Patch, axis: int) -> features.Patch:
    """Per sample along an axis."""
    ahead = jnp.moveaxis(patch, axis, 0)
    inner = (ahead[2:] - ahead[:-2]) / 2
    slopes = jnp.concatenate([ahead[1:2] - ahead[:1], inner, ahead[-1:] - ahead[-2:-1]])
    return jnp.moveaxis(slopes, 0, axis)
