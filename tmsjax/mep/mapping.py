"""A muscle's hotspot and motor threshold from few stimulations, each chosen where it tells most.

The chance of a response (50 uV or more) follows a normal distribution in the logarithm of intensity over local
threshold; the local threshold grows with the square of the distance from the hotspot. A cloud of weighted hypotheses
(hotspot, threshold, two widths, spread) is kept; the next place and intensity are those with the largest expected
information (Houlsby et al. 2011, arXiv:1112.5745), so far as the muscles' own law is this one.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import norm

from tmsjax.core.errors import InputError

PARTICLES = 2000
MOST = 0.995
"""A single response never proves more than this: a share of trials is not as the law says."""


@dataclasses.dataclass(frozen=True)
class MapPrior:
    """What is held possible before: hotspot (mm, normal about ``place_mm``), threshold (log-uniform), widths, spread.

    width_mm: over which the local threshold grows by 50 %; spread: s.d. of a response's threshold, relative.
    """

    place_mm: tuple[float, float] = (0.0, 0.0)
    place_sd_mm: float = 12.0
    threshold: tuple[float, float] = (40.0, 250.0)
    width_mm: tuple[float, float] = (8.0, 35.0)
    spread: tuple[float, float] = (0.03, 0.15)


class Belief(NamedTuple):
    """Hypotheses: hotspot (k, 2) mm, threshold (k,), inverse squared widths (k, 2), spread (k,); log-weights (k,)."""

    hotspot_mm: Any
    threshold: Any
    steep: Any
    spread: Any
    log_weight: Any

    @property
    def weight(self) -> Float[np.ndarray, " k"]:
        """Weights that add up to 1."""
        w = np.exp(self.log_weight - self.log_weight.max())
        return w / w.sum()

    def chance(self, place_mm: Any, intensity: Any) -> Float[np.ndarray, "c k"]:
        """Chance of a response at places (c, 2) mm and intensities (c,) under each hypothesis."""
        away = np.asarray(place_mm, float)[:, None] - self.hotspot_mm
        local = self.threshold * (1 + 0.5 * (away**2 * self.steep).sum(-1))
        return (1 - MOST) + (2 * MOST - 1) * norm.cdf(np.log(np.asarray(intensity)[:, None] / local) / self.spread)


class Estimate(NamedTuple):
    """Mean and s.d. of hotspot (mm) and threshold (the intensity's unit), and how many stimulations they rest on."""

    hotspot_mm: Float[np.ndarray, 2]
    hotspot_sd_mm: float
    threshold: float
    threshold_sd: float
    stimulations: int


def believe(prior: MapPrior | None = None, seed: int = 0) -> Belief:
    """Hypotheses drawn from a prior; InputError for one that cannot be drawn from."""
    prior, rng = prior or MapPrior(), np.random.default_rng(seed)
    ranges = (prior.threshold, prior.width_mm, prior.spread)
    if any(not 0 < low < high for low, high in ranges) or not prior.place_sd_mm > 0:
        raise InputError("prior of a mapping", got=prior, expected="ranges from above 0 upwards, a spread above 0")

    def drawn(low: float, high: float, *shape: int) -> np.ndarray:
        return np.exp(rng.uniform(np.log(low), np.log(high), (PARTICLES, *shape)))

    place = np.asarray(prior.place_mm) + prior.place_sd_mm * rng.normal(size=(PARTICLES, 2))
    return Belief(place, drawn(*prior.threshold), drawn(*prior.width_mm, 2) ** -2, drawn(*prior.spread),
                  np.zeros(PARTICLES))  # fmt: skip


def update(belief: Belief, place_mm: Any, intensity: float, responded: bool, rng: np.random.Generator) -> Belief:
    """The belief after one stimulation; hypotheses are drawn anew and shaken where few of them are left."""
    p = belief.chance(np.asarray(place_mm, float)[None], np.array([intensity]))[0]
    belief = belief._replace(log_weight=belief.log_weight + np.log(p if responded else 1 - p))
    w = belief.weight
    if 1 / (w**2).sum() > PARTICLES / 3:
        return belief
    rows = rng.choice(PARTICLES, PARTICLES, p=w)
    # Shrunk towards the mean and shaken (Liu & West 2001), so that mean and variance stay.
    shrink = 0.98
    shaken = []
    for values in (belief.hotspot_mm, np.log(belief.threshold), np.log(belief.steep), np.log(belief.spread)):
        mean = np.tensordot(w, values, 1)
        deviation = np.sqrt(np.tensordot(w, (values - mean) ** 2, 1))
        noise = rng.normal(size=values.shape) * deviation * np.sqrt(1 - shrink**2)
        shaken.append(mean + shrink * (values[rows] - mean) + noise)
    threshold, steep, wide = (np.exp(values) for values in shaken[1:])
    return Belief(shaken[0], threshold, steep, wide, np.zeros(PARTICLES))


def information(belief: Belief, place_mm: Any, intensity: Any) -> Float[np.ndarray, " c"]:
    """Expected information (c,) in nats of stimulating at places (c, 2) with intensities (c,)."""
    p, w = belief.chance(place_mm, intensity), belief.weight
    return _entropy(p @ w) - _entropy(p) @ w


def _entropy(p: np.ndarray) -> np.ndarray:
    return -(p * np.log(p) + (1 - p) * np.log1p(-p))


def estimate(belief: Belief, stimulations: int) -> Estimate:
    """Mean and s.d. of a belief."""
    w = belief.weight
    hotspot = w @ belief.hotspot_mm
    sd = float(np.sqrt(w @ ((belief.hotspot_mm - hotspot) ** 2).sum(1)))
    mean = float(w @ belief.threshold)
    return Estimate(hotspot, sd, mean, float(np.sqrt(w @ (belief.threshold - mean) ** 2)), stimulations)


def map_muscle(
    respond: Any, places_mm: Any, intensities: Any, *, stimulations: int = 40, prior: MapPrior | None = None,
    choice: str = "information", seed: int = 0,
) -> list[Estimate]:  # fmt: skip
    """Map a muscle: choose, stimulate, learn; the estimate after each stimulation.

    Args:
        respond: ``respond(place_mm (2,), intensity) -> bool``, whether 50 uV or more were recorded.
        places_mm: (p, 2) that may be stimulated. intensities: (i,) that may be given, in the unit of the threshold.
        stimulations: how many. prior: before. choice: "information", or "random" for comparison. seed: of the draws.

    Raises InputError for another choice, or nothing to choose from.
    """
    places, levels = np.asarray(places_mm, float), np.asarray(intensities, float)
    usable = places.ndim == 2 and places.shape[1] == 2 and len(places) and levels.ndim == 1 and len(levels)
    if choice not in ("information", "random") or not usable or not (levels > 0).all():
        raise InputError("a mapping", got=f"{choice}, places {places.shape}, intensities {levels.shape}",
                         expected="information or random; (p, 2) places, (i,) intensities above 0")  # fmt: skip
    rng, belief = np.random.default_rng([seed, 1]), believe(prior, seed)
    at, level = np.repeat(places, len(levels), 0), np.tile(levels, len(places))
    done = []
    for number in range(1, stimulations + 1):
        if choice == "random":
            k = int(rng.integers(len(at)))
        else:
            some = rng.permutation(len(at))[:CANDIDATES]
            k = int(some[np.argmax(information(belief, at[some], level[some]))])
        belief = update(belief, at[k], float(level[k]), bool(respond(at[k], float(level[k]))), rng)
        done.append(estimate(belief, number))
    return done


CANDIDATES = 200
"""Places with intensities among which the most telling is taken."""
