"""The search: a coarse scan, distinct starts, Adam while the temperature falls, L-BFGS, best by the hard objective.

Thresholds have a few basins (polarity, each bank of a sulcus), so starts are what matters: those of a scan of 300 poses
are within 1 % of the best in 98 % of cases with two starts (head S1). Starts that fall behind are dropped, so that the
rest of the evaluations goes into those that may win.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Float, Int

from tmsjax.core.errors import InputError
from tmsjax.optimize.objectives import Objective, mean_field
from tmsjax.optimize.problem import Problem, Progress, gradients, values
from tmsjax.optimize.variables import BATCH, HANDLE, PLACE, UNITS, Variables

ADAM = optax.scale_by_adam(b1=0.8, b2=0.95)
LBFGS = optax.scale_by_lbfgs(memory_size=6)
_adam_push, _lbfgs_push = jax.jit(ADAM.update), jax.jit(LBFGS.update)


@dataclasses.dataclass(frozen=True)
class SearchPlan:
    """How much a search does.

    places, angles: of the coarse scan. starts: distinct poses of it that are followed. adam, then lbfgs: steps; after
    half of Adam's the best ``kept`` starts go on, and ``finalists`` of these into L-BFGS. tau: temperature at the
    first and the last of Adam's steps, and from there on. step: Adam's, in mm (4 degrees).
    """

    places: int = 25
    angles: int = 12
    starts: int = 6
    adam: int = 16
    kept: int = 4
    lbfgs: int = 10
    finalists: int = 2
    tau: tuple[float, float] = (0.1, 0.01)
    step: float = 1.5

    def checked(self) -> SearchPlan:
        """Itself, or InputError for counts below 1 and temperatures that are not falling."""
        for name in ("places", "angles", "starts", "adam", "kept", "lbfgs", "finalists"):
            value = getattr(self, name)
            if not isinstance(value, int | np.integer) or value < 1:
                raise InputError(f"{name} of the search", got=repr(value), expected="a whole number from 1")
        if not (np.isfinite([*self.tau, self.step]).all() and self.tau[0] >= self.tau[1] > 0 and self.step > 0):
            raise InputError(
                "temperatures and step of the search", got=(self.tau, self.step), expected="first >= last > 0, step > 0"
            )
        return self


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """Where a search ended.

    x: (6,) variables, polarity: sign of the current, value: hard objective, of the search's neurons. evaluations: of
    the objective, gradients: how many of these with a gradient; of the field alone: ``field_evaluations``. history:
    rows of stage, evaluations so far, best hard value so far. starts: (n, 6), start_polarity: (n,). field_x: (6,) of
    the largest mean |E|, where it was a start.
    """

    x: Float[np.ndarray, 6]
    polarity: int
    value: float
    evaluations: int
    gradients: int
    field_evaluations: int
    history: list[dict[str, Any]]
    starts: Float[np.ndarray, "n 6"]
    start_polarity: Int[np.ndarray, " n"]
    field_x: Float[np.ndarray, 6] | None = None


class _Best:
    """The best pose so far by the hard objective, and what it took."""

    def __init__(self, report: Progress, total: int) -> None:
        self.x, self.polarity, self.value = np.zeros(6), 1, np.inf
        self.evaluations, self.gradients, self.history = 0, 0, []
        self.report, self.total = report, total

    def take(self, stage: str, x: np.ndarray, polarity: np.ndarray, hard: np.ndarray, gradients: bool) -> None:
        self.evaluations += len(x)
        self.gradients += len(x) * gradients
        hard = np.where(np.isfinite(hard), hard, np.inf)
        row = int(np.argmin(hard))
        if hard[row] < self.value:
            self.x, self.polarity, self.value = np.array(x[row]), int(polarity[row]), float(hard[row])
        self.history.append({"stage": stage, "evaluations": self.evaluations, "value": self.value})
        self.report(stage, self.evaluations, self.total)


def scan(variables: Variables, places: int, angles: int) -> Float[np.ndarray, "m 6"]:
    """Poses (places x angles, 6) spread evenly over the search: a sunflower of places, all round at each.

    The angles of each place begin elsewhere, so that there are more than ``angles`` of them in all.
    """
    k = np.arange(places)
    length, turn = variables.radius_mm * np.sqrt((k + 0.5) / places), k * np.pi * (3 - np.sqrt(5))
    at = np.stack([length * np.cos(turn), length * np.sin(turn)], 1)
    first = (k * 0.618034 % 1.0) * 360.0 / angles
    handle = first[:, None] + np.arange(angles) * 360.0 / angles
    return variables.held(variables.start(np.repeat(at, angles, 0), handle.ravel()))


def distance(a: Float[np.ndarray, "... 6"], b: Float[np.ndarray, "... 6"], flip: Any = False) -> Any:
    """How far apart vectors are, in mm, 4 degrees for one; with ``flip`` one of the currents is reversed.

    A coil turned by 180 degrees with its current reversed is nearly the same.
    """
    turn = (a[..., HANDLE] - b[..., HANDLE] + np.where(flip, 180.0, 0.0) + 180.0) % 360.0 - 180.0
    return np.sqrt(np.sum((a[..., PLACE] - b[..., PLACE]) ** 2, axis=-1) + (turn / UNITS[HANDLE]) ** 2)


def distinct(
    x: Float[np.ndarray, "m 6"], polarity: np.ndarray, value: np.ndarray, count: int, apart: float = 8.0
) -> Int[np.ndarray, " n"]:
    """Rows of the best poses that are at least ``apart`` from every better one (see ``distance``)."""
    rows: list[int] = []
    for row in np.argsort(value):
        if not np.isfinite(value[row]) or len(rows) == count:
            break
        if all(distance(x[row], x[other], polarity[row] != polarity[other]) >= apart for other in rows):
            rows.append(int(row))
    return np.array(rows, int)


def search(
    problem: Problem, objective: Objective, plan: SearchPlan | None = None, progress: Progress | None = None
) -> Found:
    """Look for the pose with the lowest hard objective on the search's neurons.

    Args:
        problem: of ``prepare``. objective: of ``objectives``. plan: how much to do.
        progress: called with (stage, evaluations done, about how many in all).

    Raises:
        InputError: no pose of the scan has a finite objective (a share that no dI/dt activates).
    """
    plan, limits = (plan or SearchPlan()).checked(), problem.variables
    half = plan.adam // 2
    followed = plan.starts + 2
    total = plan.places * plan.angles + followed * half + plan.kept * (plan.adam - half) + plan.finalists * plan.lbfgs
    best = _Best(progress or (lambda *_: None), total)
    x = scan(limits, plan.places, plan.angles)
    signs = _scan_signs(limits, plan)
    hard = values(problem, objective, x, signs)
    if not np.isfinite(hard).any():
        raise InputError(
            "no pose has a finite objective", got=f"{len(x)} poses over the search", expected="some",
            mend="a smaller share: some of the target's neurons fire at no dI/dt",
        )  # fmt: skip
    best.take("scan", x, signs, hard, gradients=False)
    rows = distinct(x, signs, hard, plan.starts)
    x, signs = x[rows], signs[rows]
    fields, field_x = 0, None
    if objective.thresholds:
        of_field = field_optimum(problem, objective.layers)
        fields, field_x = of_field.field_evaluations, of_field.x
        x = np.concatenate([x, np.repeat(of_field.x[None], len(limits.polarities), 0)])
        signs = np.concatenate([signs, np.array(limits.polarities)])
    starts, start_signs = x, signs
    tau = np.geomspace(*plan.tau, plan.adam)
    rate = plan.step * 0.5 * (1 + np.cos(np.pi * np.arange(plan.adam) / plan.adam))
    x, signs = _adam(problem, objective, x, signs, tau, rate, half, plan.kept, best)
    hard = values(problem, objective, x, signs)
    best.take("adam", x, signs, hard, gradients=False)
    rows = np.argsort(hard)[: plan.finalists]
    x, signs = x[rows], signs[rows]
    x[0], signs[0] = best.x, best.polarity
    _lbfgs(problem, objective, x, signs, plan, best)
    asked = (best.evaluations, best.gradients, fields) if objective.thresholds else (0, 0, best.evaluations)
    return Found(limits.held(best.x), best.polarity, best.value, *asked, best.history, starts, start_signs, field_x)


def field_optimum(problem: Problem, layers: Any = None, places: int = 25, angles: int = 12) -> Found:
    """The pose of the largest mean |E|, by the same search; of the field alone, so it costs next to nothing."""
    plan = SearchPlan(places=places, angles=angles, starts=BATCH - 1, kept=2, adam=20, lbfgs=12, finalists=1)
    objective = dataclasses.replace(mean_field(), layers=layers)
    return search(problem, objective, plan)


def _scan_signs(limits: Variables, plan: SearchPlan) -> np.ndarray:
    """One sign for the whole scan: all round, it comes within 7 % of what the other would add."""
    return np.full(plan.places * plan.angles, limits.polarities[0])


def _adam(problem, objective, x, signs, tau, rate, half, kept, best: _Best) -> tuple[np.ndarray, np.ndarray]:
    """Steps of Adam on all starts at once, half-way on with the best of them; their ends."""
    free = problem.variables.free
    scaled = x / UNITS
    state = ADAM.init(jnp.asarray(scaled))
    lowest = np.full(len(x), np.inf)
    for n in range(len(tau)):
        if n == half and len(scaled) > kept:
            rows = np.argsort(lowest)[:kept]
            scaled, signs, lowest = scaled[rows], signs[rows], lowest[rows]
            state = jax.tree.map(lambda leaf, rows=rows: np.asarray(leaf)[rows] if np.ndim(leaf) else leaf, state)
        at = problem.variables.held(scaled * UNITS)
        _, slope, hard = gradients(problem, objective, at, signs, float(tau[n]))
        best.take("adam", at, signs, hard, gradients=True)
        lowest = np.minimum(lowest, np.where(np.isfinite(hard), hard, np.inf))
        push, state = _adam_push(jnp.asarray(_clean(slope) * UNITS * free), state)
        scaled = problem.variables.held((at / UNITS - rate[n] * np.asarray(push)) * UNITS) / UNITS
    return scaled * UNITS, signs


def _lbfgs(problem, objective, x, signs, plan: SearchPlan, best: _Best) -> None:
    """Steps of L-BFGS on the finalists, each with a trust length that halves where the smooth objective rose."""
    limits, free = problem.variables, problem.variables.free
    tau = plan.tau[1]
    at = limits.held(x)
    smooth, slope, hard = gradients(problem, objective, at, signs, tau)
    best.take("lbfgs", at, signs, hard, gradients=True)
    lengths = np.full(len(x), 1.0)
    states = [LBFGS.init(jnp.asarray(row / UNITS)) for row in at]
    pushes = [np.zeros(6)] * len(x)
    fresh = np.ones(len(x), bool)
    for _ in range(plan.lbfgs - 1):
        for k, row in enumerate(at):
            if fresh[k]:
                push, states[k] = _lbfgs_push(
                    jnp.asarray(_clean(slope[k]) * UNITS * free), states[k], jnp.asarray(row / UNITS)
                )
                pushes[k] = -np.asarray(push) * free
                if pushes[k] @ (slope[k] * UNITS) >= 0:  # no descent: rounding, or a kink between
                    pushes[k] = -_clean(slope[k]) * UNITS * free
        sizes = np.array([max(float(np.linalg.norm(push)), 1e-9) for push in pushes])
        moves = np.stack(pushes) * np.minimum(1.0, lengths / sizes)[:, None]
        tried = limits.held((at / UNITS + moves) * UNITS)
        new, new_slope, hard = gradients(problem, objective, tried, signs, tau)
        best.take("lbfgs", tried, signs, hard, gradients=True)
        fresh = new < smooth
        lengths = np.where(fresh, np.minimum(2 * lengths, 4.0), 0.35 * np.minimum(lengths, sizes))
        at = np.where(fresh[:, None], tried, at)
        smooth = np.where(fresh, new, smooth)
        slope = np.where(fresh[:, None], new_slope, slope)


def _clean(slope: np.ndarray) -> np.ndarray:
    """Gradients with zeros where they are not finite."""
    return np.where(np.isfinite(slope), slope, 0.0)
