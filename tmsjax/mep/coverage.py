"""What a model's intervals are worth: coverage of draws, and intervals made to cover by split-conformal scaling.

The draws of Direct Variational spread as the KL weight forces them to, not as the responses leave open: its encoder
never sees a field, and squared errors never reward spread. So its intervals are measured, and widened by factors from
stimulations that were held out of training (split conformal prediction; Vovk et al. 2005, Angelopoulos & Bates 2021),
apart by the number of active muscles.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from scipy.stats import binomtest, norm

from tmsjax.core.errors import InputError
from tmsjax.mep.inverse import InverseModel
from tmsjax.mep.scores import centre_of_gravity

LEVEL = 0.9
ACTIVE_BINS = ((1, 2), (3, 7), (8, 10**6))
"""Numbers of active muscles that have factors of their own."""

LEAST = 20
"""Stimulations that a factor is taken from; bins with fewer share one."""


class Spread(NamedTuple):
    """Mean and s.d. (n, v) in V/m of draws, and the centres of gravity's (n, 3) mm and their s.d. (n,)."""

    mean: Float[np.ndarray, "n v"]
    deviation: Float[np.ndarray, "n v"]
    cog_mm: Float[np.ndarray, "n 3"]
    cog_sd_mm: Float[np.ndarray, " n"]


class Calibration(NamedTuple):
    """Factors on the s.d. by active muscles, and radii round the centre of gravity.

    voxel: of single voxels. field: of 95 % of a field's voxels at once. cog_mm: radii.
    """

    voxel: Float[np.ndarray, " k"]
    field: Float[np.ndarray, " k"]
    cog_mm: Float[np.ndarray, " k"]


def spread(model: InverseModel, responses_mv: Any, voxels_mm: Any, draws: int = 50, seed: int = 0) -> Spread:
    """Moments over draws of a variational model; InputError for a model that does not draw, and fewer than 2 draws."""
    if "log_variance" not in model.variables or model.spec.model == "vae_decoder" or draws < 2:
        raise InputError(
            "draws of a model", got=f"{draws} of {model.spec.model}",
            expected="2 or more of direct_variational or vae_sampler_decoder",
        )  # fmt: skip
    total, square, cogs = np.zeros(()), np.zeros(()), []
    for fields in model.drawn(responses_mv, draws, seed):
        f = fields.astype(np.float64)
        total, square = total + f, square + f**2
        cogs.append(centre_of_gravity(f, voxels_mm))
    mean = total / draws
    deviation = np.sqrt(np.maximum(square / draws - mean**2, 0) * draws / (draws - 1))
    at = np.stack(cogs)
    return Spread(mean, deviation, np.nanmean(at, 0), np.sqrt(np.nanmean(((at - np.nanmean(at, 0)) ** 2).sum(-1), 0)))


def active_bin(responses_mv: Any) -> Int[np.ndarray, " n"]:
    """Which of ``ACTIVE_BINS`` each row of responses (n, m) is in; a row without a response is in the first."""
    active = (np.asarray(responses_mv) > 0).sum(1)
    return np.searchsorted([low for low, _ in ACTIVE_BINS[1:]], active, side="right")


def calibrate(found: Spread, true: Any, voxels_mm: Any, responses_mv: Any, level: float = LEVEL) -> Calibration:
    """Factors that make intervals cover ``level`` of held-out stimulations (rank ceil((n + 1) level) of n).

    Raises InputError for fewer stimulations than such a rank needs.
    """
    ratio, cog = _ratios(found, true), _off(found, true, voxels_mm)
    bins, least = active_bin(responses_mv), int(np.ceil(level / (1 - level)))
    if len(ratio) < least:
        raise InputError("stimulations to calibrate with", got=len(ratio), expected=f"{least} or more")
    by_sample = np.quantile(ratio, level, axis=1)
    whole = np.quantile(ratio, 0.95, axis=1)
    columns = []
    for values in (by_sample, whole, cog):
        everyone = _rank(values, level)
        rows = [bins == k for k in range(len(ACTIVE_BINS))]
        columns.append(np.array([_rank(values[r], level) if r.sum() >= max(LEAST, least) else everyone for r in rows]))
    # Of single voxels the share over all voxels of a bin is asked for, not the worst sample's.
    for k in range(len(ACTIVE_BINS)):
        rows = bins == k
        columns[0][k] = np.quantile(ratio[rows] if rows.sum() >= LEAST else ratio, level)
    return Calibration(*columns)


def coverage(
    found: Spread, true: Any, voxels_mm: Any, responses_mv: Any, calibration: Calibration | None = None,
    level: float = LEVEL,
) -> dict[str, Any]:  # fmt: skip
    """Share of voxels, fields and centres of gravity that intervals of ``level`` cover, raw or calibrated.

    Of single voxels the mean over stimulations with its 95 % standard error over these (voxels of one field go
    together); of fields and centres the count with a binomial interval. Width: mean half-width of voxels' intervals
    over the mean |E|.
    """
    ratio, cog, bins = _ratios(found, true), _off(found, true, voxels_mm), active_bin(responses_mv)
    normal = float(norm.ppf(0.5 + level / 2))
    if calibration is None:
        factor = np.full(len(ratio), normal)
        whole, radius = factor, np.sqrt(2.0) * normal * found.cog_sd_mm
    else:
        factor, whole, radius = (np.asarray(column)[bins] for column in calibration)
    share = (ratio <= factor[:, None]).mean(1)
    fields = int((np.quantile(ratio, 0.95, axis=1) <= whole).sum())
    centres = int((cog <= radius).sum())
    width = (factor[:, None] * found.deviation).mean() / np.asarray(true).mean()
    return {
        "stimulations": len(ratio), "voxels": float(share.mean()),
        "voxels_sem": float(1.96 * share.std() / np.sqrt(len(share))), "half_width": float(width),
        "fields": _share(fields, len(ratio)), "centres": _share(centres, len(ratio)),
    }  # fmt: skip


def _share(count: int, total: int) -> dict[str, float]:
    interval = binomtest(count, total).proportion_ci(method="wilson")
    return {"share": count / total, "low": float(interval.low), "high": float(interval.high)}


def _ratios(found: Spread, true: Any) -> Float[np.ndarray, "n v"]:
    return np.abs(np.asarray(true) - found.mean) / np.maximum(found.deviation, 1e-9)


def _off(found: Spread, true: Any, voxels_mm: Any) -> Float[np.ndarray, " n"]:
    return np.linalg.norm(centre_of_gravity(found.mean, voxels_mm) - centre_of_gravity(true, voxels_mm), axis=1)


def _rank(values: np.ndarray, level: float) -> float:
    """The ceil((n + 1) level)-th smallest: what split conformal prediction takes."""
    order = np.sort(values)
    return float(order[min(len(order), int(np.ceil((len(order) + 1) * level))) - 1])
