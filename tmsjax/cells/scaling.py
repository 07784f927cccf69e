"""From a juvenile rat reconstruction to adult size, and into the cell frame (Aberra et al. 2018, 2020)."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace

import numpy as np

from tmsjax.cells.geometry import segment_section
from tmsjax.cells.types import Section
from tmsjax.core.errors import InputError, check_number


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
UNSCALED = Scaling(soma_area=1.0, axon_diam=1.0, apical_diam=1.0, basal_diam=1.0, basal_length=1.0)
FACTORS = (0.01, 100.0)
"""Factors that a scaling may have."""
SCALINGS = {"adult human": ADULT_HUMAN, "adult rat": ADULT_RAT, "none": UNSCALED}


def scaling_of(scaling: str | Scaling) -> Scaling:
    """Factors by name ("adult human", "adult rat", "none") or as they are, or InputError unless they can be meant."""
    if isinstance(scaling, str):
        if scaling not in SCALINGS:
            raise InputError("there is no such scaling", got=repr(scaling), expected=f"one of {list(SCALINGS)}")
        return SCALINGS[scaling]
    if not isinstance(scaling, Scaling):
        raise InputError("this is no scaling", got=repr(scaling), expected=f"one of {list(SCALINGS)}, or a Scaling")
    for name, value in asdict(scaling).items():
        check_number(value, f"the scaling factor {name} cannot be used", *FACTORS)
    return scaling


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
