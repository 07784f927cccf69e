"""A pose model's certificate: its errors against direct solves at poses and coils that it was not made from."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from jaxtyping import Float

from tmsjax.coil import BUNDLED, Coil, CoilPose, load, pose_on_scalp, reduce
from tmsjax.core.errors import InputError
from tmsjax.efield.checks import check_coil
from tmsjax.efield.posemodel_train import head_hash
from tmsjax.efield.posemodel_type import PoseModel
from tmsjax.efield.solve import solve
from tmsjax.head import HeadModel, scalp_surface

MINIMUM = 10
"""Direct solves that a certificate needs."""

REDUCED = 300
"""Dipoles of the reduced coil that a certificate tries as well (``coil.reduce``)."""

GAPS_MM = (2.0, 10.0)
"""Held-out poses are drawn with gaps between these."""


def certify(
    model: PoseModel,
    head: HeadModel,
    held_out: Iterable[tuple[Coil, CoilPose]] | int = 12,
    *,
    seed: int = 1,
    progress: Callable[[str, int, int], None] | None = None,
) -> PoseModel:
    """The model with a certificate: its field against ``efield.solve`` at held-out poses.

    Args:
        model: to be judged. Direct solves are done as its own were (voxel size, partial volumes, tolerance).
        head: the one it was made from.
        held_out: pairs of a coil and a pose that the model covers, or how many to draw: the bundled coils in turn,
            held over random points of the region at random angles and gaps of 2 to 10 mm.
        seed: of that draw.
        progress: called with (what, solves done, solves in all).

    Returns:
        the model, its ``certificate`` a dict. Of each of its ``poses``: coil, matrix, residual of the direct solve
        (of all the coil's dipoles), and of the model with all of them and with ``REDUCED`` of them (``reduced_...``):
        ``l2``, the norm of the difference over the points by that of the field, and ``peak``, the largest difference
        at a point by the largest |E|. ``worst_l2``, ``median_l2`` and ``worst_peak`` are over all poses and both.

    Raises:
        InputError: fewer than ``MINIMUM`` poses, a pose that the model does not cover, or another head.
    """
    if not isinstance(model, PoseModel):
        raise InputError("this is no pose model", got=type(model).__name__, expected="a PoseModel")
    made = json.loads(model.card)
    if head_hash(head, made["coarsen"], made["partial_volume"]) != made["head_hash"]:
        raise InputError(
            "this model belongs to another head",
            got=f"head {head.name!r}",
            expected=f"the labels, affine and conductivities of head {made['head']!r} that it was made from",
        )
    wanted = checked_held_out(held_out)
    pairs = draw(model, head, wanted, seed) if isinstance(wanted, int) else wanted
    rows = []
    small = {key: reduce(coil, REDUCED) for key, coil in {id(coil): coil for coil, _ in pairs}.items()}
    for n, (coil, pose) in enumerate(pairs):
        options = {name: made[name] for name in ("coarsen", "partial_volume", "tolerance")}
        field = solve(head, coil, pose, **options)
        truth = np.asarray(field.at(model.points_mm), float)
        whole, fewer = (errors(np.asarray(model(c, pose), float), truth) for c in (coil, small[id(coil)]))
        rows.append(
            {
                "coil": coil.name,
                "dipoles": len(coil.positions),
                "matrix": np.round(pose.matrix, 4).tolist(),
                "residual": float(field.residual),
                **whole,
                **{f"reduced_{name}": value for name, value in fewer.items()},
            }
        )
        if progress is not None:
            progress("direct solves", n + 1, len(pairs))
    l2 = [row[name] for row in rows for name in ("l2", "reduced_l2")]
    certificate = {
        "worst_l2": max(l2),
        "median_l2": float(np.median(l2)),
        "worst_peak": max(row[name] for row in rows for name in ("peak", "reduced_peak")),
        "poses": rows,
    }
    return dataclasses.replace(model, card=json.dumps({**made, "certificate": certificate}, sort_keys=True))


def checked_held_out(held_out: Iterable[tuple[Coil, CoilPose]] | int) -> list[tuple[Coil, CoilPose]] | int:
    """How many poses to draw, or a list of them; InputError for too few, asked before the work that would be lost."""
    expected = f"a number of poses, or pairs of a coil and a pose; at least {MINIMUM}"
    if isinstance(held_out, int | np.integer):
        count, found = int(held_out), int(held_out)
    else:
        try:
            found = [(coil, pose) for coil, pose in held_out]
        except (TypeError, ValueError) as error:
            raise InputError("poses of a certificate", got=repr(held_out)[:80], expected=expected) from error
        for coil, pose in found:
            check_coil(coil, pose)
        count = len(found)
    if count < MINIMUM:
        raise InputError("too few poses for a certificate", got=count, expected=expected)
    return found


def errors(ours: Float[np.ndarray, "p 3"], truth: Float[np.ndarray, "p 3"]) -> dict[str, float]:
    """``l2``: |difference| / |truth| over all points; ``peak``: largest difference at a point over the largest |E|."""
    away = ours - truth
    return {
        "l2": float(np.linalg.norm(away) / np.linalg.norm(truth)),
        "peak": float(np.linalg.norm(away, axis=1).max() / np.linalg.norm(truth, axis=1).max()),
    }


def draw(model: PoseModel, head: HeadModel, count: int, seed: int) -> list[tuple[Coil, CoilPose]]:
    """Random poses over the model's points, of the bundled coils in turn, all of them covered by the model."""
    rng = np.random.default_rng(seed)
    coils = [load(name) for name in BUNDLED]
    scalp, points = scalp_surface(head), np.asarray(model.points_mm, float)
    pairs: list[tuple[Coil, CoilPose]] = []
    refused: Any = "none"
    for _ in range(4 * count):
        coil = coils[len(pairs) % len(coils)]
        target, angle, gap = points[rng.integers(len(points))], rng.uniform(0, 360), rng.uniform(*GAPS_MM)
        try:
            pose = pose_on_scalp(head, target, float(angle), float(gap), coil=coil, scalp=scalp)
        except InputError as error:
            refused = error
            continue
        if bool(model.covers(coil, pose)):
            pairs.append((coil, pose))
        if len(pairs) == count:
            return pairs
    raise InputError(
        "no held-out poses can be drawn for this region",
        got=f"{len(pairs)} of {count}; the last one refused: {refused}",
        expected="poses on the scalp that the model covers",
        mend="give pairs of a coil and a pose yourself: certify(model, head, [(coil, pose), ...])",
    )
