"""The E-field of a coil in a head: from labels, conductivities and a pose to V/m in every voxel."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Float

from tmsjax.coil import Coil, CoilPose
from tmsjax.coil.clearance import check_outside
from tmsjax.coil.primary import primary_field
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import ConvergenceError, InputError
from tmsjax.core.transforms import check_rigid
from tmsjax.efield.medium import conductivity
from tmsjax.efield.system import discretise, in_float64, induce, refines
from tmsjax.efield.types import EField
from tmsjax.head import HeadModel


def solve(
    head: HeadModel,
    coil: Coil,
    pose: CoilPose,
    didt: float | Float[Array, ""] = 1.0,
    *,
    tolerance: float = 1e-4,
    partial_volume: str | bool = "arithmetic",
    coarsen: int = 1,
    precision: str = "",
    on_failure: str = "raise",
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
        tolerance: relative residual to reach, 1e-12 at the least. The residual reported is the true one.
        partial_volume: what a voxel of more than one tissue gets: the "arithmetic" or "geometric" mean of their
            conductivities, or "none", its own label's (``conductivity``). Shares are recovered from the labels.
        coarsen: solve on voxels this many times larger along each axis; the field is then on that grid.
        precision: "float32"; "float64" for iterative refinement, whether JAX has float64 enabled or not; or "", which
            refines where ``tolerance`` is below what float32 reaches (``system.TOLERANCE_FLOOR``).
        on_failure: "raise" an error if the residual does not come down to ``tolerance``, or "return" the field all the
            same; its ``status`` says so. Under tracing it is always returned.

    Raises:
        InputError: a pose that is not rigid, a coil inside the head, NaN or conductivities that are not positive,
            a tolerance that cannot be reached, a head without tissue or without air around it.
        ConvergenceError: a solver that did not converge.
    """
    didt = rate(didt)
    _check_inputs(head, coil, pose)
    sigma, mask, affine = conductivity(head, partial_volume=partial_volume, coarsen=coarsen, octants=True)
    return solve_conductivity(
        sigma, mask, affine, coil, pose, didt, tolerance=tolerance, precision=precision, on_failure=on_failure
    )


def solve_conductivity(
    sigma: ArrayLike,
    mask: ArrayLike,
    affine: ArrayLike,
    coil: Coil,
    pose: CoilPose,
    didt: float | Float[Array, ""] = 1.0,
    *,
    tolerance: float = 1e-4,
    precision: str = "",
    on_failure: str = "raise",
) -> EField:
    """``solve`` for a conductivity map of your own; ``mask`` (i, j, k) says which voxels are tissue.

    ``sigma`` in S/m is (i, j, k), one number a voxel; (i, j, k, 8), one for each octant of a voxel; or (i, j, k, 6), a
    tensor (``anisotropic``): xx, xy, xz, yy, yz, zz in world axes.

    Raises InputError for NaN, negative or all-zero conductivity, and for a ``didt`` that is not a finite scalar;
    ConvergenceError as ``solve`` does.
    """
    if on_failure not in ("raise", "return"):
        raise InputError("unknown on_failure", got=repr(on_failure), expected='"raise" or "return"')
    didt = rate(didt)
    system = discretise(sigma, mask, affine)

    def of_coil(system, coil, pose, didt):
        return induce(system, _primary(coil, pose, system.points_mm, didt), tolerance=tolerance)

    arguments = (system, coil, pose, didt)
    result: Any = in_float64(of_coil, *arguments) if refines(tolerance, precision) else of_coil(*arguments)
    values, residual, iterations = result
    field = EField(values, system.mask, system.affine, residual, iterations, tolerance, didt)
    if on_failure == "raise" and _concrete(field.residual) and field.status != "converged":
        raise ConvergenceError(
            f"the field solver did not converge in {int(field.iterations)} iterations: {field.status}\n"
            '  mend:     check the conductivities (S/m), or take the field as it is with on_failure="return"'
        )
    return field


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
    labels = np.asarray(head.labels)
    faces = [np.take(labels, end, axis) for axis in range(3) for end in (0, -1)]
    if all((face > 0).all() for face in faces):
        raise InputError(
            "there is no air around the head",
            got="tissue in every voxel of the label map's six sides",
            expected="air (0) on some side; a head may be cut by the others",
            mend="label air as 0, or pad the labels with it: np.pad(labels, 1)",
        )
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
