"""Layered spheres and poses over them, for tests of fields with a closed form."""

import numpy as np

from tmsjax.coil import CoilPose

RADII = {5: 92.0, 4: 86.0, 3: 80.0, 2: 78.0, 1: 60.0}


def layered_sphere(voxel_mm, radii=RADII, shift=(0.0, 0.0, 0.0)):
    """Labels and affine of concentric spheres round the origin, ``shift`` mm off the grid."""
    n = int(np.ceil((max(radii.values()) + 2) / voxel_mm))
    axes = [np.arange(-n, n + 1) * voxel_mm + s for s in shift]
    r = np.sqrt(axes[0][:, None, None] ** 2 + axes[1][None, :, None] ** 2 + axes[2][None, None] ** 2)
    labels = np.zeros(r.shape, np.uint8)
    for label, radius in radii.items():
        labels[r < radius] = label
    affine = np.diag([voxel_mm, voxel_mm, voxel_mm, 1.0])
    affine[:3, 3] = [a[0] for a in axes]
    return labels, affine


def pose_over(direction=(-0.4, 0.2, 0.9), distance_mm=96.0):
    """A pose whose z axis points at the origin from ``distance_mm`` away."""
    d = np.asarray(direction) / np.linalg.norm(direction)
    y = np.array([0.3, 1.0, 0.0])
    y -= (y @ d) * d
    y /= np.linalg.norm(y)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([np.cross(y, -d), y, -d], axis=1)
    matrix[:3, 3] = distance_mm * d
    return CoilPose.from_matrix(matrix)
