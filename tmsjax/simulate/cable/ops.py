"""The few functions that the rates of channels are written in, for NumPy, JAX and numba's vectors of lanes alike.

Called from Python they act on NumPy or JAX arrays; inside numba, on ``simd.Lanes``. One text of every formula serves
the steady state (NumPy, float64), the accelerator (JAX) and the processor (numba).
"""

from __future__ import annotations

import inspect
import math
from typing import Any

import numpy as np
from numba import njit
from numba.core import types

from tmsjax.simulate.cable import simd

LOG2E = math.log2(math.e)
LN2_HIGH, LN2_LOW = 0.693145751953125, 1.42860682030941723212e-6  # their sum is ln 2; the first has a short mantissa
LARGEST = 80.0
"""Arguments of exp are cut at +-80: e**80 is still finite in float32."""
TINY = 0.02
"""Below it x / (1 - exp(-x)) is a series: the difference would lose digits."""


def where(condition: Any, a: Any, b: Any) -> Any:
    """``a`` in lanes in which the condition holds, else ``b``."""
    return _namespace(condition).where(condition, a, b)


def minimum(a: Any, limit: float) -> Any:
    """``a``, at most ``limit``."""
    return _namespace(a).minimum(a, limit)


def clip(a: Any, low: float, high: float) -> Any:
    """``a``, kept between two limits."""
    return _namespace(a).clip(a, low, high)


def exp(a: Any) -> Any:
    """The exponential function, of a cut at +-80."""
    namespace = _namespace(a)
    return namespace.exp(namespace.clip(a, -LARGEST, LARGEST))


def log(a: Any) -> Any:
    """The natural logarithm of a positive number."""
    return _namespace(a).log(a)


@simd.inlined
def linoid(x):
    """``x / (1 - exp(-x))`` and ``x / (exp(x) - 1)``, which both tend to 1 at 0; they differ by x."""
    e = exp(-x)
    small = absolute(x) < TINY
    up = where(small, 1.0 + x * (0.5 + x * (1.0 / 12.0)), x / where(small, x * 0.0 + 1.0, 1.0 - e))
    return up, up * e


@simd.inlined
def settle(y):
    """``1 - exp(-y)`` for y >= 0 (cut at 16): the share of the way to its end that a gate goes in ``y`` time constants.

    A series of an eighth of y, squared three times: no cancellation at the small y of slow gates.
    """
    s = minimum(y, 16.0) * 0.125
    t = s * (1.0 - s * (0.5 - s * (1.0 / 6.0 - s * (1.0 / 24.0 - s * (1.0 / 120.0 - s * (1.0 / 720.0 - s / 5040.0))))))
    t = t * (2.0 - t)
    t = t * (2.0 - t)
    return t * (2.0 - t)


def absolute(a: Any) -> Any:
    """|a|."""
    return _namespace(a).abs(a)


def _namespace(a: Any) -> Any:
    find = getattr(a, "__array_namespace__", None)
    return np if find is None else find()


@simd.on_lanes(where)
def _where(condition, a, b):
    if condition == simd.MASK:
        if isinstance(a, types.Number):
            return lambda condition, a, b: simd._select(condition, simd._splat(b, a), b)
        if isinstance(b, types.Number):
            return lambda condition, a, b: simd._select(condition, a, simd._splat(a, b))
        return lambda condition, a, b: simd._select(condition, a, b)
    return None


@simd.on_lanes(minimum)
def _minimum(a, limit):
    return (lambda a, limit: where(a < limit, a, limit)) if simd.is_vector(a) else None


@simd.on_lanes(clip)
def _clip(a, low, high):
    if not simd.is_vector(a):
        return None

    def inner(a, low, high):
        a = where(a < high, a, high)
        return where(a > low, a, low)

    return inner


@simd.on_lanes(absolute)
def _absolute(a):
    return (lambda a: where(a < 0.0, -a, a)) if simd.is_vector(a) else None


@simd.on_lanes(exp)
def _exp(a):
    """2 ** n times a polynomial in the rest (Taylor over +-ln(2)/2): 1e-7 in float32, 1e-15 in float64."""
    if not simd.is_vector(a):
        return None
    if a.dtype == types.float32:

        def single(a):
            a = clip(a, -LARGEST, LARGEST)
            n = simd._round(a * LOG2E)
            r = a - n * LN2_HIGH - n * LN2_LOW
            p = 1.0 / 120.0 + r * (1.0 / 720.0 + r * (1.0 / 5040.0))
            p = 1.0 + r * (1.0 + r * (0.5 + r * (1.0 / 6.0 + r * (1.0 / 24.0 + r * p))))
            return p * simd._power_of_two(n)

        return single

    def double(a):
        a = clip(a, -LARGEST, LARGEST)
        n = simd._round(a * LOG2E)
        r = a - n * LN2_HIGH - n * LN2_LOW
        p = 1.0 + r * (1.0 / 13.0)
        for k in range(12, 0, -1):
            p = 1.0 + p * r * (1.0 / k)
        return p * simd._power_of_two(n)

    return double


@simd.on_lanes(log)
def _log(a):
    """The mantissa's as a series in (m - 1) / (m + 1), plus the exponent's; m lies within sqrt(2) of 1."""
    if not simd.is_vector(a):
        return None
    terms = 6 if a.dtype == types.float32 else 11

    def inner(a):
        n = simd._exponent(a)
        m = a / simd._power_of_two(n)
        large = m > math.sqrt(2.0)
        m = where(large, m * 0.5, m)
        n = where(large, n + 1.0, n)
        z = (m - 1.0) / (m + 1.0)
        square = z * z
        series = square * 0.0
        for k in range(terms, -1, -1):
            series = series * square + 1.0 / (2 * k + 1)
        return n * LN2_HIGH + (2.0 * z * series + n * LN2_LOW)

    return inner


def apply(function: Any, which: int, given: np.ndarray, out: np.ndarray) -> None:
    """``out = function(given)[which]``, row by row by numba: to see what becomes of a formula on lanes."""
    compiled: Any = njit(inspect.unwrap(function))

    def rows(given, out):
        for i in range(given.shape[0]):
            simd.store(out, i, compiled(simd.load(given, i))[which])

    compiled_rows: Any = njit(inspect.unwrap(rows))
    compiled_rows(given, out)
