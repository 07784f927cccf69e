"""The files of ``tmsjax efield``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

import tmsjax as tj
from tmsjax.coil import save_poses
from tmsjax.core.transforms import apply_affine
from tmsjax.efield.files import save_field
from tmsjax.efield.mesh_field import MeshField
from tmsjax.head.load import VOXEL_MM
from tmsjax.head.locate import grid_round
from tmsjax.head.mesh import SIMNIBS_TAGS
from tmsjax.io import Msh, write_metric, write_msh, write_scalar, write_surface


def write(folder: Path, options, field, head, mesh: Any, surfaces: Any, pose) -> dict[str, dict[str, float]]:
    """Write efield.nii.gz, magnE.nii.gz, efield.msh of a mesh, surfaces with E, pose.txt.

    Returns the median and the 99th percentile of |E| of every tissue.
    """
    voxels = field
    if isinstance(field, MeshField):
        size = VOXEL_MM if options.voxel_mm is None else options.voxel_mm
        voxels = field.on_grid(*grid_round(mesh, size))
        save_field(field, folder / "efield.msh")
    elif mesh is not None:
        write_msh(folder / "efield.msh", _at_tetrahedra(field, mesh))
    save_field(voxels, folder / "efield.nii.gz")
    magnitude = np.linalg.norm(np.asarray(voxels.values), axis=-1)
    write_scalar(folder / "magnE.nii.gz", magnitude, np.asarray(voxels.affine), description="|E|, V/m")
    if surfaces is not None:
        for side in ("lh", "rh"):
            central(folder, side, surfaces, field)
    save_poses(pose, folder / "pose.txt", "matsimnibs")
    if isinstance(field, MeshField):
        return _quantiles(np.linalg.norm(np.asarray(field.values), axis=1), field.mesh.tags)
    labels = _labels_on(voxels, head)
    return _quantiles(magnitude[labels > 0], labels[labels > 0])


def central(folder: Path, side: str, surfaces: dict, field) -> None:
    """The surface halfway between white and pial, and E on it: |E|, its components, and that into the cortex."""
    white, pial = (np.asarray(surfaces[f"{side}_{kind}"].vertices, float) for kind in ("white", "pial"))
    faces = np.asarray(surfaces[f"{side}_white"].faces)
    middle = (white + pial) / 2
    surface = tj.head.Surface(middle.astype(np.float32), faces)
    e = np.asarray(field.at(middle.astype(np.float32), outside="nan"), float)
    inward = -(np.asarray(tj.head.vertex_normals(surface), float) * e).sum(axis=1)
    maps = {"magnE": np.linalg.norm(e, axis=1), "E_inward": inward} | dict(zip(("Ex", "Ey", "Ez"), e.T, strict=True))
    write_surface(folder / f"{side}.central.surf.gii", middle, faces, structure=f"{side}_central")
    write_metric(folder / f"{side}.central.func.gii", {f"{k} (V/m)": v for k, v in maps.items()}, structure=side)


def _at_tetrahedra(field, mesh) -> Msh:
    """A voxel field at the centroids of a mesh; left out where these lie outside the voxels' tissue."""
    e = np.asarray(field.at(mesh.centroids.astype(np.float32), outside="nan"), float)
    return Msh(
        nodes=mesh.nodes,
        tetrahedra=mesh.tetrahedra,
        tetrahedron_tags=mesh.tags,
        element_data={"E": e, "magnE": np.linalg.norm(e, axis=1)},
    )


def _labels_on(field, head) -> np.ndarray:
    """The label at each voxel of the field's grid, which may be coarser than the head's; 0 where there is no field."""
    mask = np.asarray(field.mask)
    index = apply_affine(np.asarray(field.affine, float), np.argwhere(mask))
    index = np.rint(apply_affine(np.linalg.inv(np.asarray(head.affine, float)), index) + 1e-6).astype(int)
    own = np.asarray(head.labels)
    index = np.clip(index, 0, np.asarray(own.shape) - 1)
    labels = np.zeros(mask.shape, own.dtype)
    labels[mask] = own[tuple(index.T)]
    return labels


def _quantiles(magnitude: np.ndarray, tissue: np.ndarray) -> dict[str, dict[str, float]]:
    rows: dict[str, Any] = {}
    for tag in np.unique(tissue).tolist():
        here = magnitude[tissue == tag]
        here = here[np.isfinite(here)]
        if len(here):
            name = f"{tag} {SIMNIBS_TAGS.get(tag, 'tissue of your own')}"
            rows[name] = {"median": float(np.median(here)), "p99": float(np.quantile(here, 0.99))}
    return rows
