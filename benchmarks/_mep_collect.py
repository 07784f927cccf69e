"""The collection of what the parts of ``benchmarks.mep`` have found: tables, and the targets that the issue sets."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import _common


def collected(work: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """All that has been found, tables on the screen, and the targets that the issue sets."""
    from benchmarks.mep import EPOCHS, FACTOR, FULL_EPOCHS, PAPER, SUBJECTS
    from tmsjax.mep import clean, load_subject

    found = {
        path.stem.removeprefix("found-"): json.loads(path.read_text()) for path in sorted(work.glob("found-*.json"))
    }
    results: dict[str, Any] = {
        "data": "synthetic: fields computed, muscles and responses made up; heads S1 and S1 warped",
        "voxel_mm": FACTOR, "epochs": EPOCHS, "epochs_full": FULL_EPOCHS, "paper_nrmse_three_persons": PAPER,
        "subjects": {}, "folds": _by_fold(work), **found,
    }  # fmt: skip
    for name in SUBJECTS:
        if (work / f"{name}.zarr").is_dir():
            done = clean(load_subject(work / f"{name}.zarr"))
            results["subjects"][name] = {
                "applied": sum(done.applied.values()), "kept": {f"{k:g}": v for k, v in done.kept.items()},
                "no_response": done.no_response, "weak_field": done.weak_field,
                "voxels_1mm": int(done.subject.mask.sum()),
            }  # fmt: skip
    rows = []
    for key, value in found.items():
        for label, row in value.get("rows", {}).items() if key != "forward" else ():
            numbers = [f"{row[m]['mean']:.3f}±{row[m]['sem']:.3f}" for m in ("nrmse", "r2", "corr2", "cog_mm", "shape")]
            rows.append([key, label, row["folds"], *numbers])
    _common.table("left-out stimulations, mean ± 95 % standard error", ("run", "model", "folds", "nrmse", "r2", "corr2",
                  "cog mm", "shape"), rows)  # fmt: skip
    return results, _targets(found, results["folds"])


def _by_fold(work: Path) -> dict[str, Any]:
    """Mean NRMSE and error of the centre of gravity of every fold that is done, also of runs that are not."""
    out: dict[str, Any] = {}
    for path in sorted(work.glob("folds/*/fold_*.json")):
        for estimator, metrics in json.loads(path.read_text()).items():
            own = out.setdefault(path.parent.name, {}).setdefault(estimator, {})
            own[path.stem] = {m: float(np.nanmean(metrics[m])) for m in ("nrmse", "cog_mm")}
    return out


def _targets(found: dict[str, Any], folds: dict[str, Any]) -> list[dict[str, Any]]:
    """Held or not, one for every number that the issue asks for and that there is."""

    def nrmse(model: str, which: list[str], estimator: str = "mean") -> float:
        run = folds[f"S1-{model}-random-{FACTOR}mm"][estimator]
        return float(np.mean([run[fold]["nrmse"] for fold in which]))

    from benchmarks.mep import FACTOR
    from tmsjax.mep import MODELS

    out, name = [], f"S1-direct_variational-random-{FACTOR}mm"
    which = sorted(folds.get(name, {}).get("mean", {}))
    for label in ("mean_field", "kernel_ridge"):
        if which and len(folds.get(f"S1-{label}-random-{FACTOR}mm", {}).get("mean", {})) == 10:
            said = f"direct variational NRMSE against {label.replace('_', ' ')}, S1, {len(which)} folds"
            out.append(_common.target(said, nrmse("direct_variational", which), nrmse(label, which)))
    for model in MODELS[:-1]:
        both = sorted({*which} & {*folds.get(f"S1-{model}-random-{FACTOR}mm", {}).get("mean", {})})
        if both:
            said = f"direct variational NRMSE against {model.replace('_', ' ')}, S1, {len(both)} folds"
            out.append(_common.target(said, nrmse("direct_variational", both), nrmse(model, both)))
    if "pose" in found:
        fields = found["pose"]["fields"]
        network = fields.get("direct variational", fields["kernel ridge"])
        ours = fields["pose: field of the maximum"]["cog_mm"]
        out.append(
            _common.target("CoG of the recovered pose's field against the network's, mm", ours, network["cog_mm"])
        )
        pose = found["pose"]["pose"]
        bar = pose["prior mean"]["place_mm"]
        out.append(
            _common.target(
                "pose: median error of place against the prior's, mm", pose["posterior mean"]["place_mm"], bar
            )
        )
    if "uncertainty" in found:
        value = abs(found["uncertainty"]["calibrated"]["voxels"] - 0.9)
        out.append(_common.target("calibrated 90 % intervals: coverage of voxels off by", value, 0.05))
    return out
