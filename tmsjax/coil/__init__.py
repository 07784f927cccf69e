"""Coils as magnetic dipoles, their primary field, and their poses on a head."""

from tmsjax.coil.library import BUNDLED, from_dipoles, load
from tmsjax.coil.primary import flux_density, primary_field
from tmsjax.coil.types import Coil, CoilPose

__all__ = ["BUNDLED", "Coil", "CoilPose", "flux_density", "from_dipoles", "load", "primary_field"]
