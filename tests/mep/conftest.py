"""A small sphere of a head with a pose model whose field is made up: it follows the coil, and no solve is needed."""

import dataclasses
import json
from types import SimpleNamespace

import jax.numpy as jnp
import numpy as np
import pytest
from meshes import icosphere
from spheres import layered_sphere

import tmsjax as tj
from tmsjax.efield.posemodel import PoseModel
from tmsjax.efield.posemodel_train import head_hash
from tmsjax.head import Surface, from_labels, scalp_distance
from tmsjax.mep.strip import Strip, strip_mask

RADII = {5: 60.0, 4: 54.0, 2: 48.0, 1: 40.0}


def sphere():
    labels, affine = layered_sphere(4.0, RADII, shift=(0.31, -0.22, 0.13))
    vertices, faces = icosphere(3)
    surfaces = {
        f"rh_{name}": Surface((radius * vertices).astype(np.float32), faces.astype(np.int32))
        for name, radius in (("pial", 47.0), ("white", 41.0))
    }
    return from_labels(labels, affine, surfaces=surfaces, name="sphere")


def made_up(head) -> PoseModel:
    """A mode for each of 25 places below the scalp, a blob of field there, excited by what is above it."""
    affine, labels = np.asarray(head.affine), np.asarray(head.labels)
    index = np.argwhere(np.isin(labels, (1, 2)))
    points = index @ affine[:3, :3].T + affine[:3, 3]
    near = np.linalg.norm(points - [0, 0, 42.0], axis=1) <= 30
    index, points = index[near], points[near]
    low, size = index.min(0), np.ptp(index, axis=0) + 1
    mask = np.zeros(size, bool)
    mask[tuple((index - low).T)] = True
    origin = affine.copy()
    origin[:3, 3] += affine[:3, :3] @ low
    ticks = np.array([-16.0, -8, 0, 8, 16])
    sources = np.stack([*np.meshgrid(ticks, ticks, indexing="ij"), np.full((5, 5), 36.0)], -1).reshape(-1, 3)
    blob = np.exp(-((points[:, None, :2] - sources[:, :2]) ** 2).sum(-1) / (2 * 9.0**2)) * np.exp(points[:, 2:] / 15)
    basis = blob[:, None] * np.array([0.3, 1.0, 0.1])[:, None]
    card = {"head": head.name, "head_hash": head_hash(head), "coarsen": 1, "partial_volume": True, "tolerance": 5e-5,
            "residual": 4e-5, "made_up": "for tests"}  # fmt: skip
    return PoseModel(
        basis=jnp.asarray(basis, jnp.float32),
        weights=jnp.asarray(3e3 * np.eye(len(sources)), jnp.float32),
        sources_mm=jnp.asarray(sources, jnp.float32),
        points_mm=jnp.asarray(points, jnp.float32),
        distance=scalp_distance(head),
        clearance_mm=jnp.asarray(2.0),
        centre_mm=jnp.asarray(points.mean(0), jnp.float32),
        reach_mm=jnp.asarray(80.0),
        voxels=jnp.asarray(np.flatnonzero(mask), jnp.int32),
        mask=jnp.asarray(mask),
        affine=jnp.asarray(origin, jnp.float32),
        card=json.dumps(card, sort_keys=True),
    )


@pytest.fixture(scope="session")
def lab():
    """Head, pose model, coil, chart, strip and mask."""
    head = sphere()
    strip = Strip(np.array([[-20.0, 0, 40], [0, 0, 46], [20, 0, 40]]), 1)
    mask, affine = strip_mask(head, strip, side=16, voxel_mm=4.0, tube_mm=14.0, reach_mm=22.0)
    return SimpleNamespace(
        head=head,
        model=made_up(head),
        coil=tj.coil.reduce(tj.coil.load("MagVenture_Cool_B35"), 40),
        chart=tj.coil.scalp_chart(head, [0.0, 0.0, 60.0], radius_mm=35.0),
        strip=strip,
        mask=mask,
        affine=affine,
        replace=dataclasses.replace,
    )
