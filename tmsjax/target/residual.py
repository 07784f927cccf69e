"""Residual layers over the coordinates of all points, at the end of every level: like a shape model (section 2.2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.nn.functional import Variables

STEP_MM = 1.0
"""What a unit of a layer's output moves a point by."""


def init(key: jax.Array, points: int, layers: int, width: int) -> Variables:
    """Layers that change nothing yet: the second matrix of each is zero."""
    shape = (layers, 3 * points, width)
    first = jax.random.normal(key, (int(np.prod(shape)),)).reshape(shape) * np.sqrt(2 / (3 * points))
    return {
        "first": first,
        "first_bias": jnp.zeros((layers, width)),
        "second": jnp.zeros((layers, width, 3 * points)),
        "second_bias": jnp.zeros((layers, 3 * points)),
    }


def apply(variables: Variables, places: Float[Array, "p 3"], side: int) -> Float[Array, "p 3"]:
    """Points in mm of the finest grid, ``side`` mm long, moved by what the others say.

    Coordinates enter in units of half a side from the middle, the same at every level, since levels may share layers.
    """
    middle = (side - 1) / 2

    def layer(y, w):
        h = jax.nn.relu(((y - middle) / (side / 2)) @ w["first"] + w["first_bias"])
        return y + STEP_MM * (h @ w["second"] + w["second_bias"]), None

    y, _ = jax.lax.scan(layer, places.reshape(-1), variables)
    return y.reshape(-1, 3)
