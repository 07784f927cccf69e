"""The electric field that a coil induces in a head."""

from tmsjax.efield.medium import conductivity
from tmsjax.efield.solve import solve, solve_conductivity
from tmsjax.efield.sphere import sphere_efield
from tmsjax.efield.system import System, discretise, induce
from tmsjax.efield.types import EField

__all__ = ["EField", "System", "conductivity", "discretise", "induce", "solve", "solve_conductivity", "sphere_efield"]
