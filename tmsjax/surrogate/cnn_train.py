"""Training of the paper's network, by the paper's schedule or by one that two cores finish."""

from __future__ import annotations

import dataclasses
import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.nn import Fit, TrainSpec, fit
from tmsjax.surrogate import cnn
from tmsjax.surrogate.cnn import CnnSpec
from tmsjax.surrogate.evaluate import evaluate
from tmsjax.surrogate.examples import check_examples, domain_of, normalised
from tmsjax.surrogate.split import split
from tmsjax.surrogate.types import Surrogate, SurrogateSpec
from tmsjax.surrogate.uniform import UniformMap

PAPER_TRAINING = TrainSpec(
    epochs=2000,
    batch=62,
    learning_rate=1e-5,
    schedule="constant",
    clip=None,
    patience=30,
    plateau_patience=15,
    plateau_factor=0.2,
)
"""Section 2.2.3 and table 1; with ``CnnSpec()``, whose loss is the mean squared error of the threshold in V/m."""

SHORT_TRAINING = TrainSpec(epochs=40, batch=62, learning_rate=1e-3, schedule="cosine", clip=None)
"""A hundred times the paper's learning rate, falling to nothing; about ten CPU-minutes for 20,000 thresholds.

Chosen on head S1: 0.75 % mean absolute error on held-out sites for ``open/L5_PC_1`` and 20,000 thresholds. After 15
epochs of 4,000 thresholds of an earlier set, by the squared error of log thresholds 2.0 %, of thresholds in their
median 3.6 %, by the absolute error of log thresholds 2.3 % (at twice the rate 2.4 %).
"""

SHORT_MODEL = CnnSpec(output="log")
"""The paper's network, whose output is the log threshold: its squared error is the relative one, at any scale."""

HELD_OUT, VALIDATION = 0.2, 0.15
"""Shares of all sites that only judge, and of the others that choose the epoch (the paper's 85/15)."""


def train_cnn(
    patches: Any,
    thresholds_v_per_m: Any,
    spec: SurrogateSpec,
    seed: int,
    *,
    groups: Any = None,
    uniform: UniformMap | None = None,
    training: TrainSpec = PAPER_TRAINING,
    folder: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[Surrogate, dict[str, Any]]:
    """Train a network on 85 % of four fifths of the sites, choose its epoch on 15 % of them, score it on the fifth.

    Parameters
    ----------
    patches, thresholds_v_per_m, groups, uniform
        As ``tmsjax.surrogate.train`` takes them; the held-out rows of a seed are the same as there.
    spec
        Of the family "cnn". The loss is the mean squared error of what ``spec.model.output`` names: the threshold in
        ``unit_v_per_m`` (the paper's), or its logarithm, in units of the training set's median threshold, which
        replaces ``unit_v_per_m``.
    seed, training
        How to train; the seed settles the split, the start, the order of the minibatches and what dropout leaves out.
    folder
        Where to keep the run, so that it is resumed after a kill (see ``tmsjax.nn.fit``).

    Returns
    -------
    (Surrogate, report)
        With the keys of ``tmsjax.surrogate.train``'s report, where they mean the same.

    Raises
    ------
    InputError
        Shapes that do not pair up, thresholds that are not positive, patches that cannot be normalised, too few; a
        ``folder`` of another run.
    """
    started = time.perf_counter()
    thresholds = check_examples(patches, thresholds_v_per_m, spec.check())
    model = spec.model
    if not isinstance(model, CnnSpec):
        raise InputError("train_cnn fits the paper's network", got=spec.family, expected="family cnn")
    parts = split(len(thresholds), seed, HELD_OUT, VALIDATION * (1 - HELD_OUT), groups=groups)
    units = normalised(patches)
    model, result = fit_network(
        model, units, thresholds, parts.train, parts.validation, training, seed, folder=folder, progress=progress
    )
    spec = dataclasses.replace(spec, model=model)
    inside = domain_of(units[parts.train])
    network = Surrogate(result.variables, inside, spec)
    rows = parts.held_out
    report: dict[str, Any] = {
        "seed": seed,
        "split_by": parts.by,
        "n_train": len(parts.train),
        "n_validation": len(parts.validation),
        "n_held_out": len(rows),
        "scores": evaluate(network, patches[rows], thresholds[rows], uniform),
        "training": dataclasses.asdict(training),
        "best_epochs": [result.best_epoch],
        "status": [result.status],
        "seconds": round(time.perf_counter() - started, 2),
    }
    network = dataclasses.replace(network, card_json=json.dumps({**report, "spec": spec.to_json()}, sort_keys=True))
    return network, {**report, "held_out_rows": rows, "histories": [result.history]}


def fit_network(
    model: CnnSpec,
    units: Float[np.ndarray, "b n n n 3"],
    thresholds: Float[np.ndarray, " b"],
    train: np.ndarray,
    validation: np.ndarray,
    training: TrainSpec,
    seed: int,
    *,
    folder: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> tuple[CnnSpec, Fit]:
    """Fit a network to rows ``train`` of normalised patches; returns its spec, with its unit, and the fit."""
    if model.output == "log":
        model = dataclasses.replace(model, unit_v_per_m=float(np.median(thresholds[train])))
    net = cnn.network(model, units.shape[1])
    fast = jax.default_backend() == "cpu"
    encode = np.log if model.output == "log" else np.asarray
    targets = encode(thresholds / model.unit_v_per_m).astype(np.float32)
    learns, chooses = ((_inputs(model, units[rows]), targets[rows]) for rows in (train, validation))

    def loss(variables: Any, batch: tuple[Array, Array], key: Array | None) -> Any:
        out, averages = net.apply(variables, batch[0], fast=fast, key=key), {}
        if key is not None:
            out, averages = out
        errors = (out - batch[1]) ** 2
        return (errors, {"averages": averages}) if averages else errors

    start, order = jax.random.split(jax.random.key(seed))
    variables = net.init(start)
    free = {name: name != "averages" for name in variables}
    how: dict[str, Any] = {"batched": True, "trainable": free, "folder": folder, "progress": progress}
    result = fit(loss, variables, learns, chooses, training, order, **how)
    return model, result


def _inputs(model: CnnSpec, units: Float[np.ndarray, "b n n n 3"]) -> Float[np.ndarray, "b m m m c"]:
    if not model.upsample and model.coordinates == "cartesian":
        return units
    some = jax.jit(jax.vmap(partial(cnn.inputs, model)))
    return np.concatenate([np.asarray(some(units[i : i + 1024])) for i in range(0, len(units), 1024)])
