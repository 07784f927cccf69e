"""Cases of the placement benchmark: every method on the neurons of one target, and gradients against differences."""

from __future__ import annotations

import dataclasses
import time
from typing import Any

import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from benchmarks import _placement
from tmsjax.core.pytree import pytree
from tmsjax.optimize import baselines, check, report
from tmsjax.optimize.groups import HELD_OUT, SITES
from tmsjax.optimize.problem import Problem, drawn, gradients, values
from tmsjax.optimize.scalp import one_held
from tmsjax.optimize.search import scan
from tmsjax.optimize.variables import UNITS

SHARES = (0.1, 0.5)
PLACES, ANGLES = 208, 24
"""Of the fine reference: 4,992 poses, 3 mm and 15 degrees apart."""
SCREENED = 600
"""Of these, the best by every third site are asked in full."""
STEPS = np.array([0.1, 0.1, 0.4, 0.1, 0.2, 0.2])
"""Of the finite differences: mm of place, degrees of the handle, mm of gap, degrees of both tilts."""


@pytree("name")
class Shares:
    """The dI/dt of several shares in one pass, for grids."""

    share: Any
    layers: Any
    name: str = "lowest_didt"

    thresholds = True

    def value(self, groups, tau):
        """Logarithms (shares,)."""
        return jnp.stack([tj.optimize.objectives.LowestDidt(s, self.layers).value(groups, tau) for s in self.share])


def thinned(problem: Problem) -> Problem:
    """Every third site of the search's neurons."""
    kept = tuple(g[np.flatnonzero(np.asarray(g.site) % 3 == 0)] for g in problem.search)
    return dataclasses.replace(problem, search=kept)


def fine_grid(problem: Problem, layer: str, quick: bool) -> np.ndarray:
    """Best poses (shares, 6) of the fine reference."""
    x = scan(problem.variables, 60 if quick else PLACES, 12 if quick else ANGLES)
    objective: Any = Shares(jnp.asarray(SHARES, jnp.float32), {layer: jnp.float32(1)})
    rough = values(thinned(problem), objective, x, 1)
    best = np.unique(np.concatenate([np.argsort(rough[:, k])[: SCREENED // 2] for k in range(len(SHARES))]))
    full = values(problem, objective, x[best], 1)
    return x[best][full.argmin(0)]


def case(problem: Problem, layer: str, share: float, coarse: np.ndarray, fine: np.ndarray) -> dict[str, Any]:
    """One layer and share of one target: every method's dI/dt on held-out neurons, and what it took."""
    objective = tj.optimize.lowest_didt(share, {layer: 1.0})
    start, used = time.perf_counter(), time.process_time()
    found = tj.optimize.search(problem, objective)
    seconds, cpu = time.perf_counter() - start, time.process_time() - used
    signs = problem.variables.polarities
    own = values(problem, objective, np.tile(found.field_x, (2, 1)), np.array(signs))
    better, worse = (signs[k] for k in np.argsort(own))
    poses = [(found.x, found.polarity), (coarse, 1), (fine, 1), (found.field_x, better), (found.field_x, worse)]
    x, sign = np.stack([p for p, _ in poses]), np.array([s for _, s in poses])
    searched, judged = (values(problem, objective, x, sign, held_out=held) for held in (False, True))
    again = report.bootstrap(problem, objective, poses)
    names = ("search", "grid_600", "grid_5000", "field_better", "field_worse")
    described = report.described(problem, objective, found.x, found.polarity)[layer]
    return {
        "layer": layer,
        "share": share,
        "didt_a_per_us": {n: float(np.exp(v)) for n, v in zip(names, judged, strict=True)},
        "didt_searched_a_per_us": {n: float(np.exp(v)) for n, v in zip(names, searched, strict=True)},
        "loss_percent": {n: float(100 * np.expm1(judged[k] - judged[0])) for k, n in enumerate(names)},
        "loss_error_percent": {n: float(100 * np.std(again[k] - again[0])) for k, n in enumerate(names)},
        "error_percent": float(100 * again[0].std()),
        "x": found.x.tolist(),
        "polarity": found.polarity,
        "borders": problem.variables.borders(found.x),
        "shift_mm": float(np.linalg.norm(found.x[:2] - found.field_x[:2])),
        "evaluations": found.evaluations,
        "gradients": found.gradients,
        "field_evaluations": found.field_evaluations,
        "seconds": seconds,
        "cpu_seconds": cpu,
        "share_in_domain": described["share_in_domain"],
        "tolerance": report.tolerance(problem, objective, found.x, found.polarity),
    }


def layer_rows(head, coil, layer: str, model, pose_model, target: dict[str, Any], quick: bool) -> dict[str, Any]:
    """Both shares of one layer of a target, and the optimum of half of it solved anew at 1 mm."""
    start = time.process_time()
    counts = (60, 120) if quick else (SITES, HELD_OUT)
    problem = _placement.prepared(head, coil, {layer: model}, pose_model, target, *counts)
    row: dict[str, Any] = {"prepare_cpu_s": time.process_time() - start, "sites": counts}
    row |= {"modes": int(problem.modes.weights.shape[1]), "dropped": problem.dropped}
    grid = baselines.grid_poses(problem, 6.0, 30.0)
    objective: Any = Shares(jnp.asarray(SHARES, jnp.float32), {layer: jnp.float32(1)})
    used = time.process_time()
    coarse = grid[values(problem, objective, grid, 1).argmin(0)]
    row |= {"grid_poses": len(grid), "grid_cpu_s": time.process_time() - used}
    fine = fine_grid(problem, layer, quick)
    row["cases"] = [case(problem, layer, share, coarse[k], fine[k]) for k, share in enumerate(SHARES)]
    last = row["cases"][-1]
    if not quick:
        objective = tj.optimize.lowest_didt(last["share"], {last["layer"]: 1.0})
        pose = one_held(problem.scalp, np.array(last["x"])).pose
        used = time.process_time()
        solved, _ = check.direct(head, problem, objective, pose, last["polarity"])
        row["direct"] = {**solved, "model": last["didt_a_per_us"]["search"], "cpu_s": time.process_time() - used}
    return row


def slope_problem(head, coil, models, pose_model, target: dict[str, Any]) -> Problem:
    """A target with a ring, two layers and all six variables of a pose free, for gradients."""
    limits = tj.optimize.Variables(gap_mm=(2.0, 6.0), tilt_deg=10.0)
    return _placement.prepared(head, coil, models, pose_model, target, 60, 20, ring=True, variables=limits)


def slope_objectives() -> dict[str, Any]:
    """Every objective that a search may go down, smooth."""
    one = {"L5": 1.0}
    return {
        "D50": tj.optimize.lowest_didt(0.5, one),
        "D10": tj.optimize.lowest_didt(0.1, one),
        "D50 of two layers": tj.optimize.lowest_didt(0.5, {"L23": 1.0, "L5": 2.0}),
        "selectivity": tj.optimize.selectivity(300.0, layers=one),
        "activation map": tj.optimize.activation_map(layers=one),
        "mean E": tj.optimize.mean_field(one),
        "95th percentile of E": tj.optimize.percentile_field(95.0, one),
    }


def difference(problem: Problem, objective: Any, poses: int) -> dict[str, float]:
    """Gradients of one objective against central differences, relative L2 over the variables, at random poses."""
    x = drawn(problem.variables, poses, 7)
    x[:, :2] *= 0.98  # beyond the rim a place is held at it: no difference may step across
    _, slope, _ = gradients(problem, objective, x, 1, 0.02)
    moved = [x + sign * step for step in np.diag(STEPS) for sign in (1, -1)]
    ends = values(problem, objective, np.concatenate(moved), 1, tau=0.02).reshape(6, 2, poses)
    numeric = ((ends[:, 0] - ends[:, 1]) / (2 * STEPS[:, None])).T
    # In the search's own units, so that millimetres and degrees count alike.
    error = np.linalg.norm((slope - numeric) * UNITS, axis=1) / np.linalg.norm(numeric * UNITS, axis=1)
    return {
        f"{q}": float(v) for q, v in zip(("median", "p90", "worst"), np.quantile(error, [0.5, 0.9, 1]), strict=True)
    }
