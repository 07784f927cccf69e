"""The E-field of a coil in a head: from labels, conductivities and a pose to V/m in every voxel."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float
from scipy.ndimage import binary_dilation

from tmsjax.coil import Coil, CoilPose
from tmsjax.coil.clearance import check_outside
from tmsjax.coil.primary import primary_field
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import check_rigid, check_voxel_affine
from tmsjax.efield import multigrid, spfd
from tmsjax.efield.medium import check_conductivity, conductivity
from tmsjax.efield.types import EField
from tmsjax.head import HeadModel

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


def solve(
    head: HeadModel,
    coil: Coil,
    pose: CoilPose,
    didt: float | Float[Array, ""] = 1.0,
    *,
    tolerance: float = 1e-4,
    partial_volume: bool = True,
    coarsen: int = 1,
) -> EField:
    """Solve for the E-field that ``coil`` at ``pose`` induces in ``head``, in V/m for ``didt`` in A/us.

    The result keeps ``didt``, so that what is computed from it knows which current its V/m belong to.

    Scalar-potential finite differences on the head's voxels (``spfd``), conjugate gradients with a multigrid
    preconditioner (``multigrid``). Differentiable in pose, coil, didt and the head's conductivities (reverse mode:
    one more solve); labels must be concrete. Input is checked where it is concrete.

    Args:
        head: tissue labels, affine and conductivities.
        coil: dipoles of the coil.
        pose: the coil's place; no part of it may be in the head.
        didt: rate of change of the coil current in A/us, a scalar.
        tolerance: relative residual to reach, at least ``TOLERANCE_FLOOR``. The residual reported is the true one.
        partial_volume: average conductivities over the tissues in a voxel (recovered from the labels) instead of
            taking the label's own.
        coarsen: solve on voxels this many times larger along each axis; the field is then on that grid.

    Raises:
        InputError: a pose that is not rigid, a coil inside the head, NaN or conductivities that are not positive,
            a tolerance below the floor, a head without tissue.
    """
    didt = rate(didt)
    _check_inputs(head, coil, pose)
    sigma, mask, affine = conductivity(head, partial_volume=partial_volume, coarsen=coarsen)
    return solve_conductivity(sigma, mask, affine, coil, pose, didt, tolerance=tolerance)


def solve_conductivity(
    sigma: Float[Array, "i j k"],
    mask: np.ndarray,
    affine: np.ndarray,
    coil: Coil,
    pose: CoilPose,
    didt: float | Float[Array, ""] = 1.0,
    *,
    tolerance: float = 1e-4,
) -> EField:
    """``solve`` for a conductivity map (i, j, k) S/m of your own; ``mask`` (i, j, k) says which voxels are tissue.

    Raises InputError for NaN, negative or all-zero conductivity, and for a ``didt`` that is not a finite scalar.
    """
    floor = TOLERANCE_FLOOR if jnp.zeros(()).dtype == jnp.float32 else 0.0
    if not tolerance >= floor:
        raise InputError("tolerance is below what float32 reaches", got=tolerance, expected=f"at least {floor}")
    didt = rate(didt)
    sigma = jnp.asarray(sigma, float)  # float32 unless a test has switched float64 on
    check_conductivity(sigma)
    affine, spacing = check_voxel_affine(affine)
    # A partial volume reaches at most one voxel beyond the labels.
    extent = (mask | (np.asarray(sigma) > 0)) if _concrete(sigma) else binary_dilation(mask, np.ones((3, 3, 3)))
    grid = plan(extent, spacing)
    nodes, index = conducting_nodes(extent, affine, grid)
    axes = jnp.asarray(affine[:3, :3] / spacing, float)
    values, residual, iterations = _solve(fit(sigma, grid), coil, pose, didt, nodes, index, axes, grid, tolerance)
    box = tuple(slice(s, s + n) for s, n in zip(grid.start, grid.size, strict=True))
    whole = jnp.zeros((*mask.shape, 3), values.dtype)
    crop = tuple(slice(0, n) for n in grid.size)
    values = whole.at[box].set(values[crop] * jnp.asarray(mask[box])[..., None])
    return EField(values, jnp.asarray(mask), jnp.asarray(affine, float), residual, iterations, tolerance, didt)


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


@partial(jax.jit, static_argnames=("grid", "tolerance"))
def _solve(sigma, coil, pose, didt, nodes, index, axes, grid: Grid, tolerance: float):
    """E (padded voxels, 3) in world axes, true relative residual, iterations."""
    shape = tuple(n + 1 for n in grid.padded)
    primary = primary_field(coil, pose, nodes, didt) @ axes
    primary = (
        jnp.zeros((shape[0] * shape[1] * shape[2], 3), primary.dtype)
        .at[index]
        .set(primary, unique_indices=True, indices_are_sorted=True)
    )
    primary = primary.reshape(*shape, 3)
    phi, residual, iterations = potential(sigma, primary, grid.spacing, grid.levels, tolerance)
    return spfd.total(phi, primary, grid.spacing) @ axes.T, residual, iterations


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


def _concrete(*values) -> bool:
    return not any(isinstance(v, Tracer) for v in values)


def rate(didt) -> Float[Array, ""]:
    """The rate of change as an array, checked where it is concrete."""
    if jnp.shape(didt) != ():
        raise InputError("didt is not a scalar", got=jnp.shape(didt), expected="one number, A/us")
    if _concrete(didt) and not np.isfinite(didt):
        raise InputError("didt is not finite", got=float(didt), expected="A/us")
    return jnp.asarray(didt, float)


def _check_inputs(head: HeadModel, coil: Coil, pose: CoilPose) -> None:
    if not isinstance(pose, CoilPose):
        raise InputError(
            "this is no coil pose", got=type(pose).__name__, expected="a CoilPose", mend="CoilPose.from_matrix(matrix)"
        )
    if not _concrete(head.labels):
        raise InputError("labels are traced", got="a tracer", expected="a concrete array", mend="close over the head")
    for label, value in head.conductivity.items():
        if _concrete(value) and not (np.isfinite(value) and value > 0):
            raise InputError(f"conductivity of label {label}", got=float(value), expected="a positive number of S/m")
    for what, value in (("dipole positions", coil.positions), ("dipole moments", coil.moments)):
        if _concrete(value) and not np.isfinite(value).all():
            raise InputError(f"{what} are not finite", got="NaN or inf", expected="finite mm and A.m2 per A")
    if _concrete(pose.rotation, pose.centre):
        check_rigid(pose.matrix, "coil pose matrix")
        if _concrete(coil.positions):
            check_outside(head, coil, pose)
