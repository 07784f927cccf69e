"""Passes of the five models and their losses, equations 7 to 11 of Akbar et al. 2024."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.mep.networks import (
    CONVOLUTIONAL,
    DENSE,
    TWO_STAGE,
    InverseSpec,
    Norms,
    decode,
    dense,
    encode,
    fresh_norms,
    layers,
    map_convolutional,
)
from tmsjax.mep.tables import Tables

KERAS_VOXELS = 64**3
"""What Keras's mean squared error divides by."""


class Passed(NamedTuple):
    """Fields (b, v), the latent's mean and log-variance (b, n) where it is sampled, and running averages."""

    fields: Array
    mean: Array | None
    log_variance: Array | None
    averages: dict[str, Any]


def init(spec: InverseSpec, tables: Tables, key: jax.Array, bias: float = 0.25) -> dict[str, Any]:
    """Fresh weights of a model, the encoder of two-stage ones among them.

    ``bias`` of the last layer: the mean of the training fields. From 0, the bounded ReLU of some starts gives nothing
    but zeros, for ever.
    """
    keys, grid = jax.random.split(key, 6), tables.latent**3
    last = spec.last_width**3
    variables: dict[str, Any] = {"decoder": layers(keys[0], [(27, 1, 64), (27, 64, 32), (last, 32, 1)], bias)}
    averages: dict[str, Any] = {}
    if spec.model in TWO_STAGE:
        variables["encoder"] = layers(keys[1], [(27, 1, 32), (27, 32, 64), (last, 64, 1)])
    if spec.model in CONVOLUTIONAL:
        widths = (spec.muscles, *DENSE["convolutional"])
        variables["mapper"] = {
            "dense": layers(keys[2], list(pairwise(widths))),
            "convolutions": layers(keys[3], [(27, 64, 64), (27, 64, 32), (27, 32, 1)]),
        }
    else:
        ends = {"vae_decoder": (spec.latent,), "vae_sampler_decoder": (grid,)}.get(spec.model, ())
        widths = (spec.muscles, *DENSE[spec.model], *ends)
        variables["mapper"] = layers(keys[2], list(pairwise(widths)))
        given = grid if spec.model in TWO_STAGE else widths[-1]
        for name, k in (("mean", keys[3]), ("log_variance", keys[4])):
            variables[name] = layers(k, [(given, spec.latent)])
        variables["expand"] = layers(keys[5], [(spec.latent, grid)])
    for block, channels in (("encoder", (32, 64)), ("mapper", (64, 32)), ("decoder", (64, 32))):
        if spec.norms(block) and block in variables:
            variables[f"{block}_norms"], averages[block] = fresh_norms(channels)
    return {**variables, "averages": averages}


def forward(
    spec: InverseSpec, tables: Tables, variables: dict[str, Any], x: Float[Array, "b v"], key: Any, training: bool
) -> Passed:
    """Fields to fields: the auto-encoder of (a), the variational one of (c) and (d)."""
    encoder, decoder = (_norms(spec, variables, block, training) for block in ("encoder", "decoder"))
    z, mean, log_variance = encode(tables, variables["encoder"], x, encoder), None, None
    if spec.model not in CONVOLUTIONAL:
        mean, log_variance = dense(variables["mean"], z, False), dense(variables["log_variance"], z, False)
        z = dense(variables["expand"], sample(mean, log_variance, key), relu=True)
    fields = decode(tables, variables["decoder"], z, decoder)
    return Passed(fields, mean, log_variance, _averages(variables, {"encoder": encoder, "decoder": decoder}))


def inverse(
    spec: InverseSpec, tables: Tables, variables: dict[str, Any], y: Float[Array, "b m"], key: Any, training: bool
) -> Passed:
    """Responses to fields. Without a key, the latent is its mean."""
    mapper = _norms(spec, variables, "mapper", training)
    # The decoder that stage one has left is frozen, its running averages too.
    decoder = _norms(spec, variables, "decoder", training and spec.model not in TWO_STAGE)
    mean = log_variance = None
    if spec.model in CONVOLUTIONAL:
        z = map_convolutional(tables, variables["mapper"], y, mapper)
    else:
        z = dense(variables["mapper"], y, spec.variant == "paper", last=spec.model != "vae_decoder")
        if spec.model != "vae_decoder":
            mean, log_variance = dense(variables["mean"], z, False), dense(variables["log_variance"], z, False)
            z = sample(mean, log_variance, key)
        z = dense(variables["expand"], z, relu=True)
    fields = decode(tables, variables["decoder"], z, decoder)
    return Passed(fields, mean, log_variance, _averages(variables, {"mapper": mapper, "decoder": decoder}))


def sample(mean: Float[Array, "b n"], log_variance: Float[Array, "b n"], key: Any) -> Float[Array, "b n"]:
    """A draw of N(mean, exp(log_variance)); the mean without a key."""
    if key is None:
        return mean
    noise = jax.random.normal(key, (mean.size,)).reshape(mean.shape)
    return mean + jnp.exp(0.5 * log_variance) * noise


def divergence(mean: Float[Array, "b n"], log_variance: Float[Array, "b n"]) -> Float[Array, "b n"]:
    """KL of N(mean, exp(log_variance)) from N(0, 1), each dimension, nats (the sum of equation 9)."""
    return 0.5 * (jnp.exp(log_variance) + mean**2 - 1 - log_variance)


def loss(spec: InverseSpec, tables: Tables, stage: str) -> Callable[..., Any]:
    """``loss(variables, (fields, responses), key) -> ((b,), averages)`` of a stage, for ``nn.fit``.

    Squared errors (equation 7) summed over voxels, by their volume in mm3; with "mse" divided by 64^3. Where the latent
    is sampled, the KL divergence (8 to 11) is added. l1 on the kernels of the first two convolutions of a block and of
    the mappers' fully connected layers.
    """
    scale = spec.voxel_mm**3 / (KERAS_VOXELS if _mean_squared(spec, stage) else 1)

    def of_batch(variables: dict[str, Any], batch: tuple[Array, Array], key: Any) -> tuple[Array, dict[str, Any]]:
        x, y = batch
        run, given = (forward, x) if stage == "forward" else (inverse, y)
        out = run(spec, tables, variables, given, key, key is not None)
        values = scale * ((out.fields - x) ** 2).sum(axis=1)
        if out.mean is not None and out.log_variance is not None:
            values = values + spec.kl * divergence(out.mean, out.log_variance).sum(axis=1)
        return values + spec.l1 * penalty(variables), {"averages": out.averages}

    return of_batch


def penalty(variables: dict[str, Any]) -> Float[Array, ""]:
    """Sum of the absolute kernels that l1 acts on."""
    mapper = variables["mapper"]
    blocks = [variables["decoder"], *([variables["encoder"]] if "encoder" in variables else [])]
    fully = mapper.get("dense", {k: v for k, v in mapper.items() if k in ("layer_1", "layer_2")})
    kernels = [block[f"layer_{i}"]["kernel"] for block in blocks for i in (1, 2)]
    kernels += [layer["kernel"] for layer in fully.values()]
    if "convolutions" in mapper:
        kernels += [mapper["convolutions"][f"layer_{i}"]["kernel"] for i in (1, 2)]
    return sum((jnp.abs(kernel).sum() for kernel in kernels[1:]), start=jnp.abs(kernels[0]).sum())


def _mean_squared(spec: InverseSpec, stage: str) -> bool:
    """In the authors' program: (a), (b), and the reverse stage of (c)."""
    if spec.data_loss is not None:
        return spec.data_loss == "mse"
    plain = spec.model in CONVOLUTIONAL or (spec.model == "vae_decoder" and stage == "inverse")
    return spec.variant == "code" and plain


def _norms(spec: InverseSpec, variables: dict[str, Any], block: str, training: bool) -> Norms:
    if not spec.norms(block):
        return Norms({}, None, False)
    return Norms(variables[f"{block}_norms"], variables["averages"][block], training)


def _averages(variables: dict[str, Any], used: dict[str, Norms]) -> dict[str, Any]:
    new = {block: norms.new for block, norms in used.items() if norms.new}
    return {**variables["averages"], **new}
