"""Coils as magnetic dipoles, their primary field, and their poses on a head."""

from tmsjax.coil.chart import ChartCoordinates, ScalpChart, scalp_chart
from tmsjax.coil.clearance import check_outside, clearance, face_points
from tmsjax.coil.library import BUNDLED, from_dipoles
from tmsjax.coil.load import load, save
from tmsjax.coil.named import NamedPose
from tmsjax.coil.neuronav import load_poses, save_poses
from tmsjax.coil.placement import pose_on_scalp
from tmsjax.coil.primary import primary_field
from tmsjax.coil.reduce import reduce
from tmsjax.coil.types import Coil, CoilPose, Fit
from tmsjax.coil.wires import from_wires

__all__ = [
    "BUNDLED",
    "ChartCoordinates",
    "Coil",
    "CoilPose",
    "Fit",
    "NamedPose",
    "ScalpChart",
    "check_outside",
    "clearance",
    "face_points",
    "from_dipoles",
    "from_wires",
    "load",
    "load_poses",
    "pose_on_scalp",
    "primary_field",
    "reduce",
    "save",
    "save_poses",
    "scalp_chart",
]
