"""One network for a population: the median threshold over clones and azimuths at a place in the cortex.

Aberra et al. (2023), abstract as published: "trained to predict the median threshold of populations of neurons". A
median over azimuths does not depend on how a patch is turned about the somatodendritic axis. So every patch is first
turned to a canonical azimuth, at which the field at its centre has no y component and an x component that is not
negative, and a support-function model takes it from there.

Turning is exact for polynomials: a polynomial of total degree d turned is one of total degree d. What is turned is the
least-squares polynomial of the patch, which is all that the support-function model sees of it.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.surrogate import features, support
from tmsjax.surrogate.support import SupportSpec

HIGHEST = 3
"""Degree of the polynomial that is turned: beyond it the fit swings at the cube's edges, which turning brings in."""


@dataclasses.dataclass(frozen=True)
class MedianSpec(SupportSpec):
    """A support-function model of turned patches; degrees up to HIGHEST."""

    def check(self, n: int) -> None:
        """Raise InputError unless these members can be built on turned patches of n samples a side."""
        super().check(n)
        if self.samples or max(self.degrees) > HIGHEST:
            raise InputError(
                "members of turned patches", got=self, expected=f"degrees up to {HIGHEST}, none that see the samples"
            )


def turn(patch: features.Patch) -> features.Patch:
    """A patch (its polynomial of degree HIGHEST, or n - 1) turned about z to its canonical azimuth.

    Where the field at the centre lies along the axis there is no such azimuth, and it stays as it is.
    """
    n = patch.shape[0]
    degree = min(HIGHEST, n - 1)
    x, y, _ = features.centre_field(patch)
    across2 = x * x + y * y
    across = jnp.sqrt(jnp.where(across2 > 0, across2, 1))
    cos, sin = (jnp.where(across2 > 0, part / across, start) for part, start in ((x, 1.0), (y, 0.0)))
    rotation = jnp.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])
    highest = jax.lax.Precision.HIGHEST
    points = jnp.matmul(jnp.asarray(_points(n), patch.dtype), rotation.T, precision=highest)
    values = jnp.matmul(
        polynomials(points, n, degree), features.coefficients(patch, degree).reshape(-1, 3), precision=highest
    )
    return jnp.matmul(values, rotation, precision=highest).reshape(n, n, n, 3)


def polynomials(points: Float[Array, "p 3"], n: int, degree: int) -> Float[Array, "p f"]:
    """Values of the basis polynomials of ``features`` anywhere: points in half sides of the cube, -1 to 1 within it."""
    to_gram = jnp.asarray(_legendre_to_gram(n, degree), points.dtype)
    legendre = [jnp.ones_like(points), points]
    for k in range(2, degree + 1):
        legendre.append(((2 * k - 1) * points * legendre[-1] - (k - 1) * legendre[-2]) / k)
    gram = jnp.matmul(jnp.stack(legendre[: degree + 1], -1), to_gram, precision=jax.lax.Precision.HIGHEST)
    return jnp.stack([gram[:, 0, i] * gram[:, 1, j] * gram[:, 2, k] for i, j, k in features.exponents(degree)], -1)


def thresholds(spec: MedianSpec, variables: dict[str, Any], patches: Float[Array, "b n n n 3"]) -> Float[Array, " b"]:
    """Median thresholds (b,), V/m at the centre of normalised patches of any azimuth."""
    turned = jax.vmap(lambda patch: features.normalise(turn(patch)))(patches)
    return support.thresholds(spec, variables, turned.patch) / turned.magnitude


@lru_cache
def _points(n: int) -> Float[np.ndarray, "p 3"]:
    ticks = np.linspace(-1, 1, n)
    return np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)


@lru_cache
def _legendre_to_gram(n: int, degree: int) -> Float[np.ndarray, "d d"]:
    ticks = np.linspace(-1, 1, n)
    return np.linalg.lstsq(
        np.polynomial.legendre.legvander(ticks, degree), features.gram_polynomials(n, degree), rcond=None
    )[0]
