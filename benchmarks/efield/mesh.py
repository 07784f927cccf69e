"""SPFD against first-order elements on SimNIBS's sphere3.msh (85/90/95 mm), both against the closed form."""

from __future__ import annotations

import itertools
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from benchmarks import _common as common
from tests.conftest import shared_folder
from tests.meshes import refine
from tests.spheres import pose_over
from tmsjax.efield.fem import mesh_system, solve_mesh
from tmsjax.head.locate import grid_round
from tmsjax.head.mesh import HeadMesh, mesh_from_arrays

BRAIN, RADIUS_MM = 3, 85.0
"""Tag and radius of the innermost sphere, the only one where nerve cells could be."""

POINTS = 20_000
DISTANCE_MM = 99.0


def refined(mesh: HeadMesh) -> HeadMesh:
    nodes, tetrahedra, tags, triangles, kinds = refine(
        mesh.nodes, mesh.tetrahedra, mesh.tags, mesh.triangles, mesh.triangle_tags
    )
    return mesh_from_arrays(
        nodes, tetrahedra, tags, mesh.conductivity, triangles=triangles, triangle_tags=kinds, name=mesh.name
    )


def places(mesh: HeadMesh) -> dict[str, np.ndarray]:
    """Points drawn evenly from the inner sphere, and from its outermost 10 mm under the coil."""
    rng = np.random.default_rng(0)
    direction = rng.normal(size=(POINTS, 3))
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    even = direction * RADIUS_MM * rng.random((POINTS, 1)) ** (1 / 3)
    axis = np.asarray(pose_over().centre) / np.linalg.norm(pose_over().centre)
    under = direction + 4 * axis  # within about 15 degrees of the coil's axis
    under *= rng.uniform(RADIUS_MM - 10, RADIUS_MM - 0.5, (POINTS, 1)) / np.linalg.norm(under, axis=1, keepdims=True)
    chosen = {"inner sphere": even, "outer 10 mm under the coil": under}
    # Flat facets leave a sliver of the sphere out.
    found = {name: tj.head.locate(mesh, points) for name, points in chosen.items()}
    inside = {name: (index >= 0) & (mesh.tags[index] == BRAIN) for name, index in found.items()}
    return {name: points[inside[name]].astype(np.float32) for name, points in chosen.items()}


def error(found, reference) -> float:
    difference = np.asarray(found, float) - np.asarray(reference, float)
    return float(np.linalg.norm(difference) / np.linalg.norm(np.asarray(reference, float)))


def compare(mesh: HeadMesh, coils: dict, voxel_mm: float) -> list[dict[str, Any]]:
    """Errors of both solvers on one mesh, and their difference."""
    clock = time.perf_counter
    start = clock()
    system = mesh_system(mesh)
    assert system.preconditioner is not None
    prepared = clock() - start
    affine, shape = grid_round(mesh, voxel_mm)
    start = clock()
    sigma, mask = tj.head.grid_conductivity(mesh, affine, shape, octants=True)
    voxelised, sigma = clock() - start, jnp.asarray(sigma)
    pose, points, rows = pose_over(distance_mm=DISTANCE_MM), places(mesh), []
    for name, coil in coils.items():
        start = clock()
        elements = solve_mesh(system, coil, pose)
        elements_s, start = clock() - start, clock()
        voxels = jax.block_until_ready(tj.efield.solve_conductivity(sigma, mask, affine, coil, pose))
        row: dict[str, Any] = {
            "coil": name,
            "tetrahedra": len(mesh.tags),
            "voxel_mm": voxel_mm,
            "mesh_system_s": prepared,
            "solve_mesh_s": elements_s,
            "voxelise_s": voxelised,
            "solve_voxels_s_with_compilation": clock() - start,
            "residuals": [float(elements.residual), float(voxels.residual)],
        }
        brain = mesh.tags == BRAIN
        centroids = mesh.centroids[brain]
        at_centroids = tj.efield.sphere_efield(coil, pose, centroids, np.zeros(3))
        row["centroids"] = {
            "raw": error(np.asarray(elements.values)[brain], at_centroids),
            "recovered": error(elements.at(centroids), at_centroids),
        }
        for where, here in points.items():
            reference = tj.efield.sphere_efield(coil, pose, here, np.zeros(3))
            found = {
                "raw": elements.at(here, recovered=False),
                "recovered": elements.at(here),
                "spfd": voxels.at(here, outside="nan"),
            }
            inside = np.isfinite(np.asarray(found["spfd"])).all(axis=1)
            values = {key: error(np.asarray(e)[inside], np.asarray(reference)[inside]) for key, e in found.items()}
            values["spfd_to_recovered"] = error(
                np.asarray(found["spfd"])[inside], np.asarray(found["recovered"])[inside]
            )
            row[where] = values
        rows.append(row)
    return rows


def measure(quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    folder = shared_folder()
    if folder is None:
        reason = "sphere3.msh and the .ccd file are not here (SimNIBS's licence forbids shipping them): TMSJAX_SHARED"
        print(f"\nSPFD against elements: skipped. {reason}")
        return {"skipped": reason}, []
    files = folder / "data" / "efield"
    coils = {
        "our MC-B70": tj.coil.load("MagVenture_MC_B70"),
        ".ccd of it": tj.coil.load(files / "MagVenture_MC_B70.ccd"),
    }
    meshes = [tj.head.load_mesh(files / "sphere3.msh")]
    for _ in range(1 if quick else 2):
        meshes.append(refined(meshes[-1]))
    sizes = (4.0, 2.0) if quick else (4.0, 2.0, 1.0)
    rows = [row for mesh, size in zip(meshes, sizes, strict=True) for row in compare(mesh, coils, size)]
    common.table(
        "sphere3.msh and its refinements: relative L2 error of E against the closed form, percent",
        ("tetrahedra", "voxels mm", "coil", "where", "elements", "recovered", "SPFD", "SPFD - recovered"),
        [
            (r["tetrahedra"], r["voxel_mm"], r["coil"], where, *(100 * v for v in r[where].values()))
            for r, where in itertools.product(rows, ("inner sphere", "outer 10 mm under the coil"))
        ],
    )
    common.table(
        "the same at the tetrahedra's centroids, percent; seconds",
        ("tetrahedra", "coil", "elements", "recovered", "assembly and preconditioner s", "solve s"),
        [
            (r["tetrahedra"], r["coil"], *(100 * v for v in r["centroids"].values()), r["mesh_system_s"],
             r["solve_mesh_s"])
            for r in rows
        ],
    )  # fmt: skip
    last = [row for row in rows if row["tetrahedra"] == len(meshes[-1].tags)]
    targets = [
        common.target(f"sphere3.msh refined, {row['coil']}: {what}, inner sphere", row["inner sphere"][key], bar)
        for row in last
        for what, key, bar in (
            ("recovered elements against theory", "recovered", 0.01),
            ("SPFD on the mesh's conductor against theory", "spfd", 0.012),
            ("SPFD against recovered elements", "spfd_to_recovered", 0.015),
        )
    ]
    return {"rows": rows}, targets
