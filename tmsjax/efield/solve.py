"""The E-field of a coil in a head: from labels, conductivities and a pose to V/m in every voxel."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float

from tmsjax.coil import Coil, CoilPose
from tmsjax.coil.primary import primary_field
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import ConvergenceError, InputError
from tmsjax.efield.checks import check_air, check_apart, check_coil, check_head, concrete, conductor, rate
from tmsjax.efield.medium import conductivity
from tmsjax.efield.system import System, discretise, in_float64, induce, refines
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
            a tolerance that cannot be reached, a head without tissue or without air around it, what is no head, coil,
            pose or option at all.
        ConvergenceError: a solver that did not converge.
    """
    didt, in_doubles = _checked(coil, pose, didt, tolerance, precision, on_failure)
    check_head(head)
    check_air(head)
    check_apart(head, coil, pose)
    medium = conductivity(head, partial_volume=partial_volume, coarsen=coarsen, octants=True)
    return _solved(discretise(*medium), coil, pose, didt, tolerance, in_doubles, on_failure)


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

    Differentiable in ``sigma`` too, where it is not 0: what air would do if it conducted a little, the gradient does
    not say. Traced, it is taken to reach no further than one voxel beyond ``mask``, as tissue shares do
    (``conductivity``). Voxels of ``mask`` without conductivity get no field (where it is concrete).

    Raises InputError for NaN, negative or all-zero conductivity, a pose that is not rigid, a coil inside ``mask``, and
    for a ``didt`` that is not a finite scalar; ConvergenceError as ``solve`` does.
    """
    didt, in_doubles = _checked(coil, pose, didt, tolerance, precision, on_failure)
    system = discretise(sigma, mask, affine)
    check_apart(conductor(np.asarray(mask, bool), np.asarray(affine, float)), coil, pose)
    return _solved(system, coil, pose, didt, tolerance, in_doubles, on_failure)


def _checked(
    coil: Coil, pose: CoilPose, didt: Any, tolerance: float, precision: str, on_failure: str
) -> tuple[Float[Array, ""], bool]:
    """The rate as an array, and whether to solve in float64; InputError before any work is done."""
    if on_failure not in ("raise", "return"):
        raise InputError("unknown on_failure", got=repr(on_failure), expected='"raise" or "return"')
    check_coil(coil, pose)
    return rate(didt), refines(tolerance, precision)


def _solved(
    system: System, coil: Coil, pose: CoilPose, didt: Array, tolerance: float, in_doubles: bool, on_failure: str
) -> EField:
    tolerance = float(tolerance)

    def of_coil(system, coil, pose, didt):
        return induce(system, _primary(coil, pose, system.points_mm, didt), tolerance=tolerance)

    arguments = (system, coil, pose, didt)
    result: Any = in_float64(of_coil, *arguments) if in_doubles else of_coil(*arguments)
    values, residual, iterations = result
    field = EField(values, system.mask, system.affine, residual, iterations, tolerance, didt)
    if on_failure == "raise" and concrete(field.residual) and field.status != "converged":
        raise ConvergenceError(
            f"the field solver did not converge in {int(field.iterations)} iterations: {field.status}\n"
            '  mend:     check the conductivities (S/m), or take the field as it is with on_failure="return"'
        )
    return field


_primary = jax.jit(primary_field)
