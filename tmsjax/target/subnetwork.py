"""The subnetworks of one level, one for each point: a crop of the image to an estimate in voxels (section 2.2, eq. 1).

Four convolutions of 3^3 make maps M_i of the crop; the centroid of each, weighted by softmax over space, is an
estimate, and the estimates are averaged with weights that two linear layers make of the flattened crop.
A constant is added, which the paper does not have: a level may start from where the point lies on average.
All points' subnetworks run at once, as products of batched matrices: XLA's own 3-D convolution would take each point as
a group and is three times slower on processors.
"""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.nn.functional import Variables

CONVOLUTIONS = 4
KERNEL = 3

LOGIT = 4.0
"""Gain of the maps before their softmax.

To put 99 % of the mass on one voxel of 16^3 a logit must exceed the others by 13; with a gain the last convolution need
not grow so large first.
"""

FLAT = 0.05
"""How much smaller than He's the last layers start."""


def init(key: jax.Array, points: int, field: int, channels: int, maps: int, hidden: int) -> Variables:
    """Weights of every point's subnetwork, stacked along the first axis: He's normal start, biases zero.

    Drawn flat, since XLA takes seconds to compile draws of many dimensions.
    """
    widths = (1, *[channels] * (CONVOLUTIONS - 1), maps)
    shapes = [(points, KERNEL**3 * a, b) for a, b in pairwise(widths)]
    shapes += [(points, field**3, hidden), (points, hidden, maps)]
    keys = jax.random.split(key, len(shapes))
    drawn = [
        (jax.random.normal(k, (int(np.prod(s)),)) * np.sqrt(2 / s[1])).reshape(s)
        for k, s in zip(keys, shapes, strict=True)
    ]
    # Maps that are almost flat, and equal weights of all: an untrained level leaves the point in the crop's middle.
    drawn[CONVOLUTIONS - 1] *= FLAT
    return {
        "kernels": dict(zip("abcd", drawn[:CONVOLUTIONS], strict=True)),
        "biases": {name: jnp.zeros((points, b)) for name, b in zip("abcd", widths[1:], strict=True)},
        "flat": drawn[-2],
        "flat_bias": jnp.zeros((points, hidden)),
        "weigh": FLAT * drawn[-1],
        "weigh_bias": jnp.zeros((points, maps)),
        "offset": jnp.zeros((points, 3)),
    }


def apply(variables: Variables, crops: Float[Array, "p f f f"]) -> Float[Array, "p 3"]:
    """Estimates of the points (p, 3), in voxels from the middle of their crops (equation 1)."""
    x = crops[..., None]
    for name in "abcd":
        x = convolved(x, variables["kernels"][name]) + variables["biases"][name][:, None, None, None]
        x = jax.nn.relu(x) if name != "d" else x
    centroids = centroid(LOGIT * x)
    flat = crops.reshape(len(crops), -1)
    h = jax.nn.relu(jnp.einsum("pv,pvh->ph", flat, variables["flat"]) + variables["flat_bias"])
    weights = jax.nn.softmax(jnp.einsum("ph,phm->pm", h, variables["weigh"]) + variables["weigh_bias"])
    return jnp.einsum("pm,pmc->pc", weights, centroids) + variables["offset"]


def convolved(x: Float[Array, "p f f f c"], kernel: Float[Array, "p k o"]) -> Float[Array, "p f f f o"]:
    """3x3x3 convolution with zeros round the crop, each point with its own kernel (27 c, o).

    Rows of the kernel run over the three axes' shifts in order, the channels of each shift together.
    """
    x = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (1, 1), (0, 0)))
    if x.shape[-1] == 1:
        return jnp.einsum("pijkc,pco->pijko", _shifted(_shifted(_shifted(x, 3), 2), 1), kernel)
    planes, f = _shifted(_shifted(x, 3), 2), x.shape[1] - 2
    rows = kernel.reshape(len(kernel), KERNEL, -1, kernel.shape[-1])
    return sum(
        (jnp.einsum("pijkc,pco->pijko", planes[:, i : i + f], rows[:, i]) for i in range(1, KERNEL)),
        start=jnp.einsum("pijkc,pco->pijko", planes[:, :f], rows[:, 0]),
    )


def _shifted(x: Float[Array, "p i j k c"], axis: int) -> Array:
    """The three shifts of an axis, one after the other among the channels."""
    size = x.shape[axis] - (KERNEL - 1)
    return jnp.concatenate([jax.lax.slice_in_dim(x, i, i + size, axis=axis) for i in range(KERNEL)], axis=-1)


def centroid(maps: Float[Array, "p f f f m"]) -> Float[Array, "p m 3"]:
    """Centroid of softmax over space of every map, in voxels from the middle of the crop (equation 1)."""
    p, f, m = maps.shape[0], maps.shape[1], maps.shape[-1]
    mass = jax.nn.softmax(maps.reshape(p, -1, m), axis=1).reshape(p, f, f, f, m)
    axis = jnp.arange(f) - (f - 1) / 2
    along = [mass.sum(axis=tuple(other for other in (1, 2, 3) if other != d)) for d in (1, 2, 3)]
    return jnp.stack([jnp.einsum("pfm,f->pm", each, axis) for each in along], axis=-1)
