"""Quantiles that have a useful gradient: smooth ones, solved for, and plain ones."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

Scalar = float | Float[Array, ""]

HALVINGS = 40
"""Of the bracket round a smooth quantile: to rounding in float32."""

REACH = 20.0
"""The bracket reaches this many ``tau`` beyond the smallest and the largest value."""


@jax.custom_jvp
def smooth_quantile(
    values: Float[Array, " p"], weights: Float[Array, " p"], share: Scalar, tau: Scalar
) -> Float[Array, ""]:
    """The x at which a smooth share of the values is below it: sum w sigmoid((x - v) / tau) = share sum w.

    Values of +inf count as never reached. As ``tau`` goes to 0 it becomes ``quantile`` but for the distance between two
    neighbouring values. Its derivative is that of the equation it solves: each value counts by w s (1 - s), so those
    near the level do.
    """
    finite = jnp.isfinite(values)
    low = jnp.min(jnp.where(finite, values, jnp.inf)) - REACH * tau
    high = jnp.max(jnp.where(finite, values, -jnp.inf)) + REACH * tau
    total = share * jnp.sum(weights)

    def halve(_, ends):
        middle = 0.5 * (ends[0] + ends[1])
        below = jnp.sum(weights * jax.nn.sigmoid((middle - values) / tau)) < total
        return jnp.where(below, middle, ends[0]), jnp.where(below, ends[1], middle)

    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (low, high))
    return 0.5 * (low + high)


@smooth_quantile.defjvp
def _smooth_quantile_jvp(primals, tangents):
    values, weights, share, tau = primals
    moved, _, shared, _ = tangents
    x = smooth_quantile(values, weights, share, tau)
    s = jax.nn.sigmoid((x - values) / tau)
    slope = weights * s * (1 - s)
    # Where no value is near the level there is no slope, and nothing to divide by.
    whole = jnp.maximum(jnp.sum(slope), 1e-12 * jnp.sum(weights))
    along = jnp.sum(slope * jnp.where(jnp.isfinite(values), moved, 0.0))
    return x, (along + shared * jnp.sum(weights) * tau) / whole


def quantile(values: Float[Array, " p"], weights: Float[Array, " p"], share: Scalar) -> Float[Array, ""]:
    """The smallest of the values that this share of the weight does not exceed; its gradient is that one value's.

    Values of +inf are never reached: the quantile is +inf where the finite ones weigh less than the share.
    """
    order = jnp.argsort(values)
    passed = jnp.cumsum(weights[order])
    # Sums of float32 weights fall short of the whole by rounding.
    index = jnp.argmax(passed >= share * passed[-1] * (1 - 1e-5))
    return values[order[index]]


def level(
    values: Float[Array, " p"], weights: Float[Array, " p"], share: Scalar, tau: Scalar | None
) -> Float[Array, ""]:
    """``smooth_quantile``, or ``quantile`` where ``tau`` is None."""
    return quantile(values, weights, share) if tau is None else smooth_quantile(values, weights, share, tau)
