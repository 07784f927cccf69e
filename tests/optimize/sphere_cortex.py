"""A small layered sphere with a cortex, its pose model in closed form, and neurons that fire by made-up laws."""

import json

import jax
import jax.numpy as jnp
import numpy as np
from scipy.spatial import ConvexHull
from spheres import layered_sphere

from tmsjax.cortex import Population
from tmsjax.cortex.place import cell_frames
from tmsjax.efield.posemodel import PoseModel
from tmsjax.efield.posemodel_train import head_hash
from tmsjax.efield.sphere import dipoles_in_sphere
from tmsjax.head import Surface, from_labels, scalp_distance
from tmsjax.optimize import Variables
from tmsjax.surrogate import SupportSpec, Surrogate, SurrogateSpec, domain, features

RADII = {5: 60.0, 4: 53.0, 2: 45.0}
TOP = np.array([0.0, 0.0, 40.0])
"""Middle of the pose model's region, in the cortex."""

LIMITS = Variables(radius_mm=12.0)
"""Of the searches in these tests."""


def sphere_head(turn=None):
    """Spheres of 3 mm voxels, cortex between 38 and 44 mm; turned about the origin by a rotation."""
    labels, affine = layered_sphere(3.0, RADII)
    k = np.arange(3000) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / 3000), np.pi * (1 + 5**0.5) * k
    points = np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    faces = ConvexHull(points).simplices
    corners = points[faces]
    inward = (np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]) * corners[:, 0]).sum(1) < 0
    faces[inward] = faces[inward][:, ::-1]
    if turn is not None:
        affine = np.block([[turn, np.zeros((3, 1))], [np.zeros((1, 3)), np.ones((1, 1))]]) @ affine
        points = points @ turn.T
    surfaces = {
        f"lh_{name}": Surface((radius * points).astype(np.float32), faces.astype(np.int32))
        for name, radius in (("pial", 44.0), ("white", 38.0))
    }
    return from_labels(labels, affine, surfaces=surfaces, name="sphere")


def sphere_pose_model(head, centre, radius_mm=9.0, rank=24, seed=0):
    """A pose model of a ball of cortex from the field's closed form: no solves, right to a few tenths of a per cent."""
    affine, labels = np.array(head.affine, float), np.asarray(head.labels)
    index = np.argwhere(labels == 2)
    points = index @ affine[:3, :3].T + affine[:3, 3]
    near = np.linalg.norm(points - centre, axis=1) <= radius_mm + np.linalg.norm(affine[:3, :3].sum(1))
    index, points = index[near], points[near]
    low, size = index.min(0), np.ptp(index, axis=0) + 1
    mask = np.zeros(size, bool)
    mask[tuple((index - low).T)] = True
    affine[:3, 3] += affine[:3, :3] @ low
    rng = np.random.default_rng(seed)
    dipoles, moments = rng.normal(size=(2, 1500, 3))
    dipoles += 1.5 * np.linalg.norm(dipoles, axis=1, keepdims=True) * centre / np.linalg.norm(centre)
    dipoles *= (RADII[5] + 60 ** rng.random((1500, 1))) / np.linalg.norm(dipoles, axis=1, keepdims=True)
    moments *= np.linalg.norm(dipoles - centre, axis=1, keepdims=True) ** 2
    one = jax.jit(jax.vmap(lambda q, m: dipoles_in_sphere(q[None], m[None], jnp.asarray(points, jnp.float32))))
    fields = np.asarray(one(*(jnp.asarray(a, jnp.float32) for a in (dipoles, moments))), float).reshape(1500, -1)
    basis = np.linalg.eigh(fields.T @ fields)[1][:, -rank:]
    k = np.arange(300) + 0.5
    polar, azimuth = np.arccos(1 - 2 * k / 300), np.pi * (1 + 5**0.5) * k
    sources = 50 * np.stack([np.sin(polar) * np.cos(azimuth), np.sin(polar) * np.sin(azimuth), np.cos(polar)], -1)
    away = dipoles[:, None] - sources
    seen = -np.einsum("dx,dsx->ds", moments, away) / np.linalg.norm(away, axis=2) ** 3
    weights = np.linalg.lstsq(seen, fields @ basis, rcond=1e-6)[0]
    card = {"head": head.name, "head_hash": head_hash(head), "coarsen": 1, "partial_volume": True, "tolerance": 5e-5,
            "residual": 0.0}  # fmt: skip
    f32 = [jnp.asarray(a, jnp.float32) for a in (basis.reshape(-1, 3, rank), weights, sources, points)]
    middle = jnp.asarray(points.mean(0), jnp.float32)
    return PoseModel(
        *f32, scalp_distance(head), jnp.asarray(3.0), middle, jnp.asarray(75.0),
        jnp.asarray(np.ravel_multi_index(tuple((index - low).T), tuple(size)), jnp.int32),
        jnp.asarray(mask), jnp.asarray(affine, jnp.float32), json.dumps(card),
    )  # fmt: skip


def law(functionals, layer_cell="synthetic/law", n=5, side_mm=1.5) -> Surrogate:
    """A surrogate whose reciprocal threshold is the 30-norm of these functionals (k, 3) of the mean field, m/V."""
    functionals = np.asarray(functionals, np.float32)
    spec = SurrogateSpec(layer_cell, n=n, side_mm=side_mm, model=SupportSpec((1,), len(functionals)))
    kernel = np.zeros((len(functionals), features.count(1)), np.float32)
    kernel[:, :3] = functionals
    variables = {"member_0": {"kernel": jnp.asarray(kernel), "log_sharpness": jnp.log(jnp.float32(30.0))}}
    c = np.random.default_rng(0).normal(size=(500, features.count(1))) * 0.3
    return Surrogate(variables, domain.fit(c, 1), spec)


def along(*directions, threshold_v_per_m=100.0):
    """Functionals (4, 3) of cells that fire at 100 V/m along these directions; a model needs four."""
    each = np.asarray(directions, float) / threshold_v_per_m
    return np.concatenate([each, np.zeros((max(0, 4 - len(each)), 3))])


def population(middle=TOP, spread_mm=3.0, sites=30, x_axis=None, seed=0) -> Population:
    """Sites in a ball, axes outwards; x axes towards a world direction, or four azimuths a site."""
    rng = np.random.default_rng(seed)
    shift = rng.normal(size=(sites, 3))
    shift *= spread_mm * rng.random((sites, 1)) ** (1 / 3) / np.linalg.norm(shift, axis=1, keepdims=True)
    at = np.asarray(middle) + shift
    axes = at / np.linalg.norm(at, axis=1, keepdims=True)
    if x_axis is not None:
        x = x_axis - (axes @ x_axis)[:, None] * axes
        x /= np.linalg.norm(x, axis=1, keepdims=True)
        rotations, site = np.stack([x, np.cross(axes, x), axes], 2), np.arange(sites)
    else:
        rotations, site = (
            cell_frames(np.repeat(axes, 4, 0), np.tile(np.arange(4) * 90.0, sites)),
            np.arange(4 * sites) // 4,
        )
        at = np.repeat(at, 4, 0)
    count = len(site)
    return Population(
        jnp.asarray(at, jnp.float32), jnp.asarray(rotations, jnp.float32), jnp.asarray(site), jnp.zeros(count),
        jnp.ones(count), jnp.zeros(count, jnp.int32), "L5", 0.5,
    )  # fmt: skip
