"""From a cubic patch of field samples to the coefficients of the polynomial that fits it best.

On a regular grid the discrete Legendre (Gram) polynomials are orthonormal, so the least-squares fit is a plain
projection (its pseudo-inverse is the transpose), and the coefficients of a lower degree are the first ones of a
higher degree. Everything is written for one patch, axes x, y, z of the cell frame, and for any scale of the field.
"""

from __future__ import annotations

from functools import lru_cache
from math import comb
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tmsjax.core.errors import InputError

Patch = Float[Array, "n n n 3"]

SMALLEST_CENTRE = 1e-5
"""A patch whose field at the centre is below this share of its largest component has no usable direction there."""


class Normalised(NamedTuple):
    """One patch in units of the field magnitude at its centre."""

    patch: Patch
    """Samples over ``magnitude``; NaN throughout where not ``ok``."""
    magnitude: Float[Array, ""]
    """Field magnitude at the centre, in the unit of the patch."""
    ok: Bool[Array, ""]
    """Every sample is finite and the field at the centre is not zero."""


def count(degree: int) -> int:
    """Number of coefficients, three components: ``3 (degree + 3 choose 3)``: 12, 30, 60, 105 for degrees 1 to 4."""
    return 3 * comb(degree + 3, 3)


def exponents(degree: int) -> tuple[tuple[int, int, int], ...]:
    """Degrees (i, j, k) along x, y, z of every basis polynomial of total degree up to ``degree``, lowest first."""
    each = range(degree + 1)
    triples = [(i, j, k) for i in each for j in each for k in each if i + j + k <= degree]
    return tuple(sorted(triples, key=lambda t: (sum(t), t)))


@lru_cache
def gram_polynomials(n: int, degree: int) -> Float[np.ndarray, "n d"]:
    """Polynomials of degree 0 to ``degree`` on n even ticks from -1 to 1, orthonormal in the mean over the ticks."""
    if degree < 0 or degree >= n:
        raise InputError(
            "the grid is too coarse for this polynomial", got=f"degree {degree}, n {n}", expected="degree < n"
        )
    q, r = np.linalg.qr(np.polynomial.legendre.legvander(np.linspace(-1, 1, n), degree))
    return q * np.sign(np.diag(r)) * np.sqrt(n)


@lru_cache
def basis(n: int, degree: int) -> Float[np.ndarray, "n n n f"]:
    """Values of every basis polynomial on the grid, float64; ``mean(basis_f basis_g) = (f == g)``."""
    g = gram_polynomials(n, degree)
    return np.stack([np.einsum("x,y,z->xyz", g[:, i], g[:, j], g[:, k]) for i, j, k in exponents(degree)], -1)


def coefficients(patch: Patch, degree: int) -> Float[Array, " c"]:
    """Coefficients of the least-squares polynomial of total degree ``degree`` (1-4 in use), linear in the patch.

    Ordered by polynomial, then component: the first 3 are the mean field, the first ``count(d)`` are those of the
    fit of any lower degree d.
    """
    n = patch.shape[0]
    projection = jnp.asarray(basis(n, degree) / n**3, patch.dtype).reshape(n**3, -1)
    return jnp.matmul(projection.T, patch.reshape(n**3, 3), precision=jax.lax.Precision.HIGHEST).reshape(-1)


def polynomial(coefficients: Float[Array, " c"], n: int, degree: int) -> Patch:
    """The patch on an n-grid whose ``coefficients`` these are."""
    return jnp.asarray(basis(n, degree), coefficients.dtype) @ coefficients.reshape(-1, 3)


def centre_field(patch: Patch) -> Float[Array, 3]:
    """Field at the centre of the cube: the middle sample, or the mean of the middle 8 where n is even."""
    n = patch.shape[0]
    middle = slice((n - 1) // 2, n // 2 + 1)
    return patch[middle, middle, middle].mean((0, 1, 2))


def normalise(patch: Patch) -> Normalised:
    """Divide a patch by its field magnitude at the centre.

    Works at any scale that float32 holds (1e-30 as well as 1e30 V/m); differentiable. A patch with a sample that is
    not finite, or with (next to) no field at its centre, comes back as NaN with ``ok`` false.
    """
    largest = jax.lax.stop_gradient(jnp.abs(patch).max())
    # Every sample is asked: XLA's maximum on CPUs may lose a NaN (jax 0.10.1).
    finite = jnp.isfinite(patch).all() & (largest > 0)
    scale = jnp.where(finite, largest, 1)
    centre = centre_field(patch) / scale
    square = jnp.sum(centre**2)
    ok = finite & (square > SMALLEST_CENTRE**2)
    norm = jnp.sqrt(jnp.where(ok, square, 1))
    return Normalised(jnp.where(ok, patch / scale / norm, jnp.nan), jnp.where(ok, norm * scale, jnp.nan), ok)
