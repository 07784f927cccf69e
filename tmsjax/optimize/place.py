"""Placing a coil: everything from a target to a pose with its value on other neurons than those searched with."""

from __future__ import annotations

import dataclasses
import json
import time
from typing import Any

import numpy as np
from jaxtyping import Float

from tmsjax.coil import Coil, CoilPose
from tmsjax.cortex import Population
from tmsjax.efield.posemodel import PoseModel
from tmsjax.head import HeadModel
from tmsjax.optimize import check, report
from tmsjax.optimize.groups import Target
from tmsjax.optimize.objectives import Objective, check_layers, lowest_didt
from tmsjax.optimize.problem import Problem, Progress, prepare, values
from tmsjax.optimize.scalp import one_held
from tmsjax.optimize.search import Found, SearchPlan, search
from tmsjax.optimize.variables import GAP, HANDLE, PLACE, TILT, Variables
from tmsjax.surrogate import Surrogate

SEEN_BEFORE = 0.9
"""Below this share of neurons in the surrogate's domain, the status says so."""


@dataclasses.dataclass(frozen=True, eq=False)
class Placement:
    """Where to hold a coil, and what is known of it.

    Attributes:
        pose: of the coil; ``pose.matrix`` is SimNIBS's 4x4. polarity: sign of dI/dt in the coil's own sense.
        value: the objective in its ``unit``, of held-out neurons. search_value: of those searched with (too good).
        sampling_error: standard error of ``value`` from a bootstrap over sites, relative for A/us and V/m.
        objective: its name. unit: of its values.
        status: "optimum", or that it is none: on the border of the search, or of fields the surrogate does not know.
        borders: limits of the search that it has run into.
        x: (6,) variables: place on the chart (2) mm, handle degrees, gap mm, tilts (2) degrees. clear_mm: how far the
            casing and windings are from the scalp at the least. lift_mm: beyond the gap, to be clear of it.
        evaluations, gradients, field_evaluations: of the search. history: its rows of stage, evaluations, best value.
        layers: report on each layer (``report.described``).
        field_optimum: the pose of the largest mean |E|, judged alike: ``matrix``, ``better`` and ``worse`` polarity
            with their ``loss`` against ``value`` and its ``error``. None for objectives of the field alone.
        map: the objective round the pose (``report.objective_map``). tolerance: to slip (``report.tolerance``).
        direct: the objective in a field solved anew, or None. neuron: simulated thresholds, or None.
        seconds: of the preparation, the search and the report.
        problem: what it was found in, for other questions.
    """

    pose: CoilPose
    polarity: int
    value: float
    search_value: float
    sampling_error: float
    objective: str
    unit: str
    status: str
    borders: list[str]
    x: Float[np.ndarray, 6]
    clear_mm: float
    lift_mm: float
    evaluations: int
    gradients: int
    field_evaluations: int
    history: list[dict[str, Any]]
    layers: dict[str, Any]
    field_optimum: dict[str, Any] | None
    map: dict[str, Any]
    tolerance: dict[str, float]
    direct: dict[str, Any] | None
    neuron: list[dict[str, Any]] | None
    seconds: dict[str, float]
    problem: Problem

    def summary(self) -> dict[str, Any]:
        """All of it but the problem, as plain JSON; None for numbers that are not finite."""
        plain = {
            f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in ("pose", "problem", "x")
        }
        plain |= {
            "target": self.problem.target,
            "head": self.problem.head_name,
            "coil": self.problem.coil.name,
            "matsimnibs": self.pose.matrix.tolist(),
            "variables": {
                "place_mm": self.x[PLACE].tolist(),
                "handle_deg": float(self.x[HANDLE]),
                "gap_mm": float(self.x[GAP]),
                "tilt_deg": self.x[TILT].tolist(),
            },
            "limits": dataclasses.asdict(self.problem.variables),
            "dropped_share": self.problem.dropped,
            "modes": int(self.problem.modes.weights.shape[1]),
            "pose_model": json.loads(self.problem.made),
        }
        return _plain(plain)


def place_coil(
    head: HeadModel,
    coil: Coil,
    population: Target | Population,
    model: dict[str, Surrogate] | Surrogate,
    objective: Objective | None = None,
    *,
    pose_model: PoseModel | None = None,
    variables: Variables | None = None,
    plan: SearchPlan | None = None,
    resolve: bool = False,
    simulate: int = 0,
    cells_root: Any = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Placement:
    """Find where to hold a coil so that an objective over the thresholds of a target's neurons is lowest.

    Args:
        head, coil: as everywhere.
        population: what to aim at (``optimize.targets``); of a plain population half the sites judge the other half.
        model: surrogate of each layer, or the one of the only layer.
        objective: of ``optimize.objectives``; the dI/dt that activates half of the target if not given.
        pose_model: of a region that holds the target; made here if not given, which takes some 200 solves.
        variables: what may vary, and how far. plan: how much to search.
        resolve: solve the field of the pose anew, on the head's own grid, and judge it in that.
        simulate: how many neurons of each layer to simulate in NEURON, in that field (implies ``resolve``).
        cells_root: folder of cells that are not bundled.
        progress: called with (what, done, in all).
        seed: of everything that is drawn.

    Raises:
        InputError: as ``prepare`` and ``search``; an objective of layers or a ring that the target has not.
    """
    start = time.perf_counter()
    if simulate:
        check.check_count(simulate)
    problem = prepare(
        head, coil, population, model, pose_model=pose_model, variables=variables, progress=progress, seed=seed
    )
    return place(
        problem, objective, head=head if resolve or simulate else None, plan=plan, simulate=simulate,
        cells_root=cells_root, progress=progress, seed=seed, prepared_s=time.perf_counter() - start,
    )  # fmt: skip


def place(
    problem: Problem,
    objective: Objective | None = None,
    *,
    head: HeadModel | None = None,
    plan: SearchPlan | None = None,
    simulate: int = 0,
    cells_root: Any = None,
    progress: Progress | None = None,
    seed: int = 0,
    prepared_s: float = float("nan"),
) -> Placement:
    """``place_coil`` in a problem that is ready; with ``head`` the pose is solved anew."""
    objective = lowest_didt() if objective is None else objective
    check_layers(objective, problem.search)
    if simulate:
        check.check_count(simulate)
    start = time.perf_counter()
    found = search(problem, objective, plan, progress)
    searched_s = time.perf_counter() - start
    start = time.perf_counter()
    held = one_held(problem.scalp, found.x)
    pose = held.pose
    judged = float(values(problem, objective, found.x[None], found.polarity, held_out=True)[0])
    layers = report.described(problem, objective, found.x, found.polarity)
    borders = problem.variables.borders(found.x)
    again, of_field = _compared(problem, objective, found, judged, seed)
    solved, simulated = None, None
    if head is not None:
        solved, field = check.direct(head, problem, objective, pose, found.polarity)
        simulated = check.against_neuron(problem, field, simulate, root=cells_root, seed=seed) if simulate else None
    return Placement(
        pose=pose,
        polarity=found.polarity,
        value=float(report.shown(objective, judged)),
        search_value=float(report.shown(objective, found.value)),
        sampling_error=_spread(again, np.zeros_like(again)),
        objective=objective.name,
        unit=objective.unit,
        status=_status(borders, layers),
        borders=borders,
        x=found.x,
        clear_mm=float(held.slack_mm) + problem.variables.clear_mm,
        lift_mm=float(held.lift_mm),
        evaluations=found.evaluations,
        gradients=found.gradients,
        field_evaluations=found.field_evaluations,
        history=[{**row, "value": float(report.shown(objective, row["value"]))} for row in found.history],
        layers=layers,
        field_optimum=of_field,
        map=report.objective_map(problem, objective, found.x, found.polarity),
        tolerance=report.tolerance(problem, objective, found.x, found.polarity, seed),
        direct=solved,
        neuron=simulated,
        seconds={"prepare": prepared_s, "search": searched_s, "report": time.perf_counter() - start},
        problem=problem,
    )


def _compared(
    problem: Problem, objective: Objective, found: Found, judged: float, seed: int
) -> tuple[np.ndarray, dict[str, Any] | None]:
    """Bootstrap of the pose's own value, and the pose of the largest mean |E| in both polarities beside it."""
    if found.field_x is None:
        return report.bootstrap(problem, objective, [(found.x, found.polarity)], seed=seed)[0], None
    at = found.field_x
    signs = problem.variables.polarities
    poses = [(found.x, found.polarity), *((at, sign) for sign in signs)]
    again = report.bootstrap(problem, objective, poses, seed=seed)
    # The better polarity is the one that the search's own neurons prefer: nothing of the judges goes into it.
    own = values(problem, objective, np.tile(at, (len(signs), 1)), np.array(signs))
    order = np.argsort(own)
    rows = []
    for k in order:
        value = float(values(problem, objective, at[None], signs[k], held_out=True)[0])
        rows.append(
            {
                "polarity": int(signs[k]),
                "value": float(report.shown(objective, value)),
                "loss": float(report.loss(objective, value, judged)),
                "error": _spread(again[1 + k], again[0]),
            }
        )
    matrix = one_held(problem.scalp, at).pose.matrix.tolist()
    return again[0], {"matrix": matrix, "x": at.tolist(), "better": rows[0], "worse": rows[-1]}


def _status(borders: list[str], layers: dict[str, Any]) -> str:
    notes = [f"on the border of the search ({', '.join(borders)}): no optimum"] if borders else ["optimum"]
    for layer, row in layers.items():
        if row["share_in_domain"] < SEEN_BEFORE:
            notes.append(f"{1 - row['share_in_domain']:.0%} of {layer} under fields unlike the surrogate's training")
    return "; ".join(notes)


def _spread(values: np.ndarray, others: np.ndarray) -> float:
    """Standard error of a difference; NaN where some of the draws never reach their share."""
    return float(np.std(values - others)) if np.isfinite(values).all() and np.isfinite(others).all() else float("nan")


def _plain(value: Any) -> Any:
    """Arrays and their numbers as JSON has them: None for what is not finite."""
    if isinstance(value, dict):
        return {name: _plain(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(each) for each in value]
    if isinstance(value, np.generic | np.ndarray):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not np.isfinite(value) else value
