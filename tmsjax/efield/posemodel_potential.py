"""The magnetic potential of dipoles at a pose model's sources, with a derivative made of matrix products."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

_dot = partial(jnp.dot, precision="highest")


@jax.custom_jvp
def potentials(
    positions: Float[Array, "d 3"], moments: Float[Array, "d 3"], sources: Float[Array, "s 3"]
) -> Float[Array, " s"]:
    """Minus the sum over dipoles m at r of m . (r - y) / |r - y|^3, at every source y (s, 3)."""
    along, w, _ = _tables(positions, moments, sources)
    return -jnp.sum(along * w, axis=0)


@potentials.defjvp
def _potentials_jvp(primals, tangents):
    """Linear in the tangents by products with two tables (d, s), so that reverse mode has no more than that to do.

    With a = r - y, w = |a|^-3 and v = 3 m.a |a|^-5: d(m.a w) = dm.a w + m.da w - v a.da.
    """
    positions, moments, sources = primals
    moved, turned, shifted = tangents
    along, w, inverse = _tables(positions, moments, sources)
    v = 3 * along * w * inverse**2

    def with_away(table, vectors):
        """Sum over dipoles of table x (vectors . a)."""
        return _dot(table.T, jnp.sum(vectors * positions, axis=1)) - jnp.sum(_dot(table.T, vectors) * sources, axis=1)

    of_dipoles = with_away(w, turned) + _dot(w.T, jnp.sum(moments * moved, axis=1)) - with_away(v, moved)
    slope = _dot(v.T, positions) - jnp.sum(v, axis=0)[:, None] * sources - _dot(w.T, moments)
    return -jnp.sum(along * w, axis=0), -of_dipoles - jnp.sum(slope * shifted, axis=1)


def _tables(positions: Array, moments: Array, sources: Array) -> tuple[Array, Array, Array]:
    """M . (r - y), |r - y|^-3 and |r - y|^-1 of every dipole and source (d, s)."""
    x, y, z = (positions[:, None, n] - sources[None, :, n] for n in range(3))
    inverse = jax.lax.rsqrt(x * x + y * y + z * z)
    along = moments[:, None, 0] * x + moments[:, None, 1] * y + moments[:, None, 2] * z
    return along, inverse**3, inverse
