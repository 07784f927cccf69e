"""A dataset without a simulation: fields of a small head of spheres, thresholds of a law of the test's own."""

import hashlib

import nibabel
import numpy as np
from spheres import layered_sphere

from tmsjax.surrogate.recipe import Recipe
from tmsjax.surrogate.source import Source

RADII = {5: 32.0, 4: 28.0, 3: 25.0, 2: 23.0, 1: 20.0}
SITES_UM = np.array([[0.0, 0.0, 0.0], [300.0, 0.0, -200.0], [0.0, -900.0, 0.0]])
"""Compartments that may fire first: the soma, one within a cube of 1.5 mm and one outside."""


def write_labels(folder):
    """A label file of spheres whose cortex is 3 mm thick; its path."""
    path = folder / "labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(*layered_sphere(1.0, RADII, shift=(0.31, -0.22, 0.13))), path)
    return path


def recipe(path, **changes):
    """A recipe for it: 2 poses x 2 directions x 20 sites x 3 azimuths."""
    table = {
        "cell": "open/L5_PC_1",
        "layer": "L5",
        "head": "ball",
        "head_sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "target_mm": [0, 0, 23],
        "coil": "Circular_50mm",
        "design": "every",
        "poses": 2,
        "sites": 20,
        "rotations": 3,
        "radius_mm": 12,
    }
    return Recipe.from_dict(table | changes)


def results(source: Source, law) -> dict[str, np.ndarray]:
    """What a dataset of this recipe would hold: thresholds ``law(patches)`` of 1.5 mm; none in every 50th row."""
    count = len(source.draw.pose)
    patches = source.patches(np.arange(count), 1.5)
    whole = np.isfinite(patches).all(axis=(1, 2, 3, 4))
    v_per_m = np.full(count, np.nan)
    v_per_m[whole] = law(patches[whole])
    status = np.where(whole & (np.arange(count) % 50 > 0), 0, 2).astype(np.int8)
    return {
        "v_per_m": v_per_m,
        "factor": v_per_m / np.linalg.norm(patches[:, 4, 4, 4].astype(np.float64), axis=-1),
        "initiation": (np.arange(count) % 4 - 1).astype(np.int32),
        "soma": patches[:, 4, 4, 4],
        "status": status,
    }
