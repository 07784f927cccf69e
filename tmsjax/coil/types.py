"""What a coil and its pose are."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from numpy.typing import ArrayLike

from tmsjax.core.pytree import pytree
from tmsjax.core.transforms import check_rigid


@dataclasses.dataclass(frozen=True)
class Fit:
    """How well the dipoles of a coil stand for what they were fitted to.

    The primary field -dA/dt is compared at points that took no part in the fit, in the near half of the brain (60 to
    78 mm) of a round head of 92 mm that touches the plane 4 mm below the casing's face. In a conductor its gradient
    part cancels: the error of the whole E-field there was 0.4 to 1.4 times that (tests/coil/test_reduce.py).

    of: what the dipoles stand for. error: relative L2 error. worst: largest error over the largest field.
    points: how many points were compared.
    """

    of: str
    error: float
    worst: float
    points: int


@pytree("name", "fit", "stimulators")
class Coil:
    """A coil as magnetic dipoles in its own frame: x across the wings, y along the handle axis, z into the head.

    The frame's origin is the middle of the casing's face on the head's side, as in SimNIBS coil files, so windings
    lie at negative z except where wings are bent towards the head. Signs are those of the SimNIBS .ccd files: below the
    centre of the MC-B70 a positive dI/dt induces a field along -y, below that of the Magstim 70 mm along +y.

    positions: (d, 3) mm. moments: (d, 3) A.m2 per A of coil current. windings: (w, 3) mm, points on the outline of
    the windings, for clearance checks (the dipoles' own positions where a file gives nothing else).
    fit: how well the dipoles stand for what they were made from, where they were fitted.
    stimulators: (name, largest dI/dt in A/us) of the stimulators that the coil's file names.
    """

    positions: Any
    moments: Any
    windings: Any
    name: str
    fit: Fit | None = None
    stimulators: tuple[tuple[str, float], ...] = ()


@pytree()
class CoilPose:
    """Where a coil is: ``world = rotation @ coil + centre``.

    rotation: (3, 3), columns x, y, z of the coil frame in the world (RAS+). centre: (3,) mm.
    """

    rotation: Any
    centre: Any

    @classmethod
    def from_matrix(cls, matrix: ArrayLike) -> CoilPose:
        """Take SimNIBS's 4x4 ``matsimnibs`` (columns x, y, z, centre in mm); InputError unless it is rigid."""
        m = check_rigid(matrix, "coil pose matrix")
        return cls(jnp.asarray(m[:3, :3], jnp.float32), jnp.asarray(m[:3, 3], jnp.float32))

    @property
    def matrix(self) -> np.ndarray:
        """SimNIBS's 4x4 matrix (float64): columns x, y (handle axis), z (into the head) and centre in mm."""
        m = np.eye(4)
        m[:3, :3] = np.asarray(self.rotation)
        m[:3, 3] = np.asarray(self.centre)
        return m
