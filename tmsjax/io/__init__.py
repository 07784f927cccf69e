"""File formats of other programs as plain arrays: gmsh and SimNIBS meshes, NIfTI fields and tensors, GIFTI."""

from tmsjax.io.gifti import write_metric, write_surface
from tmsjax.io.msh import read_msh, write_msh
from tmsjax.io.nifti import onto, read_scalar, read_tensor, read_vector, resample, write_scalar, write_vector
from tmsjax.io.types import Msh

__all__ = [
    "Msh",
    "onto",
    "read_msh",
    "read_scalar",
    "read_tensor",
    "read_vector",
    "resample",
    "write_metric",
    "write_msh",
    "write_scalar",
    "write_surface",
    "write_vector",
]
