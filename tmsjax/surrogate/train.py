"""Training of the support-function surrogate from patches and simulated thresholds, with an honest held-out part."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.nn import TrainSpec, metrics
from tmsjax.surrogate import polarised, polynomial, support
from tmsjax.surrogate.evaluate import evaluate
from tmsjax.surrogate.examples import BLOCK, check_examples, coefficients_of, domain_of, normalised
from tmsjax.surrogate.fitting import Fitted, Plan
from tmsjax.surrogate.polynomial import CANDIDATES, TRAINING
from tmsjax.surrogate.split import Split, balanced, split
from tmsjax.surrogate.support import SupportSpec
from tmsjax.surrogate.types import Surrogate, SurrogateSpec
from tmsjax.surrogate.uniform import UniformMap


def train(
    patches: Any,
    thresholds_v_per_m: Any,
    spec: SurrogateSpec,
    seed: int,
    *,
    sites: Any = None,
    groups: Any = None,
    initiation: Any = None,
    candidates: Sequence[tuple[int, ...]] = CANDIDATES,
    uniform: UniformMap | None = None,
    training: TrainSpec | None = None,
    starts: int | None = None,
    held_out_share: float = 0.2,
    compare_random_split: bool = False,
    folder: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Surrogate, dict[str, Any]]:
    """Train a surrogate on 80 % of the thresholds and score it on the rest.

    Parameters
    ----------
    patches
        (b, n, n, n, 3) field samples in the cell frame, any scale.
    thresholds_v_per_m
        (b,) thresholds as the field magnitude at the centre of the patch, V/m (not at the soma where
        ``spec.z_shift_mm`` is not 0).
    spec, seed
        What to train; the seed settles the split, the start and the order of the minibatches.
    sites
        (s, p, m, n, n, n, 3) from ``polarisation.of_patches(cell, ...)``: the polarisation of the ends of the cell's
        axon, at p places and m moments each, as functionals of the samples. The members then see the samples and
        start from these, which needs a tenth of the thresholds for a third of the error. None: members that see
        polynomials, of any cell.
    groups
        (b,) index of the position of each example: positions are held out whole.
    initiation
        (b,) compartment that fires first, -1 where it is not known: training repeats the examples of places where
        few begin (``split.balanced``), judging does not.
    candidates
        Without ``sites``: sets of degrees to choose from. Every degree in them is trained once, and the set whose
        median does best on the validation rows (a tenth of the training part, none of them held out) replaces
        ``spec.model.degrees``. None given (``()``): the degrees of the spec.
    uniform
        Threshold-direction map, scored beside the surrogate.
    training
        How; default: ``polarised.TRAINING`` with ``sites``, ``polynomial.TRAINING`` without.
    starts
        With ``sites``: times that each member is trained, from another start, of which the one that does best on the
        validation rows is kept; default ``polarised.STARTS``.
    compare_random_split
        Also train on a split that ignores ``groups`` and report that score, to show how much azimuths leak.
    folder
        Keeps the runs of the members: the same call after a kill goes on to the same weights (see ``nn.fit``).

    Returns
    -------
    (Surrogate, report)
        The report holds the held-out scores (``tmsjax.nn.metrics.summary``) of the surrogate, of every member and of
        the uniform map, the candidates' validation errors, the rows held out, seconds and histories; the card,
        without rows and histories, goes with the surrogate.

    Raises
    ------
    InputError
        Shapes that do not pair up, thresholds that are not positive, patches that cannot be normalised, too few.
    """
    started = time.perf_counter()
    thresholds = check_examples(patches, thresholds_v_per_m, spec.check())
    if not isinstance(spec.model, SupportSpec):
        raise InputError("train fits the support-function model", got=spec.family, expected="family support")
    if sites is not None:
        sites = _check_sites(sites, spec.n)
    elif spec.model.samples:
        raise InputError("members that see samples start from polarisations", got="no sites", expected="sites=")
    fields = normalised(patches)
    training = training or (TRAINING if sites is None else polarised.TRAINING)
    tries = (polarised.STARTS if starts is None else starts) if sites is not None else 1
    plan = Plan(training, seed, tries, None if folder is None else Path(folder), progress)

    def fitted(parts: Split, wanted: SupportSpec, sets: Sequence[tuple[int, ...]], plan: Plan) -> Fitted:
        if sites is not None:
            return polarised.fit_members(fields, thresholds, parts, wanted, sites, plan)
        pool = polynomial.pooled(wanted, sets)
        pool.check(spec.n)
        return polynomial.fit_members(coefficients_of(fields, max(pool.degrees)), thresholds, parts, wanted, sets, plan)

    parts = split(len(thresholds), seed, held_out_share, groups=groups)
    found = fitted(_repeated(parts, initiation, len(thresholds)), spec.model, candidates, plan)
    spec = dataclasses.replace(spec, model=found.model)
    model = Surrogate(found.variables, domain_of(fields[parts.train]), spec)

    rows, truth = parts.held_out, thresholds[parts.held_out]
    scores = evaluate(model, patches[rows], truth, uniform)
    scores["members"] = [metrics.summary(each, truth) for each in _member_thresholds(found, fields[rows]).T]
    report: dict[str, Any] = {
        "seed": seed,
        "split_by": parts.by,
        "n_train": len(parts.train),
        "n_validation": len(parts.validation),
        "n_held_out": len(rows),
        "scores": scores,
        "validation_mape_percent": found.choice,
        "training": dataclasses.asdict(training),
        "best_epochs": [f.best_epoch for f in found.fits],
        "status": [f.status for f in found.fits],
    }
    if compare_random_split and groups is not None:
        other = split(len(thresholds), seed, held_out_share)
        leaky = fitted(
            _repeated(other, initiation, len(thresholds)), found.model, (), dataclasses.replace(plan, folder=None)
        )
        random = np.median(_member_thresholds(leaky, fields[other.held_out]), 1)
        report["random_split_scores"] = metrics.summary(random, thresholds[other.held_out])
    report["seconds"] = round(time.perf_counter() - started, 2)
    model = dataclasses.replace(model, card_json=json.dumps({**report, "spec": spec.to_json()}, sort_keys=True))
    return model, {**report, "held_out_rows": rows, "histories": [f.history for f in found.fits]}


def _repeated(parts: Split, initiation: Any, n: int) -> Split:
    """The split with training rows repeated as ``balanced`` says."""
    if initiation is None:
        return parts
    if np.shape(initiation) != (n,):
        raise InputError("one place of initiation for every example", got=np.shape(initiation), expected=(n,))
    return dataclasses.replace(parts, train=balanced(parts.train, np.asarray(initiation)))


def _member_thresholds(found: Fitted, fields: Float[np.ndarray, "b n n n 3"]) -> Float[np.ndarray, "b m"]:
    blocks = [_member_block(found.model, found.variables, fields[i : i + BLOCK]) for i in range(0, len(fields), BLOCK)]
    return 1 / np.concatenate([np.asarray(block, np.float64) for block in blocks])


@partial(jax.jit, static_argnums=0)
def _member_block(spec: SupportSpec, variables: Any, fields: Array) -> Array:
    return jax.vmap(partial(support.members, spec, variables))(fields)


def _check_sites(sites: Any, n: int) -> Float[np.ndarray, "s p m n n n 3"]:
    functionals = np.asarray(sites, np.float32)
    if functionals.ndim != 7 or functionals.shape[3:] != (n, n, n, 3) or not np.isfinite(functionals).all():
        raise InputError(
            "sites are not functionals of these patches",
            got=f"{functionals.shape}, {int((~np.isfinite(functionals)).sum())} not finite",
            expected=f"(s, p, m, {n}, {n}, {n}, 3), finite",
            mend="polarisation.of_patches(cell, pulse, n, side_mm, z_shift_mm)",
        )
    return functionals
