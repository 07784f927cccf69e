"""The induced electric field on a voxel grid."""

from __future__ import annotations

from typing import Any

import numpy as np
from jaxtyping import Array, Bool, Float

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.pytree import pytree


@pytree("tolerance")
class EField:
    """The induced electric field at the voxel centres of a head.

    The field is linear in the coil current's rate of change. ``values`` are for ``didt``; divided by it they are V/m
    per A/us. Scale both together, or neither.

    Attributes:
        values: (i, j, k, 3) float32, V/m along the world's axes (scanner RAS+, not the voxels'), at the voxel centres;
            0 where ``mask`` is False.
        mask: (i, j, k) bool, True in tissue (labels above 0). There is no E-field outside.
        affine: (4, 4) float32, voxel index -> RAS+ mm of the voxel's centre.
        residual: () relative residual |b - A phi| / |b| of the linear system, computed from the potential itself.
        iterations: () of the solver.
        tolerance: relative residual that was asked for (static).
        didt: () rate of change of the coil current in A/us that ``values`` belong to.

    ``status`` says whether the solver converged; a field that has not is still returned, and of one from a file that
    gives no residual (NaN, with tolerance 0) nothing is known.
    """

    values: Any
    mask: Any
    affine: Any
    residual: Any
    iterations: Any
    tolerance: float
    didt: Any = 1.0

    @property
    def status(self) -> str:
        """The word "converged", a sentence that says how far the solver got, or "unknown"."""
        worst = float(np.max(np.asarray(self.residual)))  # of several fields that jax.vmap made: NaN if one is
        if self.tolerance == 0 and np.isnan(worst):
            return "unknown"
        if worst <= self.tolerance:
            return "converged"
        return f"not converged: residual {worst:.1e} above {self.tolerance:.1e}"

    def at(self, points_mm: ArrayLike, outside: str = "raise", method: str = "linear") -> Float[Array, "*p 3"]:
        """E in V/m for ``didt`` at points (p, 3) or (3,) in RAS+ mm, interpolated within tissue, differentiable.

        A point is outside where ``inside`` is False: "raise" an InputError, or "nan" there (always under tracing).
        ``method`` is "linear" or "cubic", whose gradient in the points is continuous.
        """
        from tmsjax.efield.sample import sample

        return sample(self, points_mm, outside, method)

    def inside(self, points_mm: ArrayLike) -> Bool[Array, "*p"]:
        """True where a point of (p, 3) or (3,) mm lies in the conductor: its nearest voxel holds tissue."""
        from tmsjax.efield.sample import inside

        return inside(self, points_mm)
