"""Thresholds of a block of neurons at all poses of a sweep in one compiled computation, through a pose model.

The field of a pose model is linear in k amplitudes, and the poses of a sweep span few of these: r, by a singular value
decomposition of the sweep's own amplitudes. The r fields are sampled on the neurons' grids once; after that a pose is
a product of (r,) with (r, samples), and the surrogate.
"""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int, UInt8

from tmsjax.coil import Coil, CoilPose
from tmsjax.cortex import sampling_grid
from tmsjax.efield.interpolate import nearest, trilinear
from tmsjax.efield.posemodel_type import PoseModel, amplitudes
from tmsjax.efield.sample import to_voxels
from tmsjax.response.thresholds import NO_FIELD, OUTSIDE, UNDRIVEN
from tmsjax.surrogate import Surrogate, SurrogateSpec
from tmsjax.surrogate.types import respond

LOST = 1e-6
"""Fields that fewer modes may leave out, of all fields of the sweep (L2)."""

TOGETHER = 512
"""Patches that go through the surrogate at once: they stay in a processor's cache."""

UNLIKE = 1
"""Status of a threshold whose field is unlike the model's training fields."""

NO_POSE = 13
"""Status where the pose is outside the pose model's domain."""


@dataclasses.dataclass(frozen=True, eq=False)
class SweepModes:
    """A pose model cut down to the poses of a sweep.

    fields: (v, 3, r) V/m, the modes at the model's voxels. amplitudes: (q, r) of the q poses, V/m per A/us; zero where
    not ``covered`` (q,). model: the pose model, for its grid. lost: relative L2 that the r modes leave out.
    """

    fields: Float[Array, "v 3 r"]
    amplitudes: Float[np.ndarray, "q r"]
    covered: np.ndarray
    model: PoseModel
    lost: float


def sweep_modes(model: PoseModel, coil: Coil, poses: CoilPose) -> SweepModes:
    """Amplitudes of q stacked poses, and the modes that carry them (the basis is orthonormal: an SVD tells)."""
    found, covered = (np.asarray(a) for a in _amplitudes(model, coil, poses))
    found = np.where(covered[:, None], found, 0).astype(np.float64)
    _, sizes, turn = np.linalg.svd(found, full_matrices=False)
    tail = np.sqrt(np.append(np.cumsum(sizes[::-1] ** 2)[::-1], 0.0)) / max(float(np.linalg.norm(sizes)), 1e-300)
    rank = max(1, int(np.argmax(tail <= LOST)))
    turn = turn[:rank].T
    fields = jnp.dot(model.basis, jnp.asarray(turn, jnp.float32), precision="highest")
    return SweepModes(fields, (found @ turn).astype(np.float32), covered, model, float(tail[rank]))


@jax.jit
def _amplitudes(model: PoseModel, coil: Coil, poses: CoilPose) -> tuple[Array, Array]:
    return jax.lax.map(lambda pose: (amplitudes(model, coil, pose), model.covers(coil, pose)), poses)


@partial(jax.jit, static_argnames=("spec", "poses_together"))
def block(
    spec: SurrogateSpec,
    variables: Any,
    domain: Any,
    fields: Float[Array, "v 3 r"],
    voxels: Int[Array, " v"],
    mask: Array,
    affine: Array,
    drive: Float[Array, "q r"],
    positions: Float[Array, "c 3"],
    rotations: Float[Array, "c 3 3"],
    poses_together: int,
) -> tuple[Float[Array, "q c"], Int[Array, "q c"]]:
    """Thresholds in A/us (NaN where there is none) and status of c neurons for q sets of amplitudes.

    ``variables`` are the model's ``ready``.
    """
    offsets = sampling_grid(spec.side_mm, spec.z_shift_mm, spec.n).reshape(-1, 3)
    count, samples = len(positions), len(offsets)
    world = positions[:, None] + jnp.einsum("gi,cji->cgj", offsets, rotations, precision="highest")
    voxel = to_voxels(affine, world.reshape(-1, 3))
    inside = nearest(mask, voxel).reshape(count, samples).all(axis=1)

    def sampled(mode: Array) -> Array:
        grid = jnp.zeros((mask.size, 3), mode.dtype).at[voxels].set(mode, unique_indices=True, indices_are_sorted=True)
        at = trilinear(grid.reshape(*mask.shape, 3), mask, voxel).reshape(count, samples, 3)
        return jnp.einsum("cgi,cij->cgj", at, rotations, precision="highest")

    seen = jax.lax.map(sampled, jnp.moveaxis(fields, 2, 0)).reshape(fields.shape[2], -1)

    def some_poses(drive: Float[Array, "b r"]) -> tuple[Array, Array]:
        patches = jnp.dot(drive, seen, precision="highest").reshape(-1, spec.n, spec.n, spec.n, 3)
        known = jnp.tile(inside, len(drive))
        found = respond(spec, variables, domain, patches)
        status = jnp.select(
            [~known, ~found.ok, ~jnp.isfinite(found.threshold), ~found.in_domain],
            [OUTSIDE, NO_FIELD, UNDRIVEN, UNLIKE],
            0,
        )
        a_per_us = jnp.where(status <= UNLIKE, found.threshold / found.magnitude, jnp.nan)
        return a_per_us.reshape(len(drive), count), status.reshape(len(drive), count)

    found, status = jax.lax.map(some_poses, drive.reshape(-1, poses_together, drive.shape[1]))
    return found.reshape(-1, count), status.reshape(-1, count)


def thresholds_of_block(
    modes: SweepModes, signs: np.ndarray, model: Surrogate, positions: Any, rotations: Any
) -> tuple[Float[np.ndarray, "q d c"], UInt8[np.ndarray, "q d c"]]:
    """Thresholds (A/us) and status of c neurons at q poses with the current in each direction of ``signs`` (d,).

    A reversed current is the field's sign turned, exactly.
    """
    drive = np.stack([sign * modes.amplitudes for sign in signs], axis=1).reshape(-1, modes.amplitudes.shape[1])
    together = max(1, TOGETHER // len(positions))
    padded = np.concatenate([drive, np.repeat(drive[-1:], -len(drive) % together, axis=0)])
    grid = modes.model
    a, status = block(
        model.spec, model.ready, model.domain, modes.fields, grid.voxels, grid.mask, grid.affine, jnp.asarray(padded),
        positions, rotations, together,
    )  # fmt: skip
    shape = (len(modes.amplitudes), len(signs), len(positions))
    a = np.array(a[: len(drive)], np.float32).reshape(shape)
    status = np.array(status[: len(drive)], np.uint8).reshape(shape)
    a[~modes.covered], status[~modes.covered] = np.nan, NO_POSE
    return a, status
