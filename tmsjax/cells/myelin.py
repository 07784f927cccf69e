"""Myelination of an axon, section by section (Aberra et al. 2018; internodes 100 d, terminal ones 70 d)."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from tmsjax.cells.geometry import segment_section
from tmsjax.cells.morphology import segments
from tmsjax.cells.types import Region, Section

INTERNODE_PER_DIAM = 100.0
TERMINAL_INTERNODE_PER_DIAM = 70.0
NODE_UM = 1.0
MIN_DIAM_UM = 0.2
MIN_INTERNODE_UM = 20.0
INITIAL_SEGMENT_UM = 50.0
POINT_TOLERANCE_UM = 0.1
"""A point this near to where a node begins or ends is taken for it; no new one is inserted."""


def g_ratio(diam_um):
    """Inner over outer diameter of a myelinated fibre whose axon is ``diam_um`` wide: cubic fit to Micheva et al. 2016."""
    d = np.asarray(diam_um, dtype=np.float64)
    return np.clip(0.6425 * d**3 - 1.778 * d**2 + 1.749 * d + 0.1518, 0.4, 0.8)


def myelinate(sections: tuple[Section, ...]) -> tuple[Section, ...]:
    """Replace the axon beyond the initial segment by myelin, nodes and unmyelinated pieces.

    ``sections`` are a scaled morphology in NEURON's order (axon[0] directly after the soma, parents before children).
    Returns soma, axon[0], dendrites, then Myelin[..], Node[..] and Unmyelin[..], each numbered in the axon's order.
    """
    axon = [k for k, section in enumerate(sections) if section.region == "ais"]
    made = _Made()
    first = axon[0]
    kept = {k: index for index, k in enumerate(k for k in range(len(sections)) if k not in axon[1:])}
    initial, end = _initial_segment(sections[first], made)
    ends: dict[int, tuple] = {first: end}
    parents = {sections[k].parent for k in axon}
    for k in axon[1:]:
        section = sections[k]
        ends[k] = _myelinate_section(section, ends[section.parent], k not in parents, made)
    body = [
        replace(initial if k == first else sections[k], parent=kept.get(sections[k].parent, -1)) for k in sorted(kept)
    ]
    return made.finish(body, kept[first])


class _Made:
    """The pieces made so far, by name; a parent is named by (kind, number), or None for the initial segment."""

    def __init__(self) -> None:
        self.pieces: dict[str, list[tuple]] = {"Myelin": [], "Node": [], "Unmyelin": []}

    def add(self, kind: str, parent: tuple | None, points: np.ndarray, diam: np.ndarray) -> tuple:
        self.pieces[kind].append((parent, points, diam))
        return kind, len(self.pieces[kind]) - 1

    def finish(self, body: list[Section], initial: int) -> tuple[Section, ...]:
        region: dict[str, Region] = {"Myelin": "myelin", "Node": "node", "Unmyelin": "unmyelinated"}
        start, offset = {}, len(body)
        for kind, pieces in self.pieces.items():
            start[kind] = offset
            offset += len(pieces)
        out = list(body)
        for kind, pieces in self.pieces.items():
            for number, (parent, points, diam) in enumerate(pieces):
                piece = Section(
                    name=f"{kind}[{number}]",
                    region=region[kind],
                    parent=initial if parent is None else start[parent[0]] + parent[1],
                    parent_x=1.0,
                    points_um=points.astype(np.float32),
                    diam_um=diam.astype(np.float32),
                    nseg=1,
                    distance_um=np.full(1, np.nan),
                )
                nseg = segments(piece.length_um)
                out.append(replace(piece, nseg=nseg, distance_um=np.full(nseg, np.nan)))
        return tuple(out)


def _initial_segment(section: Section, made: _Made) -> tuple[Section, tuple]:
    """The initial segment, cut where it is long enough to carry an internode and a node before its end."""
    points, diam = section.points_um.astype(np.float64), section.diam_um.astype(np.float64)
    if section.length_um < INITIAL_SEGMENT_UM + MIN_INTERNODE_UM:
        return section, (None, points[-1])
    cut = int(np.searchsorted(section.arc_um, INITIAL_SEGMENT_UM, side="right")) - 1
    path = _Path(points[cut:], diam[cut:])
    end = _internodes(path, 1, section.length_um - INITIAL_SEGMENT_UM - NODE_UM, None, made)
    return replace(section, points_um=section.points_um[: cut + 1], diam_um=section.diam_um[: cut + 1]), end


def _myelinate_section(section: Section, parent_end: tuple, terminal: bool, made: _Made) -> tuple:
    """Lay internodes and nodes along one section; returns the last piece and the point where it ends."""
    parent, start = parent_end
    points, diam = section.points_um.astype(np.float64), section.diam_um.astype(np.float64)
    points[0] = start
    path = _Path(points, diam)
    width = segment_section(section, ra_ohm_cm=100.0).diam_um[0]
    count = _internode_count(path.length, width, terminal)
    if count == 0:
        piece = made.add("Unmyelin", parent, points, diam)
        return piece, points[-1]
    return _internodes(path, count, (path.length - count * NODE_UM) / count, parent, made)


def _internode_count(length_um: float, diam_um: float, terminal: bool) -> int:
    if diam_um < MIN_DIAM_UM:
        return 0
    internode = (TERMINAL_INTERNODE_PER_DIAM if terminal else INTERNODE_PER_DIAM) * diam_um
    return int(length_um / (internode + NODE_UM)) or int(length_um / (MIN_INTERNODE_UM + NODE_UM))


def _internodes(path: _Path, count: int, internode_um: float, parent: tuple | None, made: _Made) -> tuple:
    piece = parent
    for _ in range(count):
        points, diam = path.advance(internode_um)
        piece = made.add("Myelin", piece, points, diam / g_ratio(diam))
        points, diam = path.advance(NODE_UM)
        piece = made.add("Node", piece, points, diam)
    return piece, points[-1]


class _Path:
    """A walk along the points of a section."""

    def __init__(self, points: np.ndarray, diam: np.ndarray) -> None:
        self.points, self.diam = points, diam
        self.arc = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))])
        self.length = float(self.arc[-1])
        self.at = 0.0

    def advance(self, length_um: float) -> tuple[np.ndarray, np.ndarray]:
        """Points and diameters of the next ``length_um``, its two ends included."""
        target = min(self.at + length_um, self.length)
        behind = self.arc[(self.arc <= target) & (self.arc > self.at)]
        if behind.size and target - behind[-1] < POINT_TOLERANCE_UM:
            target = behind[-1]
        inside = self.arc[(self.arc > self.at) & (self.arc < target)]
        arcs = np.concatenate([[self.at], inside, [target]])
        self.at = float(target)
        where = [np.interp(arcs, self.arc, self.points[:, k]) for k in range(3)]
        return np.stack(where, axis=1), np.interp(arcs, self.arc, self.diam)
