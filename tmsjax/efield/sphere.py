"""Closed form of the field that a coil induces in a spherically symmetric conductor."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.coil import Coil, CoilPose
from tmsjax.coil.primary import chunked, place
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.points import vectors
from tmsjax.core.units import DIPOLE_A
from tmsjax.efield.checks import check_coil, concrete, rate


def sphere_efield(
    coil: Coil,
    pose: CoilPose,
    points_mm: ArrayLike,
    centre_mm: ArrayLike,
    didt: ArrayLike = 1.0,
) -> Float[Array, "p 3"]:
    """E-field (p, 3) in V/m that a coil induces in a spherically symmetric conductor centred at ``centre_mm``.

    It depends neither on the conductivities nor on the radii, as long as the points (p, 3) mm lie inside and the coil
    outside. So it is exact in layered spheres and says nothing about how a solver averages conductivities where the
    field crosses a border: see a folded conductor for that (tests/folded.py). Float64, coil and pose included, where
    JAX has it enabled; a coil's float32 dipoles are taken as they are. ``didt`` in A/us.

    Raises InputError for points or a centre of another shape or not finite, what is no coil, dipoles that are not
    finite, a pose that is not rigid, a ``didt`` that is no finite number, and for points as far from the centre as the
    nearest dipole: no sphere holds them and leaves the coil out (values are checked where they are concrete).
    """
    points = vectors(points_mm, "points")
    centre = vectors(centre_mm, "centre of the sphere", ("(3,)",))
    for what, value in (("points", points), ("centre of the sphere", centre)):
        if concrete(value) and not bool(jnp.isfinite(value).all()):
            raise InputError(f"{what}: not finite", got="NaN or inf", expected="finite mm")
    check_coil(coil, pose)
    didt = rate(didt)
    positions, moments = place(*_in_own_precision(coil, pose))
    q, r = positions - centre, points - centre
    if len(r) and concrete(q, r):
        _check_between(jnp.linalg.norm(q, axis=1), jnp.linalg.norm(r, axis=1))
    return didt * dipoles_in_sphere(q, moments, r)


def _in_own_precision(coil: Coil, pose: CoilPose) -> tuple[Coil, CoilPose]:
    """In the precision that JAX works in, so that placing the coil loses none."""
    coil = dataclasses.replace(
        coil, positions=jnp.asarray(coil.positions, float), moments=jnp.asarray(coil.moments, float)
    )
    return coil, CoilPose(jnp.asarray(pose.rotation, float), jnp.asarray(pose.centre, float))


def _check_between(dipoles_mm: Float[Array, "d"], points_mm: Float[Array, "p"]) -> None:  # noqa: UP037
    """InputError unless every point is nearer to the centre than every dipole."""
    nearest, furthest = float(dipoles_mm.min()), float(points_mm.max())
    if not furthest < nearest:
        raise InputError(
            "points lie outside any sphere that leaves the coil out",
            got=f"a point {furthest:.1f} mm from the centre, a dipole at {nearest:.1f} mm",
            expected="points nearer to the centre than every dipole",
            mend="check the sphere's centre, and that the pose puts the coil outside the sphere",
        )


def dipoles_in_sphere(
    positions_mm: Float[Array, "d 3"], moments: Float[Array, "d 3"], points_mm: Float[Array, "p 3"]
) -> Float[Array, "p 3"]:
    """E (p, 3) in V/m per A/us of dipoles (A.m2 per A) round a conducting sphere centred at the origin.

    Heller & van Hulsteyn 1992 (Biophys. J. 63:129) and, by reciprocity, Sarvas 1987 (Phys. Med. Biol. 32:11), eq. 25:
    dipole m at q, a = q - r, F = |a| (|q| |a| + q.a),
    E = -(mu0/4pi) dI/dt F^-2 [F r x m - (m . grad F) r x q],
    grad F = (a^2/q + 2a + 2q + q.a/a) q - (a + 2q + q.a/a) r.
    """
    q_ = jnp.linalg.norm(positions_mm, axis=1)
    mq = jnp.sum(moments * positions_mm, axis=1)
    dot = partial(jnp.dot, precision="highest")

    def at(r):
        # Sums over dipoles are matrix products: jaxlib 0.10.2 miscompiles a product that feeds a sum (jax#39103).
        qr = dot(r, positions_mm.T)
        r2 = jnp.sum(r * r, axis=1, keepdims=True)
        a_ = jnp.sqrt(q_**2 - 2 * qr + r2)
        qa = q_**2 - qr
        f = a_ * (q_ * a_ + qa)
        m_grad = (a_**2 / q_ + 2 * a_ + 2 * q_ + qa / a_) * mq - (a_ + 2 * q_ + qa / a_) * dot(r, moments.T)
        return jnp.cross(r, dot(1 / f, moments) - dot(m_grad / f**2, positions_mm))

    return -DIPOLE_A * chunked(at, points_mm)
