"""The paper's surrogate: a 3-D convolutional network from a patch of the field to its threshold.

Aberra et al. (2023), section 2.2.3 and table 1: convolutions without padding, each followed by a ReLU, then dense
layers and one linear output; filters and units of layer i are those of the first times shrink^(i - 1). The field enters
normalised by its magnitude at the centre, as components or in spherical coordinates (section 2.2.1).
"""

from __future__ import annotations

import dataclasses
from itertools import pairwise
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.nn import Functional, functional, in_chunks, minimal_filtering
from tmsjax.nn.functional import Variables
from tmsjax.surrogate import features

CPU_CHUNK = 16
"""Patches that one pass takes on a CPU: few enough for the cache, and for its memory to be kept between calls.

glibc gives blocks of 32 MB back to the system at once; touching every page of them anew took half of the time at 32.
"""

ACTIVATIONS = {"relu": jax.nn.relu, "leaky_relu": lambda x: jax.nn.leaky_relu(x, 0.3)}
"""By name; 0.3 is Keras's default slope."""

READY = "ready"
"""Among the variables: kernels that ``prepared`` has transformed."""

NORMS = ("", "before", "after")
"""Batch normalisation: off, or before or after every activation."""

OUTPUTS = {"threshold": lambda y: y, "log": jnp.exp}
"""What the last layer gives, and how a threshold in ``unit_v_per_m`` comes of it."""

MOMENTUM, EPSILON = 0.99, 1e-3
"""Of batch normalisation's running averages, and added to variances: Keras's defaults."""

COORDINATES = {"cartesian": 3, "spherical": 4}
"""Channels of the input: (x, y, z), or (magnitude, polar angle, cosine and sine of the azimuth)."""


@dataclasses.dataclass(frozen=True)
class CnnSpec:
    """What a network is made of; the defaults are table 1 of the paper, which fits patches of 9 samples a side.

    ``upsample``: patches are first interpolated linearly to this many samples a side (the paper's "constant network
    size" for patches of 3, 5 and 7), 0 for as they are. ``dropout``: share of units between dense layers that training
    leaves out. ``output``: the threshold, or its logarithm; ``unit_v_per_m`` is the threshold's unit in either: 1 in
    the paper, the training set's median where Adam is to start from a sensible scale.
    """

    filters: int = 115
    conv_layers: int = 4
    kernel: int = 3
    units: int = 57
    dense_layers: int = 3
    shrink: float = 0.8
    activation: str = "relu"
    coordinates: str = "cartesian"
    upsample: int = 0
    dropout: float = 0.0
    batch_norm: str = ""
    output: str = "threshold"
    unit_v_per_m: float = 1.0

    def check(self, n: int) -> None:
        """Raise InputError unless this network can be built on patches of n samples a side."""
        left = (self.upsample or n) - self.conv_layers * (self.kernel - 1)
        if self.upsample and self.upsample < n:
            raise InputError("a patch cannot be made coarser", got=f"{n} to {self.upsample}", expected=f"{n} or more")
        if min(self.filters, self.conv_layers, self.kernel, self.units, self.dense_layers) < 1 or left < 1:
            raise InputError(
                "the convolutions leave nothing of the patch",
                got=f"{self.conv_layers} of kernel {self.kernel} on {self.upsample or n} samples a side",
                expected="at least one sample after the last convolution",
                mend="fewer layers, a smaller kernel (the paper takes 2 for 5 and 7 samples), or upsample=9",
            )
        if not 0 < self.shrink <= 1 or not 0 <= self.dropout < 1 or not self.unit_v_per_m > 0:
            raise InputError("no such network", got=self, expected="0 < shrink <= 1, 0 <= dropout < 1, a positive unit")
        for what, got, known in (
            ("activation", self.activation, ACTIVATIONS),
            ("coordinates", self.coordinates, COORDINATES),
            ("batch_norm", self.batch_norm, NORMS),
            ("output", self.output, OUTPUTS),
        ):
            if got not in known:
                raise InputError(f"unknown {what}", got=got, expected=" or ".join(known))

    @property
    def widths(self) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Filters of the convolutions and units of the dense layers: (115, 92, 73, 58) and (57, 45, 36)."""
        conv = tuple(int(self.filters * self.shrink**i) for i in range(self.conv_layers))
        return conv, tuple(int(self.units * self.shrink**i) for i in range(self.dense_layers))


def variable_size(n: int) -> CnnSpec:
    """The paper's "variable network size": kernels of 2 for 3, 5 and 7 samples a side, two convolutions for 3."""
    sizes = {3: CnnSpec(kernel=2, conv_layers=2), 5: CnnSpec(kernel=2), 7: CnnSpec(kernel=2), 9: CnnSpec()}
    if n not in sizes:
        raise InputError("the paper has no network for this patch", got=n, expected=f"one of {sorted(sizes)}")
    return sizes[n]


def glorot_uniform(key: Array, shape: tuple[int, ...], dtype: Any = jnp.float32, **_: Any) -> Array:
    """Uniform within +-sqrt(6 / (fan in + fan out)) (Glorot & Bengio 2010) for kernels (..., in, out).

    Drawn flat: XLA takes seconds on a CPU to compile a draw of five dimensions.
    """
    limit = np.sqrt(6 / (np.prod(shape[:-2]) * sum(shape[-2:])))
    return jax.random.uniform(key, (int(np.prod(shape)),), dtype, -limit, limit).reshape(shape)


class Cnn(nnx.Module):
    """Batches of normalised patches (b, n, n, n, channels) -> ``spec.output`` (b,) in ``spec.unit_v_per_m``."""

    def __init__(self, spec: CnnSpec, n: int, *, rngs: nnx.Rngs) -> None:
        conv, dense = spec.widths
        channels = (COORDINATES[spec.coordinates], *conv)
        left = n - spec.conv_layers * (spec.kernel - 1)
        widths = (left**3 * conv[-1], *dense, 1)
        self.spec = spec
        self.kernels = nnx.List(
            [
                nnx.Param(glorot_uniform(rngs.params(), (spec.kernel,) * 3 + pair))
                for pair in zip(channels, conv, strict=False)
            ]
        )
        self.biases = nnx.List([nnx.Param(jnp.zeros(c)) for c in conv])
        self.dense = nnx.List([nnx.Linear(a, b, kernel_init=glorot_uniform, rngs=rngs) for a, b in pairwise(widths)])
        if spec.batch_norm:
            # Rows: scale and offset, which are trained; mean and variance, which are running averages.
            start = [jnp.stack([jnp.ones(c), jnp.zeros(c)]) for c in (*conv, *dense)]
            self.norms = nnx.List([nnx.Param(rows) for rows in start])
            self.averages = nnx.List([nnx.Param(rows[::-1]) for rows in start])

    def __call__(
        self,
        x: Float[Array, "b n n n c"],
        fast: bool = False,
        key: Array | None = None,
        ready: dict[str, Array] | None = None,
    ):
        """``fast``: minimal filtering instead of XLA's convolution, with kernels that are ``ready`` where they are.

        With a ``key``, as training wants it: (outputs, running averages after this batch), units left out at random.
        """
        spec, averages = self.spec, {}
        if fast:
            x = x.transpose(1, 2, 3, 0, 4)
        for i, (kernel, bias) in enumerate(zip(self.kernels, self.biases, strict=True)):
            x = _filtered(x, kernel[...], (ready or {}).get(str(i))) if fast else _plain(x, kernel[...])
            x = x + bias[...]
            x = self._activate(i, x, key, averages)
        if fast:
            x = x.transpose(3, 0, 1, 2, 4)
        x = x.reshape(len(x), -1)
        for i, layer in enumerate(self.dense[:-1]):
            if i and spec.dropout and key is not None:
                kept = jax.random.bernoulli(jax.random.fold_in(key, i), 1 - spec.dropout, x.shape)
                x = jnp.where(kept, x / (1 - spec.dropout), 0)
            x = self._activate(spec.conv_layers + i, layer(x), key, averages)
        y = self.dense[-1](x)[:, 0]
        return y if key is None else (y, averages)

    def _activate(self, i: int, x: Array, key: Array | None, averages: dict[int, Array]) -> Array:
        """Activation and batch normalisation of layer i, channels last; its averages go into ``averages``."""
        activation = ACTIVATIONS[self.spec.activation]
        if not self.spec.batch_norm:
            return activation(x)
        x = activation(x) if self.spec.batch_norm == "after" else x
        (scale, offset), running = self.norms[i][...], self.averages[i][...]
        mean, variance = running
        if key is not None:
            axes = tuple(range(x.ndim - 1))
            mean, variance = x.mean(axes), x.var(axes)
            averages[i] = MOMENTUM * running + (1 - MOMENTUM) * jax.lax.stop_gradient(jnp.stack([mean, variance]))
        x = (x - mean) * (scale / jnp.sqrt(variance + EPSILON)) + offset
        return activation(x) if self.spec.batch_norm == "before" else x


def network(spec: CnnSpec, n: int) -> Functional:
    """``init(key) -> variables`` and ``apply(variables, inputs (b, n, n, n, c), fast=, key=)``, as ``Cnn``'s call."""
    return functional(lambda rngs: Cnn(spec, spec.upsample or n, rngs=rngs))


def inputs(spec: CnnSpec, patch: features.Patch) -> Float[Array, "m m m c"]:
    """What the network sees of one normalised patch: upsampled, and in the spec's coordinates."""
    if spec.upsample:
        weights = _interpolation(patch.shape[0], spec.upsample)
        patch = jnp.einsum("ai,bj,ck,ijkf->abcf", weights, weights, weights, patch, precision=jax.lax.Precision.HIGHEST)
    return patch if spec.coordinates == "cartesian" else spherical(patch)


def spherical(field: Float[Array, "*p 3"]) -> Float[Array, "*p 4"]:
    """Magnitude, polar angle from +z (rad), cosine and sine of the azimuth; 0, 0 on the axis (section 2.2.1)."""
    across2 = field[..., 0] ** 2 + field[..., 1] ** 2
    off_axis = across2 > 0
    across = jnp.sqrt(jnp.where(off_axis, across2, 1))
    length2 = across2 + field[..., 2] ** 2
    length = jnp.where(length2 > 0, jnp.sqrt(jnp.where(length2 > 0, length2, 1)), 0)
    polar = jnp.arctan2(jnp.where(off_axis, across, 0), jnp.where(length2 > 0, field[..., 2], 1))
    azimuth = [jnp.where(off_axis, field[..., i] / across, 0) for i in (0, 1)]
    return jnp.stack([length, polar, *azimuth], axis=-1)


def thresholds(spec: CnnSpec, variables: Variables, patches: Float[Array, "b n n n 3"]) -> Float[Array, " b"]:
    """Thresholds (b,), V/m at the centre, of normalised patches: by the formulation that is fastest on the device."""
    net = network(spec, patches.shape[1])
    x = jax.vmap(lambda patch: inputs(spec, patch))(patches)
    ready = variables.get(READY)
    variables = {name: part for name, part in variables.items() if name != READY}

    def on_cpu(x: Array) -> Array:
        kernels = _transformed(spec, variables, x.shape[1]) if ready is None else ready
        return in_chunks(lambda part: net.apply(variables, part, fast=True, ready=kernels), x, CPU_CHUNK)

    outputs = jax.lax.platform_dependent(x, cpu=on_cpu, default=lambda x: net.apply(variables, x))
    return spec.unit_v_per_m * OUTPUTS[spec.output](outputs)


def prepared(spec: CnnSpec, variables: Variables, n: int) -> Variables:
    """Variables for many small calls on a CPU, for patches of n samples a side: with their kernels transformed.

    A single patch then takes a third of the time; batches of hundreds gain nothing. 18 MB more for table 1's network:
    to predict with, not to save.
    """
    return {**variables, READY: _transformed(spec, variables, spec.upsample or n)}


def _transformed(spec: CnnSpec, variables: Variables, n: int) -> dict[str, Array]:
    """Kernels of the layers that minimal filtering pays for, by their number."""
    kernels = {int(i): jnp.asarray(kernel) for i, kernel in variables["kernels"].items()}
    sizes = {i: n - i * (spec.kernel - 1) for i in kernels}
    return {
        str(i): minimal_filtering.transformed(kernels[i], size)
        for i, size in sizes.items()
        if _pays(size, *kernels[i].shape[2:4])
    }


def _plain(x: Float[Array, "b n n n c"], kernel: Array) -> Array:
    how = ("NDHWC", "DHWIO", "NDHWC")
    return jax.lax.conv_general_dilated(
        x, kernel, (1, 1, 1), "VALID", dimension_numbers=how, precision=jax.lax.Precision.HIGHEST
    )


def _filtered(x: Float[Array, "n n n b c"], kernel: Array, ready: Array | None) -> Array:
    """Minimal filtering where it pays: few channels, or a kernel as large as the data, are one matrix product."""
    n, r = x.shape[0], kernel.shape[0]
    if r == 1:
        return jnp.matmul(x, kernel[0, 0, 0], precision=jax.lax.Precision.HIGHEST)
    if n == r:
        return jnp.einsum("xyzbc,xyzcf->bf", x, kernel, precision=jax.lax.Precision.HIGHEST)[None, None, None]
    if ready is not None:
        return minimal_filtering.correlate_transformed(x, ready, r)
    if _pays(n, r, x.shape[-1]):
        return minimal_filtering.correlate(x, kernel)
    return minimal_filtering.correlate_directly(x, kernel)


def _pays(n: int, r: int, channels: int) -> bool:
    return 1 < r < n and n in minimal_filtering.POINTS and channels > 8


def _interpolation(n: int, m: int) -> Float[np.ndarray, "m n"]:
    """Weights of linear interpolation from n to m even ticks over the same side."""
    at = np.linspace(0, n - 1, m)
    return np.maximum(0, 1 - np.abs(at[:, None] - np.arange(n))).astype(np.float32)
