"""The whole chain is differentiable: from the thresholds through patches and field back to the coil's pose."""

import jax
import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from tmsjax.coil import CoilPose
from tmsjax.cortex import Population, patches
from tmsjax.cortex.place import cell_frames

RADIUS_MM, VOXEL_MM = 60.0, 4.0


def test_log_thresholds_know_how_they_change_with_the_pose(model):
    n = 34
    affine = np.diag([VOXEL_MM] * 3 + [1.0])
    affine[:3, 3] = -VOXEL_MM * (n - 1) / 2
    centres = np.stack(np.meshgrid(*[affine[0, 3] + VOXEL_MM * np.arange(n)] * 3, indexing="ij"), -1)
    radius = np.linalg.norm(centres, axis=-1)
    labels = np.select([radius < RADIUS_MM - 8, radius < RADIUS_MM], [2, 5], 0)
    head = tj.head.from_labels(labels, affine, name="sphere")
    coil = tj.coil.load("MagVenture_MC_B70")
    down = np.array([[1.0, 0, 0], [0, -1, 0], [0, 0, -1]])
    axes = np.array([[0.0, 0, 1], [0.3, 0, 0.954], [0, -0.5, 0.866]])
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    somata = jnp.asarray([[0.0, 0, 40], [12, 0, 38], [0, -15, 36]], jnp.float32)
    pop = Population(
        somata, jnp.asarray(cell_frames(axes, np.array([0.0, 50, 110])), jnp.float32), jnp.arange(3), jnp.zeros(3),
        jnp.ones(3), jnp.zeros(3, jnp.int32), "L5", 0.75,
    )  # fmt: skip

    def log_a_per_us(centre):
        field = tj.efield.solve(head, coil, CoilPose(jnp.asarray(down, jnp.float32), centre), tolerance=3e-5)
        return jnp.log(model.scale(patches(field, pop, model.spec.side_mm))).sum()

    centre = jnp.asarray([4.0, -6.0, 80.0])
    slope = jax.grad(log_a_per_us)(centre)
    step = 2.0 * np.eye(3, dtype=np.float32)
    differences = [(log_a_per_us(centre + d) - log_a_per_us(centre - d)) / 4.0 for d in step]
    np.testing.assert_allclose(slope, differences, rtol=0.05, atol=2e-3)
    assert slope[2] > 0.01  # farther away, more current
