"""Coils as magnetic dipoles, their primary field, and their poses on a head."""

from tmsjax.coil.types import Coil, CoilPose

__all__ = ["Coil", "CoilPose"]
