"""The eleven target points of Baxter et al. (2021), table 1: names, sides, raters, and where they lie on average."""

from __future__ import annotations

from collections.abc import Sequence

from tmsjax.core.errors import InputError
from tmsjax.head.landmarks import LANDMARKS

MOTOR = ("LFACEMC", "RFACEMC", "LLLIMBMC", "RLLIMBMC", "LULIMBMC", "RULIMBMC")
"""Facial, lower-limb and upper-limb regions of the primary motor cortex: chronic pain; marked by three experts."""

POINTS = ("LOFC", "ROFC", "LDLPFC", "RDLPFC", "LHESCHL", *MOTOR)
"""All eleven: orbitofrontal, dorsolateral prefrontal and Heschl's gyrus (by one expert), then ``MOTOR``."""

REGIONS = {
    "OFC": "ofc",
    "DLPFC": "dlpfc",
    "HESCHL": "heschl",
    "FACEMC": "face",
    "LLIMBMC": "foot",
    "ULIMBMC": "hand_knob",
}
"""Name without its side -> name of the landmark in ``tmsjax.head.LANDMARKS`` without its side."""


def landmark_name(point: str) -> str:
    """The landmark of ``tmsjax.head`` that means the same place, e.g. "hand_knob_left" for "LULIMBMC"."""
    check_names([point])
    return f"{REGIONS[point[1:]]}_{'left' if is_left(point) else 'right'}"


def point_name(landmark: str) -> str:
    """The point that means a landmark of ``tmsjax.head``; InputError where there is none (right Heschl)."""
    for point in POINTS:
        if landmark_name(point) == landmark:
            return point
    raise InputError(
        "no target point is this landmark", got=repr(landmark), expected=", ".join(map(landmark_name, POINTS))
    )


def mni_mm(point: str) -> tuple[float, float, float]:
    """Its place in MNI152 mm: a group average, whose sources ``tmsjax.head.landmarks`` names."""
    return LANDMARKS[landmark_name(point)]


def is_left(point: str) -> bool:
    """Whether it belongs to the left hemisphere, as the first letter of every name says."""
    return point.startswith("L")


def check_names(names: Sequence[str]) -> None:
    """Raise InputError where one of the names is none of the eleven."""
    unknown = sorted({name for name in names if name not in POINTS})
    if unknown:
        raise InputError("unknown target points", got=", ".join(map(repr, unknown)), expected=", ".join(POINTS))
