"""Targets of the placement benchmark, by rules that any head's surfaces answer."""

from __future__ import annotations

from typing import Any

import numpy as np

import tmsjax as tj
from tmsjax.optimize import targets
from tmsjax.optimize.problem import Problem

BALL_MM, RING_MM = 8.0, (12.0, 20.0)
UPPER_LEFT = (-0.6, -0.1, 0.8)


def place_of(head, name: str) -> np.ndarray:
    """Middle of a head's targets: the left hand knob, or cortex under the upper left of a head without landmarks."""
    if name == "S1":
        return np.asarray(tj.head.landmark(head, "hand_knob_left"), float)
    scalp = np.asarray(tj.head.scalp_surface(head).vertices, float)
    middle = scalp.mean(0)
    aim = middle + np.linalg.norm(scalp - middle, axis=1).max() * np.array(UPPER_LEFT)
    aim = scalp[np.linalg.norm(scalp - aim, axis=1).argmin()]
    half = np.mean([np.asarray(head.surfaces[f"lh_{kind}"].vertices, float) for kind in ("pial", "white")], axis=0)
    return half[np.linalg.norm(half - aim, axis=1).argmin()]


def targets_of(head, centre: np.ndarray) -> list[dict[str, Any]]:
    """Five places by rule: the middle, the crown nearest to the scalp, two facing banks, the deepest in reach."""
    surface = tj.cortex.layer_surface(head, 0.6)
    at, column = surface.vertices, surface.columns / np.linalg.norm(surface.columns, axis=1, keepdims=True)
    near = np.flatnonzero((np.linalg.norm(at - centre, axis=1) < 22.0) & (surface.hemisphere == 0))
    at, column = at[near], column[near]
    scalp = tj.head.scalp_surface(head)
    depth = -tj.head.signed_distance(scalp, at)
    out = at - np.asarray(head.surfaces["lh_pial"].vertices, float).mean(0)
    out /= np.linalg.norm(out, axis=1, keepdims=True)
    wall = np.abs((column * out).sum(1)) < 0.35
    away = np.linalg.norm(at - centre, axis=1)
    first = np.flatnonzero(wall)[away[wall].argmin()]
    facing = wall & (column @ column[first] < -0.8) & (np.linalg.norm(at - at[first], axis=1) > 4.0)
    second = np.flatnonzero(facing)[np.linalg.norm(at[facing] - at[first], axis=1).argmin()]
    deep, crown = depth.argmax(), np.where(away > 10.0, depth, np.inf).argmin()
    rows = [
        ("middle", "ball", centre),
        ("crown", "ball", at[crown]),
        ("bank", "bank", at[first]),
        ("facing bank", "bank", at[second]),
        ("deep", "ball", at[deep]),
    ]
    return [
        {
            "name": name,
            "kind": "deep ball" if name == "deep" else kind,
            "make": kind,
            "centre_mm": np.asarray(where).round(2),
        }
        for name, kind, where in rows
    ]


def prepared(
    head,
    coil,
    models,
    pose_model,
    target: dict[str, Any],
    sites: int,
    held_out: int,
    ring: bool = False,
    variables=None,
) -> Problem:
    make = targets.bank if target["make"] == "bank" else targets.ball
    aim = make(
        head, target["centre_mm"], BALL_MM, layers=tuple(models), hemisphere="lh", name=target["name"], sites=sites,
        held_out=held_out, ring_mm=RING_MM if ring else None,
    )  # fmt: skip
    return tj.optimize.prepare(head, coil, aim, models, pose_model=pose_model, variables=variables)
