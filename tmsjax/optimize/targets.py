"""Targets: part of the cortex as neurons to search with, and others of the same place to judge by."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial import KDTree

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError, check_number
from tmsjax.core.transforms import apply_affine, check_finite
from tmsjax.cortex import LayerSurface, Population, layer_surface
from tmsjax.head import HeadModel, scalp_surface, signed_distance
from tmsjax.optimize.groups import Area, Group, Target, drawn

WANTED_MM = 3.0
"""A neuron further than this from every point of a map of activity is outside it: nothing is wanted of it."""


def ball(
    head: HeadModel,
    centre_mm: ArrayLike,
    radius_mm: float = 8.0,
    *,
    ring_mm: tuple[float, float] | None = None,
    layers: Sequence[str] = ("L5",),
    hemisphere: str | None = None,
    name: str = "ball",
    **draw: Any,
) -> Target:
    """All cells of the layers within ``radius_mm`` of a place; ``ring_mm`` (from, to) adds a ring round it.

    ``draw``: ``sites``, ``azimuths``, ``held_out`` (sites), ``seed``; of each layer and role.

    Raises:
        InputError: a centre outside the head, a region without cortex, sizes that are no such numbers.
    """
    centre, radius_mm = _inside(head, centre_mm), check_number(radius_mm, "radius of the target", above=0, unit="mm")
    return drawn(head, Area(tuple(centre), radius_mm, hemisphere), ring_mm, layers, name, **draw)


def bank(
    head: HeadModel,
    centre_mm: ArrayLike,
    radius_mm: float = 8.0,
    angle_deg: float = 50.0,
    *,
    normal: ArrayLike | None = None,
    ring_mm: tuple[float, float] | None = None,
    layers: Sequence[str] = ("L5",),
    hemisphere: str | None = None,
    name: str = "bank",
    **draw: Any,
) -> Target:
    """Cells of one bank of a sulcus: those in a ball whose columns are within ``angle_deg`` of one direction.

    ``normal`` (3,) is that direction, towards the pia; by default that of the column nearest to the centre. The rest as
    ``ball``, and InputError for a direction of no length.
    """
    centre, radius_mm = _inside(head, centre_mm), check_number(radius_mm, "radius of the target", above=0, unit="mm")
    angle_deg = check_number(angle_deg, "angle of the bank", above=0, high=180, unit="degrees")
    if normal is None:
        surface = layer_surface(head, 0.5)
        direction = surface.columns[np.linalg.norm(surface.vertices - centre, axis=1).argmin()]
    else:
        direction = check_finite(normal, (3,), "normal of the bank")
    length = np.linalg.norm(direction)
    if not length > 0:
        raise InputError("normal of the bank", got=direction.tolist(), expected="a direction")
    least = np.cos(np.radians(angle_deg)) * length

    def rule(surface: LayerSurface) -> np.ndarray:
        column = surface.columns[surface.faces].mean(axis=1)
        return np.asarray(column @ direction > least * np.linalg.norm(column, axis=1))

    return drawn(head, Area(tuple(centre), radius_mm, hemisphere, rule), ring_mm, layers, name, **draw)


def label(
    head: HeadModel,
    vertices: dict[str, ArrayLike],
    *,
    layers: Sequence[str] = ("L5",),
    name: str = "label",
    **draw: Any,
) -> Target:
    """A label of the cortical surface: hemisphere ("lh", "rh") -> (v,) True at its vertices, as in the head's surfaces.

    Raises InputError for a label of another number of vertices than the surface has, and one that is empty.
    """
    surface = layer_surface(head, 0.5)
    sides = {side: surface.hemisphere == number for number, side in enumerate(("lh", "rh"))}
    chosen = np.zeros(len(surface.vertices), bool)
    for side, values in vertices.items():
        values = np.asarray(values)
        count = int(sides[side].sum()) if side in sides else 0
        if values.shape != (count,) or not count:
            raise InputError(
                f"label of {side}", got=f"{values.shape} vertices", expected=f"({count},), those of {side}_pial"
            )
        chosen[sides[side]] = values.astype(bool)
    return _of_faces(head, lambda surface: np.asarray(chosen[surface.faces].all(axis=1)), layers, name, **draw)


def mask(
    head: HeadModel,
    values: ArrayLike,
    affine: ArrayLike | None = None,
    *,
    layers: Sequence[str] = ("L5",),
    name: str = "mask",
    **draw: Any,
) -> Target:
    """The cells in a mask: (i, j, k), True in the target, on the head's grid or with an affine to RAS+ mm of its own.

    Raises InputError for a mask of another shape than the head's without an affine, and one without cortex.
    """
    values = np.asarray(values).astype(bool)
    if affine is None and values.shape != np.shape(head.labels):
        raise InputError("mask of the target", got=values.shape, expected=f"{np.shape(head.labels)}, or an affine")
    if values.ndim != 3:
        raise InputError("mask of the target", got=f"shape {values.shape}", expected="(i, j, k)")
    inverse = np.linalg.inv(
        np.asarray(head.affine, float) if affine is None else check_finite(affine, (4, 4), "affine")
    )

    def rule(surface: LayerSurface) -> np.ndarray:
        index = np.rint(apply_affine(inverse, surface.triangles.mean(axis=1))).astype(int)
        inside = np.all((index >= 0) & (index < values.shape), axis=1)
        inside[inside] = values[tuple(index[inside].T)]
        return inside

    return _of_faces(head, rule, layers, name, **draw)


def with_map(target: Target, points_mm: ArrayLike, wanted: ArrayLike) -> Target:
    """The same neurons, with the activity wanted of each taken from the nearest point of a map within 3 mm, else 0.

    Raises InputError for values outside 0 to 1, another number of them than of points, and a map that wants nothing.
    """
    points, values = np.asarray(points_mm, float), np.asarray(wanted, float)
    whole = points.ndim == 2 and points.shape[1:] == (3,) and values.shape == (len(points),) and len(points)
    if not whole or not (np.isfinite(points).all() and (values >= 0).all() and (values <= 1).all()):
        raise InputError(
            "map of wanted activity", got=f"{points.shape} points, {values.shape} values",
            expected="(m, 3) mm and (m,) from 0 to 1",
        )  # fmt: skip
    tree = KDTree(points)

    def of(groups: tuple[Group, ...]) -> tuple[Group, ...]:
        out = []
        for group in groups:
            away, row = tree.query(np.asarray(group.population.positions, float))
            out.append(dataclasses.replace(group, wanted=np.where(away <= WANTED_MM, values[row], 0.0)))
        return tuple(out)

    mapped = dataclasses.replace(target, search=of(target.search), held_out=of(target.held_out))
    if not any(group.wanted.any() for group in mapped.search):
        raise InputError("map of wanted activity", got="none wanted of the target's neurons", expected="some, 0 to 1")
    return mapped


def of_population(population: Population, name: str = "population", seed: int = 0) -> Target:
    """A population of your own, its sites dealt at random into a half to search with and a half to judge by.

    Raises InputError for fewer than 20 sites.
    """
    sites = np.unique(np.asarray(population.site))
    if len(sites) < 20:
        raise InputError(
            "too few sites to search with some and judge by others", got=len(sites), expected="20; 600 are better"
        )
    first = np.random.default_rng(seed).permutation(sites)[: len(sites) // 2]
    searching = np.isin(np.asarray(population.site), first)
    halves = [
        (Group("target", population[np.flatnonzero(rows)], np.ones(int(rows.sum()))),)
        for rows in (searching, ~searching)
    ]
    return Target(name, np.asarray(population.positions, float).mean(0), *halves)


def _of_faces(
    head: HeadModel, rule: Callable[[LayerSurface], np.ndarray], layers: Sequence[str], name: str, **draw: Any
) -> Target:
    """A target without a middle of its own: that of its faces, and a ball that holds them all."""
    surface = layer_surface(head, 0.5)
    centres = surface.triangles.mean(axis=1)[rule(surface)]
    if not len(centres):
        raise InputError(f"the {name} holds no cortex", got="no face of the middle layer", expected="some")
    middle = centres.mean(0)
    reach = float(np.linalg.norm(centres - middle, axis=1).max()) + 5.0
    return drawn(head, Area(tuple(middle), reach, None, rule), None, layers, name, **draw)


def _inside(head: HeadModel, centre_mm: ArrayLike) -> Float[np.ndarray, 3]:
    centre = check_finite(centre_mm, (3,), "centre of the target")
    scalp = scalp_surface(head, spacing_mm=4.0)
    beyond = float(signed_distance(scalp, centre[None])[0])
    if beyond > 0:
        raise InputError(
            "the target is outside the head",
            got=f"{centre.round(1).tolist()} mm, {beyond:.0f} mm outside the scalp",
            expected="a place in the head",
            mend="targets are in the head's own RAS+ mm; MNI mm go through tmsjax.head.landmark or head.mni_to_head",
        )
    return centre


__all__ = ["Group", "Target", "ball", "bank", "label", "mask", "of_population", "with_map"]
