"""Recruitment: which share of a population is active at which intensity, hard and smooth, with bootstrap bands."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from numpy import ndarray

from tmsjax.core.arrays import ArrayLike, numbers
from tmsjax.core.errors import InputError, check_number
from tmsjax.response.types import Response, checked


def active_share(
    thresholds: ArrayLike, intensities: ArrayLike, weight: ArrayLike | None = None
) -> Float[ndarray, " i"]:
    """Share of neurons (i,) whose threshold is at or below each intensity, in the unit of both.

    Neurons without a threshold (NaN) count as never active: the share is a lower bound by theirs. ``weight`` (p,)
    is what each neuron stands for.

    Raises InputError for no neurons, negative intensities, or weights that are negative or all zero.
    """
    values, weights = _population(thresholds, weight)
    return _cumulative(_bins(values, checked_intensities(intensities)), weights)


def smooth_active_share(
    thresholds: Float[Array, " p"],
    intensities: Float[Array, " i"],
    temperature: float | Float[Array, ""],
    weight: Float[Array, " p"] | None = None,
) -> Float[Array, " i"]:
    """mean_p sigmoid(log(intensity / threshold) / temperature): ``active_share`` made differentiable in everything.

    Half of a neuron is active at its threshold, and within a factor exp(+-3 temperature) the count goes from 5 to
    95 %; as the temperature goes to 0 it is the hard count wherever no threshold equals the intensity. Neurons
    without a threshold (NaN) are never active and have no gradient. Pure: for ``jax.jit`` and ``jax.grad``.
    """
    known = jnp.isfinite(thresholds) & (thresholds > 0)
    log_threshold = jnp.log(jnp.where(known, thresholds, 1.0))
    weights = jnp.ones_like(log_threshold) if weight is None else weight
    counted = jnp.where(known, weights, 0.0)
    positive = intensities > 0
    log_intensity = jnp.log(jnp.where(positive, intensities, 1.0))

    def one(level):
        return jnp.sum(counted * jax.nn.sigmoid((level - log_threshold) / temperature)) / jnp.sum(weights)

    return jnp.where(positive, jax.lax.map(one, log_intensity), 0.0)


def intensity_for(thresholds: ArrayLike, share: float, weight: ArrayLike | None = None) -> float:
    """The lowest intensity at which at least ``share`` of the neurons is active, in the thresholds' unit.

    NaN where fewer than that have a threshold: the inverse of ``active_share``.
    """
    share = check_number(share, "share of neurons", above=0.0, high=1.0)
    values, weights = _population(thresholds, weight)
    return float(levels(values[None], np.array([share]), weights)[0, 0])


def levels(
    thresholds: Float[ndarray, "m p"], shares: Float[ndarray, " s"], weights: Float[ndarray, " p"]
) -> Float[ndarray, "m s"]:
    """``intensity_for`` of m sets of thresholds of the same neurons, at several shares."""
    order = np.argsort(thresholds, axis=1)  # NaN last
    reached = np.cumsum(weights[order], axis=1) / weights.sum()
    at = [np.argmax(reached >= share * (1 - 1e-12), axis=1) for share in shares]
    beyond = [reached[:, -1] < share * (1 - 1e-12) for share in shares]
    rows = np.arange(len(thresholds))
    found = [np.where(b, np.nan, thresholds[rows, order[rows, a]]) for a, b in zip(at, beyond, strict=True)]
    return np.stack(found, axis=1)


@dataclasses.dataclass(frozen=True, eq=False)
class Recruitment:
    """A recruitment curve.

    Attributes:
        intensity: (i,) A/us of the coil. share: (i,) of all neurons that are active (``active_share``).
        low, high: (i,) ends of the bootstrap's band at ``level``.
        neurons, sites: how many. without_threshold: share of neurons without a prediction, which count as not active.
        outside_domain: share of neurons whose field the model has not been trained on.
        name: of the group, such as the layer.
    """

    intensity: Float[ndarray, " i"]
    share: Float[ndarray, " i"]
    low: Float[ndarray, " i"]
    high: Float[ndarray, " i"]
    neurons: int
    sites: int
    without_threshold: float
    outside_domain: float
    level: float = 0.95
    name: str = ""

    def rows(self) -> list[dict[str, Any]]:
        """The curve as rows of a table."""
        columns = zip(self.intensity, self.share, self.low, self.high, strict=True)
        return [
            {"population": self.name, "intensity_a_per_us": float(x), "share_active": float(s), "low": float(a),
             "high": float(b)}
            for x, s, a, b in columns
        ]  # fmt: skip


def recruitment(
    responses: Response | Iterable[Response],
    intensities: ArrayLike | None = None,
    *,
    bootstrap: int = 200,
    level: float = 0.95,
    seed: int = 0,
    name: str = "",
) -> Recruitment:
    """The recruitment curve of some responses pooled (the clones of a layer, say), with a bootstrap band.

    The bootstrap draws positions, not neurons: all azimuths and clones at a position come along when it is drawn. They
    feel nearly the same field, so their thresholds go together, and a bootstrap of neurons would take a dozen copies of
    one position for a dozen independent observations: its band would be too narrow by up to the square root of their
    number. The band is for the positions' sampling alone: not for the model's error, nor for the head's.

    Args:
        responses: one or more. Sites of equal number and layer are one position, whatever the clone.
        intensities: (i,) A/us; by default 100 of them, evenly from 0 to the 99th percentile of the thresholds.
        bootstrap: draws; 0 gives no band (NaN). level: probability that the band is to cover at each intensity.
        seed: of the draws. name: what to call the curve.

    Raises InputError for no neurons, no neuron with a threshold, or negative intensities.
    """
    found = checked(responses)
    level = check_number(level, "level of the band", above=0.0, high=0.9999)
    draws = int(check_number(bootstrap, "number of bootstrap draws", low=0))
    thresholds = np.concatenate([np.asarray(r.thresholds.a_per_us, float) for r in found])
    values, weights = _population(thresholds, np.concatenate([np.asarray(r.population.weight, float) for r in found]))
    known = np.isfinite(values)
    if not known.any():
        raise InputError(
            "no neuron has a threshold",
            got=f"{len(known)} neurons without",
            expected="some",
            mend="look at Thresholds.why: their sampling grids may leave the tissue, or the field's region",
        )
    at = (
        np.linspace(0, np.quantile(values[known], 0.99), 100)
        if intensities is None
        else checked_intensities(intensities)
    )
    bins, cluster = _bins(values, at), _clusters(found)
    count = int(cluster.max()) + 1
    low = high = np.full(len(at), np.nan)
    if draws:
        rng = np.random.default_rng(seed)
        shares = np.empty((draws, len(at)))
        for i in range(draws):
            times = np.bincount(rng.integers(count, size=count), minlength=count)
            shares[i] = _cumulative(bins, weights * times[cluster])
        low, high = np.quantile(shares, [(1 - level) / 2, (1 + level) / 2], axis=0)
    outside = ~np.concatenate([r.in_domain for r in found])
    return Recruitment(
        intensity=at,
        share=_cumulative(bins, weights),
        low=low,
        high=high,
        neurons=len(values),
        sites=count,
        without_threshold=float(weights[~known].sum() / weights.sum()),
        outside_domain=float(weights[outside].sum() / weights.sum()),
        level=level,
        name=name or ", ".join(dict.fromkeys(r.layer for r in found)),
    )


def _clusters(responses: list[Response]) -> np.ndarray:
    """(p,) number of each neuron's position, 0 to (positions - 1): the same layer and site are one."""
    layers = {name: i for i, name in enumerate(dict.fromkeys(r.layer for r in responses))}
    keys = np.concatenate(
        [np.stack([np.full(len(r), layers[r.layer]), np.asarray(r.population.site)], 1) for r in responses]
    )
    return np.unique(keys, axis=0, return_inverse=True)[1].ravel()


def _bins(values: np.ndarray, intensities: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(p,) number of the lowest intensity (sorted) that activates each neuron, and the intensities' ranks (i,)."""
    order = np.argsort(intensities, kind="stable")
    first = np.searchsorted(intensities[order], np.where(np.isnan(values), np.inf, values), side="left")
    rank = np.empty(len(order), int)
    rank[order] = np.arange(len(order))
    return first, rank


def _cumulative(bins: tuple[np.ndarray, np.ndarray], weights: np.ndarray) -> np.ndarray:
    first, rank = bins
    heaps = np.bincount(first, weights=weights, minlength=len(rank) + 1)
    total = heaps.sum()
    return np.clip(np.cumsum(heaps)[:-1][rank] / total, 0.0, 1.0)


def _population(thresholds: ArrayLike, weight: ArrayLike | None) -> tuple[np.ndarray, np.ndarray]:
    values = numbers(thresholds, "thresholds")
    if values.ndim != 1 or not len(values):
        raise InputError("the population is empty", got=f"thresholds {values.shape}", expected="(p,), p at least 1")
    if (values <= 0).any():
        raise InputError("thresholds are not positive", got=float(np.nanmin(values)), expected="positive, or NaN")
    weights = np.ones(len(values)) if weight is None else numbers(weight, "weights")
    if weights.shape != values.shape or not np.isfinite(weights).all() or (weights < 0).any() or not weights.any():
        raise InputError("weights of the neurons", got=f"{weights.shape}", expected="(p,), 0 or more, not all 0")
    return values, weights


def checked_intensities(intensities: ArrayLike) -> Float[ndarray, " i"]:
    """Intensities (i,) that are finite and not negative, or InputError."""
    found = np.atleast_1d(numbers(intensities, "intensities"))
    if found.ndim != 1 or not len(found) or not np.isfinite(found).all() or (found < 0).any():
        raise InputError(
            "intensities", got=found.ravel()[:5].tolist(), expected="(i,) finite A/us, 0 or more",
            mend="the direction of the current is the field's sign (solve with a negative didt), not the intensity's",
        )  # fmt: skip
    return found
