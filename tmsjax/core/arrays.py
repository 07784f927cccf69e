"""What counts as an array at the library's entry points."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from tmsjax.core.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import ArrayLike
else:
    ArrayLike = Any  # numpy's protocol turns plain tuples away when it is checked at run time
    """Anything that numpy.asarray takes."""

__all__ = ["ArrayLike", "numbers", "whole_numbers"]


def numbers(values: ArrayLike, what: str, dtype: Any = np.float64) -> np.ndarray:
    """An array of this kind of floats, or InputError where ``values`` are no numbers."""
    try:
        return np.asarray(values, dtype)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{what} are no numbers", got=repr(values)[:80], expected="an array of numbers") from error


def whole_numbers(values: ArrayLike, what: str) -> np.ndarray:
    """An int32 array, or InputError where ``values`` are not whole (floats may be, as 2.0 is) or do not fit."""
    found = np.asarray(values) if getattr(values, "dtype", np.dtype(float)).kind in "iu" else numbers(values, what)
    largest = np.iinfo(np.int32).max
    bad = ~((found == np.rint(found)) & (found <= largest) & (found >= -largest))
    if bad.any():
        raise InputError(f"{what} are not whole numbers", got=found[bad][:5].tolist(), expected=f"up to {largest}")
    return found.astype(np.int32)
