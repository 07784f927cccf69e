"""Training of the support-function surrogate from patches and simulated thresholds, with an honest held-out part."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.nn import Fit, TrainSpec, fit, metrics
from tmsjax.nn.functional import Variables
from tmsjax.surrogate import domain, features, support
from tmsjax.surrogate.evaluate import evaluate
from tmsjax.surrogate.split import Split, split
from tmsjax.surrogate.support import SupportSpec
from tmsjax.surrogate.types import Surrogate, SurrogateSpec
from tmsjax.surrogate.uniform import UniformMap

TRAINING = TrainSpec(epochs=300, batch=64, learning_rate=5e-3, weight_decay=3e-2)
"""Chosen on semi-real data: linear polarisation models of two published cells in fields of head S1."""

SMOOTH = 3e-3
"""Relative error below which the loss turns from absolute to quadratic."""

ORDER_DECAY = 0.3
"""A functional's weight on polynomials of order o is expected to fall as exp(-ORDER_DECAY o).

The functionals belong to the cell and not to the training fields: scaling each coefficient by its own spread, the
habit of regression, frees the rarely excited high orders: 1.2 instead of 0.4 % with 3,200 thresholds of the semi-real
L5 model (degrees 2, 3, 4).
"""

DOMAIN_DEGREE = 3

BLOCK = 4096
"""Patches projected at a time."""

CANDIDATES = ((2,), (3,), (2, 3, 4), (3, 4, 5), (4, 5, 6))


def train(
    patches: Any,
    thresholds_v_per_m: Any,
    spec: SurrogateSpec,
    seed: int,
    *,
    groups: Any = None,
    candidates: Sequence[tuple[int, ...]] = CANDIDATES,
    uniform: UniformMap | None = None,
    training: TrainSpec = TRAINING,
    held_out_share: float = 0.2,
    compare_random_split: bool = False,
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
    spec, seed, training
        What to train, and how; the seed settles the split, the start and the order of the minibatches.
    groups
        (b,) index of the position of each example: positions are held out whole.
    candidates
        Sets of degrees to choose from: every degree in them is trained once, and the set whose median does best on
        the validation rows (a tenth of the training part, none of them held out) replaces ``spec.model.degrees``.
        None given (``()``): the degrees of the spec.
    uniform
        Threshold-direction map, scored beside the surrogate.
    compare_random_split
        Also train on a split that ignores ``groups`` and report that score, to show how much azimuths leak.

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
    thresholds = _check(patches, thresholds_v_per_m, spec.check())
    wanted = spec.model
    if not isinstance(wanted, SupportSpec):
        raise InputError("train fits the support-function model", got=spec.family, expected="family support")
    sets = list(candidates) or [wanted.degrees]
    pool = dataclasses.replace(wanted, degrees=tuple(sorted({d for degrees in sets for d in degrees})))
    if not candidates:
        pool = wanted
    pool.check(spec.n)
    domain_degree = min(DOMAIN_DEGREE, spec.n - 1)
    c = coefficients_of(patches, max(*pool.degrees, domain_degree))
    parts = split(len(thresholds), seed, held_out_share, groups=groups)
    variables, fits = _members(c, thresholds, parts, pool, training, seed, progress)

    each = _member_thresholds(pool, variables, c)
    columns = [[pool.degrees.index(d) for d in s] for s in sets] if candidates else [list(range(len(pool.degrees)))]
    errors = [_median_mape(each, thresholds, parts.validation, some) for some in columns]
    best = int(np.argmin(errors))
    kept = {f"member_{i}": variables[f"member_{column}"] for i, column in enumerate(columns[best])}
    chosen = dataclasses.replace(wanted, degrees=tuple(sets[best]))
    spec = dataclasses.replace(spec, model=chosen)
    model = Surrogate(kept, domain.fit(c[parts.train], domain_degree), spec)

    rows, truth = parts.held_out, thresholds[parts.held_out]
    scores = evaluate(model, patches[rows], truth, uniform)
    scores["members"] = [{"degree": d, **metrics.summary(each[rows, i], truth)} for i, d in enumerate(pool.degrees)]
    report: dict[str, Any] = {
        "seed": seed,
        "split_by": parts.by,
        "n_train": len(parts.train),
        "n_validation": len(parts.validation),
        "n_held_out": len(rows),
        "scores": scores,
        "validation_mape_percent": [{"degrees": list(d), "mape": e} for d, e in zip(sets, errors, strict=True)],
        "training": dataclasses.asdict(training),
        "best_epochs": [f.best_epoch for f in fits],
        "status": [f.status for f in fits],
    }
    if compare_random_split and groups is not None:
        other = split(len(thresholds), seed, held_out_share)
        leaky, _ = _members(c, thresholds, other, chosen, training, seed, progress)
        random = np.median(_member_thresholds(chosen, leaky, c[other.held_out]), 1)
        report["random_split_scores"] = metrics.summary(random, thresholds[other.held_out])
    report["seconds"] = round(time.perf_counter() - started, 2)
    model = dataclasses.replace(model, card_json=json.dumps({**report, "spec": spec.to_json()}, sort_keys=True))
    return model, {**report, "held_out_rows": rows, "histories": [f.history for f in fits]}


def train_member(
    coefficients: tuple[np.ndarray, np.ndarray],
    thresholds: tuple[np.ndarray, np.ndarray],
    spec: SupportSpec,
    degree: int,
    training: TrainSpec,
    key: jax.Array,
    progress: Callable[[str], None] | None = None,
) -> tuple[Variables, Fit]:
    """Fit one member; (training, validation) pairs of coefficients (b, c) of normalised patches and thresholds (b,).

    Trained in units of the median threshold, on coefficients damped by ORDER_DECAY so that weight decay holds the
    functionals to what is expected of them; both are folded into the kernel afterwards.
    """
    unit = float(np.median(thresholds[0]))
    orders = np.repeat([sum(e) for e in features.exponents(degree)], 3)
    damping = np.sqrt(3) * np.exp(-ORDER_DECAY * orders)
    inputs = tuple((c[:, : len(orders)] * damping).astype(np.float32) for c in coefficients)
    targets = tuple(np.log(t / unit).astype(np.float32) for t in thresholds)
    net = support.member(spec, degree)

    def loss(variables: Variables, example: tuple[Array, Array]) -> Array:
        error = jnp.log(net.apply(variables, example[0])) + example[1]
        return jnp.sqrt(error**2 + SMOOTH**2) - SMOOTH

    start, order = jax.random.split(key)
    variables = support.start(net.init(start), inputs[0], targets[0], start)
    first, last = zip(inputs, targets, strict=True)
    result = fit(loss, variables, first, last, training, order, progress=progress)
    kernel = np.asarray(result.variables["kernel"], np.float64) * damping / unit
    sharpness = np.asarray(result.variables["log_sharpness"], np.float64)
    if spec.form == "logsumexp":  # its sharpness has the unit of a threshold, the p-norm's has none
        sharpness = sharpness + np.log(unit)
    return {"kernel": kernel.astype(np.float32), "log_sharpness": sharpness.astype(np.float32)}, result


def coefficients_of(patches: Any, degree: int) -> Float[np.ndarray, "b c"]:
    """Coefficients of the normalised patches (b, n, n, n, 3), in blocks; InputError where one cannot be normalised."""
    blocks = [
        np.asarray(_coefficient_block(jnp.asarray(patches[i : i + BLOCK], jnp.float32), degree))
        for i in range(0, len(patches), BLOCK)
    ]
    c = np.concatenate(blocks)
    bad = np.flatnonzero(~np.isfinite(c).all(1))
    if bad.size:
        raise InputError(
            "patches cannot be normalised",
            got=f"{bad.size} with samples that are not finite or no field at the centre, first row {bad[0]}",
            expected="finite samples and a field at the centre",
            mend="drop those rows of patches and thresholds",
        )
    return c


@partial(jax.jit, static_argnums=1)
def _coefficient_block(patches: Array, degree: int) -> Array:
    return jax.vmap(lambda p: features.coefficients(features.normalise(p).patch, degree))(patches)


def _members(c, thresholds, parts: Split, spec: SupportSpec, training: TrainSpec, seed: int, progress):
    variables, fits = {}, []
    pairs = tuple(c[rows] for rows in (parts.train, parts.validation))
    truths = tuple(thresholds[rows] for rows in (parts.train, parts.validation))
    for i, degree in enumerate(spec.degrees):
        key = jax.random.fold_in(jax.random.key(seed), i)
        say = None if progress is None else partial(lambda d, text: progress(f"degree {d}, {text}"), degree)
        variables[f"member_{i}"], result = train_member(pairs, truths, spec, degree, training, key, say)
        fits.append(result)
    return variables, fits


def _member_thresholds(spec: SupportSpec, variables: Variables, c: np.ndarray) -> np.ndarray:
    return 1 / np.asarray(_member_reciprocals(spec, variables, jnp.asarray(c)), np.float64)


@partial(jax.jit, static_argnums=0)
def _member_reciprocals(spec: SupportSpec, variables: Variables, c: Float[Array, "b c"]) -> Float[Array, "b m"]:
    return jax.vmap(partial(support.from_coefficients, spec, variables))(c)


def _median_mape(each: np.ndarray, thresholds: np.ndarray, rows: np.ndarray, columns: list[int]) -> float:
    return metrics.mape(1 / np.median(1 / each[rows][:, columns], axis=1), thresholds[rows])


def _check(patches: Any, thresholds: Any, spec: SurrogateSpec) -> Float[np.ndarray, " b"]:
    t = np.asarray(thresholds, np.float64)
    n = spec.n
    if t.ndim != 1 or getattr(patches, "shape", None) != (len(t), n, n, n, 3):
        raise InputError(
            "patches and thresholds do not pair up",
            got=(getattr(patches, "shape", None), t.shape),
            expected=f"(b, {n}, {n}, {n}, 3) and (b,)",
        )
    if len(t) < 50:
        raise InputError("too few thresholds to train on", got=len(t), expected="50 or more (thousands, to be of use)")
    if not (np.isfinite(t).all() and (t > 0).all()):
        raise InputError(
            "thresholds must be positive",
            got=f"{int((~(np.isfinite(t) & (t > 0))).sum())} that are not",
            expected="finite, V/m > 0",
            mend="leave out searches that found no threshold",
        )
    return t
