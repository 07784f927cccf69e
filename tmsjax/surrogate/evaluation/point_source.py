"""Fields of a microelectrode, unlike any coil's: whether a surrogate says that it does not know them.

Aberra et al. (2023), figure S8: a point source in a homogeneous medium, electrodes in 0.1 mm steps round the cell.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy import stats

from tmsjax.cells.types import Cell
from tmsjax.core.errors import InputError
from tmsjax.core.thresholds import Thresholds
from tmsjax.cortex import sampling_grid
from tmsjax.nn import metrics
from tmsjax.surrogate.evaluation.scores import Rows, binned
from tmsjax.surrogate.types import Surrogate

CONDUCTIVITY = 0.276
"""S/m, grey matter (figure S8)."""

NEAREST_MM = 0.03
"""Electrodes nearer than this to a compartment are left out (figure S8)."""


def electrodes(reach_mm: float = 1.5, step_mm: float = 0.1) -> Float[ndarray, "e 3"]:
    """Places on a cubic grid within ``reach_mm`` of the soma, mm in the cell's frame, half a step off it."""
    if not 0 < step_mm <= reach_mm:
        raise InputError("no such electrodes", got=(reach_mm, step_mm), expected="0 < step_mm <= reach_mm")
    count = int(reach_mm / step_mm)
    ticks = (np.arange(-count, count) + 0.5) * step_mm
    places = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    return places[np.linalg.norm(places, axis=1) <= reach_mm]


def point_source_field(
    points_mm: Float[ndarray, "p 3"], electrode_mm: Float[ndarray, "e 3"], conductivity: float = CONDUCTIVITY
) -> Float[ndarray, "e p 3"]:
    """E = r / (4 pi sigma |r|^3) in V/m per mA of anodic current, at points from each electrode; infinite at it."""
    away = np.asarray(points_mm, np.float64)[None] - np.asarray(electrode_mm, np.float64)[:, None]
    distance = np.linalg.norm(away, axis=-1, keepdims=True)
    with np.errstate(divide="ignore", invalid="ignore"):
        # 1 mA at 1 mm: 1e-3 A / (4 pi sigma (1e-3 m)^2).
        return 1e3 * away / (4 * np.pi * conductivity * distance**3)


def point_source_patches(model: Surrogate, electrode_mm: Float[ndarray, "e 3"]) -> Float[ndarray, "e n n n 3"]:
    """Patches on the model's grid, V/m per mA of cathodic current; not finite where an electrode is on a sample."""
    spec = model.spec
    points = np.asarray(sampling_grid(spec.side_mm, spec.z_shift_mm, spec.n), np.float64).reshape(-1, 3)
    parts = [
        -point_source_field(points, electrode_mm[i : i + 256]).astype(np.float32)
        for i in range(0, len(electrode_mm), 256)
    ]
    return np.concatenate(parts).reshape(-1, spec.n, spec.n, spec.n, 3)


def simulate_point_sources(
    cell: Cell, electrode_mm: Float[ndarray, "e 3"], pulse: str = "monophasic", engine: str = "cable", **options: Any
) -> tuple[Float[ndarray, "f 3"], Thresholds]:
    """Thresholds of electrodes that are not within NEAREST_MM of a compartment, and the places (f, 3) of those.

    ``factor`` is mA of cathodic current; options as ``tmsjax.simulate.thresholds``.
    """
    from scipy.spatial import KDTree

    from tmsjax.cells import cable_model
    from tmsjax.simulate import thresholds

    points = cable_model(cell).xyz_um / 1e3
    far = KDTree(points).query(electrode_mm)[0] >= NEAREST_MM
    kept = np.asarray(electrode_mm)[far]
    if not len(kept):
        raise InputError("no electrode is left", got=f"all within {NEAREST_MM} mm of the cell", expected="one or more")
    return kept, thresholds(cell, -point_source_field(points, kept), pulse, engine, **options)


def flagged(model: Surrogate, tms_patches: Any, other_patches: Any, distance_mm: Any = None, bins: int = 5) -> Rows:
    """Whether the in-domain score tells fields apart: shares flagged and the area under the ROC curve.

    Args:
        tms_patches: fields that the model should know, not those that it was trained on.
        other_patches: fields that it should not, e.g. of ``point_source_patches``.
        distance_mm: (e,) of the electrodes; where given, a row for each of ``bins`` ranges follows the first.
    """
    known = np.asarray(model.domain_distance(tms_patches), np.float64)
    other = np.asarray(model.domain_distance(other_patches), np.float64)
    ranges = np.full(len(other), "all") if distance_mm is None else binned(np.asarray(distance_mm), bins)
    first = np.argsort(np.zeros(len(other)) if distance_mm is None else np.asarray(distance_mm), kind="stable")
    names = dict.fromkeys(["all", *ranges[first].tolist()])
    limit = float(model.domain.limit)
    return [
        {
            "distance_mm": name,
            "n": int(some.sum()),
            "flagged_share": float((other[some] > limit).mean()),
            "tms_flagged_share": float((known > limit).mean()),
            "auc": area_under_curve(other[some], known),
        }
        for name in names
        for some in [np.ones(len(other), bool) if name == "all" else ranges == name]
    ]


def area_under_curve(above: Any, below: Any) -> float:
    """Probability that a value of ``above`` exceeds one of ``below``, ties counting half: the area under the ROC."""
    above, below = np.asarray(above, np.float64), np.asarray(below, np.float64)
    if not len(above) or not len(below) or np.isnan(above).any() or np.isnan(below).any():
        raise InputError("nothing to tell apart", got=(len(above), len(below)), expected="numbers on both sides")
    ranks = stats.rankdata(np.concatenate([above, below]))[: len(above)]
    return float((ranks.sum() - len(above) * (len(above) + 1) / 2) / (len(above) * len(below)))


def point_source_test(
    model: Surrogate, electrode_mm: Float[ndarray, "e 3"], thresholds_ma: Any, bins: int = 5
) -> tuple[Rows, dict[str, ndarray]]:
    """A surrogate against simulated thresholds (e,) in mA of cathodic current; rows without one are left out.

    Returns:
        (table, columns): scores of all and by distance from the soma, as far as predictions go; and distances (mm),
        simulated and predicted thresholds (mA), percent errors, domain distances.
    """
    truth, places = np.asarray(thresholds_ma, np.float64), np.asarray(electrode_mm, np.float64)
    patches = point_source_patches(model, places)
    score = np.asarray(model.domain_distance(patches), np.float64)
    usable = np.isfinite(truth) & np.isfinite(score)
    truth, score, distance = truth[usable], score[usable], np.linalg.norm(places[usable], axis=1)
    predicted = np.asarray(model.scale(patches[usable]), np.float64)
    ranges = binned(distance, bins)
    names = dict.fromkeys(["all", *ranges[np.argsort(distance, kind="stable")].tolist()])
    rows: Rows = []
    for name in names:
        some = np.ones(len(truth), bool) if name == "all" else ranges == name
        share = float((score[some] > float(model.domain.limit)).mean())
        rows.append({"distance_mm": name, "flagged_share": share, **metrics.summary(predicted[some], truth[some])})
    columns = {
        "distance_mm": distance,
        "simulated_ma": truth,
        "predicted_ma": predicted,
        "error_percent": 100 * (predicted / truth - 1),
        "domain_distance": score,
    }
    return rows, columns
