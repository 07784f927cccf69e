"""Conductivity tensors of a mesh's tetrahedra from diffusion tensors."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from tmsjax.core.errors import InputError
from tmsjax.efield.anisotropy import normalised
from tmsjax.head.locate import element_conductivity
from tmsjax.head.mesh import SIMNIBS_TAGS, HeadMesh
from tmsjax.io import resample


def mesh_tensors(
    mesh: HeadMesh,
    tensors: Float[np.ndarray, "i j k 6"],
    affine: Float[np.ndarray, "4 4"],
    *,
    tags: Sequence[int] = (1,),
) -> tuple[Float[np.ndarray, "t 6"], int]:
    """Conductivity (t, 6) S/m for ``solve_mesh``: that of some tissues takes its direction from diffusion tensors.

    As ``anisotropic`` for voxels (volume-normalised), with the tensors interpolated at the centroids.

    Args:
        mesh: tetrahedra and their isotropic conductivities.
        tensors: xx, xy, xz, yy, yz, zz in world axes, in any unit (``tmsjax.io.read_tensor``).
        affine: of the tensors' voxels.
        tags: the tissues that take them, white matter by default.

    Returns:
        The conductivity, and how many tetrahedra of these tissues had no usable tensor and stay isotropic.

    Raises:
        InputError: a tag that the mesh does not have.
    """
    missing = [tag for tag in tags if tag not in mesh.conductivity]
    if missing:
        present = ", ".join(f"{tag} {SIMNIBS_TAGS.get(tag, 'your own')}" for tag in mesh.conductivity)
        raise InputError("the mesh has no such tissue", got=missing, expected=present)
    scalar = element_conductivity(mesh)
    sigma = np.zeros((len(scalar), 6))
    sigma[:, [0, 3, 5]] = scalar[:, None]
    which = np.flatnonzero(np.isin(mesh.tags, list(tags)))
    values, vectors, bad = normalised(resample(tensors, affine, mesh.centroids[which]))
    full = scalar[which, None, None] * (vectors * values[:, None]) @ vectors.mT
    sigma[which] = full[:, [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]
    return sigma, int(bad.sum())
