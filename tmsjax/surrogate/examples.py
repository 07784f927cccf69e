"""Patches and thresholds as a trainer takes them: checked, and normalised."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.surrogate import domain, features
from tmsjax.surrogate.domain import Domain
from tmsjax.surrogate.types import SurrogateSpec

FEWEST = 50

DOMAIN_DEGREE = 3

BLOCK = 4096
"""Patches in one compiled call."""


def check_examples(patches: Any, thresholds_v_per_m: Any, spec: SurrogateSpec) -> Float[np.ndarray, " b"]:
    """The thresholds (b,) in float64, or InputError unless they are positive and pair up with patches of the spec."""
    t = np.asarray(thresholds_v_per_m, np.float64)
    n = spec.n
    if t.ndim != 1 or getattr(patches, "shape", None) != (len(t), n, n, n, 3):
        raise InputError(
            "patches and thresholds do not pair up",
            got=(getattr(patches, "shape", None), t.shape),
            expected=f"(b, {n}, {n}, {n}, 3) and (b,)",
        )
    if len(t) < FEWEST:
        raise InputError(
            "too few thresholds to train on", got=len(t), expected=f"{FEWEST} or more (thousands, to be of use)"
        )
    if not (np.isfinite(t).all() and (t > 0).all()):
        raise InputError(
            "thresholds must be positive",
            got=f"{int((~(np.isfinite(t) & (t > 0))).sum())} that are not",
            expected="finite, V/m > 0",
            mend="leave out searches that found no threshold",
        )
    return t


def normalised(patches: Any) -> Float[np.ndarray, "b n n n 3"]:
    """Patches (b, n, n, n, 3) over the field magnitude at their centres, in blocks; InputError where there is none."""
    out = np.empty(patches.shape, np.float32)
    for i in range(0, len(patches), BLOCK):
        out[i : i + BLOCK] = _normalise(jnp.asarray(patches[i : i + BLOCK], jnp.float32))
    bad = np.flatnonzero(~np.isfinite(out[:, 0, 0, 0, 0]))  # a patch that is not normalised is NaN throughout
    if bad.size:
        raise InputError(
            "patches cannot be normalised",
            got=f"{bad.size} with samples that are not finite or no field at the centre, first row {bad[0]}",
            expected="finite samples and a field at the centre",
            mend="drop those rows of patches and thresholds",
        )
    return out


def coefficients_of(patches: Any, degree: int) -> Float[np.ndarray, "b c"]:
    """Coefficients of the normalised patches (b, n, n, n, 3); InputError where one cannot be normalised."""
    units = normalised(patches)
    return np.concatenate([np.asarray(_project(units[i : i + BLOCK], degree)) for i in range(0, len(units), BLOCK)])


def domain_of(patches: Any) -> Domain:
    """The domain of a surrogate that is trained on these patches (b, n, n, n, 3)."""
    degree = min(DOMAIN_DEGREE, patches.shape[1] - 1)
    return domain.fit(coefficients_of(patches, degree), degree)


@jax.jit
def _normalise(patches: Float[Array, "b n n n 3"]) -> Float[Array, "b n n n 3"]:
    return jax.vmap(lambda patch: features.normalise(patch).patch)(patches)


@partial(jax.jit, static_argnums=1)
def _project(patches: Float[Array, "b n n n 3"], degree: int) -> Float[Array, "b c"]:
    return jax.vmap(lambda patch: features.coefficients(patch, degree))(patches)
