"""Convolutions of sparse volumes: only the voxels that the masked output depends on, by tables made once a mask.

Outside the motor cortex the networks' output is multiplied by zero, so of 64^3 voxels some 2 % matter, and of the
layers below only those that these see. XLA's 3-D convolution on CPUs is slow; a gather of neighbours and a matrix
product over the voxels that matter is exact and some hundred times faster. Up-sampling by 2 (nearest) and a 3^3
convolution are folded into eight 2^3 kernels, one for each parity of the output voxel.

Values are (b, n, c): batch, voxels of a table, channels.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

FOLD = np.array([[[1, 0, 0], [0, 1, 1]], [[1, 1, 0], [0, 0, 1]]], np.float32)
"""(parity, coarse tap, fine tap): an even voxel 2q sees q-1 by w0 and q by w1 + w2, an odd one q by w0 + w1."""


class Table(NamedTuple):
    """One layer: which inputs each output reads.

    taps: (n, t) index of an input; ``inputs`` where there is none (a zero).
    back: (inputs, d) index into the n t reads of each input, n t where there are fewer than d: the transpose.
    parts: where the outputs of each kernel begin; one kernel, or eight that are folded.
    """

    taps: Int[np.ndarray, "n t"]
    back: Int[np.ndarray, "i d"]
    parts: tuple[int, ...]
    inputs: int


def table(taps: Int[np.ndarray, "n t"], inputs: int, parts: tuple[int, ...] = (0,)) -> Table:
    """A table from its taps: ``inputs`` or more in place of an index means a zero."""
    taps = np.minimum(taps, inputs).astype(np.int32)
    flat = taps.ravel()
    order = np.argsort(flat, kind="stable")
    count = np.bincount(flat, minlength=inputs + 1)[:inputs]
    back = np.full((inputs, max(1, int(count.max(initial=0)))), flat.size, np.int32)
    first = np.repeat(np.cumsum(count) - count, count)
    rows = np.repeat(np.arange(inputs), count)
    back[rows, np.arange(len(rows)) - first] = order[: len(rows)]
    return Table(taps, back, (*parts, len(taps)), inputs)


def neighbours(at: Int[np.ndarray, "n 3"], side: int, width: int = 3) -> Int[np.ndarray, "n w 3"]:
    """The width^3 voxels round each voxel, in the order of a kernel's weights; out of the box too."""
    ticks = np.arange(width) - width // 2
    return at[:, None] + np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)


def lookup(wanted: Int[np.ndarray, "n t 3"], at: Int[np.ndarray, "i 3"], side: int) -> Int[np.ndarray, "n t"]:
    """Index of each wanted voxel among ``at``; len(at) where it is not among them, len(at) + 1 out of the box."""
    number = np.full(side**3, len(at), np.int32)
    number[np.ravel_multi_index(tuple(at.T), (side,) * 3)] = np.arange(len(at))
    within = ((wanted >= 0) & (wanted < side)).all(-1)
    flat = np.ravel_multi_index(tuple(np.moveaxis(np.clip(wanted, 0, side - 1), -1, 0)), (side,) * 3)
    return np.where(within, number[flat], len(at) + 1)


def distinct(voxels: Int[np.ndarray, "... 3"], side: int) -> Int[np.ndarray, "n 3"]:
    """The distinct voxels among these that are in the box, in C order."""
    flat = voxels.reshape(-1, 3)
    flat = flat[((flat >= 0) & (flat < side)).all(1)]
    return np.stack(np.unravel_index(np.unique(np.ravel_multi_index(tuple(flat.T), (side,) * 3)), (side,) * 3), 1)


def everywhere(side: int) -> Int[np.ndarray, "n 3"]:
    """All voxels of a box, in C order."""
    return np.stack(np.unravel_index(np.arange(side**3), (side,) * 3), 1)


def by_parity(at: Int[np.ndarray, "n 3"]) -> tuple[Int[np.ndarray, "n 3"], tuple[int, ...]]:
    """The voxels sorted by their parity, and where each of the eight parities begins."""
    parity = (at % 2) @ np.array([4, 2, 1])
    order = np.argsort(parity, kind="stable")
    return at[order], tuple(np.searchsorted(parity[order], np.arange(8)).tolist())


def coarse_reads(at: Int[np.ndarray, "n 3"]) -> Int[np.ndarray, "n 8 3"]:
    """The 2^3 coarse voxels that a voxel sees after up-sampling by 2 and a 3^3 kernel."""
    ticks = np.array([0, 1])
    corner = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    return (at // 2 - 1 + at % 2)[:, None] + corner


@jax.custom_vjp
def gather(x: Float[Array, "b i c"], taps: Int[Array, "n t"], back: Int[Array, "i d"]) -> Float[Array, "b n t c"]:
    """Inputs by their index, zero beyond them; its gradient is a gather too, where XLA would scatter."""
    return _pick(_padded(x), taps)


def _pick(x: Float[Array, "b i c"], index: Int[Array, "n t"]) -> Array:
    return x.at[:, index].get(mode="promise_in_bounds")


def _padded(x: Float[Array, "b i c"]) -> Array:
    return jnp.concatenate([x, jnp.zeros_like(x[:, :1])], axis=1)


def _gather_forward(x, taps, back):
    return gather(x, taps, back), (back, taps.size)


def _gather_backward(kept, g):
    back, size = kept
    flat = _padded(g.reshape(g.shape[0], size, g.shape[-1]))
    return _pick(flat, back).sum(axis=2), None, None


gather.defvjp(_gather_forward, _gather_backward)


def folded(kernel: Float[Array, "27 c f"]) -> Float[Array, "8 8 c f"]:
    """The eight kernels (parity, coarse tap) of up-sampling by 2 and a 3^3 convolution."""
    fold = jnp.asarray(FOLD)
    cube = kernel.reshape(3, 3, 3, *kernel.shape[1:])
    return jnp.einsum("apx,bqy,crz,xyzif->abcpqrif", fold, fold, fold, cube).reshape(8, 8, *kernel.shape[1:])


def convolve(
    t: Table, x: Float[Array, "b i c"], kernels: Float[Array, "p t c f"], bias: Float[Array, " f"]
) -> Float[Array, "b n f"]:
    """A layer by its table and kernels (one, or the eight ``folded``).

    With one channel out and many in, products come first and are then picked: each is read once at most.
    """
    if kernels.shape[3] == 1 and kernels.shape[2] > 1:
        return _picked(t, x, kernels) + bias
    read = gather(x, jnp.asarray(t.taps), jnp.asarray(t.back))
    flat = read.reshape(*read.shape[:2], -1)
    out = [flat[:, t.parts[p] : t.parts[p + 1]] @ kernels[p].reshape(-1, kernels.shape[3]) for p in range(len(kernels))]
    return jnp.concatenate(out, axis=1) + bias


def _picked(t: Table, x: Float[Array, "b i c"], kernels: Float[Array, "p t c 1"]) -> Float[Array, "b n 1"]:
    parts, taps = kernels.shape[:2]
    products = x @ jnp.moveaxis(kernels[..., 0], 2, 0).reshape(x.shape[2], -1)
    part = np.repeat(np.arange(parts), np.diff(t.parts))
    index = t.taps * (parts * taps) + part[:, None] * taps + np.arange(taps)
    index = np.where(t.taps < t.inputs, index, t.inputs * parts * taps)
    pick = table(index, t.inputs * parts * taps)
    flat = products.reshape(len(x), -1, 1)
    return gather(flat, jnp.asarray(pick.taps), jnp.asarray(pick.back)).sum(axis=2)
