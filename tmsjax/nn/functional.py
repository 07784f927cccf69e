"""The bridge from flax.nnx, which defines layers, to plain functions ``init(key)`` and ``apply(variables, x)``.

Variables are nested dicts of arrays, so jax.jit, jax.grad, jax.vmap, optax and Orbax take them as they are.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from tmsjax.core.errors import InputError

Variables = dict[str, Any]
"""Nested dict of arrays: the trainable parameters of a module."""


class Functional(NamedTuple):
    """A module as two pure functions."""

    init: Callable[[jax.Array], Variables]
    apply: Callable[..., Any]


def functional(make: Callable[[nnx.Rngs], nnx.Module]) -> Functional:
    """Split a flax.nnx module into ``init(key) -> variables`` and ``apply(variables, *args) -> output``.

    Parameters
    ----------
    make
        Builds the module from its random streams, e.g. ``lambda rngs: nnx.Linear(3, 1, rngs=rngs)``. It is traced
        without doing any arithmetic, to learn the structure.

    Returns
    -------
    Functional
        ``init`` takes a PRNG key; ``apply`` is pure and written for one example (vmap outside).

    Raises
    ------
    InputError
        The module keeps state that is not a parameter (batch statistics, dropout streams): it has no pure apply.
    """
    graph, parameters, rest = nnx.split(nnx.eval_shape(lambda: make(nnx.Rngs(0))), nnx.Param, ...)
    held = ["/".join(map(str, path)) for path, _ in nnx.to_flat_state(rest)]
    if held:
        raise InputError(
            "this module keeps state besides its parameters, so it has no pure apply",
            got=", ".join(held),
            expected="nnx.Param only",
            mend="leave out batch normalisation, dropout and stored random streams",
        )

    def init(key: jax.Array) -> Variables:
        return nnx.to_pure_dict(nnx.split(make(nnx.Rngs(key)), nnx.Param, ...)[1])

    def apply(variables: Variables, *args: Any, **kwargs: Any) -> Any:
        state = jax.tree.map(lambda leaf: leaf, parameters)
        nnx.replace_by_pure_dict(state, variables)
        return nnx.merge(graph, state, rest)(*args, **kwargs)

    return Functional(init, apply)


def in_chunks(function: Callable[[jax.Array], jax.Array], x: jax.Array, chunk: int) -> jax.Array:
    """``function(x)`` in parts of ``chunk`` rows, one after the other: in bounded memory, or in a cache.

    ``function`` maps (b, ...) to (b, ...), each row by itself.
    """
    whole = len(x) // chunk * chunk
    if not whole:
        return function(x)
    mapped = jax.lax.map(function, x[:whole].reshape(-1, chunk, *x.shape[1:]))
    done = mapped.reshape(whole, *mapped.shape[2:])
    return done if whole == len(x) else jnp.concatenate([done, function(x[whole:])])
