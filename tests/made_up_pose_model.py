"""A small ball of a head with a pose model whose modes are made up: no solve, but a field that is smooth and linear."""

import json

import jax.numpy as jnp
import nibabel
import numpy as np
from meshes import icosphere
from spheres import layered_sphere

import tmsjax as tj
from tmsjax.cortex import Population
from tmsjax.cortex.place import cell_frames
from tmsjax.efield import posemodel
from tmsjax.efield.posemodel import PoseModel
from tmsjax.efield.posemodel_train import head_hash
from tmsjax.head import scalp_distance
from tmsjax.io import write_surface

RADII = {5: 32.0, 4: 28.0, 3: 26.0, 2: 24.0, 1: 18.0}
CENTRE, RADIUS_MM, MODES, SOURCES = np.array([0.0, 0, 20.0]), 8.0, 8, 20


def ball():
    return tj.head.from_labels(*layered_sphere(2.0, RADII, shift=(0.31, -0.22, 0.13)), name="ball")


def write_ball(folder):
    """A folder with the ball's labels, a cortex between 18 and 24 mm, and its pose model; returns it."""
    made = ball()
    nibabel.save(nibabel.Nifti1Image(np.asarray(made.labels), np.asarray(made.affine)), folder / "ball.nii.gz")
    vertices, faces = icosphere(4)
    for side in ("lh", "rh"):
        for kind, radius in (("white", 18.0), ("pial", 24.0)):
            write_surface(folder / f"{side}.{kind}.surf.gii", radius * vertices, faces, structure=f"{side}_{kind}")
    posemodel.save(pose_model(tj.head.load(folder / "ball.nii.gz", name="ball")), folder / "pose_model")
    return folder


def pose_model(head) -> PoseModel:
    """Modes are orthonormal combinations of constant and linear fields in a ball of brain; weights are random."""
    affine, labels = np.asarray(head.affine), np.asarray(head.labels)
    index = np.argwhere(np.isin(labels, (1, 2, 3)))
    points = index @ affine[:3, :3].T + affine[:3, 3]
    near = np.linalg.norm(points - CENTRE, axis=1) <= RADIUS_MM
    index, points = index[near], points[near]
    low, size = index.min(0), np.ptp(index, axis=0) + 1
    mask = np.zeros(size, bool)
    mask[tuple((index - low).T)] = True
    origin = affine.copy()
    origin[:3, 3] += affine[:3, :3] @ low
    rng = np.random.default_rng(3)
    shapes = rng.normal(size=(MODES, 3, 4)) * [1, 0.03, 0.03, 0.03]
    fields = np.einsum("kij,pj->pik", shapes, np.concatenate([np.ones((len(points), 1)), points - CENTRE], 1))
    basis = np.linalg.qr(fields.reshape(-1, MODES))[0].reshape(-1, 3, MODES)
    card = {
        "head": head.name, "head_hash": head_hash(head), "coarsen": 1, "partial_volume": True, "tolerance": 5e-5,
        "residual": 4e-5, "made_up": "for tests", "certificate": {"worst_l2": 0.001, "poses": []},
    }  # fmt: skip
    return PoseModel(
        basis=jnp.asarray(basis, jnp.float32),
        weights=jnp.asarray(30.0 * rng.normal(size=(SOURCES, MODES)), jnp.float32),
        sources_mm=jnp.asarray(CENTRE + rng.uniform(-6, 6, (SOURCES, 3)), jnp.float32),
        points_mm=jnp.asarray(points, jnp.float32),
        distance=scalp_distance(head),
        clearance_mm=jnp.asarray(2.0),
        centre_mm=jnp.asarray(points.mean(0), jnp.float32),
        reach_mm=jnp.asarray(60.0),
        voxels=jnp.asarray(np.flatnonzero(mask), jnp.int32),
        mask=jnp.asarray(mask),
        affine=jnp.asarray(origin, jnp.float32),
        card=json.dumps(card, sort_keys=True),
    )


def population(layer="L5", sites=9, rotations=2, seed=0, spread_mm=2.5) -> Population:
    """Neurons round the region's centre, those of a site in one place."""
    rng = np.random.default_rng(seed)
    places = CENTRE + rng.uniform(-spread_mm, spread_mm, (sites, 3))
    axes = places / np.linalg.norm(places, axis=1, keepdims=True)
    count = sites * rotations
    azimuths = np.tile(np.arange(rotations) * 360.0 / rotations, sites)
    return Population(
        positions=jnp.asarray(np.repeat(places, rotations, 0), jnp.float32),
        rotations=jnp.asarray(cell_frames(np.repeat(axes, rotations, 0), azimuths), jnp.float32),
        site=jnp.repeat(jnp.arange(sites), rotations),
        azimuth_deg=jnp.asarray(azimuths, jnp.float32),
        weight=jnp.ones(count),
        cell=jnp.zeros(count, jnp.int32),
        layer=layer,
        depth=0.65,
    )
