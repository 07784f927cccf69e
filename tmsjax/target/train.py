"""Training of the network: levels apart first, each shown crops round the truth, then in a chain as they are used.

The paper trains the chain alone; a fine level then learns nothing until the coarse ones put its crops near the point
(its weight in equation 2 is almost 0 before). ``PAPER_TRAINING`` does so, ``SHORT_TRAINING`` is what two cores finish.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.nn import Fit, TrainSpec, fit
from tmsjax.nn.functional import Variables
from tmsjax.target import augment, loss, pyramid
from tmsjax.target.augment import Augmentation
from tmsjax.target.cohort import Cohort, validation_rows
from tmsjax.target.network import NetworkSpec, locate, network


@dataclasses.dataclass(frozen=True)
class Training:
    """How a network is trained: hashable, and part of its card.

    ``apart``: the first part, in which crops are centred on the truth, off by a normal error of ``exposure`` voxels of
    the level before along each axis; None for none. ``chained``: the second part, in which each level's crops are
    where the level before put them. ``alpha``: of equation 2.
    """

    apart: TrainSpec | None
    chained: TrainSpec | None
    augmentation: Augmentation = augment.PAPER
    exposure: float = 0.6
    alpha: float = loss.ALPHA


PAPER_TRAINING = Training(
    None,
    TrainSpec(epochs=200, batch=16, accumulate=16, learning_rate=1e-3, schedule="inverse", optimiser="sgd", clip=None),
)
"""Section 2.3: SGD at 1e-3, which falls by 1 / (1 + 0.1 i) (i taken for epochs: for steps it would stand still after a
few hundred), batches of 16 by accumulation, rotations and translations. How many epochs the paper does not say."""

SHORT_TRAINING = Training(
    TrainSpec(epochs=60, batch=4, learning_rate=2e-3, schedule="cosine", clip=1.0),
    TrainSpec(epochs=12, batch=4, learning_rate=5e-4, schedule="cosine", clip=1.0),
    augment.WIDER,
)
"""Adam, for cohorts of a few dozen synthetic images."""

SHORT_SPEC = NetworkSpec(field=8, channels=8, maps=8, hidden=32, layers=20, width=32)
"""The network that ``SHORT_TRAINING`` trains in ten CPU-minutes: crops of 8^3 see as many millimetres of the coarse
levels as those of 16^3 see of the next finer one."""


def train(
    cohort: Cohort,
    validation: Cohort,
    spec: NetworkSpec,
    seed: int,
    training: Training = SHORT_TRAINING,
    *,
    folder: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Variables, dict[str, Any]]:
    """Train a network on a cohort; the epoch that is kept errs least on ``validation``, unturned and chained.

    Args:
        cohort, validation: images and points; of the spec's side and levels.
        spec, seed, training: what to train and how; the seed settles start, order and augmentation.
        folder: keeps the runs, so that the same call after a kill goes on to the same weights (``nn.fit``).
        progress: told of every epoch.

    Returns:
        (variables, report): the report has the histories, best epochs and statuses of both parts, and seconds.

    Raises:
        InputError: pyramids of another size, no parts of training, points that are none of the spec's, too few images.
    """
    started = time.perf_counter()
    examples, judges = (_examples(part, spec) for part in (cohort, validation))
    start, *orders = jax.random.split(jax.random.key(seed), 3)
    variables = from_mean(spec, jax.jit(network(spec).init)(start), examples)
    fits: dict[str, Fit] = {}
    for i, (name, how) in enumerate((("apart", training.apart), ("chained", training.chained))):
        if how is None:
            continue
        fits[name] = fit(
            loss_of(spec, training, shown=name == "apart"),
            variables,
            examples,
            judges,
            how,
            orders[i],
            batched=True,
            folder=None if folder is None else Path(folder) / name,
            progress=None if progress is None else lambda text, name=name: progress(f"{name}, {text}"),
        )
        variables = fits[name].variables
    if not fits:
        raise InputError("nothing to train", got="neither part", expected="apart, chained or both")
    report = {
        "seed": seed,
        "training": dataclasses.asdict(training),
        "images": len(cohort),
        "bases": sorted(set(cohort.bases)),
        "synthetic": bool(cohort.recipe["synthetic"]),
        "best_epochs": {name: f.best_epoch for name, f in fits.items()},
        "status": {name: f.status for name, f in fits.items()},
        "seconds": round(time.perf_counter() - started, 1),
    }
    return variables, {**report, "histories": {name: f.history for name, f in fits.items()}}


def train_ensemble(
    cohort: Cohort,
    spec: NetworkSpec,
    seed: int,
    training: Training = SHORT_TRAINING,
    *,
    members: int = 5,
    folder: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[list[Variables], list[dict[str, Any]]]:
    """Networks from different starts, each with other images of the cohort choosing its epoch; variables and reports.

    InputError for fewer than two images or no member.
    """
    if members < 1 or len(cohort) < 2:
        raise InputError("an ensemble", got=f"{members} of {len(cohort)} images", expected="1 or more of 2 or more")
    found, reports, rows = [], [], np.arange(len(cohort))
    for r in range(members):
        choose = validation_rows(cohort, rows, r)
        variables, report = train(
            cohort.rows(np.setdiff1d(rows, choose)),
            cohort.rows(choose),
            spec,
            seed + r,
            training,
            folder=None if folder is None else Path(folder) / f"network-{r}",
            progress=None if progress is None else lambda text, r=r: progress(f"network {r + 1}, {text}"),
        )
        found.append(variables)
        reports.append(report)
    return found, reports


def from_mean(
    spec: NetworkSpec, variables: Variables, examples: tuple[np.ndarray, np.ndarray, np.ndarray]
) -> Variables:
    """Variables whose coarsest level starts from the mean place of every point.

    Without it the first few hundred steps go into moving the estimates there from the middle of the volume.
    ``examples``: pyramids, places, and which points are present.
    """
    _, places, present = examples
    total = np.maximum(present.sum(0), 1)[:, None]
    mean = np.where(present.sum(0)[:, None] > 0, places.sum(0) / total, (spec.side - 1) / 2)
    offset = (mean - (spec.side - 1) / 2) / 2.0 ** (spec.levels - 1)
    levels = {**variables["levels"], "offset": variables["levels"]["offset"].at[0].set(offset)}
    return {**variables, "levels": levels}


def loss_of(spec: NetworkSpec, training: Training, *, shown: bool) -> Callable[..., Array]:
    """Equation 2 of a batch as ``nn.fit`` takes it (``batched``); in validation the mean distance at the finest level.

    Equation 2 cannot choose an epoch: it is small for estimates that are far off, too, whose weights vanish. Images are
    then unturned and levels always chained; distances are in voxels of the finest grid.
    """
    voxels = jnp.asarray([2.0**level for level in range(spec.levels)][::-1], jnp.float32)  # as places are

    def one(variables: Variables, flat: Array, places: Float[Array, "p 3"], present: Array, key: Array | None):
        if key is None:
            error2 = loss.squared_errors(locate(spec, variables, flat).places[-1], places, present)
            return jnp.sqrt(error2).sum() / jnp.maximum(present.sum(), 1)
        first, second = jax.random.split(key)
        view = augment.draw(training.augmentation, first, spec.side)
        truth = augment.seen(view, places)
        centres = None
        if shown:
            off = jax.random.normal(second, (spec.levels, len(spec.points), 3)) * voxels[:, None, None]
            inside = jnp.where(present[:, None], truth, (spec.side - 1) / 2)
            centres = inside + 2 * training.exposure * off
        found = locate(spec, variables, flat, view=view, shown=centres).places
        return loss.equation_2(found, truth, present, voxels, spec.field, training.alpha)

    def batched(variables: Variables, batch: tuple[Array, Array, Array], key: Array | None) -> Array:
        flats, places, present = batch
        if key is None:
            return jax.vmap(lambda f, p, m: one(variables, f, p, m, None))(flats, places, present)
        keys = jax.random.split(key, len(flats))
        return jax.vmap(lambda f, p, m, k: one(variables, f, p, m, k))(flats, places, present, keys)

    return batched


def _examples(cohort: Cohort, spec: NetworkSpec) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    side = pyramid.shape_of(cohort.flats, cohort.recipe["levels"])
    if (side, cohort.recipe["levels"]) != (spec.side, spec.levels):
        raise InputError(
            "the images do not fit the network",
            got=f"{side} voxels, {cohort.recipe['levels']} levels",
            expected=f"{spec.side} voxels, {spec.levels} levels",
        )
    wanted = cohort.only(spec.points)
    places = np.where(wanted.present[..., None], wanted.places, 0).astype(np.float32)
    return cohort.flats, places, wanted.present
