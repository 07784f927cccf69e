"""The baselines as surrogates: one call, ``predict(patches)``, for every estimator that is compared."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax.numpy as jnp
import numpy as np

from tmsjax.core.errors import InputError
from tmsjax.surrogate import weise
from tmsjax.surrogate.domain import Domain
from tmsjax.surrogate.evaluate import evaluate
from tmsjax.surrogate.examples import check_examples, domain_of
from tmsjax.surrogate.split import split
from tmsjax.surrogate.types import Surrogate, SurrogateSpec
from tmsjax.surrogate.uniform import UniformMap, UniformSpec
from tmsjax.surrogate.weise import WeiseSpec


def from_uniform(table: UniformMap, spec: SurrogateSpec, inside: Domain) -> Surrogate:
    """A threshold-direction map on the patches of ``spec`` (whose model and family are replaced).

    Args:
        table: from ``uniform.from_table``.
        spec: cell, pulse and grid, as those of the surrogate that it stands beside.
        inside: the domain to report: that of the surrogate beside it, or ``domain.fit`` of some fields. The map itself
            was made in uniform fields, and knows no gradient.
    """
    rows = np.shape(table.table)[0]
    model = UniformSpec(step_deg=180 / (rows - 1), soma_z=-2 * spec.z_shift_mm / spec.side_mm)
    spec = dataclasses.replace(spec, family="uniform", model=model).check()
    card = {"data": {"directions": (rows - 2) * 2 * (rows - 1) + 2, "fields": "uniform"}}
    return Surrogate({"table": jnp.asarray(table.table)}, inside, spec, json.dumps(card))


def to_uniform(model: Surrogate) -> UniformMap:
    """The map of a surrogate of the family "uniform"."""
    if model.spec.family != "uniform":
        raise InputError("this surrogate has no threshold-direction map", got=model.spec.family, expected="uniform")
    return UniformMap(model.variables["table"])


def train_weise(
    patches: Any, thresholds_v_per_m: Any, spec: SurrogateSpec, model: WeiseSpec | None = None
) -> Surrogate:
    """The average model of a cell, or of a population: give the patches and thresholds of all its clones.

    Args:
        patches: (b, n, n, n, 3) on the grid of ``spec``, which names the cell or the population. All azimuths, alike
            often, or the average is not one.
        thresholds_v_per_m: (b,) at the centre of the patch.
        model: the table's nodes (default: ``WeiseSpec()``).
    """
    model = WeiseSpec() if model is None else model
    spec = dataclasses.replace(spec, family="weise", model=model).check()
    inside = domain_of(patches)
    variables = {name: jnp.asarray(v) for name, v in weise.fit_table(patches, thresholds_v_per_m, model).items()}
    card = {"data": {"thresholds": len(thresholds_v_per_m)}, "n_train": len(thresholds_v_per_m)}
    return Surrogate(variables, inside, spec, json.dumps(card))


def train_baseline(
    patches: Any,
    thresholds_v_per_m: Any,
    spec: SurrogateSpec,
    seed: int,
    *,
    groups: Any = None,
    uniform: UniformMap | None = None,
) -> tuple[Surrogate, dict[str, Any]]:
    """A baseline of ``spec.family``, judged on the sites that ``train`` and ``train_cnn`` hold out of the same data.

    "uniform" takes only its domain from the other sites, and ``uniform`` for its map; "weise" is their average.
    Arguments, result and errors are those of ``surrogate.train``.
    """
    thresholds = check_examples(patches, thresholds_v_per_m, spec.check())
    parts = split(len(thresholds), seed, groups=groups)
    learned = np.setdiff1d(np.arange(len(thresholds)), parts.held_out)
    if isinstance(spec.model, WeiseSpec):
        model = train_weise(patches[learned], thresholds[learned], spec, spec.model)
    elif isinstance(spec.model, UniformSpec) and uniform is not None:
        model = from_uniform(uniform, spec, domain_of(patches[learned]))
    else:
        raise InputError("this is no baseline", got=spec.family, expected="weise, or uniform with its map (uniform=)")
    rows = parts.held_out
    report = model.card | {
        "seed": seed,
        "split_by": parts.by,
        "n_train": len(learned) if spec.family == "weise" else 0,
        "n_held_out": len(rows),
        "scores": evaluate(model, patches[rows], thresholds[rows], uniform),
    }
    return dataclasses.replace(model, card_json=json.dumps(report, sort_keys=True)), {**report, "held_out_rows": rows}
