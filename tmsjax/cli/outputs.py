"""The demo's files: figure, field, overlays, table of thresholds."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
from scipy.spatial import KDTree

from tmsjax.cli.populations import CONTEXT_MM
from tmsjax.efield import save_field
from tmsjax.io import write_metric, write_surface
from tmsjax.response import Response, write_neurons
from tmsjax.response.output import by_site


def write(
    folder: Path, options, aim: str, head, coil, pose, target, field, roi, populations: dict, results: dict
) -> None:
    """Write demo.png, efield.nii.gz, the GIFTI overlays and thresholds.csv into ``folder``."""
    from tmsjax.cli.demo import LAYERS

    responses = [Response(populations[layer], results[layer], LAYERS[layer], options.pulse) for layer in populations]
    write_neurons(folder / "thresholds.csv", responses)
    save_field(field, folder / "efield.nii.gz")
    meshes, values = {}, {}
    for response in responses:
        meshes[response.layer], values[response.layer] = layer_overlay(folder, head, roi, response)
    figure(folder / "demo.png", options, aim, head, coil, pose, target, field, meshes, values)


def layer_overlay(folder: Path, head, roi, response: Response) -> tuple[tuple, np.ndarray]:
    """Write a layer's surface in the region and its median thresholds as GIFTI.

    Returns (mesh, value per face) of the region with ``CONTEXT_MM`` of surface round it, for the figure; the value is
    the median over azimuths at the nearest site, NaN outside the region.
    """
    from tmsjax.cortex import layer_surface

    surface = layer_surface(head, response.population.depth)
    inside = roi.contains(surface)
    used, faces = np.unique(surface.faces[inside], return_inverse=True)
    vertices, faces = surface.vertices[used], faces.reshape(-1, 3)
    _, places, medians = by_site(response)
    nearest = KDTree(places)
    per_vertex = medians[nearest.query(vertices)[1]]
    shown = dataclasses.replace(roi, radius_mm=roi.radius_mm + CONTEXT_MM).contains(surface)
    per_face = medians[nearest.query(surface.triangles[shown].mean(axis=1))[1]]
    per_face[~inside[shown]] = np.nan
    side = roi.hemisphere or ("lh" if roi.centre_mm[0] < 0 else "rh")
    write_surface(folder / f"{response.layer}.surf.gii", vertices, faces, structure=side)
    name = f"{response.layer} median threshold over azimuths (A/us)"
    write_metric(folder / f"{response.layer}_threshold.func.gii", {name: per_vertex}, structure=side)
    return (surface.vertices, surface.faces[shown]), per_face


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
