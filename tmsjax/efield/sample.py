"""Fields at arbitrary points: trilinear or cubic within tissue, differentiable in the points and in the field."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.core import Tracer
from jaxtyping import Array, Bool, Float

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.points import vectors
from tmsjax.efield import interpolate
from tmsjax.efield.interpolate import chunked, cubic, nearest, trilinear
from tmsjax.efield.types import EField

METHODS = ("linear", "cubic")


def inside(field: EField, points_mm: ArrayLike) -> Bool[Array, "*p"]:
    """(p,) True where a point (p, 3) mm lies in the conductor: its nearest voxel holds tissue. (3,) gives ()."""
    points, single = _points(points_mm)
    found = _inside(field.mask, field.affine, points)
    return found[0] if single else found


def sample(field: EField, points_mm: ArrayLike, outside: str = "raise", method: str = "linear") -> Float[Array, "*p 3"]:
    """E (p, 3) at points (p, 3) mm, interpolated between voxel centres. One point (3,) gives (3,).

    Values are V/m for the field's ``didt``. ``method`` is "linear" (``interpolate.trilinear``, the faster one, with
    kinks between voxels) or "cubic" (``interpolate.cubic``, whose gradient in the points is continuous).

    Air has no E-field, so air voxels carry no weight and the field is continued flat over the last half voxel.
    ``outside`` says what happens where ``inside`` is False: "raise" an InputError, or "nan" in those rows (always NaN
    under tracing, where nothing can be raised).
    """
    if outside not in ("raise", "nan"):
        raise InputError("unknown treatment of points outside", got=outside, expected='"raise" or "nan"')
    if method not in METHODS:
        raise InputError("unknown method of interpolation", got=method, expected=f"one of {', '.join(METHODS)}")
    points, single = _points(points_mm)
    values, valid = _sample(field.values, field.mask, field.affine, points, method)
    if not any(isinstance(a, Tracer) for a in (values, valid)):
        _check(values, valid, points, outside)
    return values[0] if single else values


def _check(values: Array, valid: Array, points_mm: Array, outside: str) -> None:
    finite = jnp.isfinite(points_mm).all(axis=1)
    if outside == "raise" and not bool(finite.all()):
        raise InputError(
            "points are not finite",
            got=f"NaN or inf in {int((~finite).sum())} of {len(finite)} points, first in row {int(jnp.argmin(finite))}",
            expected="finite RAS+ mm",
        )
    if outside == "raise" and not bool(valid.all()):
        first = points_mm[jnp.argmin(valid)]
        raise InputError(
            "points lie outside the conductor, where there is no E-field",
            got=f"{int((~valid).sum())} of {len(valid)} points, the first at {[round(float(x), 1) for x in first]} mm",
            expected="points in tissue, in RAS+ mm of the head",
            mend='drop those where field.inside(points) is False, or ask for NaN: field.at(points, outside="nan")',
        )
    bad = valid & ~jnp.isfinite(values).all(axis=1)
    if bool(bad.any()):
        raise InputError(
            "the E-field is not finite",
            got=f"NaN or inf at {int(bad.sum())} of {len(valid)} points",
            expected="finite values wherever mask is True",
            mend="look at field.status and at the conductivities it was solved with",
        )


def _points(points_mm: ArrayLike) -> tuple[Array, bool]:
    """Points (p, 3), and whether it was a single one (3,)."""
    points = vectors(points_mm, "points", ("(p, 3)", "(3,)"))
    return points.reshape(-1, 3), points.ndim == 1


def to_voxels(affine: Array, points_mm: Array) -> Array:
    """Grid indices (p, 3) of points (p, 3) mm."""
    affine = jnp.asarray(affine, points_mm.dtype)
    inverse = jnp.linalg.inv(affine[:3, :3])
    return (points_mm - affine[:3, 3]) @ inverse.T


@jax.jit
def _inside(mask: Array, affine: Array, points_mm: Array) -> Array:
    return nearest(mask, to_voxels(affine, points_mm))


@partial(jax.jit, static_argnames="method")
def _sample(values: Array, mask: Array, affine: Array, points_mm: Array, method: str = "linear") -> tuple[Array, Array]:
    voxel = to_voxels(affine, points_mm)
    valid = nearest(mask, voxel)
    if method == "cubic":
        at = cubic(values, mask, voxel)
    else:
        at = chunked(lambda v: trilinear(values, mask, v), voxel, interpolate.CHUNK)
    return jnp.where(valid[:, None], at, jnp.nan), valid
