"""From the thresholds of several clones at the same places to one model of their median."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from tmsjax.core.errors import InputError
from tmsjax.nn import TrainSpec
from tmsjax.surrogate import features
from tmsjax.surrogate.evaluate import evaluate
from tmsjax.surrogate.examples import BLOCK, domain_of
from tmsjax.surrogate.median import HIGHEST, MedianSpec, turn
from tmsjax.surrogate.source import Source
from tmsjax.surrogate.source import examples as examples_of
from tmsjax.surrogate.support import SupportSpec
from tmsjax.surrogate.train import train
from tmsjax.surrogate.types import Surrogate, SurrogateSpec

CANDIDATES = ((1,), (2,), (3,), (2, 3))
"""Sets of degrees to choose from; a median over clones and azimuths is smoother than any one of them."""


class Clone(NamedTuple):
    """Simulated thresholds of one clone, k of each."""

    patches: Float[np.ndarray, "k n n n 3"]
    """Samples in the cell's frame, V/m per A/us."""
    v_per_m: Float[np.ndarray, " k"]
    """Threshold, V/m at the centre of the patch."""
    place: Int[np.ndarray, " k"]
    """Which field it is: a number for each pose, direction of the current and site, the same in every clone."""
    site: Int[np.ndarray, " k"]
    """Site, which a split keeps whole: fields of several poses share one."""


@dataclasses.dataclass(frozen=True)
class MedianExamples:
    """What a median model is trained on, m of each: one patch of a place, at one azimuth, and the median there.

    ``left_out``: places that some clone has too few thresholds at.
    """

    patches: Float[np.ndarray, "m n n n 3"]
    v_per_m: Float[np.ndarray, " m"]
    place: Int[np.ndarray, " m"]
    site: Int[np.ndarray, " m"]
    left_out: int


def clone(source: Source, results: Mapping[str, np.ndarray], spec: SurrogateSpec) -> Clone:
    """The thresholds of one clone from its dataset (``results`` is ``Dataset.results()``), on the grid of ``spec``.

    Datasets of one recipe for several clones (``design = "every"``, ``Recipe.of_cell``) share their ``source``, and so
    the numbers of their places.
    """
    some = examples_of(source, dict(results), spec.side_mm, spec.z_shift_mm, spec.n)
    pose, sign = source.draw.pose[some.rows], source.draw.sign[some.rows]
    place = (2 * pose + (sign > 0)) * source.recipe.sites + some.site
    return Clone(some.patches, some.v_per_m, place, some.site)


def median_examples(clones: Sequence[Clone], azimuths: int = 3) -> MedianExamples:
    """Median threshold over clones and azimuths at every place with ``azimuths`` or more thresholds of each clone.

    The patch of a place is that of one of its rows, a different azimuth from place to place: the model turns it.

    Raises
    ------
    InputError
        No clones, arrays that do not pair up, or no place that all clones share.
    """
    for clone in clones:
        lengths = {len(column) for column in clone}
        if len(lengths) != 1 or clone.patches.shape[1:] != clones[0].patches.shape[1:]:
            raise InputError(
                "a clone's thresholds do not pair up", got=sorted(lengths), expected="one length, one grid"
            )
    if not clones:
        raise InputError("no clones", got="none", expected="one or more")
    places = [np.unique(clone.place, return_counts=True) for clone in clones]
    every = np.unique(np.concatenate([names for names, _ in places]))
    whole = np.ones(len(every), bool)
    for names, counts in places:
        enough = names[counts >= azimuths]
        whole &= np.isin(every, enough)
    kept = every[whole]
    if not len(kept):
        raise InputError(
            "no place has thresholds of all clones",
            got=f"{len(every)} places, none with {azimuths} or more thresholds of each of {len(clones)} clones",
            expected="datasets of the same sites, poses and directions",
            mend="simulate all clones with one recipe, which takes every azimuth of a site, or ask for fewer azimuths",
        )
    place = np.concatenate([clone.place for clone in clones])
    values = np.concatenate([clone.v_per_m for clone in clones])
    order = np.argsort(place, kind="stable")
    starts = np.searchsorted(place[order], kept)
    ends = np.searchsorted(place[order], kept, side="right")
    medians = np.array([np.median(values[order[a:b]]) for a, b in zip(starts, ends, strict=True)])
    first = clones[0]
    mine = np.argsort(first.place, kind="stable")
    rows = np.searchsorted(first.place[mine], kept)
    rows = mine[rows + np.arange(len(kept)) % azimuths]
    return MedianExamples(first.patches[rows], medians, kept, first.site[rows], int((~whole).sum()))


def train_median(
    examples: MedianExamples,
    spec: SurrogateSpec,
    seed: int,
    *,
    candidates: Sequence[tuple[int, ...]] = CANDIDATES,
    training: TrainSpec | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Surrogate, dict[str, Any]]:
    """Train a median model; arguments and report as ``train``'s, whose held-out sites also judge this one.

    ``spec`` names the population as its cell, its grid and, as its model, the functionals of a ``SupportSpec``.
    """
    if not isinstance(spec.model, SupportSpec) or spec.model.samples:
        raise InputError("a median model has members of a degree only", got=spec.model, expected="a SupportSpec")
    if max(d for degrees in candidates for d in degrees) > HIGHEST:
        raise InputError("degrees of turned patches", got=candidates, expected=f"{HIGHEST} at most")
    settings = {f.name: getattr(spec.model, f.name) for f in dataclasses.fields(SupportSpec)}
    plain = dataclasses.replace(spec, family="support", model=SupportSpec(**settings))
    turned = turned_patches(examples.patches)
    # Turned, the centre of the polynomial is what a threshold is measured at.
    scale = _centres(turned) / _centres(examples.patches)
    fitted, report = train(
        turned,
        examples.v_per_m * scale,
        plain,
        seed,
        groups=examples.site,
        candidates=candidates,
        training=training,
        progress=progress,
    )
    chosen = {f.name: getattr(fitted.spec.model, f.name) for f in dataclasses.fields(SupportSpec)}
    spec = dataclasses.replace(spec, family="median", model=MedianSpec(**chosen)).check()
    inside = domain_of(examples.patches)
    model = Surrogate(fitted.variables, inside, spec)
    rows = report["held_out_rows"]
    report["scores"] = evaluate(model, examples.patches[rows], examples.v_per_m[rows])
    card = {**fitted.card, "scores": report["scores"], "spec": spec.to_json(), "places_left_out": examples.left_out}
    return dataclasses.replace(model, card_json=json.dumps(card, sort_keys=True)), report


def turned_patches(patches: Any) -> Float[np.ndarray, "b n n n 3"]:
    """Patches (b, n, n, n, 3) turned to their canonical azimuths, in blocks."""
    blocks = [_turned(jnp.asarray(patches[i : i + BLOCK], jnp.float32)) for i in range(0, len(patches), BLOCK)]
    return np.concatenate([np.asarray(block) for block in blocks])


_turned = jax.jit(jax.vmap(turn))


def _centres(patches: np.ndarray) -> Float[np.ndarray, " b"]:
    centres = jax.vmap(features.centre_field)(jnp.asarray(np.asarray(patches), jnp.float32))
    return np.linalg.norm(np.asarray(centres, np.float64), axis=-1)
