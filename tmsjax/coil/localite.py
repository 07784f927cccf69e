"""Localite's XML: TriggerMarkers and InstrumentMarkers, and InstrumentMarkers back to it.

Localite's coil has its x along our z, its y against our y, its z along our x. The file says coordinateSpace="RAS" or
"LPS" itself. A marker of an untracked coil holds the identity.
"""

from __future__ import annotations

import warnings
from pathlib import Path
from xml.etree import ElementTree
from xml.sax.saxutils import quoteattr

import numpy as np

from tmsjax.coil.named import LPS, NamedPose, finite_numbers, rounded_pose
from tmsjax.core.errors import InputError

AXES = np.array([[0.0, 0, 1, 0], [0, -1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 1]])
"""Localite's coil axes in ours, and ours in Localite's."""


def read_localite(path: Path) -> list[NamedPose]:
    """The poses of all markers; InputError for what is not Localite's."""
    try:
        root = ElementTree.parse(path).getroot()
    except (OSError, ElementTree.ParseError, ValueError) as error:
        raise InputError(
            "file of poses cannot be read", got=f"{path.name}: {error}", expected="Localite's XML"
        ) from error
    space = (root.get("coordinateSpace") or "").upper()
    if space not in ("RAS", "LPS"):
        raise InputError(
            "coordinate space of a Localite file",
            got=f"coordinateSpace={space!r} in {path.name}",
            expected='"RAS" or "LPS", in the outermost element',
        )
    world, poses = (np.eye(4) if space == "RAS" else LPS), []
    for kind, tag in (("trigger", "TriggerMarker"), ("instrument", "InstrumentMarker")):
        for index, marker in enumerate(root.iter(tag)):
            where = f"{path.name}, {tag} {index}"
            inner = marker.find("Marker")
            holder = marker if inner is None else inner
            given = next(holder.iter("Matrix4D"), None)
            cells = [given.get(f"data{i}{j}", "") for i in range(4) for j in range(4)] if given is not None else []
            values = finite_numbers(cells, where) if cells else None
            name = holder.get("description") or marker.get("description") or f"{kind} {index}"
            if values is None or np.array_equal(values.reshape(4, 4), np.eye(4)):
                if given is None:
                    raise InputError("a marker has no matrix", got=where, expected="Matrix4D with data00 to data33")
                warnings.warn(f"{where}: {name!r} has no position (the coil was not tracked), left out", stacklevel=4)
                continue
            response = {v.get("key"): _float(v.get("response")) for v in marker.iter("Value")}
            poses.append(
                NamedPose(
                    name,
                    rounded_pose(world @ values.reshape(4, 4) @ AXES, where),
                    kind,
                    marker.get("recordingTime") or "",
                    didt=response.get("valueA"),
                    intensity_percent=response.get("amplitudeA"),
                )
            )
    return poses


def localite_text(poses: list[NamedPose]) -> str:
    """The poses as a list of InstrumentMarkers, in RAS."""
    lines = ['<?xml version="1.0" encoding="UTF-8"?>', '<InstrumentMarkerList coordinateSpace="RAS">']
    for index, named in enumerate(poses):
        m = named.pose.matrix @ AXES
        data = " ".join(f'data{i}{j}="{m[i, j]:+.17f}"' for i in range(4) for j in range(4))
        lines += [
            f'    <InstrumentMarker alwaysVisible="false" index="{index}" selected="false">',
            f'        <Marker additionalInformation="" color="#ff0000" description={quoteattr(named.name)} set="true">',
            f"            <Matrix4D {data}/>",
            "        </Marker>",
            "    </InstrumentMarker>",
        ]
    return "\n".join([*lines, "</InstrumentMarkerList>"]) + "\n"


def _float(text: str | None) -> float | None:
    """A positive number, or None: Localite writes 0 or NaN for what the stimulator did not report."""
    try:
        value = float(text or "nan")
    except ValueError:
        return None
    return value if np.isfinite(value) and value > 0 else None
