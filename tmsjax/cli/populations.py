"""What the commands of populations share: heads with a cortex, cells and their models, devices, maps for figures."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import tmsjax as tj
from tmsjax.core.errors import InputError, check_number
from tmsjax.cortex import LayerSurface, Roi, layer_surface
from tmsjax.response import Response, Stimulator, stimulator, stimulators
from tmsjax.response.output import by_site, on_points, spacing_of
from tmsjax.surrogate import Surrogate

CONTEXT_MM = 12.0
"""Surface drawn round the region, bare, so that a reader sees where it lies."""


def load_head(options: Any) -> tuple[Any, str]:
    """The head with cortical surfaces, and what to say of it; surfaces are made from the labels where it has none."""
    head = tj.head.load(options.head, surfaces=options.surfaces, mni_to_head=options.mni_to_head)
    said = f"{head.name}: {' x '.join(map(str, head.labels.shape))} voxels"
    if head.surfaces is None:
        return dataclasses.replace(head, surfaces=tj.head.surfaces_from_labels(head)), f"{said}, cortex from its labels"
    return head, said


def is_left(head: Any, point_mm: np.ndarray) -> bool:
    """Whether a point is nearer to the left hemisphere's pial surface than to the right one's."""
    away = [
        np.linalg.norm(np.asarray(head.surfaces[f"{side}_pial"].vertices, float) - point_mm, axis=1).min()
        for side in ("lh", "rh")
    ]
    return bool(away[0] <= away[1])


def layer_of(cell: str) -> tuple[str, str]:
    """Layer and name of a cell: "LAYER=NAME", or a name that has its layer in it ("open/L5_PC_1", "L23_PC...")."""
    given, _, name = cell.rpartition("=")
    found = re.match(r"L(23|[1-6])", (given or name).rpartition("/")[2].replace("/", ""))
    if found is None:
        raise InputError("which layer does the cell belong to?", got=cell, expected="LAYER=NAME, as L5=mine/neuron_7")
    return f"L{found.group(1)}", name


def models_of(
    cells: Sequence[str], pulses: Sequence[str], family: str, weights: Path | None
) -> list[tuple[str, Surrogate]]:
    """(layer, model) of every cell and pulse, in this order; InputError for a cell twice or a model that is missing."""
    named = [layer_of(cell) for cell in cells]
    if not named or not pulses or len(set(named)) < len(named) or len(set(pulses)) < len(pulses):
        raise InputError("--cells and --pulses", got=(list(cells), list(pulses)), expected="each once, at least one")
    return [
        (layer, tj.surrogate.load(name, pulse=pulse, family=family, root=weights))
        for layer, name in named
        for pulse in pulses
    ]


def device_of(name: str | None, max_didt_a_per_us: float | None, coil: str) -> Stimulator | None:
    """The stimulator whose output is given: by name, by its own number, or the one documented with this coil."""
    if max_didt_a_per_us is not None:
        limit = check_number(max_didt_a_per_us, "--max-didt-a-per-us", above=0.0, unit="A/us")
        return Stimulator(name or "stimulator", limit, "given by the user", coil)
    own = stimulators(coil)
    if name is not None:
        return stimulator(name, coil if own else None)
    return own[0] if len(own) == 1 else None


def check_new(out: Path) -> None:
    """InputError where the output folder exists."""
    if out.exists():
        raise InputError("nothing is overwritten", got=f"{out} exists", expected="a new folder", mend="another --out")


def check_counts(options: Any) -> None:
    """Numbers of sites and azimuths, and the region's size."""
    for name in ("sites", "rotations"):
        check_number(getattr(options, name), f"--{name}", low=1)
    check_number(options.radius_mm, "--radius-mm", above=0.0, unit="mm")


def by_layer(responses: Iterable[Response]) -> dict[str, list[Response]]:
    """The responses of each layer: its clones."""
    found: dict[str, list[Response]] = {}
    for response in responses:
        found.setdefault(response.layer, []).append(response)
    return found


def map_of(
    surface: LayerSurface, roi: Roi, responses: Sequence[Response]
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """A layer's mesh in the region with ``CONTEXT_MM`` round it, and the median threshold (A/us) of each face."""
    _, places, medians = by_site(responses)
    return faces_of(surface, roi, places, medians, spacing_of(responses))


def faces_of(
    surface: LayerSurface, roi: Roi, places_mm: np.ndarray, values: np.ndarray, spacing_mm: float
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """As ``map_of``, of values at places; NaN outside the region."""
    shown = dataclasses.replace(roi, radius_mm=roi.radius_mm + CONTEXT_MM).contains(surface)
    per_face = on_points(surface.triangles[shown].mean(axis=1), places_mm, values, spacing_mm)
    return (surface.vertices, surface.faces[shown]), np.where(roi.contains(surface)[shown], per_face, np.nan)


def surfaces_of(head: Any, responses: Iterable[Response]) -> dict[str, LayerSurface]:
    """Layer -> its surface in the head."""
    return {r.layer: layer_surface(head, r.population.depth) for r in responses}
