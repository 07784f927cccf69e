"""Heads: tissue labels or tetrahedra, conductivities, cortical surfaces, landmarks, the scalp."""

from tmsjax.head.conductivity import fractions
from tmsjax.head.cortical import surfaces_from_labels
from tmsjax.head.distance import ScalpDistance, scalp_distance
from tmsjax.head.electrodes import ELECTRODES, FIDUCIALS, electrode, electrodes
from tmsjax.head.landmarks import LANDMARKS, from_mni, landmark, target
from tmsjax.head.load import load
from tmsjax.head.locate import grid_conductivity, locate, rasterise
from tmsjax.head.mesh import SIMNIBS_CONDUCTIVITY, SIMNIBS_TAGS, HeadMesh, load_mesh, mesh_from_arrays
from tmsjax.head.model import (
    PAPER_CONDUCTIVITY,
    TISSUES,
    HeadModel,
    Surface,
    from_labels,
)
from tmsjax.head.scalp import scalp_surface, signed_distance, vertex_normals
from tmsjax.head.surfaces import load_surfaces, read_surface

__all__ = [
    "ELECTRODES",
    "FIDUCIALS",
    "LANDMARKS",
    "PAPER_CONDUCTIVITY",
    "SIMNIBS_CONDUCTIVITY",
    "SIMNIBS_TAGS",
    "TISSUES",
    "HeadMesh",
    "HeadModel",
    "ScalpDistance",
    "Surface",
    "electrode",
    "electrodes",
    "fractions",
    "from_labels",
    "from_mni",
    "grid_conductivity",
    "landmark",
    "load",
    "load_mesh",
    "load_surfaces",
    "locate",
    "mesh_from_arrays",
    "rasterise",
    "read_surface",
    "scalp_distance",
    "scalp_surface",
    "signed_distance",
    "surfaces_from_labels",
    "target",
    "vertex_normals",
]
