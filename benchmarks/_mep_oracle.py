"""The floor of pose recovery: the same posterior, by the law that the synthetic responses were made with."""

from __future__ import annotations

import dataclasses
import pickle
import time
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import logsumexp
from scipy.stats import norm


def log_likelihood(percent: np.ndarray, responses_mv: np.ndarray, plateau_mv: np.ndarray) -> np.ndarray:
    """(q,) of one trial's responses (m,) at drives (q, m) in per cent of each muscle's threshold.

    The shared noise of the drive by Gauss-Hermite nodes, the private one to first order; the recording's background of
    8 to 10 uV is left out, which matters for responses near 50 uV only.
    """
    from tmsjax.mep import recruitment as law

    nodes, weights = np.polynomial.hermite_e.hermegauss(7)
    unit = 100 * law.DRIVE_NOISE_MSO / law.MSO_AT_THRESHOLD

    def log_mv(x: np.ndarray) -> np.ndarray:
        return np.log10(law.median_mv(x, plateau_mv))

    parts = []
    for node, weight in zip(nodes, weights / weights.sum(), strict=True):
        x = percent + np.sqrt(law.COMMON) * unit * node
        slope = (log_mv(x + 0.5) - log_mv(x - 0.5)) * np.sqrt(1 - law.COMMON) * unit
        deviation = np.sqrt(law.LOG_NOISE**2 + slope**2)
        seen = norm.logpdf(np.log10(np.maximum(responses_mv, 0.05)), log_mv(x), deviation)
        unseen = norm.logcdf((np.log10(0.05) - log_mv(x)) / deviation)
        parts.append(np.where(responses_mv > 0, seen, unseen).sum(1) + np.log(weight))
    return logsumexp(parts, axis=0)


def floor(work: Path) -> dict[str, Any]:
    """Median errors of place and handle by the truth's own likelihood, on the stimulations of the pose part."""
    import jax.numpy as jnp

    import tmsjax as tj
    from benchmarks._mep import GRID_MM, TRIALS
    from benchmarks.mep import FACTOR, data, folds_of, setting
    from tmsjax.mep import coarser, recruitment, scores, synthetic
    from tmsjax.mep.files import held, stacked
    from tmsjax.mep.muscle_model import parcels
    from tmsjax.mep.pose import coordinates, pose_grid, prior_of, recover

    start = time.process_time()
    head, model, coil, chart, strip = setting(work, "S1")
    truth = pickle.loads((work / "S1.pkl").read_bytes())
    people = recruitment.Muscles(*truth["muscles"])
    whole = data(work, "S1", 1)
    test = folds_of(whole, "random") == 0
    left, held_out = whole[~test], whole[np.flatnonzero(test)[:TRIALS]]
    prior = prior_of(chart, left)

    grid = pose_grid(model, coil, chart, prior, parcels(whole.voxels_mm), whole.voxels_mm, GRID_MM)
    gap = jnp.float32(prior.gap_mm)
    poses = held(chart, jnp.asarray(grid.place_mm, jnp.float32), jnp.asarray(grid.handle_deg, jnp.float32), gap)
    sign = int(np.sign(whole.didt_a_per_us[0]))
    known = stacked(left.poses[:8])
    both = tj.coil.CoilPose(
        jnp.concatenate([known.rotation, poses.rotation]), jnp.concatenate([known.centre, poses.centre])
    )
    drives = synthetic.drives_at(
        head, model, coil, tj.surrogate.load("open/L5_PC_1"), strip, both, people, sign, seed=0
    )
    # The known drives of eight stimulations give each muscle's scale.
    kept = _kept_rows(work)[np.flatnonzero(~test)[:8]]
    known_percent = truth["drive_percent"][kept] / left.intensity_percent[:8, None]
    scale = np.median(known_percent / drives[:8], axis=0)
    percent = drives[8:] * scale
    found = np.stack([
        log_likelihood(percent * level, y, people.plateau_mv)
        for level, y in zip(held_out.intensity_percent, held_out.responses, strict=True)
    ])  # fmt: skip
    pose = recover(held_out, model, coil, chart, prior, None, grid, log_likelihood=found)
    place, handle, _ = coordinates(chart, held_out.poses)
    at = np.linalg.norm(grid.place_mm[None] - place[:, None], axis=2) + 0.5 * np.abs(grid.handle_deg - handle[:, None])
    true = coarser(held_out, FACTOR)
    fields = {"mean field": pose.fields, "field of the maximum": pose.best_fields}
    errors = {
        name: {
            m: float(np.nanmean(v))
            for m, v in scores(
                coarser(dataclasses.replace(held_out, fields=f), FACTOR).fields, true.fields, true.voxels_mm
            ).items()
        }
        for name, f in fields.items()
    }
    return {
        "place_mm": float(np.median(np.linalg.norm(pose.place_mm - place, axis=1))),
        "best_place_mm": float(np.median(np.linalg.norm(pose.best_mm - place, axis=1))),
        "handle_deg": float(np.median(np.abs(pose.handle_deg - handle))),
        "inside_90": float(pose.inside[np.arange(len(place)), at.argmin(1)].mean()),
        "scale_spread": float(np.std(np.log(known_percent / drives[:8] / scale))),
        "fields": errors, "cpu_s": round(time.process_time() - start, 1),
    }  # fmt: skip


def _kept_rows(work: Path) -> np.ndarray:
    """Rows of the subject as it was generated that cleaning has kept."""
    from tmsjax.mep import load_subject

    whole = load_subject(work / "S1.zarr")
    return np.flatnonzero((whole.responses > 0).any(1) & (whole.fields.max(1) >= 0.01))
