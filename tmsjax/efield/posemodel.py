"""Fields of any coil at any pose in milliseconds: precompute for a region, certify, save, load, evaluate.

model = precompute_region(head, centre_mm, radius_mm)     # some 200 solves, once
e = model(coil, pose)                                     # (p, 3) V/m per A/us, about 1 ms, differentiable
field = model.field(coil, pose)                           # an EField on the region's voxels
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from tmsjax.coil import Coil, CoilPose
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError, check_number
from tmsjax.core.transforms import check_finite
from tmsjax.efield.checks import tissues
from tmsjax.efield.medium import conductivity
from tmsjax.efield.posemodel_certificate import certify, checked_held_out
from tmsjax.efield.posemodel_store import load, save
from tmsjax.efield.posemodel_train import check_request, train
from tmsjax.efield.posemodel_type import PoseModel
from tmsjax.head import HeadModel
from tmsjax.head.model import CSF, GREY, WHITE

__all__ = ["PoseModel", "certify", "load", "precompute", "precompute_region", "save"]

BRAIN = (WHITE, GREY, CSF)


def precompute(
    head: HeadModel,
    points_mm: ArrayLike,
    *,
    rank: int = 100,
    clearance_mm: float | None = None,
    tolerance: float = 5e-5,
    coarsen: int = 1,
    partial_volume: str | bool = True,
    held_out: Iterable[tuple[Coil, CoilPose]] | int = 12,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    work: str | Path | None = None,
) -> PoseModel:
    """A pose model of the field at points (p, 3) mm in a head: 2 rank + 10 solves, and those of the certificate.

    Args:
        head: as for ``efield.solve``.
        points_mm: (p, 3) RAS+ mm in tissue; storage is 12 p rank bytes.
        rank: modes. A region of 25 mm radius needs 50 to 100, a hemisphere 200 to 400.
        clearance_mm: how near to the scalp a coil's dipoles may come, at least two voxels; by default that or 3 mm.
        tolerance: relative residual of all solves.
        coarsen, partial_volume: as for ``efield.solve``.
        held_out: poses of the certificate, or how many to draw (``certify``); 0 for none.
        seed: of the noise and of the points.
        progress: called with (what, solves done, solves in all).
        work: folder that keeps finished batches, so that the same request goes on after a kill; delete it afterwards.

    Raises:
        InputError: points outside the tissue, a rank or clearance that no model can have, too few held-out poses, a
            folder ``work`` that cannot be written.
        ConvergenceError: a solve that did not come down to the tolerance.
    """
    held_out = _wanted(held_out)
    model = train(head, points_mm, rank, clearance_mm, tolerance, coarsen, partial_volume, seed, progress, work)
    return certify(model, head, held_out, seed=seed + 1, progress=progress) if held_out else model


def precompute_region(
    head: HeadModel,
    centre_mm: ArrayLike,
    radius_mm: float,
    *,
    labels: Sequence[int] = BRAIN,
    coarsen: int = 1,
    rank: int = 100,
    clearance_mm: float | None = None,
    tolerance: float = 5e-5,
    partial_volume: str | bool = True,
    held_out: Iterable[tuple[Coil, CoilPose]] | int = 12,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
    work: str | Path | None = None,
) -> PoseModel:
    """``precompute`` at all voxels of some tissues in a ball, so that ``model.field`` gives an ``EField`` there.

    The ball is taken one voxel's diagonal larger than ``radius_mm``: within the radius the field interpolates as that
    of ``efield.solve`` does, as far as it is among the ``labels`` (white and grey matter and CSF by default).

    Raises InputError as ``precompute`` does, and for a ball without such tissue.
    """
    held_out, labels = _wanted(held_out), tissues(labels)
    check_request(rank, clearance_mm, seed, tolerance)
    centre = check_finite(centre_mm, (3,), "centre of the region")
    radius_mm = check_number(radius_mm, "radius of the region", above=0.0, unit="mm")
    _, tissue, affine = conductivity(head, partial_volume=partial_volume, coarsen=coarsen)
    wanted = np.isin(np.asarray(head.labels), labels)
    wanted = np.pad(wanted, [(0, -n % coarsen) for n in wanted.shape])
    i, j, k = (n // coarsen for n in wanted.shape)
    wanted = wanted.reshape(i, coarsen, j, coarsen, k, coarsen).any((1, 3, 5)) & tissue
    index = np.argwhere(wanted)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    reach = radius_mm + float(np.linalg.norm(affine[:3, :3] @ np.ones(3)))
    near = np.linalg.norm(points - centre, axis=1) <= reach
    if not near.any():
        raise InputError(
            "the region holds no tissue of these labels",
            got=f"labels {labels} within {radius_mm:g} mm of {centre.round(1).tolist()}",
            expected="a ball that meets them",
            mend="move the centre or enlarge the radius; coordinates are RAS+ mm of the head",
        )
    index, points = index[near], points[near]
    low, size = index.min(0), np.ptp(index, axis=0) + 1
    flat = np.ravel_multi_index(tuple((index - low).T), tuple(size))
    mask = np.zeros(size, bool)
    mask.reshape(-1)[flat] = True
    origin = affine.copy()
    origin[:3, 3] = affine[:3, :3] @ low + affine[:3, 3]
    model = train(head, points, rank, clearance_mm, tolerance, coarsen, partial_volume, seed, progress, work)
    region = {"centre_mm": centre.tolist(), "radius_mm": float(radius_mm), "labels": labels}
    model = dataclasses.replace(
        model,
        voxels=jnp.asarray(flat, jnp.int32),
        mask=jnp.asarray(mask),
        affine=jnp.asarray(origin, float),
        card=json.dumps({**json.loads(model.card), "region": region}, sort_keys=True),
    )
    return certify(model, head, held_out, seed=seed + 1, progress=progress) if held_out else model


def _wanted(held_out: Iterable[tuple[Coil, CoilPose]] | int) -> list[tuple[Coil, CoilPose]] | int:
    """``checked_held_out``, or 0: no certificate."""
    return 0 if isinstance(held_out, int) and held_out == 0 else checked_held_out(held_out)
