"""Myelination of an axon, section by section (Aberra et al. 2018, J. Neural Eng. 15:066023).

From the paper: internodes of 100 diameters, terminal ones of 70, nodes of 1 um, no myelin under 0.2 um, the g ratios.
It does not say at which points of a reconstruction the pieces begin and end. Those rules (where the initial segment is
cut, the tolerance of 0.1 um, nodes that run straight on, what becomes of the rest of a section) were found from the
published compartments' coordinates and from what the public model TMSsim_Aberra2019 (Aberra et al. 2020, Brain Stimul.
13:175) does; the code is our own. With them the compartments of all 15 published cells lie within 0.001 um of
the published coordinates (tests/cells/test_cable.py).
"""

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
COARSE_UM = 10.0
"""The initial segment is cut at its last point before 50 um, unless that lies more than this before (our addition)."""
POINT_TOLERANCE_UM = 0.1
"""A point this near to where a node begins or ends is taken for it; no new one is inserted."""


def g_ratio(diam_um):
    """Inner over outer diameter of a myelinated fibre with this axon diameter: cubic fit to Micheva et al. 2016."""
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
        return (kind, len(self.pieces[kind]) - 1), points[-1], diam[-1]

    def myelin(self, parent: tuple | None, piece: tuple[np.ndarray, np.ndarray]) -> tuple:
        points, diam = piece
        return self.add("Myelin", parent, points, diam / g_ratio(diam))[0]

    def node(self, parent: tuple | None, piece: tuple[np.ndarray, np.ndarray]) -> tuple:
        return self.add("Node", parent, *piece)

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
    length = section.length_um
    if length < INITIAL_SEGMENT_UM + MIN_INTERNODE_UM:
        return section, (None, section.points_um[-1], section.diam_um[-1])
    walk = _Walk(section.points_um, section.diam_um)
    last = walk.last_within(INITIAL_SEGMENT_UM)
    if INITIAL_SEGMENT_UM - walk.arc[last] > COARSE_UM:  # no point near enough to cut it there
        walk.insert(last, INITIAL_SEGMENT_UM - walk.arc[last])
    walk.at = walk.last_within(INITIAL_SEGMENT_UM)
    kept = np.array(walk.points[: walk.at + 1], np.float32), np.array(walk.diam[: walk.at + 1], np.float32)
    internode = length - INITIAL_SEGMENT_UM - NODE_UM
    piece = made.myelin(None, walk.advance(internode, walk.last_within(INITIAL_SEGMENT_UM + internode)))
    end = made.node(piece, walk.advance(NODE_UM, max(walk.at, walk.final - 1)))
    return replace(section, points_um=kept[0], diam_um=kept[1]), end


def _myelinate_section(section: Section, parent_end: tuple, terminal: bool, made: _Made) -> tuple:
    """Lay internodes and nodes along one section; returns the last piece and where it ends, point and diameter."""
    piece, start, start_diam = parent_end
    width = segment_section(section, ra_ohm_cm=100.0).diam_um[0]
    count = _internode_count(section.length_um, width, terminal)
    if count == 0:
        return made.add("Unmyelin", piece, section.points_um, section.diam_um)
    walk = _Walk(section.points_um, section.diam_um, start, start_diam)
    internode = (walk.arc[-1] - count * NODE_UM) / count
    if count == 1:
        piece = made.myelin(piece, walk.advance(internode, walk.last_within(internode)))
        return made.node(piece, walk.advance(NODE_UM, walk.final))
    end: tuple = ()
    for _ in range(count):
        reach = walk.last_within(walk.covered + internode)
        if reach == walk.final:  # nothing lies beyond: fit what is left
            internode = walk.arc[-1] - walk.arc[walk.at] - NODE_UM
            reach = walk.final - 1
        piece = made.myelin(piece, walk.advance(internode, max(reach, walk.at)))
        reach = walk.last_within(walk.covered + NODE_UM)
        reach = walk.at if reach == walk.final else max(reach, walk.at)
        end = made.node(piece, walk.advance(NODE_UM, reach, straight_on=True))
        piece = end[0]
    return end


def _internode_count(length_um: float, diam_um: float, terminal: bool) -> int:
    if diam_um < MIN_DIAM_UM:
        return 0
    internode = (TERMINAL_INTERNODE_PER_DIAM if terminal else INTERNODE_PER_DIAM) * diam_um
    return int(length_um / (internode + NODE_UM)) or int(length_um / (MIN_INTERNODE_UM + NODE_UM))


class _Walk:
    """A walk along the points of a section, which cuts it into pieces and inserts a point where a piece ends.

    The published cells were cut so, and their thresholds depend on it: an end within POINT_TOLERANCE_UM of a point
    is put there, and between two internodes a node runs straight on in the direction in which the first one ended,
    even where the axon turns. ``covered`` adds up the lengths of the pieces made (um).
    """

    def __init__(self, points, diam, start=None, start_diam=None) -> None:
        self.points = [point.astype(np.float64) for point in points]
        self.diam = list(diam)
        if start is not None:  # where the parent's last piece ends, which may be off the section's own first point
            self.points[0], self.diam[0] = start.astype(np.float64), start_diam
        steps = np.linalg.norm(np.diff(self.points, axis=0), axis=1)
        self.arc = [0.0, *np.cumsum(steps).tolist()]
        self.at = 0
        self.covered = 0.0

    @property
    def final(self) -> int:
        """Index of the last point."""
        return len(self.arc) - 1

    def last_within(self, arc_um: float) -> int:
        """Index of the last point before the first one that lies farther along than this."""
        beyond = np.array(self.arc) > arc_um
        return int(beyond.argmax()) - 1 if beyond.any() else self.final

    def advance(self, length_um: float, last: int, straight_on: bool = False) -> tuple[np.ndarray, np.ndarray]:
        """Points and diameters of the next piece, which should be ``length_um`` long and reach about point ``last``."""
        first, excess = self.at, self.arc[last] - self.arc[self.at] - length_um
        if excess >= POINT_TOLERANCE_UM:
            last -= 1
        if abs(excess) >= POINT_TOLERANCE_UM:
            self.insert(last, length_um - (self.arc[last] - self.arc[first]), straight_on)
            last += 1
        self.at = last
        points = np.array(self.points[first : last + 1], dtype=np.float32)
        self.covered += float(np.linalg.norm(np.diff(points.astype(np.float64), axis=0), axis=1).sum())
        return points, np.array(self.diam[first : last + 1], dtype=np.float64)

    def insert(self, after: int, distance_um: float, straight_on: bool = False) -> None:
        """Insert a point at this distance from point ``after``, towards the next point or straight on.

        The distance is negative where the points before are already too long (first internode of one cell).
        """
        step = self.step(after, straight_on)
        self.points.insert(after + 1, self.points[after] + distance_um * step / np.linalg.norm(step))
        self.arc.insert(after + 1, self.arc[after] + abs(distance_um))
        self.diam.insert(after + 1, self.diam[after])

    def step(self, after: int, straight_on: bool) -> np.ndarray:
        """From the point before ``after`` to it (straight on), or from it to the next one.

        Points that lie on it are passed over: cutting can leave a piece's end where a point already is.
        """
        here = self.points[after]
        back = (here - point for point in reversed(self.points[:after]))
        ahead = (point - here for point in self.points[after + 1 :])
        order = (*back, *ahead) if straight_on else (*ahead, *back)
        return next(step for step in order if step.any())
