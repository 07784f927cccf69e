"""From a juvenile rat reconstruction to adult size, and into the cell frame (Aberra et al. 2018, 2020)."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from tmsjax.cells.geometry import segment_section
from tmsjax.cells.types import Section


@dataclass(frozen=True)
class Scaling:
    """Factors of the soma's area, of the diameters of axon, apical and basal dendrites, and of basal length."""

    soma_area: float
    axon_diam: float
    apical_diam: float
    basal_diam: float
    basal_length: float


ADULT_HUMAN = Scaling(soma_area=2.453, axon_diam=2.453, apical_diam=1.876, basal_diam=1.946, basal_length=1.17)
ADULT_RAT = Scaling(soma_area=1.322, axon_diam=1.322, apical_diam=1.248, basal_diam=1.133, basal_length=1.17)


def scale(sections: tuple[Section, ...], factors: Scaling = ADULT_HUMAN) -> tuple[Section, ...]:
    """Scale an imported morphology and turn it so that +z runs from soma to pia.

    The soma becomes a cylinder of its old length whose area is ``soma_area`` times the old one. Diameters grow by
    their factor. Basal sections are stretched about their own first point and their children stay where they were,
    which leaves gaps in the 3-D coordinates at basal joints: published thresholds were computed with these. Segment
    counts and ``distance_um`` keep their unscaled values. Last, (x, y, z) -> (x, -z, y).
    """
    return tuple(_turn(_scale_section(section, factors)) for section in sections)


def _scale_section(section: Section, factors: Scaling) -> Section:
    if section.region == "soma":
        area = segment_section(section, ra_ohm_cm=100.0).area_um2.sum() * factors.soma_area
        diam = np.full_like(section.diam_um, area / (np.pi * section.length_um))
        return replace(section, diam_um=diam)
    factor = {"basal": factors.basal_diam, "apical": factors.apical_diam}.get(section.region, factors.axon_diam)
    points = section.points_um
    if section.region == "basal":
        first = points[:1].astype(np.float64)
        points = (first + (points.astype(np.float64) - first) * factors.basal_length).astype(np.float32)
    diam = (section.diam_um.astype(np.float64) * factor).astype(np.float32)
    return replace(section, points_um=points, diam_um=diam)


def _turn(section: Section) -> Section:
    x, y, z = section.points_um.T
    return replace(section, points_um=np.stack([x, -z, y], axis=1))
