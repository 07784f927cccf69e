"""Options of every command that holds a coil over a head."""

from __future__ import annotations

import dataclasses
from pathlib import Path


@dataclasses.dataclass(frozen=True)
class PlaceOptions:
    """The head, the coil and the place: what ``cli.poses`` and ``populations.load_head`` read."""

    head: str = "S1"
    """Bundled head, label map (NIfTI), SimNIBS .msh, or a folder of one (SimNIBS's m2m folder too)."""
    surfaces: str | None = None
    """Folder of FreeSurfer or GIFTI surfaces, for a head of your own; "from labels" makes them."""
    mni_to_head: Path | None = None
    """Affine from MNI152 mm to the head's mm (4x4, text or .npy), for targets by landmark, electrode or MNI place."""
    coil: str = "MagVenture_MC_B70"
    """Bundled coil, or a file of SimNIBS (.ccd, .tcd, .nii.gz)."""
    target: str | None = None
    """Landmark such as hand_knob_left (taken if nothing is given) or 10-10 electrode such as C3: what the coil is held
    over, and the middle of a region, a grid of places or a target of neurons."""
    target_mm: tuple[float, float, float] | None = None
    """Target in the head's own world mm instead."""
    mni_mm: tuple[float, float, float] | None = None
    """Target in MNI152 mm instead."""
