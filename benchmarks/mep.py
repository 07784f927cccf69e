"""Multi-muscle responses: `python -m benchmarks.mep [PART ...] [--work FOLDER] [--quick]`.

Parts: subjects, baselines, table, loss, full, forward, pose, uncertainty, mapping, collect; all of them by default, in
this order. All data are synthetic: head S1 as it is and twice warped, fields of a Magstim 70 mm coil by a pose model,
responses made up from predicted thresholds (``tmsjax.mep.synthetic``). What a part has finished is kept in the work
folder, so that a killed run goes on; ``collect`` writes what there is, and says of each row how many folds it has.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import pickle
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")  # threads that wait for each other are slow beside other work

import numpy as np

from benchmarks import _common

PARTS = ("subjects", "baselines", "table", "loss", "full", "forward", "pose", "uncertainty", "mapping")
SUBJECTS = {"S1": None, "warped-7": 7, "warped-8": 8}
"""Head S1 itself, and seeds of its warped versions."""

OPERATOR = {"S1": 0.0, "warped-7": 0.9, "warped-8": 0.9}
"""Probability of a response at the operator's free places: some two thirds, or nearly all of them, are kept."""

FACTOR, EPOCHS, FULL_EPOCHS = 4, 12, 6
"""Voxels of the table in mm, epochs of each stage, and epochs at 64^3 voxels of 1 mm."""

PAPER = {
    "ae_decoder": (0.294, 0.402, 0.250), "direct_convolutional": (0.219, 0.252, 0.222),
    "vae_decoder": (0.208, 0.245, 0.216), "vae_sampler_decoder": (0.184, 0.220, 0.166),
    "direct_variational": (0.181, 0.213, 0.156),
}  # fmt: skip
"""NRMSE of Akbar et al. 2024, table II, of three persons."""


def head_of(name: str) -> Any:
    """Head S1 or a warped one."""
    import tmsjax as tj
    from tmsjax.mep.strip import warped

    head = tj.head.load("S1")
    return head if SUBJECTS[name] is None else warped(head, SUBJECTS[name])


def setting(work: Path, name: str) -> tuple[Any, ...]:
    """Head, pose model, coil, chart and strip of a subject."""
    import tmsjax as tj
    from tmsjax.efield import posemodel
    from tmsjax.mep.strip import motor_strip

    head = head_of(name)
    strip, folder = motor_strip(head), work / f"poses-{name}"
    if not (folder / "card.json").is_file():
        made = posemodel.precompute_region(
            head, strip.points_mm[1], 34.0, rank=80, coarsen=2, held_out=10, work=work / f"poses-{name}.work",
            progress=lambda what, done, of: print(what, done, of, flush=True),
        )  # fmt: skip
        posemodel.save(made, folder)
    coil = tj.coil.reduce(tj.coil.load("Magstim_70mm_Fig8"), 200)
    chart = tj.coil.scalp_chart(head, strip.points_mm[1], radius_mm=45.0)
    return head, posemodel.load(folder, head), coil, chart, strip


def subjects(work: Path, names: list[str]) -> None:
    """Generate the subjects."""
    import tmsjax as tj
    from tmsjax.mep import save_subject, synthetic
    from tmsjax.mep.strip import strip_mask

    for name in names:
        if (work / f"{name}.zarr").is_dir():
            continue
        head, model, coil, chart, strip = setting(work, name)
        mask, affine = strip_mask(head, strip)
        one, truth = synthetic.generate(
            head, model, coil, chart, tj.surrogate.load("open/L5_PC_1"), strip, mask, affine,
            protocol=synthetic.Protocol(responsive=OPERATOR[name]), seed=SUBJECTS[name] or 0,
            work=work / f"{name}.work",
            progress=lambda what, done, of: print(what, done, of, flush=True),
        )  # fmt: skip
        (work / f"{name}.pkl").write_bytes(pickle.dumps({**truth._asdict(), "muscles": tuple(truth.muscles)}))
        save_subject(one, work / f"{name}.zarr")


def data(work: Path, name: str, factor: int) -> Any:
    """A subject, cleaned, at voxels of ``factor`` mm."""
    from tmsjax.mep import clean, coarser, load_subject

    return coarser(clean(load_subject(work / f"{name}.zarr")).subject, factor)


def folds_of(subject: Any, split: str) -> np.ndarray:
    """Random folds stratified by intensity, or patches of the scalp."""
    from tmsjax.mep import blocked_folds, random_folds

    return random_folds(subject.intensity_percent) if split == "random" else blocked_folds(subject.poses[:, :3, 3])


def kept(path: Path, make: Callable[[], Any]) -> Any:
    """What a part has found, from its file or made now."""
    from tmsjax.core.files import staged_file

    if not path.is_file():
        found = make()
        with staged_file(path) as stage:
            stage.write_text(json.dumps(found) + "\n")
    return json.loads(path.read_text())


def validated(
    work: Path, name: str, model: str, split: str, factor: int, only: list[int] | None, label: str = "", **more: Any
) -> dict[str, Any]:
    """Table rows of one model on one subject; training's settings and the spec's changes in ``more``."""
    from tmsjax.mep import MODELS, SHORT_TRAINING, InverseSpec, cross_validate, tabulated

    subject = data(work, name, factor)
    fold, spec = folds_of(subject, split), None
    if model in MODELS:
        spec = InverseSpec(model, muscles=len(subject.muscles), voxel_mm=subject.voxel_mm, **more.get("spec", {}))
    training = dataclasses.replace(SHORT_TRAINING, **more.get("training", {}))
    start = time.process_time()
    runs = cross_validate(
        subject, model, fold, spec=spec, training=training, only=only, scale_on=more.get("scale_on", "fold"),
        folder=work / "folds" / f"{name}-{model}-{split}-{factor}mm{label}",
        progress=lambda t: print(name, t, flush=True),
    )  # fmt: skip
    rows = tabulated({model: runs}, fold, subject.intensity_percent)
    return {"rows": rows, "stimulations": len(subject), "cpu_s": round(time.process_time() - start, 1)}


def baselines(work: Path, names: list[str]) -> None:
    """Plain regressions: both splits, three subjects, ten folds."""
    from tmsjax.mep import BASELINES

    for name in names:
        for split in ("random", "blocked"):
            for model in BASELINES:
                path = work / f"found-{name}-{model}-{split}.json"
                kept(path, lambda n=name, m=model, s=split: validated(work, n, m, s, FACTOR, None))


def table(work: Path, names: list[str], folds: int = 2) -> None:
    """The five models on the first random folds; the best one on patches too."""
    from tmsjax.mep import MODELS

    training, only = {"epochs": EPOCHS}, list(range(folds))
    for name in names:
        for model in reversed(MODELS):
            path = work / f"found-{name}-{model}-random-{folds}.json"
            kept(path, lambda n=name, m=model: validated(work, n, m, "random", FACTOR, only, training=training))
    path = work / f"found-S1-direct_variational-blocked-{folds}.json"
    if "S1" in names:
        kept(path, lambda: validated(work, "S1", "direct_variational", "blocked", FACTOR, only, training=training))


def loss(work: Path, names: list[str]) -> None:
    """Models (a) to (c) by the sum of squared errors (equation 7) instead of the program's mean over 64^3 voxels."""
    for model in ("ae_decoder", "direct_convolutional", "vae_decoder"):
        path = work / f"found-S1-{model}-random-sse.json"
        more: dict[str, Any] = {"training": {"epochs": EPOCHS}, "spec": {"data_loss": "sse"}}
        kept(path, lambda m=model, o=more: validated(work, "S1", m, "random", FACTOR, [0, 1], "-sse", **o))


def full(work: Path, names: list[str]) -> None:
    """One fold of one subject at 64^3 voxels of 1 mm: the best model and, beside it, kernel ridge."""
    training = {"epochs": FULL_EPOCHS}
    kept(work / "found-full-baseline.json", lambda: validated(work, "S1", "kernel_ridge", "random", 1, [0]))
    path = work / "found-full-direct_variational.json"
    kept(path, lambda: validated(work, "S1", "direct_variational", "random", 1, [0], training=training))


def main() -> None:
    """Run the parts that were asked for, and write what there is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("parts", nargs="*", help="; ".join((*PARTS, "collect")))
    parser.add_argument("--work", type=Path, default=Path(".carry/mep"))
    parser.add_argument("--subjects", nargs="*", default=list(SUBJECTS), choices=list(SUBJECTS))
    parser.add_argument("--folds", type=int, default=2, help="of the table's networks; the paper has 10")
    parser.add_argument("--quick", action="store_true", help="collect into mep.quick.json")
    options = parser.parse_args()
    options.work.mkdir(parents=True, exist_ok=True)
    import jax

    from benchmarks import _mep, _mep_collect

    # Every fold compiles the same program again.
    jax.config.update("jax_compilation_cache_dir", str((options.work / "compiled").absolute()))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    own = {
        "subjects": subjects, "baselines": baselines, "table": table, "loss": loss, "full": full,
        "forward": _mep.forward, "pose": _mep.pose, "uncertainty": _mep.uncertainty, "mapping": _mep.mapping,
    }  # fmt: skip
    for part in options.parts or PARTS:
        if part == "table":
            table(options.work, options.subjects, options.folds)
        elif part != "collect":
            own[part](options.work, options.subjects)
    if not options.parts or "collect" in options.parts:
        results, targets = _mep_collect.collected(options.work)
        _common.write("mep", results, targets, quick=options.quick)


if __name__ == "__main__":
    main()
