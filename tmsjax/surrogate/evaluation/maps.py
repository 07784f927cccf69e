"""Thresholds and errors where the neurons are: medians over clones and azimuths on a layer's surface (figure 3)."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Int
from numpy import ndarray
from scipy.spatial import KDTree

from tmsjax.core.errors import InputError
from tmsjax.cortex.layers import layer_surface
from tmsjax.head import HeadModel
from tmsjax.surrogate.evaluation.scores import Judged, place_medians

REACH_MM = 2.5
"""A face further than this from every site has no value."""

CONTEXT_MM = 10.0
"""Surface shown round the sites, bare, so that a reader sees where they lie."""


class CortexMap(NamedTuple):
    """A piece of a layer's surface and values on its faces, NaN where there is no site near."""

    vertices: Float[ndarray, "v 3"]
    faces: Int[ndarray, "f 3"]
    values: dict[str, Float[ndarray, " f"]]


def cortex_map(judged: Judged, head: HeadModel, depth: float, pose: int, sign: int) -> CortexMap:
    """Median thresholds (A/us) and median percent errors of one pose and direction, from the nearest site.

    Args:
        judged: of ``judge``, with one layer; several clones may be joined.
        head: the head that the neurons stand in. depth: normalised depth of their layer (``Population.depth``).

    Returns:
        CortexMap with values ``"simulated"`` and each estimator's name, A/us, and ``"NAME error"``, per cent.
    """
    here = (np.asarray(judged.columns["pose"]) == pose) & (np.asarray(judged.columns["sign"]) == sign)
    if not here.any():
        raise InputError("no threshold of this pose and direction", got=(pose, sign), expected="one of the dataset's")
    some = judged[here]
    factor = np.asarray(some.columns["a_per_us"], np.float64)
    stimulator = {name: factor * values / some.v_per_m for name, values in some.predicted.items()}
    in_a_per_us = Judged(factor, stimulator, some.columns)
    of_sites = {of: place_medians(in_a_per_us, ("site",), of) for of in ("thresholds", "errors")}
    found = {"simulated": of_sites["thresholds"].v_per_m, **of_sites["thresholds"].predicted}
    found |= {f"{name} error": of_sites["errors"].errors(name) for name in some.predicted}
    sites, first = np.unique(some.columns["site"], return_index=True)
    order = np.searchsorted(sites, of_sites["errors"].columns["site"])
    places = np.stack([some.columns[f"{axis}_mm"] for axis in "xyz"], -1)[first][order]
    surface = layer_surface(head, depth)
    distance, nearest = KDTree(places).query(surface.triangles.mean(axis=1))
    shown = distance <= CONTEXT_MM
    values = {name: np.where(distance <= REACH_MM, v[nearest], np.nan)[shown] for name, v in found.items()}
    return CortexMap(np.asarray(surface.vertices), np.asarray(surface.faces)[shown], values)
