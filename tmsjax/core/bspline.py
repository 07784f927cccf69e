"""Weights of the uniform cubic B-spline, for NumPy and for JAX."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np


def cubic_weights(t: Any) -> Any:
    """Weights (..., 4) of the four B-splines at t (...) from 0 to 1 between the second and the third of their knots.

    They sum to 1 and are twice continuously differentiable from one interval to the next. NumPy in, NumPy out.
    """
    stack = np.stack if isinstance(t, np.ndarray) else jnp.stack
    return stack(
        [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6], axis=-1
    )
