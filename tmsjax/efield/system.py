"""A discretised conductor, and the field that any primary field induces in it: linear, batched, transposable."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float
from scipy.ndimage import binary_dilation

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.core.transforms import check_voxel_affine
from tmsjax.efield import multigrid, spfd
from tmsjax.efield.medium import check_conductivity

TOLERANCE_FLOOR = 3e-5
"""Float32 residuals do not fall below this."""

MAX_ITERATIONS = 200
COARSEST_VOXELS = 8
"""Coarsening goes on while the shortest side of the conductor keeps at least this many voxels."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """Where a padded grid sits in a head: hashable, so that compiled solvers are reused.

    start: (3,) first voxel of the conductor's box. size: (3,) voxels of the box. padded: (3,) voxels, multiples of
    2^(levels - 1). spacing: (3,) mm. levels: of the multigrid.
    """

    start: tuple[int, ...]
    size: tuple[int, ...]
    padded: tuple[int, ...]
    spacing: tuple[float, ...]
    levels: int


@pytree("grid")
class System:
    """A conductor made ready for ``induce``.

    Attributes:
        sigma: conductivity in S/m on the padded grid's voxels.
        points_mm: (p, 3) RAS+ mm of the nodes that touch the conductor, where ``induce`` wants the primary field.
        index: (p,) int32, their flat index among the padded grid's nodes.
        mask: (i, j, k) bool, the voxels that get a field.
        affine: (4, 4) voxel index -> RAS+ mm of the voxel's centre.
        grid: the padded grid's place (static).
    """

    sigma: Any
    points_mm: Any
    index: Any
    mask: Any
    affine: Any
    grid: Grid


def discretise(sigma: Float[Array, "i j k"], mask: ArrayLike, affine: ArrayLike) -> System:
    """The system of a conductivity map (i, j, k) S/m; ``mask`` (i, j, k) says which voxels are tissue.

    Differentiable in ``sigma``; ``mask`` and ``affine`` must be concrete. Raises InputError for NaN, negative or
    all-zero conductivity, and for an affine that is sheared, singular or reflected.
    """
    mask = np.asarray(mask, bool)
    affine, spacing = check_voxel_affine(affine)
    sigma = jnp.asarray(sigma, float)  # float32 unless a test has switched float64 on
    check_conductivity(sigma)
    # A partial volume reaches at most one voxel beyond the labels.
    concrete = not isinstance(sigma, Tracer)
    extent = (mask | (np.asarray(sigma) > 0)) if concrete else binary_dilation(mask, np.ones((3, 3, 3)))
    grid = plan(extent, spacing)
    points, index = conducting_nodes(extent, affine, grid)
    return System(fit(sigma, grid), points, index, jnp.asarray(mask), jnp.asarray(affine, float), grid)


def plan(extent: np.ndarray, spacing: np.ndarray) -> Grid:
    """Crop to the conductor's box and pad it so that it can be halved ``levels - 1`` times."""
    if not extent.any():
        raise InputError("the head has no tissue", got="labels all 0 (air)", expected="some voxel with tissue")
    ends = [np.flatnonzero(extent.any(axis=tuple(a for a in range(3) if a != axis)))[[0, -1]] for axis in range(3)]
    start = tuple(int(a) for a, _ in ends)
    size = tuple(int(b - a + 1) for a, b in ends)
    levels = 1
    while min(size) >= COARSEST_VOXELS * 2**levels and levels < 6:
        levels += 1
    unit = 2 ** (levels - 1)
    padded = tuple(-(-n // unit) * unit for n in size)
    return Grid(start, size, padded, tuple(float(h) for h in spacing), levels)


def conducting_nodes(extent: np.ndarray, affine: np.ndarray, grid: Grid) -> tuple[Array, Array]:
    """World mm (p, 3) of the corners of conducting voxels, and their flat index in the padded grid's nodes."""
    box = extent[tuple(slice(s, s + n) for s, n in zip(grid.start, grid.size, strict=True))]
    node = np.zeros(tuple(n + 1 for n in grid.padded), bool)
    for offset in np.ndindex(2, 2, 2):
        node[tuple(slice(o, o + n) for o, n in zip(offset, grid.size, strict=True))] |= box
    flat = np.flatnonzero(node)
    corner = np.stack(np.unravel_index(flat, node.shape), 1) + np.asarray(grid.start) - 0.5
    points = corner @ affine[:3, :3].T + affine[:3, 3]
    return jnp.asarray(points, float), jnp.asarray(flat, jnp.int32)


def fit(sigma: Float[Array, "i j k"], grid: Grid) -> Float[Array, "_ _ _"]:
    """The conductivity in the padded box of ``grid``."""
    box = tuple(slice(s, s + n) for s, n in zip(grid.start, grid.size, strict=True))
    return jnp.pad(sigma[box], [(0, p - n) for p, n in zip(grid.padded, grid.size, strict=True)])


def induce(
    system: System, primary: Float[Array, "*b p 3"], *, tolerance: float = 1e-4
) -> tuple[Float[Array, "*b i j k 3"], Float[Array, "*b"], Any]:
    """E at the voxel centres for primary fields -dA/dt at ``system.points_mm``: values, residual, iterations.

    Linear in ``primary`` and batched over its leading axes, one after the other, so that memory does not grow; the
    multigrid is built once. ``jax.vjp`` and ``jax.linear_transpose`` cost one more solve for each primary field;
    gradients reach ``system.sigma`` too.

    Args:
        system: the conductor.
        primary: (..., p, 3) V/m in world axes.
        tolerance: relative residual to reach, at least ``TOLERANCE_FLOOR``.

    Returns:
        values (..., i, j, k, 3) V/m in world axes, 0 where ``system.mask`` is False; relative residual (...) of each
        linear system, computed from its potential; iterations (...). Whoever calls judges the residual.

    Raises:
        InputError: a tolerance that float32 does not reach.
    """
    floor = TOLERANCE_FLOOR if jnp.zeros(()).dtype == jnp.float32 else 0.0
    if not tolerance >= floor:
        raise InputError("tolerance is below what float32 reaches", got=tolerance, expected=f"at least {floor}")
    return _induce(system, primary, tolerance)


@partial(jax.jit, static_argnames="tolerance")
def _induce(system: System, primary: Array, tolerance: float):
    if primary.ndim == 2:
        return _induce_one(system, primary, tolerance)
    flat = primary.reshape(-1, *primary.shape[-2:])
    out = jax.lax.map(partial(_induce_one, system, tolerance=tolerance), flat)
    return jax.tree.map(lambda a: a.reshape(*primary.shape[:-2], *a.shape[1:]), out)


def _induce_one(system: System, primary: Array, tolerance: float):
    grid = system.grid
    axes = system.affine[:3, :3] / jnp.asarray(grid.spacing, float)
    shape = tuple(n + 1 for n in grid.padded)
    nodes = jnp.zeros((shape[0] * shape[1] * shape[2], 3), primary.dtype)
    nodes = nodes.at[system.index].set(primary @ axes, unique_indices=True, indices_are_sorted=True)
    nodes = nodes.reshape(*shape, 3)
    phi, residual, iterations = potential(system.sigma, nodes, grid.spacing, grid.levels, tolerance)
    values = spfd.total(phi, nodes, grid.spacing) @ axes.T
    box = tuple(slice(s, s + n) for s, n in zip(grid.start, grid.size, strict=True))
    values = values[tuple(slice(0, n) for n in grid.size)] * system.mask[box][..., None]
    after = [(s, whole - s - n) for s, n, whole in zip(grid.start, grid.size, system.mask.shape, strict=True)]
    return jnp.pad(values, [*after, (0, 0)]), residual, iterations


def potential(
    sigma: Float[Array, "i j k"],
    primary: Float[Array, "_ _ _ 3"],
    spacing: tuple[float, ...],
    levels: int,
    tolerance: float,
) -> tuple[Float[Array, "_ _ _"], Float[Array, ""], Array]:
    """Potential at the nodes for a primary field there (voxel axes): phi, true relative residual, iterations.

    The potential is fixed up to a constant, so means over the conductor's nodes are projected out. The operator is that
    of ``sigma`` itself; only the preconditioner may lag behind, and it is rebuilt here too. Gradients pass through
    ``custom_linear_solve``, that is, through one more solve and the operator's own derivative.
    """
    c = spfd.conductances(sigma, spacing)
    b = spfd.drive(c, primary, spacing)
    levels_ = multigrid.hierarchy(jax.lax.stop_gradient(sigma), spacing, levels)
    node = (levels_[0].inverse > 0).astype(b.dtype)
    count = jnp.maximum(jnp.sum(node), 1)

    def centred(a):
        return node * (a - jnp.sum(jnp.sum(node * a, axis=-1)) / count)

    def linear_solve(operator, right):
        return multigrid.pcg(
            operator, lambda r: centred(multigrid.v_cycle(levels_, r)), centred(right), tolerance, MAX_ITERATIONS
        )

    phi, iterations = jax.lax.custom_linear_solve(
        lambda x: spfd.apply(c, x), b, linear_solve, symmetric=True, has_aux=True
    )
    left, right = (jax.lax.stop_gradient(a) for a in (b - spfd.apply(c, phi), b))
    size = multigrid.norm(right)
    residual = multigrid.norm(left) / jnp.where(size > 0, size, 1)
    return centred(phi), residual, iterations
