"""Convolution of a small cube by minimal filtering: as few multiplications as there are samples in the cube.

A "valid" correlation of n samples with a kernel of r gives m = n - r + 1 outputs as ``A [(G g) * (B d)]`` with n
products instead of m r (Toom-Cook; Winograd 1980, Arithmetic Complexity of Computations; Lavin & Gray 2016,
arXiv:1509.09308). In three dimensions 7 -> 5 with r = 3 takes 343 instead of 3375 products. XLA's own 3-D convolution
on CPUs is several times slower than its matrix products, into which this turns it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError

POINTS = {
    4: (0.0, 1.0, -1.0),
    5: (0.0, 0.9732, -0.9732, 2.4265, -2.4265),
    7: (0.31015, -0.31015, 0.77813, -0.77813, 2.0929, -2.0929),
}
"""Points of evaluation by n; infinity is one more where they are n - 1.

Searched at random for the least float32 error of a 3-D correlation with r = 3: 3e-7 (n = 5) and 1.6e-6 (n = 7) relative
rms. There is no n = 9: the best points found have 1.8e-5, and the sum of products is then as fast.
"""


class Transforms(NamedTuple):
    """The transforms of one axis: of the data, of the kernel, and of the products to the outputs."""

    data: Float[np.ndarray, "n n"]
    kernel: Float[np.ndarray, "n r"]
    output: Float[np.ndarray, "m n"]


@lru_cache
def transforms(n: int, r: int) -> Transforms:
    """Transforms for n samples and a kernel of r; InputError for an n that has no points."""
    if n not in POINTS or not 1 < r < n:
        raise InputError(
            "there is no minimal filtering for this size",
            got=f"n = {n}, r = {r}",
            expected=f"n in {sorted(POINTS)}, 1 < r < n",
        )

    def evaluate(terms: int) -> np.ndarray:
        rows = np.vander(np.array(POINTS[n]), terms, increasing=True)
        return np.vstack([rows, np.eye(terms)[-1:]][: 1 + n - len(POINTS[n])])

    data, kernel, output = np.linalg.inv(evaluate(n)).T, evaluate(r), evaluate(n - r + 1).T
    # Each product may be scaled between its three factors: equal norms lose the fewest digits.
    norms = np.stack([np.linalg.norm(data, axis=1), np.linalg.norm(kernel, axis=1), np.linalg.norm(output, axis=0)])
    data_scale, kernel_scale, output_scale = np.prod(norms, axis=0) ** (1 / 3) / norms
    return Transforms(data * data_scale[:, None], kernel * kernel_scale[:, None], output * output_scale)


def correlate(x: Float[Array, "n n n b c"], kernel: Float[Array, "r r r c f"]) -> Float[Array, "m m m b f"]:
    """Valid 3-D correlation (what networks call convolution) of a batch, channels last, batch before them."""
    return correlate_transformed(x, transformed(kernel, x.shape[0]), kernel.shape[0])


def transformed(kernel: Float[Array, "r r r c f"], n: int) -> Float[Array, "n n n c f"]:
    """The kernel as ``correlate_transformed`` takes it, for n samples a side: once for many calls."""
    return _along_axes(transforms(n, kernel.shape[0]).kernel, kernel)


def correlate_transformed(
    x: Float[Array, "n n n b c"], kernel: Float[Array, "n n n c f"], r: int
) -> Float[Array, "m m m b f"]:
    """``correlate`` with a kernel of r samples a side that is ``transformed``."""
    t = transforms(x.shape[0], r)
    products = jnp.einsum("xyzbc,xyzcf->xyzbf", _along_axes(t.data, x), kernel, precision=HIGHEST)
    return _along_axes(t.output, products)


def correlate_directly(x: Float[Array, "n n n b c"], kernel: Float[Array, "r r r c f"]) -> Float[Array, "m m m b f"]:
    """The same as ``correlate`` for any n, by one matrix product for each plane of the kernel: for few channels."""
    n, r = x.shape[0], kernel.shape[0]
    m = n - r + 1
    columns = jnp.concatenate([x[:, j : j + m, k : k + m] for j in range(r) for k in range(r)], axis=-1)
    flat = kernel.reshape(r, -1, kernel.shape[-1])
    return sum(
        (jnp.matmul(columns[i : i + m], flat[i], precision=HIGHEST) for i in range(1, r)),
        start=jnp.matmul(columns[:m], flat[0], precision=HIGHEST),
    )


HIGHEST = jax.lax.Precision.HIGHEST
"""Reduced precision on an accelerator would cost minimal filtering its digits."""


def _along_axes(matrix: np.ndarray, x: Float[Array, "n n n p q"]) -> Array:
    """Multiply ``matrix`` (k, n) into each of the three first axes, two of them at once.

    Batched products leave the axes where they are: a product over one axis in the middle transposes everything.
    """
    k, n = matrix.shape
    matrix = matrix.astype(x.dtype)
    one = jnp.matmul(matrix, x.reshape(n, -1), precision=HIGHEST).reshape(k, n * n, -1)
    both = jnp.broadcast_to(np.kron(matrix, matrix), (k, k * k, n * n))
    return jnp.matmul(both, one, precision=HIGHEST).reshape(k, k, k, *x.shape[3:])
