"""Where a surrogate may be trusted: how far a patch's coefficients lie from those it was trained on."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.surrogate import features

QUANTILE = 0.999
"""Share of the training set that counts as inside."""

SHRINKAGE = 1e-2
"""Weight of the isotropic part of the covariance of each order: a small training set cannot make it singular."""


@pytree("degree", "quantile")
class Domain:
    """A Mahalanobis distance on the gradients of normalised patches, and the largest one that counts as inside.

    ``mean`` (c,) and ``whitener`` (c, c) of the coefficients above the mean field; ``limit`` is the ``quantile`` of
    the training set's own distances.
    """

    mean: Any
    whitener: Any
    limit: Any
    degree: int
    quantile: float

    def distance(self, patch: features.Patch) -> Float[Array, ""]:
        """``|L^-1 (c - mean)| / sqrt(number of c)`` of one normalised patch; about 1 for a typical training patch."""
        c = features.coefficients(patch, self.degree)[3:]
        white = jnp.matmul(self.whitener, c - self.mean, precision=jax.lax.Precision.HIGHEST)
        return jnp.linalg.norm(white) / np.sqrt(len(c))

    def contains(self, patch: features.Patch) -> Bool[Array, ""]:
        """Whether one normalised patch is inside; False where its samples are not finite."""
        return self.distance(patch) <= self.limit


def fit(coefficients: Float[np.ndarray, "b c"], degree: int, quantile: float = QUANTILE) -> Domain:
    """Domain of a training set from the coefficients of its normalised patches.

    The mean field (first 3 coefficients) is left out: a direction is never outside, a gradient can be.
    """
    c = np.asarray(coefficients, np.float64)[:, 3 : features.count(degree)]
    if c.shape[1] != features.count(degree) - 3 or len(c) < 2:
        raise InputError(
            "too few coefficients for a domain", got=c.shape, expected=f"(b, {features.count(degree)}), b > 1"
        )
    mean = c.mean(0)
    covariance = np.cov(c, rowvar=False)
    orders = np.repeat([sum(e) for e in features.exponents(degree)][1:], 3)
    variances = np.diag(covariance)
    isotropic = np.array([variances[orders == order].mean() for order in orders]) + 1e-10
    covariance = (1 - SHRINKAGE) * covariance + SHRINKAGE * np.diag(isotropic)
    whitener = np.linalg.inv(np.linalg.cholesky(covariance))
    distances = np.linalg.norm((c - mean) @ whitener.T, axis=1) / np.sqrt(c.shape[1])
    limit = np.quantile(distances, quantile)
    return Domain(mean.astype(np.float32), whitener.astype(np.float32), np.float32(limit), degree, quantile)
