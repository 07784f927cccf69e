"""Coils as magnetic dipoles, their primary field, and their poses on a head."""

from tmsjax.coil.clearance import check_outside
from tmsjax.coil.library import BUNDLED, from_dipoles, load
from tmsjax.coil.placement import pose_on_scalp
from tmsjax.coil.primary import primary_field
from tmsjax.coil.types import Coil, CoilPose

__all__ = [
    "BUNDLED",
    "Coil",
    "CoilPose",
    "check_outside",
    "from_dipoles",
    "load",
    "pose_on_scalp",
    "primary_field",
]
