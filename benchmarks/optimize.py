"""Coil placement by gradient against grids and mean |E|: `python -m benchmarks.optimize [--head LABELS.nii.gz]`.

Ten targets on two heads (five on the bundled one; the second head's labels come by --head and may not be shipped), both
layers, two shares. All methods see the same neurons and are scored on others. Finished targets are kept in --work, so
that a run goes on where it was stopped (and reports what there is after --minutes); pose models are made in
--pose-models if they are not there.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import jax
import numpy as np

import tmsjax as tj
from benchmarks import _common, _placement
from benchmarks._placement_cases import difference, layer_rows, slope_objectives, slope_problem
from benchmarks._placement_report import against, bars, field_costs, say
from tmsjax.core.files import staged_folder
from tmsjax.efield import posemodel
from tmsjax.io import write_surface

CELLS = {"L23": "open/L23_PC_1", "L5": "open/L5_PC_1"}
REGION_MM, RANK = 36.0, 120


def solve_cpu_s(head, coil, pose) -> float:
    """CPU-seconds of one further direct solve at 1 mm, primary field and all: what a grid of poses needs each."""
    tj.efield.solve(head, coil, pose)
    used = time.process_time()
    jax.block_until_ready(tj.efield.solve(head, coil, pose).values)
    return time.process_time() - used


def with_surfaces(head, folder: Path):
    """The head with cortical surfaces, made of its labels where it has none and kept for further runs."""
    if head.surfaces is not None:
        return head
    if not folder.is_dir():
        with staged_folder(folder) as staged:
            for side, surface in tj.head.surfaces_from_labels(head).items():
                write_surface(
                    staged / f"{side.replace('_', '.')}.surf.gii", surface.vertices, surface.faces, structure=side
                )
    return dataclasses.replace(head, surfaces=tj.head.load_surfaces(folder))


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
    parser.add_argument(
        "--coarsen", type=int, nargs="+", default=[1], help="voxels of the pose models, in those of the heads: of each"
    )
    parser.add_argument("--pose-models", type=Path, default=Path("pose_models"), help="folder that they are kept in")
    parser.add_argument("--work", type=Path, help="folder that finished targets are kept in")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin no target after this; run again")
    options = parser.parse_args()
    work = options.work or options.pose_models / "targets"
    work.mkdir(parents=True, exist_ok=True)
    coil = tj.coil.load("MagVenture_MC_B70")
    models = {layer: tj.surrogate.load(cell) for layer, cell in CELLS.items()}
    made = "-".join(model.card["sha256"][:6] for model in models.values())
    heads = [("S1", "S1"), *([("second", str(options.head))] if options.head else [])]
    coarsens = [2, 2] if options.quick else [options.coarsen[0], options.coarsen[-1]]
    begun, rows, about, errors, solve_s = time.perf_counter(), [], {}, {}, float("nan")

    def kept(name: str, make: Callable[[], Any]) -> Any:
        """What an earlier run finished; None where that is nothing and the time is over."""
        path = work / f"{name}_{options.quick}_{made}.json"
        if not path.is_file():
            if time.perf_counter() - begun > 60 * options.minutes:
                print(f"{name}: {options.minutes:g} minutes are over, run again to go on", flush=True)
                return None
            path.write_text(json.dumps(make()))
        print(name, flush=True)
        return json.loads(path.read_text())

    for (name, source), coarsen in zip(heads, coarsens, strict=False):
        head = with_surfaces(tj.head.load(source), options.pose_models / f"{name}_surfaces")
        centre = _placement.place_of(head, name)
        pose_model, about[name] = pose_model_of(head, name, centre, options.pose_models, coarsen)
        wanted = _placement.targets_of(head, centre)
        if name == "S1":
            pose = tj.coil.pose_on_scalp(head, centre, coil=coil)
            solve_s = kept("solve_cpu_s", partial(solve_cpu_s, head, coil, pose)) or solve_s
            ready = cache(lambda: slope_problem(head, coil, models, pose_model, wanted[0]))  # noqa: B023
            for objective, how in slope_objectives().items():
                found = kept(
                    f"gradient_{coarsen}_{objective.replace(' ', '_')}",
                    lambda: difference(ready(), how, 40 if options.quick else 200),  # noqa: B023
                )
                errors |= {} if found is None else {objective: found}
        for target in wanted[1:3] if options.quick else wanted:
            place = f"{name}_{coarsen}_{target['name'].replace(' ', '_')}"
            found = {
                layer: kept(f"{place}_{layer}", partial(layer_rows, head, coil, layer, model, pose_model, target,
                                                        options.quick))
                for layer, model in models.items()
            }  # fmt: skip
            done = {layer: row for layer, row in found.items() if row is not None}
            if done:
                cases = [case for row in done.values() for case in row.pop("cases")]
                about_it = {**target, "centre_mm": target["centre_mm"].tolist(), "layers": done, "cases": cases}
                rows.append({"head": name, "voxel_mm": coarsen, "whole": len(done) == len(models), **about_it})
    if not rows and not errors:
        raise SystemExit("nothing is finished: run again to go on")
    say(rows, errors)
    results = {
        "targets": rows,
        "mean_field_costs": field_costs(rows),
        "against": {name: against(rows, name) for name in ("grid_600", "grid_5000", "field_better", "field_worse")},
        "pose_models": about,
        "gradients": errors,
        "solve_cpu_s": solve_s,
        "surrogates": made,
    }
    _common.write("optimize", results, bars(rows, errors, solve_s), quick=options.quick)


if __name__ == "__main__":
    main()
