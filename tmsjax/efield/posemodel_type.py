"""The field of any coil at any pose in one region of a head, as a small linear map: milliseconds, differentiable.

The field in a region is linear in the coil's dipoles, and smooth in where they are. So a few modes Q (p, 3, k) span it,
and by reciprocity the amplitude of a mode is what the coil's dipoles see of the magnetic field of a current pattern in
the head (Heller & van Hulsteyn 1992; Stenroos & Koponen 2019). Outside the head that field is the gradient of a
potential, here of s point sources inside the scalp with weights W (s, k):

E = Q W' b,   b_s = - sum_d m_d . (r_d - y_s) / |r_d - y_s|^3   (dipoles m_d at r_d).

Modes are those of white-noise dipoles round the whole head (``posemodel.precompute``), so a model serves any coil.
"""

from __future__ import annotations

import dataclasses
import json
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from tmsjax.coil import Coil, CoilPose
from tmsjax.coil.primary import place
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.points import vectors
from tmsjax.core.pytree import pytree
from tmsjax.core.transforms import check_rigid
from tmsjax.efield.checks import check_coil, check_kinds, concrete, rate
from tmsjax.efield.interpolate import nearest, trilinear
from tmsjax.efield.posemodel_potential import potentials
from tmsjax.efield.sample import to_voxels
from tmsjax.efield.types import EField
from tmsjax.head import ScalpDistance


@pytree("card")
class PoseModel:
    """A region's modes and what a coil's dipoles put into each.

    Attributes:
        basis: (p, 3, k) V/m, the modes at the points: orthonormal in float64, kept in float32.
        weights: (s, k) of the sources in each mode.
        sources_mm: (s, 3) RAS+ mm, inside the scalp.
        points_mm: (p, 3) RAS+ mm, where the model gives the field.
        distance: from the scalp.
        clearance_mm: () how near to the scalp a dipole may come.
        centre_mm: (3,) mean of the points. reach_mm: () how far from it the coil's centre may be.
        voxels: (p,) int32 flat index of the points in ``mask``, or None where the points are no voxels of a region.
        mask: (i, j, k) bool, the region's voxels. affine: (4, 4) of the region's grid. Both None without ``voxels``.
        card: JSON: how the model was made and its certificate (static).
    """

    basis: Any
    weights: Any
    sources_mm: Any
    points_mm: Any
    distance: ScalpDistance
    clearance_mm: Any
    centre_mm: Any
    reach_mm: Any
    voxels: Any
    mask: Any
    affine: Any
    card: str = "{}"

    @property
    def certificate(self) -> dict[str, Any]:
        """Errors against direct solves at poses and coils that the model was not made from.

        ``worst_l2`` and ``worst_peak`` over the ``poses`` (one entry each: coil, matrix, errors), see
        ``posemodel.certify``. Empty for a model that was never certified.
        """
        return json.loads(self.card).get("certificate", {})

    def __call__(
        self, coil: Coil, pose: CoilPose, didt: float | Float[Array, ""] = 1.0, outside: str = "raise"
    ) -> Float[Array, "p 3"]:
        """E (p, 3) in V/m for ``didt`` (A/us) at ``points_mm``; differentiable, ``jax.vmap`` maps it over poses.

        Where ``covers`` is False: "raise" an InputError, or "nan" (always NaN under tracing).
        """
        if outside not in ("raise", "nan"):
            raise InputError("unknown treatment of poses outside", got=outside, expected='"raise" or "nan"')
        check_kinds(coil, pose)
        if concrete(pose.rotation, pose.centre):
            check_rigid(pose.matrix, "coil pose matrix")
        e, covered = _evaluate(self, coil, pose, rate(didt))
        if outside == "raise" and concrete(covered) and not bool(covered):
            check_coil(coil, pose)
            lowest = float(jnp.min(self.distance.at(place(coil, pose)[0])))
            away = float(jnp.linalg.norm(pose.centre - self.centre_mm))
            raise InputError(
                "the pose is outside the model's domain",
                got=f"{coil.name}: a dipole {lowest:.1f} mm from the scalp, its centre {away:.0f} mm from the region's",
                expected=f"at least {float(self.clearance_mm):.1f} mm and at most {float(self.reach_mm):.0f} mm",
                mend="move the coil out along its own -z axis, or precompute a model with a smaller clearance_mm; "
                "of a region elsewhere, precompute another model",
            )
        return e

    def covers(self, coil: Coil, pose: CoilPose) -> Bool[Array, ""]:
        """Whether the model holds for this coil at this pose.

        All its dipoles are ``clearance_mm`` off the scalp, and its centre is within ``reach_mm`` of the region's: from
        farther away fields are weak, and the modes' errors are no longer small beside them. Whether the casing is in
        the head is not asked: ``coil.clearance`` tells.
        """
        check_kinds(coil, pose)
        return _covers(self, coil, pose)

    def field(self, coil: Coil, pose: CoilPose, didt: float | Float[Array, ""] = 1.0, outside: str = "raise") -> EField:
        """The field on the region's own voxel grid, for ``EField.at`` and everything that samples fields.

        It has no field outside the region, and says so. ``residual`` is the largest one of the model's own solves, and
        NaN (not converged) of a pose that the model does not cover, where the field is NaN.

        Raises InputError as a call does, and for a model of points that are no voxels of a region.
        """
        _check_grid(self)
        at_points = self(coil, pose, didt, outside)
        values = _on_grid(self, at_points)
        solved = json.loads(self.card)
        known = jnp.isfinite(at_points).all()
        return EField(
            values,
            self.mask,
            self.affine,
            jnp.where(known, jnp.asarray(solved["residual"], values.dtype), jnp.nan),
            jnp.asarray(0),
            solved["tolerance"],
            rate(didt),
        )

    def inside(self, points_mm: ArrayLike) -> Bool[Array, " p"]:
        """True where a point (p, 3) RAS+ mm lies in the region: its nearest voxel is one of the model's."""
        _check_grid(self)
        return nearest(self.mask, to_voxels(self.affine, vectors(points_mm, "points")))

    def resampled(self, points_mm: ArrayLike) -> PoseModel:
        """A model of points (p, 3) RAS+ mm of this region: its ``field`` sampled there (trilinear), at less cost.

        It has no certificate until ``posemodel.certify`` gives it one.

        Raises InputError for a model that has no grid, and for points outside the region.
        """
        _check_grid(self)
        points = vectors(points_mm, "points")
        if not len(points):
            raise InputError("points of a pose model", got="none", expected="(p, 3) RAS+ mm, p at least 1")
        voxel, inside = to_voxels(self.affine, points), self.inside(points)
        if not bool(inside.all()):
            raise InputError(
                "points lie outside the model's region",
                got=f"{int((~inside).sum())} of {len(inside)} points",
                expected="points in the region's tissue",
            )

        def one(mode):
            return trilinear(_on_grid(self, mode), self.mask, voxel)

        basis = jnp.moveaxis(jax.lax.map(one, jnp.moveaxis(self.basis, 2, 0)), 0, 2)
        made = {name: value for name, value in json.loads(self.card).items() if name != "certificate"}
        return dataclasses.replace(
            self,
            basis=basis,
            points_mm=points,
            voxels=None,
            mask=None,
            affine=None,
            card=json.dumps(made, sort_keys=True),
        )


def _check_grid(model: PoseModel) -> None:
    if model.voxels is None:
        raise InputError(
            "this model has no grid",
            got="a model of separate points",
            expected="a model of a region",
            mend="make it with tmsjax.efield.posemodel.precompute_region",
        )


def _on_grid(model: PoseModel, values: Float[Array, "p 3"]) -> Float[Array, "i j k 3"]:
    """Values at the model's points on the region's grid, 0 elsewhere."""
    grid = jnp.zeros((model.mask.size, 3), values.dtype)
    grid = grid.at[model.voxels].set(values, unique_indices=True, indices_are_sorted=True)
    return grid.reshape(*model.mask.shape, 3)


def amplitudes(model: PoseModel, coil: Coil, pose: CoilPose) -> Float[Array, " k"]:
    """What a coil puts into each mode, V/m per A/us: the field is ``basis @ amplitudes``."""
    positions, moments = place(coil, pose)
    return jnp.dot(potentials(positions, moments, model.sources_mm), model.weights, precision="highest")


@jax.jit
def _evaluate(model: PoseModel, coil: Coil, pose: CoilPose, didt: Array) -> tuple[Array, Array]:
    covered = _covers(model, coil, pose)
    c = amplitudes(model, coil, pose) * jnp.where(covered, didt, jnp.nan)
    return jnp.dot(model.basis, c, precision="highest"), covered


@jax.jit
def _covers(model: PoseModel, coil: Coil, pose: CoilPose) -> Array:
    positions, centre = jax.lax.stop_gradient((place(coil, pose)[0], pose.centre))
    near = jnp.min(model.distance.at(positions)) >= model.clearance_mm
    away = jnp.sum((centre - model.centre_mm) ** 2) <= model.reach_mm**2
    return near & away & jnp.isfinite(positions).all() & jnp.isfinite(coil.moments).all()
