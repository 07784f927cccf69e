"""Loops over the nodes and lines of ``columns``, compiled by numba on first use."""

from __future__ import annotations

import inspect
from collections.abc import Callable

import numba
import numpy as np


def _compiled(function: Callable) -> Callable:
    """The function as it is written, from under the type checks of a test run."""
    return numba.njit(nogil=True)(inspect.unwrap(function))


@_compiled
def sweep(potential, free, weights, sweeps, relaxation):
    """Red-black over-relaxation in place."""
    ni, nj, nk = potential.shape
    a, b, c = weights
    scale = relaxation / (2 * (a + b + c))
    for sweep in range(2 * sweeps):
        for i in range(1, ni - 1):
            for j in range(1, nj - 1):
                for k in range(1 + (i + j + sweep) % 2, nk - 1, 2):
                    if free[i, j, k]:
                        total = a * (potential[i - 1, j, k] + potential[i + 1, j, k])
                        total += b * (potential[i, j - 1, k] + potential[i, j + 1, k])
                        total += c * (potential[i, j, k - 1] + potential[i, j, k + 1])
                        potential[i, j, k] += scale * total - relaxation * potential[i, j, k]


@_compiled
def _at(values, x, y, z):
    """Trilinear interpolation at an index."""
    ni, nj, nk = values.shape
    x, y, z = min(max(x, 0.0), ni - 1.001), min(max(y, 0.0), nj - 1.001), min(max(z, 0.0), nk - 1.001)
    i, j, k = int(x), int(y), int(z)
    u, v, w = x - i, y - j, z - k
    low = (values[i, j, k] * (1 - w) + values[i, j, k + 1] * w) * (1 - v)
    low += (values[i, j + 1, k] * (1 - w) + values[i, j + 1, k + 1] * w) * v
    high = (values[i + 1, j, k] * (1 - w) + values[i + 1, j, k + 1] * w) * (1 - v)
    high += (values[i + 1, j + 1, k] * (1 - w) + values[i + 1, j + 1, k + 1] * w) * v
    return low * (1 - u) + high * u


@_compiled
def climb(potential, level, starts, spacing, stride, longest, ends, lengths):
    """Follow the gradient from every start (midpoint rule), to where ``level`` crosses zero."""
    for n in range(len(starts)):
        p = starts[n].copy()
        before, length, last = 0.0, 0.0, p.copy()
        while True:
            here = _at(level, p[0], p[1], p[2])
            if here <= 0 and length > 0:
                share = before / (before - here) if before > here else 1.0
                p = last + share * (p - last)
                length -= (1 - share) * stride
                break
            if length > longest:
                length = np.inf
                break
            before, last, middle, move = here, p.copy(), p.copy(), np.zeros(3)
            stuck = False
            for half in range(2):
                g = np.empty(3)
                for axis in range(3):
                    q = middle.copy()
                    q[axis] += 0.5
                    g[axis] = _at(potential, q[0], q[1], q[2])
                    q[axis] -= 1.0
                    g[axis] = (g[axis] - _at(potential, q[0], q[1], q[2])) / spacing[axis]
                size = np.sqrt((g * g).sum())
                if size < 1e-4:
                    stuck = True
                    break
                move = stride * g / size / spacing
                if half == 0:
                    middle = p + 0.5 * move
            if stuck:
                length = 0.0 if length == 0 else np.inf
                break
            p = p + move
            length += stride
        ends[n] = p
        lengths[n] = length
