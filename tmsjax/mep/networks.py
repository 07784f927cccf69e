"""Blocks of M2M-InvNet (Akbar et al. 2024, figure 2): encoder, decoder, latent sampling, mappers.

Weights are nested dicts; values are batches first. A batch norm is trained on the voxels of the cone alone.
"""

from __future__ import annotations

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.mep.cone import Table, convolve, folded, gather
from tmsjax.mep.tables import Tables

MODELS = ("ae_decoder", "direct_convolutional", "vae_decoder", "vae_sampler_decoder", "direct_variational")
"""The five models of Akbar et al. 2024, (a) to (e)."""

TWO_STAGE = ("ae_decoder", "vae_decoder", "vae_sampler_decoder")
"""Those that first learn a decoder from the fields alone, which is then frozen."""

CONVOLUTIONAL = ("ae_decoder", "direct_convolutional")
"""Those whose mapper is convolutional, with batch norm."""

MOMENTUM, EPSILON = 0.9, 1e-3
"""Of the running averages (Keras has 0.99, for runs of many more steps than two cores take) and of the variance."""

DENSE = {"convolutional": (32, 128, 512), "vae_decoder": (16, 32), "vae_sampler_decoder": (16, 32),
         "direct_variational": (16, 32)}  # fmt: skip
"""Widths of the mappers' fully connected layers; (c) ends in ``latent`` more, (d) in as many as the z-grid has."""


@dataclasses.dataclass(frozen=True)
class InverseSpec:
    """One of the five models: hashable, written to its card.

    variant "paper": last kernel 1^3, ReLU after the mappers' layers, batch norm in the mapper alone, KL summed over
    the latent dimensions; "code": as the authors' program (3^3, linear, batch norm everywhere, KL averaged).
    muscles: of the input. latent: dimensions of the variational sampling. l1: on kernels. kl_weight: None for the
    variant's. data_loss: "sse" (equation 7) or "mse" (divided by 64^3, as the authors' program has it for a to c);
    None for the variant's. voxel_mm: squared errors are weighed by a voxel's volume, so that coarse voxels count as
    the 1 mm ones in them.
    """

    model: str = "direct_variational"
    variant: Literal["paper", "code"] = "code"
    muscles: int = 15
    latent: int = 16
    l1: float = 1e-4
    kl_weight: float | None = None
    data_loss: Literal["sse", "mse"] | None = None
    voxel_mm: float = 1.0

    def check(self) -> InverseSpec:
        """Return self, or raise InputError."""
        if self.model not in MODELS:
            raise InputError("no such inverse model", got=self.model, expected=", ".join(MODELS))
        if self.variant not in ("paper", "code") or self.data_loss not in (None, "sse", "mse"):
            raise InputError(
                "variant and loss", got=(self.variant, self.data_loss), expected="paper or code; sse or mse"
            )
        if self.muscles < 1 or self.latent < 1 or not self.l1 >= 0 or not self.voxel_mm > 0:
            raise InputError("sizes of an inverse model", got=self, expected="1 or more; l1 at least 0")
        return self

    @property
    def last_width(self) -> int:
        """Width of the decoder's last kernel."""
        return 1 if self.variant == "paper" else 3

    @property
    def kl(self) -> float:
        """Weight of the KL divergence that is summed over the latent dimensions."""
        default = 1.0 if self.variant == "paper" else 1.0 / self.latent
        return default if self.kl_weight is None else self.kl_weight

    def norms(self, block: str) -> bool:
        """Whether a block ("encoder", "mapper", "decoder") has batch norm."""
        return self.model in CONVOLUTIONAL and (self.variant == "code" or block == "mapper")


def glorot(key: jax.Array, shape: tuple[int, ...]) -> Array:
    """Glorot's uniform start of a kernel (taps, in, out) or (in, out)."""
    taps = shape[0] if len(shape) == 3 else 1
    reach = (6.0 / (taps * (shape[-2] + shape[-1]))) ** 0.5
    flat = jax.random.uniform(key, (taps * shape[-2] * shape[-1],), minval=-reach, maxval=reach)
    return flat.reshape(shape)


def layers(key: jax.Array, shapes: list[tuple[int, ...]], bias: float = 0.0) -> dict[str, Any]:
    """Layers 1, 2, ... with Glorot's kernels and zero biases, the last one's ``bias``."""
    keys = jax.random.split(key, len(shapes))
    made = {
        f"layer_{i + 1}": {"kernel": glorot(k, s), "bias": jnp.zeros(s[-1])}
        for i, (k, s) in enumerate(zip(keys, shapes, strict=True))
    }
    made[f"layer_{len(shapes)}"]["bias"] += bias
    return made


def fresh_norms(channels: tuple[int, ...]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Scales of a block's batch norms, and their running averages."""
    scales = {f"norm_{i + 1}": {"scale": jnp.ones(c), "shift": jnp.zeros(c)} for i, c in enumerate(channels)}
    averages = {f"norm_{i + 1}": {"mean": jnp.zeros(c), "variance": jnp.ones(c)} for i, c in enumerate(channels)}
    return scales, averages


class Norms:
    """Batch norms of one pass: uses the batch's statistics in training and collects the new running averages."""

    def __init__(self, variables: dict[str, Any], averages: dict[str, Any] | None, training: bool) -> None:
        self.variables, self.averages, self.training = variables, averages, training
        self.new: dict[str, Any] = {}

    def __call__(self, x: Float[Array, "b n c"], number: int, background: Any = None) -> tuple[Array, Any]:
        """Normalised x, and the background (c,) as if it were among it."""
        name = f"norm_{number}"
        if self.averages is None:
            return x, background
        old = self.averages[name]
        mean, variance = old["mean"], old["variance"]
        if self.training:
            mean, variance = x.mean((0, 1)), x.var((0, 1))
            new = {"mean": mean, "variance": variance}
            self.new[name] = jax.tree.map(
                lambda a, b: MOMENTUM * a + (1 - MOMENTUM) * jax.lax.stop_gradient(b), old, new
            )
        scale = self.variables[name]["scale"] * jax.lax.rsqrt(variance + EPSILON)
        shift = self.variables[name]["shift"] - mean * scale
        return x * scale + shift, None if background is None else background * scale + shift


def _apply(t: Table, x: Array, layer: dict[str, Array], up: bool) -> Array:
    kernel = layer["kernel"]
    return convolve(t, x, folded(kernel) if up else kernel[None], layer["bias"])


def decode(
    tables: Tables, variables: dict[str, Any], z: Float[Array, "b n"], norms: Norms, activation: Any = jax.nn.relu,
    bounded: bool = True,
) -> Float[Array, "b v"]:  # fmt: skip
    """z-grid (all of it, C order) to the mask's voxels; ``bounded`` to [0, 1]: min(ReLU, 1)."""
    x = activation(_apply(tables.decoder[0], z[..., None], variables["layer_1"], False))
    x, _ = norms(x, 1)
    x = activation(_apply(tables.decoder[1], x, variables["layer_2"], True))
    x, _ = norms(x, 2)
    last = variables["layer_3"]
    x = _apply(tables.decoder[2], x, last, last["kernel"].shape[0] == 27)
    x = x if last["kernel"].shape[0] == 1 else _at(tables.order, x)
    return jnp.clip(x[..., 0], 0.0, 1.0) if bounded else x[..., 0]


def _at(t: Table, x: Float[Array, "b i c"]) -> Float[Array, "b n c"]:
    return gather(x, jnp.asarray(t.taps), jnp.asarray(t.back))[:, :, 0]


def encode(
    tables: Tables, variables: dict[str, Any], x: Float[Array, "b v"], norms: Norms, activation: Any = jax.nn.relu
) -> Float[Array, "b n"]:
    """Fields at the mask's voxels to the z-grid: [conv, activation, (norm), max-pool] twice, conv, activation."""
    values, background = x[..., None], jnp.zeros(1)
    for level in range(3):
        layer = variables[f"layer_{level + 1}"]
        given = values if level == 0 else _with(values, background)
        values = activation(convolve(tables.encoder[level], given, layer["kernel"][None], layer["bias"]))
        background = activation(layer["bias"] + background @ layer["kernel"].sum(0))
        if level < 2:
            values, background = norms(values, level + 1, background)
        pool = tables.pools[level]
        values = gather(_with(values, background), jnp.asarray(pool.taps), jnp.asarray(pool.back)).max(axis=2)
    return values[..., 0]


def _with(values: Float[Array, "b n c"], background: Float[Array, " c"]) -> Array:
    row = jnp.broadcast_to(background, (len(values), 1, values.shape[2]))
    return jnp.concatenate([values, row], axis=1)


def dense(variables: dict[str, Any], x: Float[Array, "b i"], relu: bool, last: bool = True) -> Float[Array, "b o"]:
    """Fully connected layers, each followed by ReLU where ``relu``; the last one only where ``last`` too."""
    for number in range(1, len(variables) + 1):
        layer = variables[f"layer_{number}"]
        x = x @ layer["kernel"] + layer["bias"]
        x = jax.nn.relu(x) if relu and (last or number < len(variables)) else x
    return x


def map_convolutional(
    tables: Tables, variables: dict[str, Any], y: Float[Array, "b m"], norms: Norms
) -> Float[Array, "b n"]:
    """The mapper of (a) and (b): three fully connected layers to 2^3 x 64, three transposed convolutions, ReLU."""
    x = dense(variables["dense"], y, relu=True).reshape(len(y), -1, 64)
    for level in range(3):
        layer, up = variables["convolutions"][f"layer_{level + 1}"], tables.mapper_up[level]
        x = jax.nn.relu(_apply(tables.mapper[level], x, layer, up))
        if level < 2:
            x, _ = norms(x, level + 1)
    return _at(tables.mapper_order, x)[..., 0]
