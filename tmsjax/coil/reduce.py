"""A coil of many dipoles as one of few, with the error that this costs."""

from __future__ import annotations

import dataclasses

import jax.numpy as jnp
import numpy as np

from tmsjax.coil.clearance import face_points
from tmsjax.coil.fit import (
    NEAREST_MM,
    brain_points,
    choose_sites,
    dipole_potential,
    fit_error,
    moments_at,
    points_in_front,
)
from tmsjax.coil.types import Coil
from tmsjax.core.errors import InputError, check_number

TRAINING_POINTS, HELD_OUT_POINTS = 1500, 4000


def reduce(coil: Coil, n: int = 150, *, nearest_mm: float = NEAREST_MM) -> Coil:
    """A coil of ``n`` dipoles with the field of ``coil``, and its error in ``.fit``.

    Sites are chosen among the coil's dipoles by pivoted QR of their fields at random points where a head may be, and
    get new moments in all three directions by least squares there. Deterministic. A coil that has no more than ``n``
    dipoles is returned as it is.

    The stated error is that of -dA/dt at other points than those fitted, in the brain of a round head 4 mm below the
    casing (see ``Fit``). Of the bundled MC-B70: 150 dipoles 0.06 %, 300 dipoles 0.004 % (tests/coil/test_reduce.py).

    Args:
        coil: the coil.
        n: how many dipoles to keep, at least 10.
        nearest_mm: the head is never nearer than this to the coil; nearer fields are not fitted.

    Raises:
        InputError: fewer than 10 dipoles are asked for, or ``nearest_mm`` is not a positive number.
    """
    if not isinstance(n, int | np.integer) or isinstance(n, bool) or n < 10:
        raise InputError("a coil cannot be reduced to so few dipoles", got=n, expected="an integer, 10 or more")
    nearest_mm = check_number(nearest_mm, "distance between head and coil", above=0, unit="mm")
    positions, moments = np.asarray(coil.positions, np.float64), np.asarray(coil.moments, np.float64)
    if len(positions) <= n:
        return coil
    solid = np.concatenate([face_points(coil), positions])
    points = points_in_front(solid, max(TRAINING_POINTS, 5 * n), 0, nearest_mm)
    sites = positions[choose_sites(positions, moments, points, int(n))]
    found = jnp.asarray(moments_at(sites, points, dipole_potential(positions, moments, points)), jnp.float32)
    held_out = brain_points(HELD_OUT_POINTS, 1)
    kept = np.asarray(found, np.float64)  # as it is stored: rounding counts
    fit = fit_error(
        dipole_potential(sites, kept, held_out),
        dipole_potential(positions, moments, held_out),
        of=f"{len(positions)} dipoles of {coil.name}",
    )
    return dataclasses.replace(coil, positions=jnp.asarray(sites, jnp.float32), moments=found, fit=fit)
