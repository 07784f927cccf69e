"""A pose that was found, checked by what it was not found with: the direct solver, and NEURON."""

from __future__ import annotations

from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from tmsjax import cells, efield, response, simulate
from tmsjax.coil import CoilPose, check_outside
from tmsjax.core.errors import InputError
from tmsjax.cortex import compartment_fields
from tmsjax.efield import EField
from tmsjax.head import HeadModel
from tmsjax.optimize.neurons import Neurons, Seen
from tmsjax.optimize.objectives import Objective
from tmsjax.optimize.problem import Problem, chosen
from tmsjax.optimize.report import shown

TOLERANCE = 0.002
"""Of the simulated thresholds, relative: what surrogates err by on the median."""

NEAR = 0.2
"""Neurons are simulated whose predicted threshold is within this share of the dI/dt of half the target."""


def direct(
    head: HeadModel, problem: Problem, objective: Objective, pose: CoilPose, polarity: int, coarsen: int = 1
) -> tuple[dict[str, Any], EField]:
    """The objective of the held-out neurons in a field solved anew, with all the coil's dipoles.

    Returns:
        ``value`` in the objective's unit, with the solve's ``residual`` and ``status``; and the field.

    Raises InputError if a part of the coil is in the head.
    """
    check_outside(head, problem.coil, pose)
    field = efield.solve(head, problem.coil, pose, didt=float(polarity), coarsen=coarsen)
    groups = chosen(problem.held_out, objective)
    seen = [(group, _seen(group, field)) for group in groups]
    value = float(objective.value(seen, None))
    return {
        "value": float(shown(objective, value)),
        "residual": float(field.residual),
        "status": field.status,
        "coarsen": coarsen,
    }, field


def _seen(group: Neurons, field: EField) -> Seen:
    found = response.thresholds(group.model, field, group.population)
    e = np.linalg.norm(np.asarray(field.at(group.population.positions, outside="nan")), axis=1)
    didt = np.where(found.ok, found.a_per_us, np.inf)
    centre = np.where(found.ok, found.v_per_m / np.where(found.ok, found.a_per_us, 1.0), np.nan_to_num(e))
    log_didt, log_e = (jnp.asarray(np.log(np.maximum(a, 1e-12)), jnp.float32) for a in (didt, centre))
    return Seen(log_didt, log_e, group.weight, group.wanted)


def against_neuron(
    problem: Problem,
    field: EField,
    count: int,
    *,
    root: Any = None,
    engine: str = "neuron",
    pulse: str | None = None,
    seed: int = 0,
) -> list[dict[str, Any]]:
    """Simulated thresholds of ``count`` held-out target neurons of each layer, beside those predicted.

    They are drawn among those whose prediction is within 20 % of the layer's median, near what a placement is judged
    by; where there are too few, those nearest to it are taken. ``root``: folder of cells that are not bundled
    (``cells.load``).

    Returns:
        a row a neuron: ``layer``, ``position_mm``, ``azimuth_deg``, ``predicted_a_per_us``, ``simulated_a_per_us``
        (None where the search found none) and ``status``.

    Raises InputError for a count below 1, cells that cannot be loaded, and a layer without a predicted threshold.
    """
    check_count(count)
    rows = []
    rng = np.random.default_rng(seed)
    for group in problem.held_out:
        if group.role != "target":
            continue
        predicted = response.thresholds(group.model, field, group.population)
        picked = _near_the_median(predicted.a_per_us, group, count, rng)
        some = group.population[picked]
        cell = cells.load(group.model.spec.cell, root=root)
        fields = compartment_fields(field, some, cells.cable_model(cell).xyz_um)
        at_soma = np.linalg.norm(np.asarray(field.at(some.positions)), axis=1)
        truth = simulate.thresholds(
            cell, fields, pulse=pulse or group.model.spec.pulse, engine=engine, tolerance=TOLERANCE, initiation=False,
            guess=predicted.a_per_us[picked] * at_soma,
        )  # fmt: skip
        rows += [
            {
                "layer": group.layer,
                "position_mm": np.asarray(some.positions, float)[n].round(2).tolist(),
                "azimuth_deg": float(some.azimuth_deg[n]),
                "predicted_a_per_us": float(predicted.a_per_us[row]),
                "simulated_a_per_us": float(truth.a_per_us[n]) if truth.ok[n] else None,
                "status": truth.why(n),
            }
            for n, row in enumerate(picked)
        ]
    return rows


def check_count(count: int) -> None:
    """InputError for what is no number of neurons to simulate: before the work, not after it."""
    if not isinstance(count, int | np.integer) or count < 1:
        raise InputError("neurons to simulate", got=repr(count), expected="a whole number from 1")


def _near_the_median(
    didt: Float[np.ndarray, " p"], group: Neurons, count: int, rng: np.random.Generator
) -> Int[np.ndarray, " n"]:
    """Rows of neurons to simulate; those that stand in for others do not count."""
    known = np.flatnonzero(group.counted & np.isfinite(didt))
    if not len(known):
        raise InputError(
            f"no neuron of {group.layer} has a predicted threshold at the pose", got="none to simulate", expected="some"
        )
    away = np.abs(didt[known] / np.median(didt[known]) - 1)
    near = known[away < NEAR]
    if len(near) < count:
        return known[np.argsort(away)[:count]]
    return rng.choice(near, count, replace=False)
