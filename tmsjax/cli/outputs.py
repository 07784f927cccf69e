"""The demo's files: figure, field, overlays, table of thresholds."""

from __future__ import annotations

import csv
import dataclasses
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from tmsjax.efield import save_field
from tmsjax.io import write_metric, write_surface

CONTEXT_MM = 12.0
"""Surface drawn round the region, bare, so that a reader sees where it lies."""


def write(
    folder: Path, options, aim: str, head, coil, pose, target, field, roi, populations: dict, results: dict
) -> None:
    """Write demo.png, efield.nii.gz, the GIFTI overlays and thresholds.csv into ``folder``."""
    thresholds_csv(folder / "thresholds.csv", populations, results)
    save_field(field, folder / "efield.nii.gz")
    meshes, values = {}, {}
    for layer, population in populations.items():
        meshes[layer], values[layer] = layer_overlay(folder, head, roi, layer, population, results[layer])
    figure(folder / "demo.png", options, aim, head, coil, pose, target, field, meshes, values)


def thresholds_csv(path: Path, populations: dict, results: dict) -> None:
    """One line a neuron: layer, site, azimuth, position, thresholds, whether the model knows such fields."""
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(
            [
                "layer",
                "site",
                "azimuth_deg",
                "x_mm",
                "y_mm",
                "z_mm",
                "threshold_V_per_m",
                "threshold_A_per_us",
                "in_domain",
            ]
        )
        for layer, population in populations.items():
            result = results[layer]
            columns = zip(
                np.asarray(population.site),
                np.asarray(population.azimuth_deg),
                np.asarray(population.positions),
                result.v_per_m,
                result.a_per_us,
                result.in_domain,
                strict=True,
            )
            for site, azimuth, (x, y, z), v, a, known in columns:
                writer.writerow(
                    [
                        layer,
                        site,
                        f"{azimuth:g}",
                        f"{x:.3f}",
                        f"{y:.3f}",
                        f"{z:.3f}",
                        f"{v:.3f}",
                        f"{a:.3f}",
                        int(known),
                    ]
                )


def layer_overlay(folder: Path, head, roi, layer: str, population, result) -> tuple[tuple, np.ndarray]:
    """Write a layer's surface in the region and its median thresholds as GIFTI.

    Returns (mesh, value per face) of the region with ``CONTEXT_MM`` of surface round it, for the figure; the value is
    the median over azimuths at the nearest site, NaN outside the region.
    """
    from tmsjax.cortex import layer_surface

    surface = layer_surface(head, population.depth)
    inside = roi.contains(surface)
    used, faces = np.unique(surface.faces[inside], return_inverse=True)
    vertices, faces = surface.vertices[used], faces.reshape(-1, 3)
    sites, site = np.unique(np.asarray(population.site), return_inverse=True)
    by_site = [
        np.nanmedian(row) if np.isfinite(row).any() else np.nan for row in _groups(result.a_per_us, site, len(sites))
    ]
    places = np.stack([np.asarray(population.positions)[site == s][0] for s in range(len(sites))])
    nearest = KDTree(places)
    per_vertex = np.asarray(by_site)[nearest.query(vertices)[1]]
    shown = dataclasses.replace(roi, radius_mm=roi.radius_mm + CONTEXT_MM).contains(surface)
    per_face = np.asarray(by_site)[nearest.query(surface.triangles[shown].mean(axis=1))[1]]
    per_face[~inside[shown]] = np.nan
    side = roi.hemisphere or ("lh" if roi.centre_mm[0] < 0 else "rh")
    write_surface(folder / f"{layer}.surf.gii", vertices, faces, structure=side)
    name = f"{layer} median threshold over azimuths (A/us)"
    write_metric(folder / f"{layer}_threshold.func.gii", {name: per_vertex}, structure=side)
    return (surface.vertices, surface.faces[shown]), per_face


def _groups(values: np.ndarray, group: np.ndarray, count: int) -> list[np.ndarray]:
    order = np.argsort(group, kind="stable")
    return np.split(np.asarray(values)[order], np.cumsum(np.bincount(group, minlength=count))[:-1])


def figure(path: Path, options, aim: str, head, coil, pose, target, field, meshes: dict, values: dict) -> None:
    """The demo's picture: coil, field on the cortex, thresholds of every layer."""
    import tmsjax as tj
    from tmsjax.viz import demo_figure

    scalp = tj.head.scalp_surface(head)
    side = "lh" if target[0] < 0 else "rh"
    pial = head.surfaces[f"{side}_pial"]
    vertices, faces = np.asarray(pial.vertices, np.float64), np.asarray(pial.faces)
    centres = vertices[faces].mean(axis=1)
    magnitude = np.linalg.norm(np.asarray(field.at(centres.astype(np.float32), outside="nan")), axis=1)
    windings = np.asarray(coil.windings) @ np.asarray(pose.rotation).T + np.asarray(pose.centre)
    demo_figure(
        path,
        scalp=(np.asarray(scalp.vertices), np.asarray(scalp.faces)),
        cortex=(vertices, faces),
        field_on_cortex=magnitude,
        windings_mm=windings,
        pose_matrix=np.asarray(pose.matrix),
        layer_meshes=meshes,
        layer_values=values,
        target_mm=np.asarray(target),
        caption=f"{coil.name.replace('_', ' ')} over the {aim} of head {head.name}, "
        f"{options.handle_deg:g}°, {options.direction}, {options.pulse} pulse",
    )
