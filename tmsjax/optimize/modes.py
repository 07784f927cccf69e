"""The few modes that one coil, held against one part of the scalp, puts into a region of the head.

A pose model has some hundred modes, for any coil and any pose. One coil on a chart of the scalp excites 20 to 40 of
them together: the singular vectors of its fields at poses drawn over the chart. What a population sees is linear in
these, so an evaluation of a pose needs no field on a grid.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.coil import Coil, CoilPose
from tmsjax.coil.primary import place
from tmsjax.core.pytree import pytree
from tmsjax.efield import EField
from tmsjax.efield.posemodel import PoseModel
from tmsjax.efield.posemodel_potential import potentials

KEPT = 1e-4
"""Fields left out with the modes, relative to all of them (root mean square over the drawn poses)."""

MULTIPLE = 8
"""Their number is a multiple of this (where the pose model has as many), so that few shapes are ever compiled."""


@pytree()
class CoilModes:
    """What a coil at a pose puts into each of r modes.

    coil: its dipoles. sources_mm: (s, 3), weights: (s, r): of the pose model's harmonic sources in each mode.
    lost: () share of the drawn poses' fields that the modes leave out, relative root mean square.
    """

    coil: Coil
    sources_mm: Any
    weights: Any
    lost: Any

    def __call__(self, pose: CoilPose) -> Float[Array, " r"]:
        """Amplitudes (r,) for 1 A/us; differentiable."""
        positions, moments = place(self.coil, pose)
        return jnp.dot(potentials(positions, moments, self.sources_mm), self.weights, precision="highest")


def coil_modes(
    model: PoseModel, coil: Coil, poses: Sequence[CoilPose] | CoilPose, rows: np.ndarray
) -> tuple[CoilModes, PoseModel]:
    """Modes of one coil, and a pose model of as many, from its fields at some poses.

    Args:
        model: of the region. coil: its dipoles, few enough to be quick (``coil.reduce``).
        poses: a pytree of poses with a leading axis: what the modes must span.
        rows: indices of the model's points at which fields are compared: where the neurons are.

    Returns:
        the modes, and ``model`` with its basis and weights turned to them: valid for these poses only.
    """
    drawn = np.asarray(_amplitudes(CoilModes(coil, model.sources_mm, model.weights, 0.0), poses), np.float64)
    at = np.asarray(model.basis, np.float64)[rows].reshape(3 * len(rows), -1)
    # The norm of a field at these points is that of r @ amplitudes.
    r: Any = np.linalg.qr(at, mode="r")
    u, sizes, _ = np.linalg.svd(r @ drawn.T, full_matrices=False)
    left = np.sqrt(np.append(np.cumsum(sizes[::-1] ** 2)[::-1][1:], 0) / np.sum(sizes**2))
    count = int(np.argmax(left <= KEPT)) + 1
    count = min(-(-count // MULTIPLE) * MULTIPLE, r.shape[0], len(sizes))
    turn, back = u[:, :count].T @ r, np.linalg.pinv(r, rcond=1e-7) @ u[:, :count]
    weights = jnp.asarray(np.asarray(model.weights, np.float64) @ turn.T, jnp.float32)
    basis = jnp.einsum("pxk,kr->pxr", model.basis, jnp.asarray(back, jnp.float32), precision="highest")
    modes = CoilModes(coil, model.sources_mm, weights, jnp.asarray(left[count - 1], jnp.float32))
    return modes, dataclasses.replace(model, basis=basis, weights=weights)


@jax.jit
def _amplitudes(modes: CoilModes, poses: CoilPose) -> Array:
    return jax.lax.map(modes, poses)


def mode_field(model: PoseModel, mode: int) -> EField:
    """One mode of a region's model as a field on its grid, V/m for an amplitude of 1."""
    grid = np.zeros((int(np.size(model.mask)), 3), np.float32)
    grid[np.asarray(model.voxels)] = np.asarray(model.basis[:, :, mode])
    values = jnp.asarray(grid.reshape(*np.shape(model.mask), 3))
    return EField(values, model.mask, model.affine, jnp.asarray(0.0), jnp.asarray(0), 1.0)
