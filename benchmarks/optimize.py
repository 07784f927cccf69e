"""Coil placement by gradient against grids and mean |E|: `python -m benchmarks.optimize [--head LABELS.nii.gz]`.

Ten targets on two heads (five on the bundled one; the second head's labels come by --head and may not be shipped), both
layers, two shares. All methods see the same neurons and are scored on others. Finished targets are kept in --work, so
that a run goes on where it was stopped; pose models are made in --pose-models if they are not there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from benchmarks import _common, _placement
from tmsjax.core.pytree import pytree
from tmsjax.efield import posemodel
from tmsjax.optimize import baselines, check, report
from tmsjax.optimize.problem import Problem, drawn, gradients, values
from tmsjax.optimize.search import scan

CELLS = {"L23": "open/L23_PC_1", "L5": "open/L5_PC_1"}
SHARES = (0.1, 0.5)
REGION_MM, RANK = 36.0, 120
PLACES, ANGLES = 208, 24
"""Of the fine reference: 4,992 poses, 3 mm and 15 degrees apart."""
SCREENED = 600
"""Of these, the best by every third site are asked in full."""
STEPS = np.array([0.1, 0.1, 0.4])
"""mm, mm and degrees of the finite differences."""


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


def target_rows(head, coil, models, pose_model, target: dict[str, Any], quick: bool) -> dict[str, Any]:
    """All cases of one target, and the optimum of L5's half solved anew at 1 mm."""
    start = time.process_time()
    problem = _placement.prepared(head, coil, models, pose_model, target, 60 if quick else 300, 120 if quick else 600)
    row: dict[str, Any] = {
        **target,
        "centre_mm": target["centre_mm"].tolist(),
        "prepare_cpu_s": time.process_time() - start,
    }
    row |= {"modes": int(problem.modes.weights.shape[1]), "dropped": problem.dropped, "cases": []}
    grid = baselines.grid_poses(problem, 6.0, 30.0)
    row["grid_poses"] = len(grid)
    for layer in models:
        objective: Any = Shares(jnp.asarray(SHARES, jnp.float32), {layer: jnp.float32(1)})
        used = time.process_time()
        coarse = grid[values(problem, objective, grid, 1).argmin(0)]
        row["evaluation_cpu_s"] = (time.process_time() - used) / len(grid)
        fine = fine_grid(problem, layer, quick)
        row["cases"] += [case(problem, layer, share, coarse[k], fine[k]) for k, share in enumerate(SHARES)]
    last = row["cases"][-1]
    if not quick:
        objective = tj.optimize.lowest_didt(last["share"], {last["layer"]: 1.0})
        pose = problem.scalp.pose(jnp.asarray(last["x"], jnp.float32))
        used = time.process_time()
        solved, _ = check.direct(head, problem, objective, pose, last["polarity"])
        row["direct"] = {**solved, "model": last["didt_a_per_us"]["search"], "cpu_s": time.process_time() - used}
    return row


def differences(head, coil, models, pose_model, target: dict[str, Any], poses: int) -> dict[str, dict[str, float]]:
    """Gradients of every smooth objective against central differences, relative L2 over place and angle."""
    problem = _placement.prepared(head, coil, {"L5": models["L5"]}, pose_model, target, 100, 20, ring=True)
    x = drawn(problem.variables, poses, 7)
    x[:, :2] *= 0.98  # beyond the rim a place is held at it: no difference may step across
    objectives = {
        "D50": tj.optimize.lowest_didt(0.5),
        "D10": tj.optimize.lowest_didt(0.1),
        "selectivity": tj.optimize.selectivity(300.0),
        "activation map": tj.optimize.activation_map(),
        "mean E": tj.optimize.mean_field(),
        "95th percentile of E": tj.optimize.percentile_field(95.0),
    }
    out = {}
    for name, objective in objectives.items():
        _, slope, _ = gradients(problem, objective, x, 1, 0.02)
        moved = [x + sign * np.pad(np.diag(STEPS)[n], (0, 3)) for n in range(3) for sign in (1, -1)]
        ends = values(problem, objective, np.concatenate(moved), 1, tau=0.02).reshape(3, 2, poses)
        numeric = ((ends[:, 0] - ends[:, 1]) / (2 * STEPS[:, None])).T
        # In the search's own units, so that millimetres and degrees count alike.
        scale = np.array([1.0, 1.0, 4.0])
        error = np.linalg.norm((slope[:, :3] - numeric) * scale, axis=1) / np.linalg.norm(numeric * scale, axis=1)
        out[name] = {
            f"{q}": float(v) for q, v in zip(("median", "p90", "worst"), np.quantile(error, [0.5, 0.9, 1]), strict=True)
        }
    return out


def solve_cpu_s(head, coil, problem_pose, coarsen: int) -> float:
    """CPU-seconds of one further direct solve, primary field and all."""
    tj.efield.solve(head, coil, problem_pose, coarsen=coarsen)
    used = time.process_time()
    jax.block_until_ready(tj.efield.solve(head, coil, problem_pose, coarsen=coarsen).values)
    return time.process_time() - used


def pose_model_of(head, name: str, centre: np.ndarray, folder: Path, coarsen: int) -> tuple[Any, dict[str, Any]]:
    where, noted = folder / f"{name}_{coarsen}", folder / f"{name}_{coarsen}.json"
    if not (where / "card.json").is_file():
        used = time.process_time()
        made = posemodel.precompute_region(
            head, centre, REGION_MM, rank=RANK, coarsen=coarsen, held_out=10, work=folder / f"{name}_{coarsen}.work"
        )
        posemodel.save(made, where)
        noted.write_text(json.dumps({"precompute_cpu_s": time.process_time() - used}))
    model = posemodel.load(where, head)
    about = json.loads(noted.read_text()) if noted.is_file() else {}
    return model, {**about, "worst_l2": model.certificate["worst_l2"], "rank": RANK, "coarsen": coarsen}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="2 mm, two targets of the bundled head, fewer neurons")
    parser.add_argument("--gpu", action="store_true", help="as every benchmark takes it: runs wherever JAX does")
    parser.add_argument("--head", type=Path, help="labels of a second head (NIfTI)")
    parser.add_argument("--coarsen", type=int, default=1, help="voxels of the pose models, in those of the heads")
    parser.add_argument("--pose-models", type=Path, default=Path("pose_models"), help="folder that they are kept in")
    parser.add_argument("--work", type=Path, help="folder that finished targets are kept in")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no target after this; run again")
    options = parser.parse_args()
    coarsen = 2 if options.quick else options.coarsen
    work = options.work or options.pose_models / "targets"
    work.mkdir(parents=True, exist_ok=True)
    coil = tj.coil.load("MagVenture_MC_B70")
    models = {layer: tj.surrogate.load(cell) for layer, cell in CELLS.items()}
    made = "-".join(model.card["sha256"][:6] for model in models.values())
    begun, rows, about, errors, solve_s = time.perf_counter(), [], {}, {}, float("nan")
    for name, source in [("S1", "S1"), *([("second", str(options.head))] if options.head else [])]:
        head = tj.head.load(source)
        if head.surfaces is None:
            head = dataclasses.replace(head, surfaces=tj.head.surfaces_from_labels(head))
        centre = _placement.place_of(head, name)
        pose_model, about[name] = pose_model_of(head, name, centre, options.pose_models, coarsen)
        wanted = _placement.targets_of(head, centre)
        for target in wanted[1:3] if options.quick else wanted:
            kept = work / f"{name}_{coarsen}_{target['name'].replace(' ', '_')}_{options.quick}_{made}.json"
            if not kept.is_file():
                if time.perf_counter() - begun > 60 * options.minutes:
                    raise SystemExit(f"{options.minutes:g} minutes are over: run again to go on")
                row = target_rows(head, coil, models, pose_model, target, options.quick)
                kept.write_text(json.dumps({"head": name, **row}))
            rows.append(json.loads(kept.read_text()))
            print(name, target["name"], flush=True)
        if name == "S1":
            kept = work / f"gradients_{coarsen}_{options.quick}_{made}.json"
            if not kept.is_file():
                found = differences(head, coil, models, pose_model, wanted[0], 40 if options.quick else 200)
                pose = tj.coil.pose_on_scalp(head, centre, coil=coil)
                kept.write_text(json.dumps([found, solve_cpu_s(head, coil, pose, coarsen)]))
            errors, solve_s = json.loads(kept.read_text())
    say(rows, errors)
    _common.write("optimize", {"targets": rows, "pose_models": about, "gradients": errors, "solve_cpu_s": solve_s,
                               "surrogates": made}, bars(rows, errors, solve_s), quick=options.quick)  # fmt: skip


def say(rows: list[dict[str, Any]], errors: dict[str, dict[str, float]]) -> None:
    """Tables: what each pose costs against the search's, and the gradients."""
    lines = []
    for row in rows:
        for c in row["cases"]:
            loss = [
                f"{c['loss_percent'][n]:+.1f} ({c['loss_error_percent'][n]:.1f})" for n in list(c["loss_percent"])[1:]
            ]
            border = "border" if c["borders"] else ""
            lines.append(
                (
                    row["head"],
                    row["name"],
                    row["kind"],
                    c["layer"],
                    c["share"],
                    c["didt_a_per_us"]["search"],
                    *loss,
                    border,
                )
            )
    columns = (
        "head",
        "target",
        "kind",
        "layer",
        "share",
        "A/us",
        "600 poses",
        "5,000 poses",
        "|E|, better",
        "|E|, worse",
        "",
    )
    _common.table(
        "more output than the search's pose needs, % (standard error), neurons not searched with", columns, lines
    )
    kinds = {}
    for row in rows:
        for c in row["cases"]:
            kinds.setdefault((row["kind"], c["layer"], c["share"]), []).append(c["loss_percent"])
    table = [
        (*key, len(each), *(v for n in ("field_better", "field_worse") for v in spread([loss[n] for loss in each])))
        for key, each in sorted(kinds.items())
    ]
    columns = ("kind", "layer", "share", "cases", "better", "from", "to", "worse", "from", "to")
    _common.table(
        "what the optimum of mean |E| costs in its better and its worse polarity, %: median and range", columns, table
    )
    _common.table("gradients against central differences", ("objective", "median", "p90", "worst"),
                  [(name, *row.values()) for name, row in errors.items()])  # fmt: skip


def spread(values: list[float]) -> tuple[float, float, float]:
    return float(np.median(values)), min(values), max(values)


def bars(rows: list[dict[str, Any]], errors: dict[str, Any], solve_s: float) -> list[dict[str, Any]]:
    cases = [c for row in rows for c in row["cases"]]
    heads = {row["head"] for row in rows}

    def least(name: str, key: str) -> float:
        if key == "held out":
            return min(c["loss_percent"][name] for c in cases)
        return min(100 * (c["didt_searched_a_per_us"][name] / c["didt_searched_a_per_us"]["search"] - 1) for c in cases)

    search = float(np.median([c["cpu_seconds"] for c in cases]))
    slowest = max(c["cpu_seconds"] for c in cases)
    grid = max(row["grid_poses"] for row in rows)
    wins = float(np.mean([c["loss_percent"]["grid_600"] > 0 for c in cases]))
    bar = _common.target
    same = "the same on held-out neurons"
    cost = "search over the grid's direct solves, CPU time"
    fixed = [
        bar("heads", len(heads), 2, at_least=True),
        bar("targets", len(rows), 10, at_least=True),
        bar(
            "grid of 6 mm and 30 degrees over the search, searched neurons, least %",
            least("grid_600", "own"),
            0,
            at_least=True,
        ),
        bar(f"{same}, least %", least("grid_600", "held out"), 0, at_least=True),
        bar(f"{same}, share of cases that the search wins", wins, 1, at_least=True),
        bar("search over the best of 5,000 poses, searched neurons, most %", -least("grid_5000", "own"), 0.5),
        bar(f"{same}, most %", -least("grid_5000", "held out"), 0.5),
        bar("evaluations of a search, most", max(c["evaluations"] for c in cases), 500),
        bar(f"{cost}, median", search / (grid * solve_s), 0.01),
        bar(f"{cost}, worst, with compilation", slowest / (grid * solve_s), 0.01),
    ]
    return fixed + [
        bar(f"gradient of {name}, relative error, median over poses", row["median"], 0.01)
        for name, row in errors.items()
    ]


if __name__ == "__main__":
    main()
