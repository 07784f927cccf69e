"""The main axon: the path that Aberra et al. (2020) disable at its terminal in layer 5."""

from __future__ import annotations

from typing import Literal

import numpy as np

from tmsjax.cells.geometry import segment_section
from tmsjax.cells.types import Section
from tmsjax.core.errors import InputError

AXON_REGIONS = ("ais", "node", "myelin", "unmyelinated")
COLUMN_UM = 500.0
"""The "deepest" rule looks for points within this distance of the vertical through the soma."""

Rule = Literal["widest", "deepest"]


def rule_of(rule: object) -> Rule:
    """The rule, or InputError where there is no such one."""
    if rule == "widest":
        return "widest"
    if rule == "deepest":
        return "deepest"
    raise InputError("there is no such main axon", got=repr(rule), expected='"widest" or "deepest"')


def main_axon_terminal(sections: tuple[Section, ...], rule: Rule = "widest") -> int:
    """Index of the section at whose end the main axon ends.

    "widest": from axon[0], at every branching the child whose first segment is widest. "deepest": the section with
    the lowest point within 500 um of the vertical through the soma, followed to a terminal.
    """
    rule = rule_of(rule)
    children: dict[int, list[int]] = {}
    for k, section in enumerate(sections):
        if section.region in AXON_REGIONS:
            children.setdefault(section.parent, []).append(k)
    if rule == "deepest":
        at = _deepest(sections)
    else:
        at = next(k for k, section in enumerate(sections) if section.region == "ais")
    while at in children:
        at = max(children[at], key=lambda k: segment_section(sections[k], 100.0).diam_um[0])
    return at


def _deepest(sections: tuple[Section, ...]) -> int:
    centre = sections[0].points_um.mean(axis=0)
    lowest = np.full(len(sections), np.inf)
    for k, section in enumerate(sections):
        if section.region in AXON_REGIONS:
            near = np.linalg.norm(section.points_um[:, :2] - centre[:2], axis=1) < COLUMN_UM
            lowest[k] = section.points_um[near, 2].min(initial=np.inf)
    return int(np.argmin(lowest))
