"""The loss of Baxter et al. (2021), equation 2: squared errors of all levels, each weighted by what it can see."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

ALPHA = 8.0
"""How close the weights are to 0 and 1: the paper's value."""

TINY = 1e-6
"""mm^2, so that the logarithm of no error is finite."""


def weight(
    error2: Float[Array, "*e"], voxel: Float[Array, "*l"], field: int, alpha: float = ALPHA
) -> Float[Array, "*e"]:
    """Equation 2's w from squared errors (mm^2) of levels with voxels of ``voxel`` mm; 1/2 at two voxels of error.

    No gradient passes: w e^2 falls beyond two or three voxels, so that one would push far estimates farther away.
    """
    log_error = 0.5 * jnp.log2(error2 + TINY)
    return jax.lax.stop_gradient(jax.nn.sigmoid(-alpha * (log_error - jnp.log2(voxel) - 1) / jnp.log2(field)))


def equation_2(
    places: Float[Array, "l p 3"],
    truth: Float[Array, "p 3"],
    present: Bool[Array, " p"],
    voxel: Float[Array, " l"],
    field: int,
    alpha: float = ALPHA,
) -> Float[Array, ""]:
    """L = sum over levels of w e^2 / r^2, averaged over the points that are present.

    Args:
        places: estimates of every level, mm.
        truth: points, mm; anything (NaN too) where they are not present.
        present: which points have been marked.
        voxel: r, mm, in the order of ``places``.
        field: f, voxels a side of a crop.
        alpha: sharpness of the weights.
    """
    error2 = squared_errors(places, truth, present)
    w = weight(error2, voxel[:, None], field, alpha)
    terms = jnp.where(present, w * error2 / voxel[:, None] ** 2, 0)
    return terms.sum() / jnp.maximum(present.sum(), 1)


def squared_errors(
    places: Float[Array, "*l p 3"], truth: Float[Array, "p 3"], present: Bool[Array, " p"]
) -> Float[Array, "*l p"]:
    """mm^2, 0 for points that are absent: replaced before the difference, since 0 times NaN is NaN."""
    return ((places - jnp.where(present[:, None], truth, jax.lax.stop_gradient(places))) ** 2).sum(-1)
