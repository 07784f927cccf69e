"""Points and other arrays of vectors as they enter the library."""

from __future__ import annotations

import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError


def vectors(
    values: ArrayLike, what: str, shapes: tuple[str, ...] = ("(p, 3)",), unit: str = "RAS+ mm"
) -> Float[Array, "*p 3"]:
    """An array of floats of one of these shapes, "(3,)", "(p, 3)" or "(..., p, 3)"; traced or not, values as they are.

    Raises InputError for what is no array of real numbers (text, None, ragged lists, complex numbers, True and False)
    and for another shape.
    """
    expected = f"{' or '.join(shapes)} in {unit}"
    try:
        found = jnp.asarray(values)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what}: no numbers", got=repr(values)[:80], expected=expected) from error
    if not (jnp.issubdtype(found.dtype, jnp.floating) or jnp.issubdtype(found.dtype, jnp.integer)):
        raise InputError(f"{what}: no real numbers", got=f"an array of {found.dtype}", expected=expected)
    shape = {1: "(3,)", 2: "(p, 3)"}.get(found.ndim, "(..., p, 3)")
    fits = shape in shapes or (found.ndim >= 2 and "(..., p, 3)" in shapes)
    if not found.ndim or not fits or found.shape[-1] != 3:
        raise InputError(f"{what}: wrong shape", got=found.shape, expected=expected)
    return jnp.asarray(found, float)
