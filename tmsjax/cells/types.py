"""What a cell is: sections of points (micrometres), their membrane, and the compartments that NEURON makes of them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from jaxtyping import Float, Int

REGIONS = ("soma", "basal", "apical", "ais", "node", "myelin", "unmyelinated")
"""Regions of a cell; the index is the region code of ``CableModel.region``."""

Region = Literal["soma", "basal", "apical", "ais", "node", "myelin", "unmyelinated"]
Axon = Literal["intact", "disabled"]

DISABLED_DIAM_UM = 1000.0
"""Diameter of the last segment of the main axon's terminal section where that terminal is disabled."""


@dataclass(frozen=True, eq=False)
class Section:
    """An unbranched piece of a neuron.

    ``points_um`` (k, 3) and ``diam_um`` (k,) are its 3-D points and diameters, in single precision as NEURON keeps
    them; it is divided into ``nseg`` segments of equal length. ``parent`` is the index of the section that it is
    attached to (-1: the root), at ``parent_x`` along it. ``distance_um`` (nseg,) is the path distance of every segment
    centre (of the last segment: of the section's end) from soma(0), measured before the cell was scaled.
    """

    name: str
    region: Region
    parent: int
    parent_x: float
    points_um: Float[np.ndarray, "k 3"]
    diam_um: Float[np.ndarray, " k"]
    nseg: int
    distance_um: Float[np.ndarray, " nseg"]

    @property
    def arc_um(self) -> Float[np.ndarray, " k"]:
        """Arc length of every point from the first one, in float64."""
        steps = np.linalg.norm(np.diff(self.points_um.astype(np.float64), axis=0), axis=1)
        return np.concatenate([[0.0], np.cumsum(steps)])

    @property
    def length_um(self) -> float:
        """Arc length from the first to the last point."""
        return float(self.arc_um[-1])


@dataclass(frozen=True, eq=False)
class Membrane:
    """What a cell's membrane is made of: plain tables as in ``biophysics.toml``.

    ``table`` holds leak, densities by region and their distributions, ``common`` the constants of all cells,
    ``axon_factors`` the multiples of the initial segment's densities in nodes and bare axon. ``mechanisms`` is a folder
    of a user's own .mod files, or None.
    """

    name: str
    table: Mapping[str, Any]
    common: Mapping[str, Any]
    axon_factors: Mapping[str, Mapping[str, float]]
    mechanisms: str | None = None


@dataclass(frozen=True, eq=False)
class Cell:
    """A neuron in its own frame (+z from soma to pia), scaled and myelinated, with the name of its membrane model.

    ``sections`` are in NEURON's ``forall`` order: soma, axon[0], dend.., apic.., Myelin.., Node.., Unmyelin...
    ``biophysics`` names a table of ``biophysics.toml``, or ``membrane`` is a user's own. ``disabled`` is the index of
    the section whose last segment is ``DISABLED_DIAM_UM`` wide (the disabled main axon terminal), or None for an
    intact axon.
    """

    name: str
    biophysics: str
    sections: tuple[Section, ...]
    disabled: int | None = None
    membrane: Membrane | None = None

    @property
    def axon(self) -> Axon:
        """Whether the main axon terminal is disabled."""
        return "intact" if self.disabled is None else "disabled"


@dataclass(frozen=True, eq=False)
class CableModel:
    """The compartments of one cell: n segments (rows), then one node without membrane at the end of every section.

    Rows are in NEURON's ``forall`` order. ``parent`` (m,) and ``ri_mohm`` (m,), m = n + sections, hold for every
    node its parent node and the axial resistance to it; the root's parent is -1. A row below n is a segment, row
    n + k is the end of section k. ``channels`` maps mechanism -> maximal conductance (n,) in S/cm2, 0 where absent, and
    may hold a user's own; ``gamma`` and ``decay_ms`` are those of CaDynamics_E2, 0 where absent.
    """

    name: str
    section_names: tuple[str, ...]
    section: Int[np.ndarray, " n"]
    x: Float[np.ndarray, " n"]
    region: Int[np.ndarray, " n"]
    xyz_um: Float[np.ndarray, "n 3"]
    area_um2: Float[np.ndarray, " n"]
    diam_um: Float[np.ndarray, " n"]
    length_um: Float[np.ndarray, " n"]
    parent: Int[np.ndarray, " m"]
    ri_mohm: Float[np.ndarray, " m"]
    cm_uf_per_cm2: Float[np.ndarray, " n"]
    ra_ohm_cm: float
    g_pas: Float[np.ndarray, " n"]
    e_pas_mv: Float[np.ndarray, " n"]
    channels: Mapping[str, Float[np.ndarray, " n"]]
    gamma: Float[np.ndarray, " n"]
    decay_ms: Float[np.ndarray, " n"]
    e_na_mv: float
    e_k_mv: float
    e_h_mv: float

    @property
    def n(self) -> int:
        """Number of segments."""
        return len(self.area_um2)

    @property
    def row_names(self) -> list[str]:
        """Section name of every row."""
        return [self.section_names[k] for k in self.section]
