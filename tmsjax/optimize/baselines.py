"""Other ways to choose a pose, to compare with: grids, mean |E| as others do it, searches without gradients.

All work on a ``Problem``: the same poses, neurons and pose model, so that a difference is the method's.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy import optimize

from tmsjax.core.errors import InputError, check_number
from tmsjax.optimize.objectives import Objective, mean_field
from tmsjax.optimize.problem import Problem, values
from tmsjax.optimize.search import Found

REFUSED = 1e3
"""Objective of a pose without one, to a method that compares numbers."""


def grid_poses(
    problem: Problem, step_mm: float, step_deg: float, radius_mm: float | None = None
) -> Float[np.ndarray, "m 6"]:
    """Poses (m, 6) of a square grid of places within a radius, each at all angles of a step; no tilt, least gap.

    Raises InputError for steps that are not positive.
    """
    step_mm = check_number(step_mm, "step of the grid", above=0, unit="mm")
    step_deg = check_number(step_deg, "step of the angles", above=0, high=360, unit="degrees")
    radius = problem.variables.radius_mm if radius_mm is None else min(radius_mm, problem.variables.radius_mm)
    count = int(radius // step_mm)
    ticks = np.arange(-count, count + 1) * step_mm
    at = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    at = at[np.linalg.norm(at, axis=1) <= radius + 1e-9]
    angles = np.arange(round(360 / step_deg)) * step_deg
    x = problem.variables.start(np.repeat(at, len(angles), 0), np.tile(angles, len(at)))
    return problem.variables.held(x)


def grid(
    problem: Problem,
    objective: Objective,
    step_mm: float = 6.0,
    step_deg: float = 30.0,
    *,
    radius_mm: float | None = None,
    poses: Float[np.ndarray, "m 6"] | None = None,
) -> Found:
    """The best pose of an exhaustive grid (or of ``poses``), thresholds and all, all round in one polarity.

    Turning a coil by 180 degrees is nearly reversing its current, so angles over 360 degrees cover both.
    """
    x = grid_poses(problem, step_mm, step_deg, radius_mm) if poses is None else np.asarray(poses, float)
    sign = problem.variables.polarities[0]
    hard = values(problem, objective, x, sign)
    return _found(x, np.full(len(x), sign), hard, "grid", thresholds=objective.thresholds)


def simnibs_like(problem: Problem, radius_mm: float = 20.0, step_mm: float = 5.0, step_deg: float = 30.0) -> Found:
    """The largest mean |E| of a grid: SimNIBS's optimize_tms.get_opt_grid defaults in radius, and as coarse as them.

    Its polarity is the first that the search allows: |E| does not know it. Thielscher et al. 2015 (EMBC:222) for
    SimNIBS; the grid as its documentation describes it.
    """
    x = grid_poses(problem, step_mm, step_deg, radius_mm)
    hard = values(problem, mean_field(), x, problem.variables.polarities[0])
    return _found(x, np.full(len(x), problem.variables.polarities[0]), hard, "mean |E|", thresholds=False)


def adm_like(problem: Problem, step_mm: float = 1.0, step_deg: float = 1.0, radius_mm: float | None = None) -> Found:
    """The largest magnitude of the target's mean field vector, by reciprocity over a fine grid.

    As Gomez, Dannhauer, Peterchev (2021, NeuroImage 228:117696) describe their auxiliary dipole method: three current
    sources in the target, one along each axis, and what a coil's dipoles see of their magnetic field; so a pose costs
    three numbers. The sources' fields are those of the pose model, which come of its adjoint solves.
    The mean vector is less than the mean |E|, and little less in a target over which the field hardly turns.
    """
    x = grid_poses(problem, step_mm, step_deg, radius_mm)
    groups = [group for group in problem.search if group.role == "target"]
    # From a cell's frame to the world, then the mean: (3, r).
    vectors = [
        jnp.einsum("p,pxy,pyr->xr", group.weight, group.population.rotations, group.centre) / jnp.sum(group.weight)
        for group in groups
    ]
    weights = jnp.einsum("sr,xr->sx", problem.modes.weights, sum(vectors) / len(vectors), precision="highest")
    found = [np.asarray(_reciprocal(problem.scalp, problem.modes, weights, jnp.asarray(rows, jnp.float32)))
             for rows in np.array_split(x, max(1, len(x) // 20000))]  # fmt: skip
    hard = -np.log(np.concatenate(found))
    return _found(x, np.full(len(x), problem.variables.polarities[0]), hard, "mean E vector", thresholds=False)


@jax.jit
def _reciprocal(scalp: Any, modes: Any, weights: Array, x: Array) -> Array:
    of_target = dataclasses.replace(modes, weights=weights)
    return jax.lax.map(lambda row: jnp.linalg.norm(of_target(scalp.pose(row))), x, batch_size=64)


def nelder_mead(problem: Problem, objective: Objective, start: Float[np.ndarray, 6], evaluations: int = 200) -> Found:
    """Nelder & Mead's simplex (1965, Comput. J. 7:308) from one pose, in every allowed polarity in turn."""
    free = problem.variables.free
    spread = np.array([4.0, 4, 20, 2, 5, 5])[free]
    low = np.asarray(start, float)[free]
    simplex = np.concatenate([low[None], low + np.diag(spread)])

    def run(ask: Callable[[np.ndarray], float], budget: int) -> None:
        optimize.minimize(
            ask, low, method="Nelder-Mead",
            options={"maxfev": budget, "initial_simplex": simplex, "xatol": 1e-2, "fatol": 1e-6},
        )  # fmt: skip

    return _scipy(problem, objective, run, evaluations, "Nelder-Mead", np.asarray(start, float))


def direct(problem: Problem, objective: Objective, evaluations: int = 500) -> Found:
    """Dividing rectangles (Jones et al. 1993, J. Optim. Theory Appl. 79:157; ``scipy.optimize.direct``)."""
    limits, free = problem.variables, problem.variables.free
    bounds = np.array([(-limits.radius_mm, limits.radius_mm)] * 2 + [(-180.0, 180.0), limits.gap_mm]
                      + [(-limits.tilt_deg, limits.tilt_deg)] * 2)[free]  # fmt: skip

    def run(ask: Callable[[np.ndarray], float], budget: int) -> None:
        optimize.direct(ask, list(map(tuple, bounds)), maxfun=budget, maxiter=budget, locally_biased=True)

    start = limits.start(np.zeros((1, 2)), np.zeros(1))[0]
    return _scipy(problem, objective, run, evaluations, "DIRECT", start)


class _Spent(Exception):
    """The budget of evaluations is used up: scipy's methods overrun theirs."""


def _scipy(
    problem: Problem,
    objective: Objective,
    run: Callable[[Callable[[np.ndarray], float], int], None],
    evaluations: int,
    name: str,
    base: Float[np.ndarray, 6],
) -> Found:
    """Run one of scipy's methods in each polarity with its part of the evaluations; the best pose it asked about."""
    if not isinstance(evaluations, int | np.integer) or evaluations < 10:
        raise InputError("evaluations", got=repr(evaluations), expected="a whole number from 10")
    limits, free, tried, signs, hard = problem.variables, problem.variables.free, [], [], []
    part = evaluations // len(limits.polarities)
    for sign in limits.polarities:
        first = len(tried)

        def ask(y: np.ndarray, sign: int = sign, first: int = first) -> float:
            if len(tried) - first >= part:
                raise _Spent
            x = np.array(base)
            x[free] = y
            x = limits.held(x)
            value = float(values(problem, objective, x[None], sign)[0])
            tried.append(x)
            signs.append(sign)
            hard.append(value)
            return value if np.isfinite(value) else REFUSED

        with contextlib.suppress(_Spent):
            run(ask, part)
    return _found(np.array(tried), np.array(signs), np.array(hard), name, thresholds=objective.thresholds)


def _found(x: np.ndarray, signs: np.ndarray, hard: np.ndarray, name: str, *, thresholds: bool) -> Found:
    known = np.where(np.isfinite(hard), hard, np.inf)
    if not np.isfinite(known).any():
        raise InputError("no pose has a finite objective", got=f"{len(x)} poses", expected="some")
    row = int(np.argmin(known))
    lowest = np.minimum.accumulate(known)
    steps = np.flatnonzero(lowest < np.concatenate([[np.inf], lowest[:-1]]))
    history = [{"stage": name, "evaluations": int(n) + 1, "value": float(lowest[n])} for n in steps]
    count = len(x)
    return Found(
        x[row], int(signs[row]), float(known[row]), count if thresholds else 0, 0, 0 if thresholds else count,
        history, x[:0], signs[:0],
    )  # fmt: skip


__all__ = ["adm_like", "direct", "grid", "grid_poses", "nelder_mead", "simnibs_like"]
