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
from tmsjax.core.errors import InputError, check_number
from tmsjax.core.points import vectors
from tmsjax.core.pytree import pytree
from tmsjax.core.transforms import check_voxel_affine
from tmsjax.efield import multigrid, spfd
from tmsjax.efield.medium import check_conductivity

TOLERANCE_FLOOR = 3e-5
"""Float32 residuals do not fall below this."""

LEAST_TOLERANCE = 1e-12
"""Nor float64 residuals much below this."""

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
        conductances: of the padded grid's edges and faces (``spfd.conductances``).
        points_mm: (p, 3) RAS+ mm of the nodes that touch the conductor, where ``induce`` wants the primary field.
        index: (p,) int32, their flat index among the padded grid's nodes.
        mask: (i, j, k) bool, the voxels that get a field.
        affine: (4, 4) voxel index -> RAS+ mm of the voxel's centre.
        grid: the padded grid's place (static).
    """

    conductances: Any
    points_mm: Any
    index: Any
    mask: Any
    affine: Any
    grid: Grid


def discretise(sigma: ArrayLike, mask: ArrayLike, affine: ArrayLike) -> System:
    """The system of a conductivity map in S/m; ``mask`` (i, j, k) says which voxels are tissue.

    ``sigma`` is (i, j, k), one number a voxel; (i, j, k, 8), one for each octant (``medium.conductivity``); or
    (i, j, k, 6), a symmetric tensor: xx, xy, xz, yy, yz, zz in world axes (``anisotropic``).

    Differentiable in ``sigma``; ``mask`` and ``affine`` must be concrete. Raises InputError for conductivities that are
    NaN, negative (a tensor's, in some direction) or zero everywhere, for an affine that is sheared, singular or
    reflected, and for a mask that is none or holds no voxel that conducts. Others of its voxels that do not conduct,
    shares so small that none is left, are taken out of it: they have no field.
    """
    affine, spacing = check_voxel_affine(affine)
    sigma = check_conductivity(sigma)
    mask = _checked_mask(mask, sigma.shape[:3])
    if isinstance(sigma, Tracer):
        # A partial volume reaches at most one voxel beyond the labels.
        extent = binary_dilation(mask, np.ones((3, 3, 3)))
    else:
        conducts = np.asarray(spfd.voxels(sigma)) > 0
        extent, mask = mask | conducts, mask & conducts
    if not mask.any():
        raise InputError(
            "the head has no tissue",
            got="no voxel of the grid is tissue that conducts",
            expected="some voxel with tissue",
            mend="check the labels, or coarsen less",
        )
    grid = plan(extent, spacing)
    points, index = conducting_nodes(extent, affine, grid)
    c = _conductances(sigma, jnp.asarray(affine[:3, :3] / spacing, float), grid)
    return System(c, points, index, jnp.asarray(mask), jnp.asarray(affine, float), grid)


def _checked_mask(mask: ArrayLike, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(mask, Tracer):
        raise InputError("the mask is traced", got="a tracer", expected="a concrete array", mend="close over the mask")
    found = np.asarray(mask)
    if found.shape != shape or found.dtype.kind not in "biuf" or not np.isfinite(found).all():
        raise InputError(
            "mask of the tissue", got=f"{found.dtype} {found.shape}", expected=f"{shape} of True and False, as sigma is"
        )
    return found.astype(bool)


@partial(jax.jit, static_argnames="grid")
def _conductances(sigma: Array, axes: Array, grid: Grid) -> spfd.Edges:
    sigma = fit(sigma, grid)
    if spfd.is_tensor(sigma):
        full = jnp.stack([sigma[..., n] for n in (0, 1, 2, 1, 3, 4, 2, 4, 5)], -1).reshape(*sigma.shape[:3], 3, 3)
        turned = jnp.einsum("ai,...ab,bj->...ij", axes, full, axes, precision="highest")
        sigma = jnp.stack([turned[..., i, j] for i, j in ((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2))], -1)
    return spfd.conductances(sigma, grid.spacing)


def plan(extent: np.ndarray, spacing: np.ndarray) -> Grid:
    """Crop to the conductor's box and pad it so that it can be halved ``levels - 1`` times."""
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


def fit(sigma: Float[Array, "i j k *o"], grid: Grid) -> Float[Array, "_ _ _ *o"]:
    """The conductivity in the padded box of ``grid``."""
    box = tuple(slice(s, s + n) for s, n in zip(grid.start, grid.size, strict=True))
    after = [(0, p - n) for p, n in zip(grid.padded, grid.size, strict=True)]
    return jnp.pad(sigma[box], after + [(0, 0)] * (sigma.ndim - 3))


def induce(
    system: System,
    primary: ArrayLike,
    *,
    tolerance: float = 1e-4,
    precision: str = "",
) -> tuple[Float[Array, "*b i j k 3"], Float[Array, "*b"], Any]:
    """E at the voxel centres for primary fields -dA/dt at ``system.points_mm``: values, residual, iterations.

    Linear in ``primary`` and batched over its leading axes, one after the other, so that memory does not grow; the
    multigrid is built once. ``jax.vjp`` and ``jax.linear_transpose`` cost one more solve for each primary field
    (refinement knows the first only); gradients reach ``system.conductances`` too.

    Args:
        system: the conductor.
        primary: (..., p, 3) V/m in world axes.
        tolerance: relative residual to reach, at least ``LEAST_TOLERANCE``.
        precision: "float32"; "float64" for iterative refinement, whether JAX has float64 enabled or not; or "", which
            refines where the tolerance is below ``TOLERANCE_FLOOR`` or where ``primary`` is float64.

    Returns:
        values (..., i, j, k, 3) V/m in world axes, 0 where ``system.mask`` is False; relative residual (...) of each
        linear system, computed from its potential; iterations (...). Whoever calls judges the residual.

    Raises:
        InputError: what is no system, primary fields of another shape, a tolerance that cannot be reached, a precision
            of another name.
    """
    if not isinstance(system, System):
        raise InputError("this is no system", got=type(system).__name__, expected="what tmsjax.efield.discretise gives")
    refined, tolerance = refines(tolerance, precision), float(tolerance)
    primary = vectors(primary, "primary field", ("(..., p, 3)",), "V/m")
    if primary.shape[-2] != len(system.points_mm):
        raise InputError(
            "the primary field is not at the system's nodes",
            got=primary.shape,
            expected=f"(..., {len(system.points_mm)}, 3): at system.points_mm",
        )
    if refined:
        return in_float64(partial(_induce, tolerance=tolerance), system, primary)
    return _induce(system, primary, tolerance=tolerance)


def refines(tolerance: float, precision: str = "") -> bool:
    """Whether a solve runs in float64; InputError for what cannot be had."""
    if precision not in ("", "float32", "float64"):
        raise InputError("unknown precision", got=repr(precision), expected='"float32", "float64", or ""')
    single = jnp.zeros(()).dtype == jnp.float32 and precision != "float64"
    floor = TOLERANCE_FLOOR if single and precision else LEAST_TOLERANCE
    tolerance = check_number(tolerance, "tolerance", unit="relative residual")
    if not floor <= tolerance < 1:
        raise InputError(
            "tolerance cannot be reached" if tolerance < 1 else "tolerance asks for nothing",
            got=tolerance,
            expected=f"a relative residual from {floor} to below 1",
            mend='precision="float64" reaches below what float32 does' if single and precision else "",
        )
    return not single or tolerance < TOLERANCE_FLOOR


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def in_float64(function, *arguments):
    """``function(*arguments)`` in float64, its result in JAX's own precision again; so is reverse mode."""
    own = jnp.zeros(()).dtype
    with jax.enable_x64(True):
        return _cast(function(*_cast(arguments, jnp.float64)), own)


def _forward(function, *arguments):
    own = jnp.zeros(()).dtype
    with jax.enable_x64(True):
        result, pull = jax.vjp(function, *_cast(arguments, jnp.float64))
        return _cast(result, own), pull


def _backward(function, pull, cotangents):
    own = jnp.zeros(()).dtype
    with jax.enable_x64(True):
        return _cast(pull(_cast(cotangents, jnp.float64)), own)


in_float64.defvjp(_forward, _backward)


def _cast(tree, dtype):
    return jax.tree.map(lambda a: a.astype(dtype) if jnp.issubdtype(a.dtype, jnp.floating) else a, tree)


@partial(jax.jit, static_argnames="tolerance")
def _induce(system: System, primary: Array, *, tolerance: float):
    grid = system.grid
    single = tuple(jax.lax.stop_gradient(c.astype(jnp.float32)) for c in system.conductances)
    levels = multigrid.hierarchy(single, grid.levels)
    one = partial(_induce_one, system, single, levels, tolerance)
    if primary.ndim == 2:
        return one(primary)
    flat = primary.reshape(-1, *primary.shape[-2:])
    return jax.tree.map(lambda a: a.reshape(*primary.shape[:-2], *a.shape[1:]), jax.lax.map(one, flat))


def _induce_one(system: System, single: spfd.Edges, levels: list[multigrid.Level], tolerance: float, primary: Array):
    grid = system.grid
    axes = system.affine[:3, :3] / jnp.asarray(grid.spacing, primary.dtype)
    shape = tuple(n + 1 for n in grid.padded)
    nodes = jnp.zeros((shape[0] * shape[1] * shape[2], 3), primary.dtype)
    nodes = nodes.at[system.index].set(primary @ axes, unique_indices=True, indices_are_sorted=True)
    nodes = nodes.reshape(*shape, 3)
    b = spfd.drive(system.conductances, nodes, grid.spacing)
    phi, residual, iterations = potential(system.conductances, b, single, levels, tolerance)
    values = spfd.total(phi, nodes, grid.spacing) @ axes.T
    box = tuple(slice(s, s + n) for s, n in zip(grid.start, grid.size, strict=True))
    values = values[tuple(slice(0, n) for n in grid.size)] * system.mask[box][..., None]
    after = [(s, whole - s - n) for s, n, whole in zip(grid.start, grid.size, system.mask.shape, strict=True)]
    return jnp.pad(values, [*after, (0, 0)]), residual, iterations


def potential(
    c: spfd.Edges, b: Float[Array, "i j k"], single: spfd.Edges, levels: list[multigrid.Level], tolerance: float
) -> tuple[Float[Array, "i j k"], Float[Array, ""], Array]:
    """Potential at the nodes for the current ``b`` driven into them: phi, true relative residual, iterations.

    The potential is fixed up to a constant, so means over the conductor's nodes are projected out. The operator is that
    of ``c`` itself, in its precision; ``single``, the same in float32, and ``levels`` only correct. Gradients pass
    through ``custom_linear_solve``, that is, through one more solve and the operator's own derivative.
    """

    def linear_solve(operator, right):
        return multigrid.solve(operator, levels, right, tolerance, MAX_ITERATIONS, single)

    phi, iterations = jax.lax.custom_linear_solve(
        lambda x: spfd.apply(c, x), b, linear_solve, symmetric=True, has_aux=True
    )
    left, right = (jax.lax.stop_gradient(a) for a in (b - spfd.apply(c, phi), b))
    size = multigrid.norm(right)
    residual = multigrid.norm(left) / jnp.where(size > 0, size, 1)
    return phi, residual, iterations
