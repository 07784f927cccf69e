"""The induced electric field on a voxel grid."""

from __future__ import annotations

from typing import Any

from jaxtyping import Array, Bool, Float

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.pytree import pytree


@pytree("tolerance")
class EField:
    """The induced E-field at the voxel centres of a head.

    values: Any
    mask: Any
    residual: Any
    """

    values: Any
    mask: Any
    affine: Any
    residual: Any
    iterations: Any
    tolerance: float

    @property
    def status(self) -> str:
        """The word "converged", or a sentence that says how far the solver got."""
        if float(self.residual) <= self.tolerance:
            return "converged"
        return f"not converged: residual {float(self.residual):.1e} above {self.tolerance:.1e}"

    def at(self, points_mm: ArrayLike, outside: str = "raise") -> Float[Array, "p 3"]:
        """E (p, 3) at points (p, 3) mm: trilinear within tissue, differentiable; see ``sample`` for ``outside``."""
        from tmsjax.efield.sample import sample

        return sample(self, points_mm, outside)

    def inside(self, points_mm: ArrayLike) -> Bool[Array, "p"]:  # noqa: UP037
        """(p,) True where a point lies in the conductor: its nearest voxel holds tissue."""
        from tmsjax.efield.sample import inside

        return inside(self, points_mm)
