"""Making a pose model: forward solves of noise find the modes, adjoint solves what drives each of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax import __version__
from tmsjax.core.arrays import ArrayLike, numbers
from tmsjax.core.errors import ConvergenceError, InputError, check_number
from tmsjax.efield.checks import check_head
from tmsjax.efield.interpolate import nearest, trilinear
from tmsjax.efield.medium import conductivity
from tmsjax.efield.posemodel_fit import harmonic_weights, magnetic_field, noise_fields, source_fields
from tmsjax.efield.posemodel_points import CHECK, FIT, NOISE, SOURCES, Shells
from tmsjax.efield.posemodel_type import PoseModel
from tmsjax.efield.posemodel_work import Work
from tmsjax.efield.sample import to_voxels
from tmsjax.efield.system import System, discretise, induce, refines
from tmsjax.head import HeadModel, scalp_distance

OVERSAMPLING = 10
"""Forward solves beyond the rank (Halko, Martinsson & Tropp 2011, SIAM Rev. 53:217)."""

CLEARANCE_MM = 3.0
CLEARANCE_VOXELS = 2.0
"""How near to the scalp dipoles may come unless asked otherwise; never nearer than this many voxels, as partial volumes
conduct up to a voxel outside the labels."""

REACH_MM = 65.0
"""How far beyond a region the coil's centre may be. A region of 25 mm in head S1 at 1 mm, rank 100, MC-B70: 0.03 %
error with 39 mm between the centres, 0.05 % with 66, 0.34 % with 79, 0.48 % with 95 mm, where the field is weak."""

SOURCE_DEPTH_MM = 10.0
"""Harmonic sources lie this far inside the scalp: 8 to 12 mm do equally well."""


def check_request(rank: int, clearance_mm: float | None, seed: int, tolerance: float) -> None:
    """InputError for numbers that no model has, before any work is done."""
    for what, value, least in (("rank of the pose model", rank, 1), ("seed of the pose model", seed, 0)):
        if not isinstance(value, int | np.integer) or value < least:
            raise InputError(what, got=repr(value)[:80], expected=f"a whole number from {least}")
    if clearance_mm is not None:
        check_number(clearance_mm, "clearance of the pose model", above=0.0, high=REACH_MM, unit="mm")
    refines(tolerance)


def check_points(points_mm: ArrayLike, rank: int, system: System) -> np.ndarray:
    """The points in float64; InputError for points outside the conductor, and fewer than the rank needs."""
    points = np.asarray(numbers(points_mm, "points of a pose model", None))
    whole = points.dtype.kind in "iuf" and points.ndim == 2 and points.shape[1:] == (3,) and len(points)
    if not whole or not np.isfinite(points).all():
        raise InputError(
            "points of a pose model",
            got=f"{points.dtype} {points.shape}",
            expected="(p, 3) finite RAS+ mm, p at least 1",
        )
    at = nearest(system.mask, to_voxels(system.affine, jnp.asarray(points, float)))
    if not bool(at.all()):
        first = [round(float(x), 1) for x in points[int(jnp.argmin(at))]]
        raise InputError(
            "points of the pose model lie outside the conductor",
            got=f"{int((~at).sum())} of {len(points)}, the first at {first} mm",
            expected="points in tissue, in RAS+ mm of the head",
        )
    if rank > 3 * len(points):
        raise InputError("rank of the pose model", got=rank, expected=f"1 to {3 * len(points)}, 3 for each point")
    return points.astype(float)


def checked_clearance(clearance_mm: float | None, system: System) -> float:
    """The clearance in mm, the least there is unless asked otherwise."""
    least = CLEARANCE_VOXELS * max(system.grid.spacing)
    if clearance_mm is None:
        return max(CLEARANCE_MM, least)
    if not clearance_mm >= least:
        raise InputError(
            "clearance of the pose model",
            got=f"{clearance_mm} mm",
            expected=f"at least two voxels ({least:g} mm): nearer dipoles lie among the grid's own currents",
        )
    return float(clearance_mm)


def train(
    head: HeadModel,
    points_mm: ArrayLike,
    rank: int,
    clearance_mm: float | None,
    tolerance: float,
    coarsen: int,
    partial_volume: str | bool,
    seed: int,
    progress: Callable[[str, int, int], None] | None,
    work: str | Path | None,
) -> PoseModel:
    """A model of separate points without a certificate; see ``posemodel.precompute``."""
    report = progress or (lambda *_: None)
    check_request(rank, clearance_mm, seed, tolerance)
    sigma, mask, affine = conductivity(head, partial_volume=partial_volume, coarsen=coarsen, octants=True)
    system = discretise(sigma, mask, affine)
    points, clearance_mm = check_points(points_mm, rank, system), checked_clearance(clearance_mm, system)
    at = jnp.asarray(points, float)

    shells = Shells(head, points)
    dipoles, apart = (jnp.asarray(a, float) for a in shells.points(clearance_mm, NOISE, seed))
    request = [head_hash(head, coarsen, partial_volume), rank, clearance_mm, tolerance, seed, __version__]
    kept = Work(work, request, points)

    def forward(start: int, count: int) -> dict[str, np.ndarray]:
        key = jax.random.fold_in(jax.random.key(seed), start)
        noise = noise_fields(dipoles, apart, system.points_mm, key, count)
        solved = [_respond(system, primary, at, tolerance) for primary in noise]
        worst = max(float(residual) for _, residual in solved)
        if not worst <= tolerance:
            raise ConvergenceError(
                f"a solve for the pose model did not converge: residual {worst:.1e} above {tolerance:.1e}\n"
                "  mend:     check the conductivities (S/m), or ask for a larger tolerance"
            )
        return {
            "response": np.stack([np.asarray(response).ravel() for response, _ in solved]),
            "residual": np.stack([np.asarray(residual) for _, residual in solved]),
        }

    solved = kept.batches("forward solves", rank + OVERSAMPLING, forward, report)
    responses = np.concatenate([batch["response"] for batch in solved]).astype(np.float64)
    basis, sizes, _ = np.linalg.svd(responses.T, full_matrices=False)
    basis = basis[:, :rank]

    fit, check = shells.points(clearance_mm, FIT, seed + 1), shells.points(clearance_mm, CHECK, seed + 2)
    seen_at = jnp.asarray(np.concatenate([fit[0], check[0]]), float)
    modes = basis.T.reshape(rank, -1, 3)

    def adjoint(start: int, count: int) -> dict[str, np.ndarray]:
        wanted = jnp.asarray(modes[start : start + count], float)
        patterns = jnp.stack([_pattern(system, mode, at, tolerance) for mode in wanted])
        return {"view": np.asarray(magnetic_field(seen_at, system.points_mm, patterns))}

    seen = [batch["view"] for batch in kept.batches("adjoint solves", rank, adjoint, report)]
    view = np.concatenate(seen, axis=2).astype(np.float64)
    sources = shells.points(-SOURCE_DEPTH_MM, SOURCES, seed + 3)[0]
    weights = harmonic_weights(view[: len(fit[0])], *fit, sources)
    left_out = view[len(fit[0]) :]
    misfit = np.einsum("nxs,sk->nxk", source_fields(check[0], sources), weights) - left_out
    card = {
        "head": head.name,
        "head_hash": head_hash(head, coarsen, partial_volume),
        "voxel_mm": list(system.grid.spacing),
        "coarsen": coarsen,
        "partial_volume": partial_volume,
        "tolerance": tolerance,
        "residual": max(float(batch["residual"].max()) for batch in solved),
        "rank": rank,
        "seed": seed,
        "solves": {"forward": len(responses), "adjoint": rank},
        "noise_dipoles": len(dipoles),
        "fit_points": len(fit[0]),
        "last_singular_value": float(sizes[rank - 1] / sizes[0]),
        "fit_error": float(np.linalg.norm(misfit) / np.linalg.norm(left_out)),
    }
    f32 = partial(jnp.asarray, dtype=float)
    return PoseModel(
        basis=f32(basis.reshape(-1, 3, rank)),
        weights=f32(weights),
        sources_mm=f32(sources),
        points_mm=at,
        distance=scalp_distance(head, scalp=shells.scalp),
        clearance_mm=f32(clearance_mm),
        centre_mm=f32(points.mean(0)),
        reach_mm=f32(np.linalg.norm(points - points.mean(0), axis=1).max() + REACH_MM),
        voxels=None,
        mask=None,
        affine=None,
        card=json.dumps(card, sort_keys=True),
    )


def head_hash(head: HeadModel, coarsen: int = 1, partial_volume: str | bool = True) -> str:
    """SHA-256 of all that a head's fields depend on: labels, affine, conductivities and how they are discretised."""
    check_head(head)
    digest = hashlib.sha256(np.ascontiguousarray(head.labels).tobytes())
    digest.update(np.asarray(head.affine, np.float64).tobytes())
    table = {str(label): float(value) for label, value in sorted(head.conductivity.items())}
    digest.update(json.dumps([np.shape(head.labels), table, coarsen, partial_volume], sort_keys=True).encode())
    return digest.hexdigest()


@partial(jax.jit, static_argnames="tolerance")
def _respond(
    system: System, primary: Float[Array, "n 3"], points: Float[Array, "p 3"], tolerance: float
) -> tuple[Array, Array]:
    """E (p, 3) at the points for a primary field at the nodes, and the solve's residual."""
    values, residual, _ = induce(system, primary, tolerance=tolerance)
    return trilinear(values, system.mask, to_voxels(system.affine, points)), residual


@partial(jax.jit, static_argnames="tolerance")
def _pattern(
    system: System, mode: Float[Array, "p 3"], points: Float[Array, "p 3"], tolerance: float
) -> Float[Array, "n 3"]:
    """Currents (n, 3) at the nodes whose inner product with a primary field is what that puts into the mode."""
    zero = jnp.zeros_like(system.points_mm)
    return jax.vjp(lambda primary: _respond(system, primary, points, tolerance)[0], zero)[1](mode)[0]
