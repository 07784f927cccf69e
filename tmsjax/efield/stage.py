"""Steps of a computation that the compiler may not melt together.

XLA for CPUs fuses a stencil into the stencil that reads it and so computes every value again for each neighbour: seven
times for one operator after another, 49 times for two (a V-cycle took 3.5 times as long). It drops
``optimization_barrier`` before it fuses. A branch of ``lax.cond`` is a computation of its own, and so a wall.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool


def stage(go: Bool[Array, ""], function: Callable[..., Any], *arguments: Any) -> Any:
    """``function(*arguments)`` as a step of its own: its arguments and its result are written to memory.

    ``go`` is true, which the compiler cannot know: take it from data, not from a constant (``always``). Elsewhere than
    on CPUs a barrier does.
    """
    result = jax.eval_shape(function, *arguments)

    def never(*_):
        return jax.tree.map(lambda a: jnp.zeros(a.shape, a.dtype), result)

    def walled(*a):
        return jax.lax.cond(go, function, never, *a)

    def barred(*a):
        return jax.lax.optimization_barrier(function(*a))

    return jax.lax.platform_dependent(*arguments, cpu=walled, default=barred)


def always(values: Array) -> Bool[Array, ""]:
    """True, for ``values`` that are nowhere negative; NaN counts as that."""
    return ~(values[(0,) * values.ndim] < 0)
