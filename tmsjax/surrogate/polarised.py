"""Members whose functionals are mixtures of a cell's own polarisations, so that few thresholds settle them.

A functional belongs to an end of the axon and adds up that end's polarisations at some moments of the pulse (see
``polarisation``). How, is nearly the same for all ends: a common mixture is free, what an end adds of its own decays.
Nothing is learned of the field, which is why uniform fields and other heads come out as well as the training's own.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from tmsjax.core.errors import InputError
from tmsjax.nn import Fit, TrainSpec, fit
from tmsjax.nn.functional import Variables
from tmsjax.surrogate import support
from tmsjax.surrogate.fitting import Fitted, Plan, relative_error
from tmsjax.surrogate.split import Split
from tmsjax.surrogate.support import SupportSpec

TRAINING = TrainSpec(epochs=60, batch=128, learning_rate=2e-3, weight_decay=0.1)
"""Faster (5e-3), functionals overshoot, and those that no field then reaches learn nothing any more."""

MEMBERS = 1
"""Members that are trained where the spec asks for none."""

STARTS = 4
"""Starts of a member. Some end where a functional has missed its part: 8 % worse, and 3 % wrong in uniform fields."""

COPIES = 4
"""Functionals that a site has at its first place, each with its own mixture; it has one more for every other place."""

OWN = 0.1
"""Scale of what an end adds to the common mixture, against which its decay holds."""

NEAR = 0.7
"""Ends whose polarisation never comes this near to the largest of a field are left out."""

USED = 0.9
"""Functionals that never come this near to the largest of a field are left out when training is done."""

TRIED = 4000
"""Examples by which ends and moments are chosen."""

RARE = 0.95
NOISE = 0.02

SHARPNESS, SHARPENING = 60.0, 0.5
"""Where the sharpness begins, and how fast it may grow. It ends near 100: begun with there, a functional that is 10 %
too weak never learns that it ought to win."""


class Start(NamedTuple):
    """Sites that are kept, the feature (place and moment) that each copy begins with, and that one's gain, 1/mV."""

    sites: Int[np.ndarray, " s"]
    features: tuple[int, ...]
    gains: tuple[float, ...]


def fit_members(
    patches: Float[np.ndarray, "b n n n 3"],
    thresholds: Float[np.ndarray, " b"],
    parts: Split,
    wanted: SupportSpec,
    sites: Float[np.ndarray, "s p m n n n 3"],
    plan: Plan,
) -> Fitted:
    """Train ``wanted.samples`` (or MEMBERS) on normalised patches: they differ in start and order of the examples."""
    tried = np.random.default_rng(plan.seed).permutation(parts.train)[:TRIED]
    start = choose(drives_of(patches[tried], sites), thresholds[tried], COPIES, NEAR)
    sites = sites[start.sites]
    drives = _flat(drives_of(patches[parts.train], sites)), _flat(drives_of(patches[parts.validation], sites))
    truths = thresholds[parts.train], thresholds[parts.validation]
    members = wanted.samples or MEMBERS
    results = []
    for i in range(members):
        tries = [
            train_member(
                drives, truths, start, wanted.form, plan.training, **plan.of(i * plan.starts + k, _named(i, k, plan))
            )
            for k in range(plan.starts)
        ]
        results.append(min(tries, key=lambda found: np.nan_to_num(found[2].history["validation"], nan=np.inf).min()))
    uniform = _flat(drives_of(uniform_patches(sites.shape[3]), sites))
    used = np.any([reached(mixed, some) for mixed, _, _ in results for some in (*drives, uniform)], axis=0)
    variables = {
        f"member_{i}": {"kernel": kernel(mixed, sites)[used].astype(np.float32), "log_sharpness": np.float32(sharpness)}
        for i, (mixed, sharpness, _) in enumerate(results)
    }
    model = dataclasses.replace(wanted, degrees=(), samples=members, functionals=int(used.sum()))
    return Fitted(variables, model, [fit for _, _, fit in results], [])


def _named(member: int, start: int, plan: Plan) -> str:
    return f"member {member}" if plan.starts == 1 else f"member {member} start {start}"


def uniform_patches(n: int, count: int = 1000) -> Float[np.ndarray, "b n n n 3"]:
    """Uniform fields of random directions."""
    directions = np.random.default_rng(0).normal(size=(count, 3)).astype(np.float32)
    return np.broadcast_to(directions[:, None, None, None], (count, n, n, n, 3))


def reached(mixtures: Float[np.ndarray, "s copies m"], drives: Float[np.ndarray, "b s m"]) -> Bool[np.ndarray, " k"]:
    """Which functionals come near the largest in some field."""
    found = np.zeros(mixtures.shape[:2], bool)
    for i in range(0, len(drives), TRIED):
        each = np.einsum("bsm,scm->bsc", drives[i : i + TRIED], mixtures, optimize=True)
        found |= (each > USED * each.max((1, 2), keepdims=True)).any(0)
    return found.reshape(-1)


def drives_of(patches: Any, sites: Float[np.ndarray, "s p m n n n 3"]) -> Float[np.ndarray, "b s p m"]:
    """Polarisation (mV) of every site, place and moment under patches (b, n, n, n, 3) in V/m."""
    shape = sites.shape[:3]
    flat = np.ascontiguousarray(sites.reshape(int(np.prod(shape)), -1).T, np.float32)
    return (np.asarray(patches, np.float32).reshape(len(patches), -1) @ flat).reshape(-1, *shape)


def _flat(drives: np.ndarray) -> np.ndarray:
    return drives.reshape(*drives.shape[:2], -1)


def choose(
    drives: Float[np.ndarray, "b s p m"], thresholds: Float[np.ndarray, " b"], copies: int, near: float
) -> Start:
    """Where to start: at moments whose largest polarisation is the most nearly the same at every threshold.

    The first copy begins with the best of all moments at the first place, each further one of ``copies`` with that
    which best goes with those before it (the other half-wave of a pulse that fires on both), and one more with the
    best of each other place.
    """
    found = [_begin(drives[:, :, place], thresholds, 1 if place else copies) for place in range(drives.shape[2])]
    features = tuple(place * drives.shape[3] + j for place, (taken, _) in enumerate(found) for j in taken)
    gains = tuple(gain for _, some in found for gain in some)
    flat = _flat(drives)
    best = np.max([flat[:, :, j] * gain for j, gain in zip(features, gains, strict=True)], axis=0)
    return Start(np.flatnonzero((best > near * best.max(1, keepdims=True)).any(0)), features, gains)


def _begin(drives: np.ndarray, thresholds: np.ndarray, copies: int) -> tuple[list[int], list[float]]:
    at_threshold = np.maximum(drives.max(1) * thresholds[:, None], 0)
    usable = (at_threshold > 0).mean(0) > 0.05
    if not usable.any():
        raise InputError("no site is depolarised", got="none in 5 % of the fields", expected="fields that make it fire")
    taken: list[int] = []
    gains: list[float] = []
    together = np.zeros(len(thresholds))
    for _ in range(copies):
        # What fires seldom comes to its critical polarisation seldom: its gain is read off the upper end.
        level = RARE if taken else 0.5
        scale = np.array(
            [1 / np.quantile(c[c > 0], level) if ok else 0.0 for c, ok in zip(at_threshold.T, usable, strict=True)]
        )
        tried = [np.maximum(together, column) for column in (at_threshold * scale).T]
        best = int(np.argmin(np.where(usable, [_spread(column) for column in tried], np.inf)))
        taken.append(best)
        gains.append(float(scale[best]))
        together = tried[best]
    return taken, gains


def _spread(values: Float[np.ndarray, " b"]) -> float:
    middle = np.median(values)
    return float(np.abs(values / middle - 1).mean()) if middle > 0 else float("inf")


def train_member(
    drives: tuple[np.ndarray, np.ndarray],
    thresholds: tuple[np.ndarray, np.ndarray],
    start: Start,
    form: str,
    training: TrainSpec,
    key: jax.Array,
    folder: Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Float[np.ndarray, "s copies m"], float, Fit]:
    """Fit one member; (training, validation) pairs of drives (b, s, m) of the kept ends and thresholds (b,).

    Returns the mixtures (1/threshold per mV), the logarithm of the sharpness, and the fit. Trained in units of the
    median threshold and of the first moment's gain.
    """
    unit, gain = float(np.median(thresholds[0])), start.gains[0]
    inputs = tuple((d * np.float32(unit * gain)).astype(np.float32) for d in drives)
    targets = tuple(np.log(t / unit).astype(np.float32) for t in thresholds)
    s, m = inputs[0].shape[1:]
    copies = len(start.features)
    begin, order = jax.random.split(key)
    common = NOISE * np.array(jax.random.normal(begin, (copies, m)))
    common[np.arange(copies), list(start.features)] += np.array(start.gains) / gain
    variables = {
        "common": jnp.asarray(common.reshape(-1), jnp.float32),  # a vector: free of decay
        "own": jnp.zeros((s, copies, m), jnp.float32),
        "gain": jnp.zeros((s, copies), jnp.float32),
        "sharpening": jnp.float32(0),
    }

    def loss(variables: Variables, example: tuple[Array, Array]) -> Array:
        drive = jnp.einsum("sm,scm->sc", example[0], mixtures(variables)).reshape(-1)
        return relative_error(support.smooth_maximum(drive, jnp.exp(log_sharpness(variables)), form), example[1])

    first, last = zip(inputs, targets, strict=True)
    result = fit(loss, variables, first, last, training, order, folder=folder, progress=progress)
    found = np.asarray(mixtures(result.variables), np.float64) * gain
    sharpness = float(log_sharpness(result.variables))
    return found, sharpness + (np.log(unit) if form == "logsumexp" else 0.0), result


def log_sharpness(variables: Variables) -> Float[Array, ""]:
    """Logarithm of the sharpness, which begins low and grows slowly: see SHARPNESS."""
    return jnp.log(SHARPNESS) + SHARPENING * variables["sharpening"]


def mixtures(variables: Variables) -> Float[Array, "s copies m"]:
    """How much each moment counts in each functional."""
    own = OWN * variables["own"]
    return jnp.exp(OWN * variables["gain"])[..., None] * (variables["common"].reshape(own.shape[1:]) + own)


def kernel(
    mixtures: Float[np.ndarray, "s copies q"], sites: Float[np.ndarray, "s p m n n n 3"]
) -> Float[np.ndarray, "k g"]:
    """The functionals of a patch's samples (g = 3 n^3) that these mixtures of polarisations (q = p m) are."""
    flat = sites.reshape(len(sites), mixtures.shape[2], -1)
    return np.einsum("scm,smg->scg", mixtures, flat, optimize=True).reshape(-1, flat.shape[-1])
