"""The support-function surrogate: the reciprocal threshold as a smooth maximum of linear functionals of the field.

A site k of the axon fires when its polarisation, linear in the field, reaches a critical value, so that
``1/threshold(E) = max_k <w_k, E>``: the support function of a set. Here the field enters as the samples c of its patch,
where the cell is known and its polarisation tells where to start from (``polarisation``), or as the coefficients c of a
low-order polynomial fit of them; and the maximum is smooth, with a trained sharpness:

- ``pnorm``: ``1/thr = (sum_k relu(<w_k, c>)^q)^(1/q)``, exactly homogeneous by itself;
- ``logsumexp``: ``1/thr = (1/b) log sum_k exp(b <w_k, c>)``, homogeneous because c is normalised at the centre.

Aberra 2018 (J Neural Eng 15:066023) for the linear polarisation; the form is this library's own.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.nn import Functional, functional
from tmsjax.nn.functional import Variables
from tmsjax.surrogate import features

START_SHARPNESS = {"pnorm": 30.0, "logsumexp": 30.0}
"""Sharpness before training: q, or b in units of the mean threshold."""


@dataclasses.dataclass(frozen=True)
class SupportSpec:
    """What a support-function model is made of: members, combined by the median of 1/threshold.

    ``degrees`` has one for every member that sees the polynomial of that degree; ``samples`` is how many more see the
    samples themselves. Each has ``functionals``; ``form`` is ``"pnorm"`` or ``"logsumexp"``.
    """

    degrees: tuple[int, ...] = (2, 3, 4)
    functionals: int = 256
    form: str = "pnorm"
    samples: int = 0

    def check(self, n: int) -> None:
        """Raise InputError unless these members can be built on an n-grid."""
        if self.samples < 0 or (not self.degrees and not self.samples):
            raise InputError("no members", got=(self.degrees, self.samples), expected="degrees, or samples above 0")
        if self.degrees and (min(self.degrees) < 1 or max(self.degrees) > min(n - 1, 8)):
            raise InputError("no such degrees", got=self.degrees, expected=f"each 1 to {min(n - 1, 8)}")
        if self.functionals < 4:
            raise InputError("too few functionals", got=self.functionals, expected="4 or more")
        if self.form not in START_SHARPNESS:
            raise InputError("no such form", got=self.form, expected=" or ".join(START_SHARPNESS))


class SupportFunction(nnx.Module):
    """One member: coefficients (c,) of a field -> its reciprocal threshold, in the unit of 1/field."""

    def __init__(self, inputs: int, functionals: int, form: str, *, rngs: nnx.Rngs) -> None:
        directions = jax.random.normal(rngs.params(), (functionals, 3))
        directions = directions / jnp.linalg.norm(directions, axis=1, keepdims=True)
        kernel = jnp.zeros((functionals, inputs)).at[:, :3].set(directions)
        self.kernel = nnx.Param(kernel)
        self.log_sharpness = nnx.Param(jnp.log(jnp.float32(START_SHARPNESS[form])))
        self.form = form

    def __call__(self, coefficients: Float[Array, " c"]) -> Float[Array, ""]:
        """Smooth maximum of the functionals of one patch's coefficients."""
        drive = jnp.matmul(self.kernel[...], coefficients, precision=jax.lax.Precision.HIGHEST)
        return smooth_maximum(drive, jnp.exp(self.log_sharpness[...]), self.form)


def smooth_maximum(drive: Float[Array, " k"], sharpness: Float[Array, ""], form: str) -> Float[Array, ""]:
    """The p-norm of what is positive, or the logsumexp; both go to the maximum as ``sharpness`` grows."""
    if form == "pnorm":
        return p_norm(drive, sharpness)
    return jax.nn.logsumexp(sharpness * drive) / sharpness


def p_norm(drive: Float[Array, " k"], q: Float[Array, ""]) -> Float[Array, ""]:
    """``(sum_k relu(drive_k)^q)^(1/q)`` without overflow; 0 where no drive is positive."""
    positive = jax.nn.relu(drive)
    largest = jax.lax.stop_gradient(positive.max())
    scale = jnp.where(largest > 0, largest, 1)
    ratio = positive / scale
    logs = jnp.where(ratio > 0, q * jnp.log(jnp.where(ratio > 0, ratio, 1)), -jnp.inf)
    total = jnp.exp(logs).sum()
    total = jnp.where(largest > 0, total, 1)
    return jnp.where(largest > 0, scale * jnp.exp(jnp.log(total) / q), largest)


def member(spec: SupportSpec, degree: int) -> Functional:
    """``init(key) -> variables`` and ``apply(variables, coefficients (c,)) -> 1/threshold`` of one member."""
    return functional(lambda rngs: SupportFunction(features.count(degree), spec.functionals, spec.form, rngs=rngs))


def start(
    variables: Variables,
    coefficients: Float[np.ndarray, "b c"],
    log_thresholds: Float[np.ndarray, " b"],
    key: jax.Array,
) -> Variables:
    """Start a member from the data: each functional along the mean field of a random example, near its threshold.

    A random sphere of directions also covers every field, but trains longer to the same error.
    """
    shape = variables["kernel"].shape
    rows = np.asarray(jax.random.choice(key, len(log_thresholds), shape[:1], replace=shape[0] > len(log_thresholds)))
    mean = coefficients[rows, :3]
    reach = 0.8 * np.exp(-log_thresholds[rows]) / np.sum(mean**2, 1)
    kernel = 0.02 * np.array(jax.random.normal(key, shape))
    kernel[:, :3] += mean * reach[:, None]
    return {**variables, "kernel": jnp.asarray(kernel, jnp.float32)}


def from_coefficients(spec: SupportSpec, variables: Variables, c: Float[Array, " c"]) -> Float[Array, " m"]:
    """Reciprocal thresholds (m/V at the centre) by each member of a degree, from coefficients of a normalised patch."""
    each = [
        member(spec, degree).apply(variables[f"member_{i}"], c[: features.count(degree)])
        for i, degree in enumerate(spec.degrees)
    ]
    return jnp.stack(each)


def from_samples(spec: SupportSpec, variables: Variables, samples: Float[Array, " g"]) -> Float[Array, " m"]:
    """Reciprocal thresholds (m/V at the centre) by each member that sees the samples, g = 3 n^3 of a normalised patch.

    Members are matrices over one and the same vector: their drives are one product.
    """
    own = [variables[f"member_{len(spec.degrees) + i}"] for i in range(spec.samples)]
    kernel = jnp.concatenate([each["kernel"] for each in own])
    drives = jnp.matmul(kernel, samples, precision=jax.lax.Precision.HIGHEST).reshape(spec.samples, -1)
    sharpness = jnp.exp(jnp.stack([each["log_sharpness"] for each in own]))
    return jax.vmap(lambda drive, sharp: smooth_maximum(drive, sharp, spec.form))(drives, sharpness)


def members(spec: SupportSpec, variables: Variables, patch: features.Patch) -> Float[Array, " m"]:
    """Reciprocal thresholds of one normalised patch by each member, m/V at the centre."""
    parts = []
    if spec.degrees:
        parts.append(from_coefficients(spec, variables, features.coefficients(patch, max(spec.degrees))))
    if spec.samples:
        parts.append(from_samples(spec, variables, patch.reshape(-1)))
    return jnp.concatenate(parts)


def reciprocal(spec: SupportSpec, variables: Variables, patch: features.Patch) -> Float[Array, ""]:
    """Reciprocal threshold of one normalised patch, m/V at the centre: the median of the members."""
    return jnp.median(members(spec, variables, patch))


def thresholds(spec: SupportSpec, variables: Variables, patches: Float[Array, "b n n n 3"]) -> Float[Array, " b"]:
    """Thresholds (b,) of normalised patches, V/m at the centre."""
    return 1 / jax.vmap(lambda patch: reciprocal(spec, variables, patch))(patches)
