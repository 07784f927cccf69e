"""How good reconstructed fields are: equations 12 to 15 of Akbar et al. 2024, and what their program computes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float

from tmsjax.core.errors import InputError

METRICS = ("nrmse", "r2", "corr2", "cog_mm", "shape")
"""nrmse: (12). r2: (13), over the mask's voxels. corr2: squared Pearson correlation, which the authors' program reports
as R2. cog_mm: (15), mm. shape: nrmse of the prediction scaled at best, which a field of the right form brings to 0."""

NORMAL_95 = 1.96


def scores(predicted: Any, true: Any, voxels_mm: Any) -> dict[str, Float[np.ndarray, " n"]]:
    """METRICS of each stimulation: fields (n, v) at voxels (v, 3) mm; NaN where a prediction is constant or zero.

    Raises InputError for shapes that do not agree and true fields that are zero or constant over the mask.
    """
    p, t, at = (np.asarray(a, float) for a in (predicted, true, voxels_mm))
    if p.shape != t.shape or p.ndim != 2 or at.shape != (p.shape[1], 3) or not p.size:
        raise InputError("fields to compare", got=(p.shape, t.shape, at.shape), expected="(n, v) twice and (v, 3)")
    spread = ((t - t.mean(1, keepdims=True)) ** 2).sum(1)
    if not np.isfinite(p).all() or not (spread > 0).all():
        raise InputError(
            "fields to compare", got="fields that are not finite, or constant", expected="fields that vary"
        )
    power, off = (t**2).sum(1), ((p - t) ** 2).sum(1)
    with np.errstate(invalid="ignore", divide="ignore"):
        best = (p * t).sum(1) / (p**2).sum(1)
        centred = p - p.mean(1, keepdims=True)
        corr = (centred * (t - t.mean(1, keepdims=True))).sum(1) / np.sqrt((centred**2).sum(1) * spread)
        cog = np.linalg.norm(centre_of_gravity(p, at) - centre_of_gravity(t, at), axis=1)
        shape = np.sqrt(((best[:, None] * p - t) ** 2).sum(1) / power)
    return {"nrmse": np.sqrt(off / power), "r2": 1 - off / spread, "corr2": corr**2, "cog_mm": cog, "shape": shape}


def centre_of_gravity(fields: Any, voxels_mm: Any) -> Float[np.ndarray, "n 3"]:
    """Centre of gravity (n, 3) mm of fields (n, v), equation 14; NaN of a field that is zero."""
    fields = np.asarray(fields, float)
    total = fields.sum(1, keepdims=True)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(total > 0, fields @ np.asarray(voxels_mm, float) / total, np.nan)


def mean_and_sem(values: Any, folds: Any = None) -> dict[str, float]:
    """Mean, 95 % standard error over stimulations (as the authors' program has it), and over folds where given."""
    values = np.asarray(values, float)
    kept = values[np.isfinite(values)]
    if not len(kept):
        return {"mean": float("nan"), "sem": float("nan"), "n": 0}
    out = {"mean": float(kept.mean()), "sem": float(NORMAL_95 * kept.std() / np.sqrt(len(kept))), "n": len(kept)}
    if folds is not None:
        means = [np.nanmean(values[folds == fold]) for fold in np.unique(folds)]
        out["sem_folds"] = float(NORMAL_95 * np.std(means) / np.sqrt(len(means)))
    return out


def summary(found: Mapping[str, Any], folds: Any = None, level: Any = None) -> dict[str, Any]:
    """Of each metric ``mean_and_sem``; with intensities ``level`` (n,), ``by_intensity`` too (table III)."""
    out: dict[str, Any] = {name: mean_and_sem(values, folds) for name, values in found.items()}
    if level is not None:
        out["by_intensity"] = {
            f"{value:g}": {name: mean_and_sem(np.asarray(values)[level == value]) for name, values in found.items()}
            for value in np.unique(level)
        }
    return out
