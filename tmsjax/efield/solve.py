"""The E-field of a coil in a head: from labels, conductivities and a pose to V/m in every voxel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from tmsjax.coil import Coil, CoilPose
from tmsjax.coil.clearance import check_outside
from tmsjax.coil.primary import primary_field
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import check_rigid
from tmsjax.efield.medium import conductivity
from tmsjax.efield.system import discretise, induce
from tmsjax.efield.types import EField
from tmsjax.head import HeadModel


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
        tolerance: relative residual to reach, at least ``system.TOLERANCE_FLOOR``. The residual reported is the
            true one.
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
    didt = rate(didt)
    system = discretise(sigma, mask, affine)
    primary = _primary(coil, pose, system.points_mm, didt)
    values, residual, iterations = induce(system, primary, tolerance=tolerance)
    return EField(values, system.mask, system.affine, residual, iterations, tolerance, didt)


_primary = jax.jit(primary_field)


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
