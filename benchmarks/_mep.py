"""Parts of ``benchmarks.mep`` that go beyond the paper's tables."""

from __future__ import annotations

import dataclasses
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np

TRIALS, GRID_MM = 100, 5.0
"""Left-out stimulations whose pose is asked for, and the places' spacing."""

RUNS, STIMULATIONS = 12, 40
"""Mappings of each way of choosing, and stimulations of each."""

DRAWS = 50


def forward(work: Path, names: list[str]) -> None:
    """M2M-Net, fields to responses, on the first fold, beside ridge and neighbours in that direction."""
    from benchmarks.mep import EPOCHS, FACTOR, data, folds_of, kept

    def make() -> dict[str, Any]:
        from sklearn.linear_model import RidgeCV
        from sklearn.neighbors import KNeighborsRegressor

        from tmsjax.mep import SHORT_TRAINING, train_forward

        subject = data(work, "S1", FACTOR)
        test = folds_of(subject, "random") == 0
        left, held = subject[~test], subject[test]
        start = time.process_time()
        training = dataclasses.replace(SHORT_TRAINING, epochs=EPOCHS)
        model = train_forward(left, training, folder=work / "forward", progress=lambda t: print(t, flush=True))
        mean, turn = left.fields.mean(0), np.linalg.svd(left.fields - left.fields.mean(0), full_matrices=False)[2][:40]

        def few(s: Any) -> np.ndarray:
            return (s.fields - mean) @ turn.T

        found = {
            "m2m_net": model.predict(held.fields),
            "ridge": RidgeCV(np.logspace(-2, 6, 9)).fit(few(left), left.responses).predict(few(held)),
            "nearest": KNeighborsRegressor(10).fit(few(left), left.responses).predict(few(held)),
            "mean": np.tile(left.responses.mean(0), (len(held), 1)),
        }
        spread = ((held.responses - held.responses.mean(0)) ** 2).sum(0)
        size = np.linalg.norm(held.responses, axis=1)
        rows = {
            name: {
                "r2": float(np.mean(1 - ((y - held.responses) ** 2).sum(0) / spread)),
                "nrmse": float(np.mean(np.linalg.norm(y - held.responses, axis=1) / size)),
            }
            for name, y in found.items()
        }  # fmt: skip
        return {"rows": rows, "stimulations": int(test.sum()), "cpu_s": round(time.process_time() - start, 1)}

    kept(work / "found-forward.json", make)


def pose(work: Path, names: list[str]) -> None:
    """The coil's pose of left-out stimulations of head S1, beside the prior and the truth's own likelihood."""
    from benchmarks.mep import kept

    kept(work / "found-pose.json", lambda: _pose(work))
    from benchmarks._mep_oracle import floor

    kept(work / "found-pose-floor.json", lambda: floor(work))


def _pose(work: Path) -> dict[str, Any]:
    from benchmarks.mep import FACTOR, data, folds_of, setting
    from tmsjax.mep import coarser, fit_baseline, scores
    from tmsjax.mep.muscle_model import fit_muscles
    from tmsjax.mep.pose import coordinates, pose_grid, prior_of, recover

    start = time.process_time()
    _, model, coil, chart, _ = setting(work, "S1")
    whole = data(work, "S1", 1)
    test = folds_of(whole, "random") == 0
    left, held = whole[~test], whole[np.flatnonzero(test)[:TRIALS]]
    muscles, prior = fit_muscles(left), prior_of(chart, left)
    print("muscles", round(time.process_time() - start), flush=True)
    grid = pose_grid(model, coil, chart, prior, muscles.parcels, whole.voxels_mm, GRID_MM)
    print(len(grid.place_mm), "poses", round(time.process_time() - start), flush=True)
    found = recover(held, model, coil, chart, prior, muscles, grid)
    place, handle, _ = coordinates(chart, held.poses)
    at = np.linalg.norm(grid.place_mm[None] - place[:, None], axis=2) + 0.5 * np.abs(grid.handle_deg - handle[:, None])
    covered = found.inside[np.arange(len(held)), at.argmin(1)]
    off = {
        "posterior mean": (found.place_mm, found.handle_deg), "maximum, by gradient": (found.best_mm, found.best_deg),
        "prior mean": (np.tile(prior.place_mm, (len(held), 1)), np.full(len(held), prior.handle_deg)),
    }  # fmt: skip
    rows = {
        name: {
            "place_mm": float(np.median(np.linalg.norm(p - place, axis=1))),
            "handle_deg": float(np.median(np.abs(h - handle))),
        }
        for name, (p, h) in off.items()
    }  # fmt: skip
    active = (held.responses > 0).sum(1)
    by = np.linalg.norm(found.place_mm - place, axis=1)
    rows["posterior mean"] |= {
        "place_mm_8_or_more_active": float(np.median(by[active >= 8])),
        "place_mm_2_or_fewer_active": float(np.median(by[active <= 2])) if (active <= 2).any() else float("nan"),
    }
    coarse, true = coarser(left, FACTOR), coarser(held, FACTOR)
    # The intensity is known to the pose's search: regressions get it too, as one number more.
    with_level = [
        dataclasses.replace(
            s, responses=np.c_[s.responses, s.intensity_percent / 100], muscles=(*s.muscles, "intensity")
        )
        for s in (coarse, true)
    ]

    def binned(fields: np.ndarray) -> np.ndarray:
        return coarser(dataclasses.replace(held, fields=fields), FACTOR).fields

    fields = {
        "pose: posterior's mean field": binned(found.fields), "pose: field of the maximum": binned(found.best_fields),
        "kernel ridge": fit_baseline("kernel_ridge", coarse).predict(true.responses),
        "kernel ridge with intensity": fit_baseline("kernel_ridge", with_level[0]).predict(with_level[1].responses),
    }  # fmt: skip
    fields |= _network(work, coarse, true)
    errors = {
        name: {m: float(np.nanmean(v)) for m, v in scores(f, true.fields, true.voxels_mm).items()}
        for name, f in fields.items()
    }
    from scipy.stats import binomtest

    interval = binomtest(int(covered.sum()), len(covered)).proportion_ci(method="wilson")
    return {
        "stimulations": len(held), "grid": len(grid.place_mm), "pose": rows, "fields": errors,
        "inside_90": {"share": float(covered.mean()), "low": float(interval.low), "high": float(interval.high)},
        "covered_by_pose_model": float(np.mean(found.covered)), "cpu_s": round(time.process_time() - start, 1),
    }  # fmt: skip


def _network(work: Path, left: Any, held: Any) -> dict[str, np.ndarray]:
    """Direct Variational of the uncertainty part, which leaves out the same fold."""
    folder = work / "variational"
    if not (folder / "card.json").is_file():
        return {}
    from tmsjax.mep import load_inverse

    return {"direct variational": load_inverse(folder).predict(held.responses, draws=DRAWS)}


def uncertainty(work: Path, names: list[str]) -> None:
    """Intervals of Direct Variational: raw, and calibrated by a fifth of the training fold that it has not seen."""
    from benchmarks.mep import EPOCHS, FACTOR, data, folds_of, kept

    def make() -> dict[str, Any]:
        from tmsjax.mep import SHORT_TRAINING, InverseSpec, save_inverse, train_inverse
        from tmsjax.mep.coverage import calibrate, coverage, spread

        subject = data(work, "S1", FACTOR)
        fold = folds_of(subject, "random")
        hidden, test = np.isin(fold, (1, 2)), fold == 0
        left, keep, held = subject[~(hidden | test)], subject[hidden], subject[test]
        spec = InverseSpec(muscles=len(subject.muscles), voxel_mm=subject.voxel_mm)
        training = dataclasses.replace(SHORT_TRAINING, epochs=EPOCHS)
        model = train_inverse(
            left, spec, training, folder=work / "variational.run", progress=lambda t: print(t, flush=True)
        )
        save_inverse(model, work / "variational")
        at = subject.voxels_mm
        inner, outer = (spread(model, s.responses, at, DRAWS, 1) for s in (keep, held))
        found = calibrate(inner, keep.fields, at, keep.responses)
        return {
            "raw": coverage(outer, held.fields, at, held.responses),
            "calibrated": coverage(outer, held.fields, at, held.responses, found),
            "factors": {name: np.asarray(column).tolist() for name, column in found._asdict().items()},
            "calibrated_with": int(hidden.sum()),
        }

    kept(work / "found-uncertainty.json", make)


def mapping(work: Path, names: list[str]) -> None:
    """The FDI's hotspot and threshold on each head, stimulations chosen by information or at random."""
    from benchmarks.mep import kept

    for name in names:
        kept(work / f"found-{name}-mapping.json", lambda n=name: _mapping(work, n))


def _mapping(work: Path, name: str) -> dict[str, Any]:
    from scipy.interpolate import RBFInterpolator

    from tmsjax.mep import load_subject
    from tmsjax.mep.mapping import MapPrior, map_muscle
    from tmsjax.mep.recruitment import responses

    truth = pickle.loads((work / f"{name}.pkl").read_bytes())
    level = load_subject(work / f"{name}.zarr").intensity_percent
    rows = np.unique(truth["place_mm"].round(3), axis=0, return_index=True)[1]
    percent = truth["drive_percent"][rows, 0] / (level[rows] / 100)
    surface = RBFInterpolator(truth["place_mm"][rows], np.log(percent), smoothing=0.1, neighbors=60)
    ticks = np.arange(-30, 30.1, 5.0)
    places = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    fine = np.stack(np.meshgrid(*2 * [np.arange(-25, 25.1, 1.0)], indexing="ij"), -1).reshape(-1, 2)
    drive = np.exp(surface(fine))
    hotspot, top = fine[drive.argmax()], float(drive.max())
    known = dict(zip(map(tuple, places), np.exp(surface(places)) / top, strict=True))
    levels, best = np.arange(70.0, 161.0, 10.0), 100.0 + 0.0 * top
    out: dict[str, Any] = {"hotspot_mm": hotspot.tolist()}
    for choice in ("information", "random"):
        errors = []
        for seed in range(RUNS):
            rng = np.random.default_rng([seed, 9])

            def respond(place: np.ndarray, intensity: float, rng: Any = rng) -> bool:
                drive = np.array([[known[tuple(place)] * intensity]])
                return bool(responses(drive, np.array([3.4]), rng)[0, 0] > 0)

            found = map_muscle(
                respond, places, levels, stimulations=STIMULATIONS, prior=MapPrior(), choice=choice, seed=seed
            )
            errors.append([
                [float(np.linalg.norm(e.hotspot_mm - hotspot)), 100 * abs(e.threshold / best - 1)] for e in found
            ])  # fmt: skip
        values = np.array(errors)
        out[choice] = {"hotspot_mm": values[:, :, 0].tolist(), "threshold_percent": values[:, :, 1].tolist()}
    return out
