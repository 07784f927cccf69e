"""Coils given by their vector potential on a grid (SimNIBS .nii, .nii.gz), as dipoles fitted to it.

A file holds A (i, j, k, 3) in T.m per A (dA/dt in V/m at 1 A/s) on a regular grid in the coil's frame. Everything
else in this library takes dipoles, whose field is smooth, has a gradient and costs the same everywhere, so dipoles are
fitted to the samples in front of the coil. Where the windings are is read off the samples themselves: away from them
every component of A is harmonic, so its discrete Laplacian is large at the windings and nowhere else.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax.numpy as jnp
import nibabel
import numpy as np
from jaxtyping import Bool, Float
from scipy import ndimage
from scipy.spatial import ConvexHull, KDTree, QhullError

from tmsjax.coil.fit import BRAIN_MM, GAP_MM, HEAD_MM, POOR, dipole_potential, fit_error, moments_at
from tmsjax.coil.library import from_dipoles
from tmsjax.coil.primary import vector_potential
from tmsjax.coil.types import Coil
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine
from tmsjax.core.units import MU0_OVER_4PI
from tmsjax.io.reading import reading

SITE_MM, TRAINING_POINTS = 8.0, 2000
"""Spacing of the dipoles that are fitted, and how many samples they are fitted to (as many again are held out)."""

NEAREST_MM = 6.0
"""Samples nearer than this to a winding are left out: the grid does not resolve them."""

SOURCE = 0.3
"""A sample belongs to a winding if its Laplacian times the spacing squared exceeds this share of the field there."""


def read_sampled(path: Path) -> Coil:
    """Read a ``.nii`` or ``.nii.gz`` coil; its ``.fit`` states the error at samples that were held out.

    Raises:
        InputError: an unreadable file, another shape than (i, j, k, 3), NaN, no samples in front of the coil, or a
            potential that no dipoles behind the face give (``POOR``).
    """
    expected = "a NIfTI image (i, j, k, 3) of the vector potential, in T.m per A"
    with reading(path, "coil file cannot be read", expected):
        image: Any = nibabel.load(path)
        data, affine = np.asarray(image.dataobj, np.float64), np.asarray(image.affine, np.float64)
    if data.ndim == 5 and data.shape[3] == 1:
        data = data[:, :, :, 0]
    name = path.name.removesuffix(".gz").removesuffix(".nii")
    return from_samples(data, affine, name=name)


def from_samples(potential: ArrayLike, affine: ArrayLike, *, name: str = "sampled") -> Coil:
    """A coil from samples (i, j, k, 3) of its vector potential in T.m per A, and the 4x4 affine voxel -> coil frame mm.

    Raises InputError as ``read_sampled`` does.
    """
    data, grid = np.asarray(potential, np.float64), np.asarray(affine, np.float64)
    if data.ndim != 4 or data.shape[3] != 3 or min(data.shape[:3]) < 5:
        raise InputError(
            "sampled coil has the wrong shape", got=data.shape, expected="(i, j, k, 3), at least 5 samples a side"
        )
    if not np.isfinite(data).all() or not data.any():
        raise InputError("sampled coil has no finite field", got="NaN, infinite or all zero", expected="T.m per A")
    if grid.shape != (4, 4) or not np.isfinite(grid).all() or abs(np.linalg.det(grid[:3, :3])) < 1e-9:
        raise InputError("affine of a sampled coil", got=grid.tolist(), expected="an invertible 4x4, voxel -> mm")
    places = apply_affine(grid, np.stack(np.meshgrid(*map(np.arange, data.shape[:3]), indexing="ij"), -1))
    spacing = np.linalg.norm(grid[:3, :3], axis=0)
    winding = places[_windings(data, spacing)]
    sites = place_sites(winding, places)
    winding = winding if len(winding) else sites
    near = max(NEAREST_MM, 2.0 * float(spacing.max()))
    front = places[..., 2] >= near / 2
    front[front] = KDTree(np.concatenate([winding, sites])).query(places[front])[0] >= near
    rng, chosen = np.random.default_rng(0), np.argwhere(front)
    if len(chosen) < 500:
        raise InputError(
            "sampled coil has nothing in front of it",
            got=f"{len(chosen)} samples {near:g} mm or more from its windings at z > 0",
            expected="a grid that reaches to where the head is: +z of the coil's frame, in mm",
        )
    weight = np.exp(-places[front][:, 2] / 25)  # denser near the coil, as heads are
    picked = rng.choice(len(chosen), min(2 * TRAINING_POINTS, len(chosen)), replace=False, p=weight / weight.sum())
    in_brain = np.linalg.norm(places[tuple(chosen[picked].T)] - [0, 0, GAP_MM + HEAD_MM], axis=1) < BRAIN_MM
    spare = picked[1::2][in_brain[1::2]]
    spare = spare if len(spare) >= 100 else picked[1::2]  # a grid that ends before the brain
    fitted, held_out = (tuple(chosen[half].T) for half in (picked[::2], spare))
    value = data / MU0_OVER_4PI * 1e-6  # T.m per A -> A.m2 per A over mm2
    moments = moments_at(sites, places[fitted], value[fitted])
    kept = moments.astype(np.float32).astype(float)
    fit = fit_error(dipole_potential(sites, kept, places[held_out]), value[held_out], of=f"samples of {name}")
    if fit.error > POOR:
        raise InputError(
            "sampled coil is no coil behind its face",
            got=f"dipoles miss its field by {100 * fit.error:.0f} %",
            expected=f"a vector potential in T.m per A of windings at z < 0, met within {100 * POOR:g} %",
            mend="check the frame (+z into the head) and that the image is A, not B or E",
        )
    coil = from_dipoles(sites, moments, windings=winding, name=name)
    return Coil(coil.positions, coil.moments, coil.windings, name, fit=fit)


def write_sampled(
    coil: Coil, path: Path, *, spacing_mm: float = 2.0, margin_mm: float = 60.0, depth_mm: float = 120.0
) -> None:
    """Write the vector potential of a coil on a grid, as SimNIBS reads it.

    The grid reaches ``margin_mm`` beyond the coil on all sides and ``depth_mm`` to the head's. Samples nearer than half
    a spacing to a dipole hold the value half a spacing away from it, so that none is infinite.
    """
    positions, moments = np.asarray(coil.positions, np.float64), np.asarray(coil.moments, np.float64)
    solid = np.concatenate([positions, np.asarray(coil.windings, np.float64)])
    low = solid.min(0) - np.array([margin_mm, margin_mm, 10.0])
    high = solid.max(0) + np.array([margin_mm, margin_mm, depth_mm])
    shape = np.ceil((high - low) / spacing_mm).astype(int) + 1
    affine = np.diag([spacing_mm, spacing_mm, spacing_mm, 1.0])
    affine[:3, 3] = low
    places = apply_affine(affine, np.stack(np.meshgrid(*map(np.arange, shape), indexing="ij"), -1)).reshape(-1, 3)
    found: Any = KDTree(positions).query(places)
    gap, nearest = found
    close = gap < spacing_mm / 2
    away = places[close] - positions[nearest[close]]
    away[gap[close] == 0] = [0, 0, 1.0]
    away *= (spacing_mm / 2 / np.linalg.norm(away, axis=1))[:, None]
    places[close] = positions[nearest[close]] + away
    # float32 through JAX's matrix products: many samples, and a grid cannot resolve more.
    local = vector_potential(*(jnp.asarray(a, jnp.float32) for a in (positions, moments, places)))
    field = np.asarray(local, np.float64).reshape(*shape, 3) * (MU0_OVER_4PI * 1e6)
    image = nibabel.Nifti1Image(field.astype(np.float32), affine)
    image.header["descrip"] = coil.name[:79].encode("ascii", "replace")
    image.header.set_xyzt_units("mm")
    nibabel.save(image, path)


def _windings(data: Float[np.ndarray, "i j k 3"], spacing: Float[np.ndarray, 3]) -> Bool[np.ndarray, "i j k"]:
    """(i, j, k) True at samples where the potential is not harmonic, as it is nowhere but at the windings."""
    laplacian: Any = sum(
        np.diff(np.pad(data, [(1, 1) if n == axis else (0, 0) for n in range(4)], mode="reflect", reflect_type="odd"),
                n=2, axis=axis) * (spacing.min() / spacing[axis]) ** 2
        for axis in range(3)
    )  # fmt: skip
    size = np.linalg.norm(data, axis=3)
    around = ndimage.uniform_filter(size, 3)
    rough = np.linalg.norm(laplacian, axis=3) / np.maximum(around, 0.01 * size.max())
    rough[[0, -1]] = rough[:, [0, -1]] = rough[:, :, [0, -1]] = 0  # the Laplacian is one-sided at the grid's border
    return rough > SOURCE


def place_sites(winding: Float[np.ndarray, "w 3"], places: Float[np.ndarray, "*p 3"]) -> Float[np.ndarray, "n 3"]:
    """Places (n, 3) mm for dipoles: a grid of ``SITE_MM`` inside the windings' outline, as deep as the windings are."""
    corners = places.reshape(-1, 3)
    if len(winding) < 3:  # the samples begin in front of the windings
        low, high, depth = corners.min(0)[:2], corners.max(0)[:2], min(-SITE_MM, float(corners[:, 2].min()) - SITE_MM)
        low, high = np.maximum(low, -100), np.minimum(high, 100)
    else:
        low, high, depth = winding.min(0)[:2], winding.max(0)[:2], None
    axes = [np.arange(a - SITE_MM / 2, b + SITE_MM, SITE_MM) for a, b in zip(low, high, strict=True)]
    grid = np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, 2)
    if depth is not None:
        return np.column_stack([grid, np.full(len(grid), depth)])
    try:
        sides = ConvexHull(winding[:, :2]).equations
        grid = grid[(grid @ sides[:, :2].T + sides[:, 2] <= SITE_MM / 2).all(1)]
    except (QhullError, ValueError):
        return winding
    near = KDTree(winding[:, :2]).query(grid, min(8, len(winding)))[1].reshape(len(grid), -1)
    return np.column_stack([grid, winding[near, 2].mean(1)])
