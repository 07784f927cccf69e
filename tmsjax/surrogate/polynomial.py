"""Members that see the polynomial of a patch: for thresholds of a cell that nothing more is known of."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.nn import Fit, TrainSpec, fit, metrics
from tmsjax.nn.functional import Variables
from tmsjax.surrogate import features, support
from tmsjax.surrogate.fitting import Fitted, Plan, relative_error
from tmsjax.surrogate.split import Split
from tmsjax.surrogate.support import SupportSpec

TRAINING = TrainSpec(epochs=300, batch=64, learning_rate=5e-3, weight_decay=3e-2)
"""Chosen on semi-real data: linear polarisation models of two published cells in fields of head S1."""

ORDER_DECAY = 0.3
"""A functional's weight on polynomials of order o is expected to fall as exp(-ORDER_DECAY o).

The functionals belong to the cell and not to the training fields: scaling each coefficient by its own spread, the
habit of regression, frees the rarely excited high orders: 1.2 instead of 0.4 % with 3,200 thresholds of the semi-real
L5 model (degrees 2, 3, 4).
"""

CANDIDATES = ((2,), (3,), (2, 3, 4), (3, 4, 5), (4, 5, 6))


def fit_members(
    coefficients: Float[np.ndarray, "b c"],
    thresholds: Float[np.ndarray, " b"],
    parts: Split,
    wanted: SupportSpec,
    candidates: Sequence[tuple[int, ...]],
    plan: Plan,
) -> Fitted:
    """Train a member for every degree in ``candidates`` (of ``wanted``, if none) and keep the set that does best.

    ``coefficients`` are those of the normalised patches, at least to the highest degree.
    """
    pool = pooled(wanted, candidates)
    sets = list(candidates) or [wanted.degrees]
    pairs = coefficients[parts.train], coefficients[parts.validation]
    truths = thresholds[parts.train], thresholds[parts.validation]
    variables, fits = {}, []
    for i, degree in enumerate(pool.degrees):
        one, result = train_member(pairs, truths, pool, degree, plan.training, **plan.of(i, f"degree {degree}"))
        variables[f"member_{i}"] = one
        fits.append(result)

    columns = [[pool.degrees.index(d) for d in s] for s in sets] if candidates else [list(range(len(pool.degrees)))]
    each = np.asarray(_reciprocals(pool, variables, jnp.asarray(pairs[1])), np.float64)
    errors = [metrics.mape(1 / np.median(each[:, some], axis=1), truths[1]) for some in columns]
    best = int(np.argmin(errors))
    kept = {f"member_{i}": variables[f"member_{column}"] for i, column in enumerate(columns[best])}
    choice = [{"degrees": list(d), "mape": e} for d, e in zip(sets, errors, strict=True)]
    return Fitted(kept, dataclasses.replace(wanted, degrees=tuple(sets[best])), fits, choice)


def pooled(wanted: SupportSpec, candidates: Sequence[tuple[int, ...]]) -> SupportSpec:
    """The model of all degrees that are to be trained."""
    if not candidates:
        return wanted
    return dataclasses.replace(wanted, degrees=tuple(sorted({d for degrees in candidates for d in degrees})))


@partial(jax.jit, static_argnums=0)
def _reciprocals(spec: SupportSpec, variables: Variables, c: Float[Array, "b c"]) -> Float[Array, "b m"]:
    return jax.vmap(partial(support.from_coefficients, spec, variables))(c)


def train_member(
    coefficients: tuple[np.ndarray, np.ndarray],
    thresholds: tuple[np.ndarray, np.ndarray],
    spec: SupportSpec,
    degree: int,
    training: TrainSpec,
    key: jax.Array,
    folder: Path | None = None,
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
        return relative_error(net.apply(variables, example[0]), example[1])

    start, order = jax.random.split(key)
    variables = support.start(net.init(start), inputs[0], targets[0], start)
    first, last = zip(inputs, targets, strict=True)
    result = fit(loss, variables, first, last, training, order, folder=folder, progress=progress)
    kernel = np.asarray(result.variables["kernel"], np.float64) * damping / unit
    sharpness = np.asarray(result.variables["log_sharpness"], np.float64)
    if spec.form == "logsumexp":  # its sharpness has the unit of a threshold, the p-norm's has none
        sharpness = sharpness + np.log(unit)
    return {"kernel": kernel.astype(np.float32), "log_sharpness": sharpness.astype(np.float32)}, result
