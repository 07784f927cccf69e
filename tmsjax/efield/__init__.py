"""The electric field that a coil induces in a head."""

import lazy_loader

from tmsjax.efield.anisotropy import anisotropic
from tmsjax.efield.fem import MeshSystem, mesh_system, solve_mesh
from tmsjax.efield.files import load_field, save_field
from tmsjax.efield.medium import conductivity
from tmsjax.efield.mesh_field import MeshField
from tmsjax.efield.one_sided import within_tissue
from tmsjax.efield.solve import solve, solve_conductivity
from tmsjax.efield.sphere import sphere_efield
from tmsjax.efield.system import System, discretise, induce
from tmsjax.efield.types import EField

# On first use: Orbax, which keeps pose models, takes seconds to import.
__getattr__, _, _ = lazy_loader.attach(__name__, submodules=["posemodel"])

__all__ = [
    "EField",
    "MeshField",
    "MeshSystem",
    "System",
    "anisotropic",
    "conductivity",
    "discretise",
    "induce",
    "load_field",
    "mesh_system",
    "save_field",
    "solve",
    "solve_conductivity",
    "solve_mesh",
    "sphere_efield",
    "within_tissue",
]
