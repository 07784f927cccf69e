"""The electric field that a coil induces in a head."""

from tmsjax.efield.types import EField

__all__ = ["EField"]
