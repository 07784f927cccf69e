"""Neurons in the cortex: positions on a layer's surface, somatodendritic axes along the column, azimuthal rotations."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.core.transforms import check_finite
from tmsjax.cortex.layers import LayerSurface, column_axes, is_cortex, layer_surface, normalised_depth
from tmsjax.head import HeadModel


@dataclasses.dataclass(frozen=True)
class Roi:
    """A region of interest: a ball of ``radius_mm`` round ``centre_mm`` (world), optionally of one hemisphere only."""

    centre_mm: tuple[float, float, float]
    radius_mm: float
    hemisphere: str | None = None

    @classmethod
    def ball(cls, centre_mm: ArrayLike, radius_mm: float, hemisphere: str | None = None) -> Roi:
        """Check and make a ball; raises InputError for a centre or radius that is not finite or not positive."""
        x, y, z = check_finite(centre_mm, (3,), "centre of the region")
        if not (np.isfinite(radius_mm) and radius_mm > 0):
            raise InputError("radius of the region", got=radius_mm, expected="a positive number of mm")
        if hemisphere not in (None, "lh", "rh"):
            raise InputError("hemisphere of the region", got=hemisphere, expected="lh, rh or None")
        return cls((float(x), float(y), float(z)), float(radius_mm), hemisphere)

    def contains(self, surface: LayerSurface) -> np.ndarray:
        """(f,) True for the faces of a layer whose centres lie in the region."""
        centres = surface.triangles.mean(axis=1)
        inside = np.linalg.norm(centres - np.asarray(self.centre_mm), axis=1) <= self.radius_mm
        if self.hemisphere is not None:
            side = surface.hemisphere[surface.faces[:, 0]]
            inside &= side == ("lh", "rh").index(self.hemisphere)
        return inside


@pytree("layer", "depth")
class Population:
    """Neurons of one layer: p = sites x azimuths, the azimuths of a site next to each other.

    Attributes:
        positions: (p, 3) mm, world: the somata.
        rotations: (p, 3, 3) cell frame -> world; the third column is the somatodendritic axis, towards the pia.
        site: (p,) index of the site that a neuron shares with its other azimuths.
        azimuth_deg: (p,) rotation about the somatodendritic axis from the site's random first azimuth.
        weight: (p,) mm2 of layer surface that a neuron stands for.
        cell: (p,) index of the cell model (clone) to use.
        layer: name of the layer. depth: normalised depth, 0 pial to 1 white.
    """

    positions: Float[Array, "p 3"]
    rotations: Float[Array, "p 3 3"]
    site: Int[Array, " p"]
    azimuth_deg: Float[Array, " p"]
    weight: Float[Array, " p"]
    cell: Int[Array, " p"]
    layer: str
    depth: float

    def __len__(self) -> int:
        return self.positions.shape[0]

    def __getitem__(self, index) -> Population:
        """Some of the neurons: any index that selects along the first axis."""
        return jax.tree.map(lambda leaf: leaf[index], self)


def place(
    head: HeadModel,
    layer: str = "L5",
    n: int = 5000,
    roi: Roi | None = None,
    rotations: int = 12,
    seed: int = 0,
    depth: float | None = None,
) -> Population:
    """Place ``n`` sites of a layer in a region, each with ``rotations`` azimuths: n x rotations neurons.

    Sites are spread evenly over the layer's area (one in every n-th part of it, at a random point of that part);
    columns thinner than ``THINNEST_MM`` are left out. The somatodendritic axis follows the local column, from the white
    to the pial surface. The first azimuth of a site is random, the others follow in steps of 360/rotations degrees
    (Aberra 2023, section 2.1.3).

    Args:
        head: a head with pial and white surfaces.
        layer: L23 (or L2/3), L4 or L5.
        n: number of sites.
        roi: region of interest; the whole cortex if None.
        rotations: azimuths per site.
        seed: of the random places and azimuths.
        depth: normalised depth (0 pial, 1 white) instead of the layer's own.

    Raises:
        InputError: no surfaces, unknown layer, n or rotations below 1, or a region without cortex.
    """
    if n < 1 or rotations < 1:
        raise InputError("size of the population", got=f"n={n}, rotations={rotations}", expected="both at least 1")
    depth = normalised_depth(layer) if depth is None else depth
    surface = layer_surface(head, depth)
    chosen = np.flatnonzero(is_cortex(surface) if roi is None else is_cortex(surface) & roi.contains(surface))
    areas = surface.face_areas[chosen]
    if len(chosen) == 0 or areas.sum() <= 0:
        reach = np.linalg.norm(surface.vertices - np.asarray(roi.centre_mm), axis=1).min() if roi else 0.0
        raise InputError(
            "the region holds no cortex",
            got=f"{roi}; the nearest point of layer {layer} is {reach:.1f} mm from its centre",
            expected="a region that meets the layer's surface",
            mend="move the centre or enlarge the radius; coordinates are world (scanner RAS) mm",
        )
    rng = np.random.default_rng(seed)
    quantiles = (np.arange(n) + rng.random(n)) / n
    faces = chosen[np.minimum(np.searchsorted(np.cumsum(areas) / areas.sum(), quantiles), len(chosen) - 1)]
    barycentric = uniform_barycentric(rng, n)
    positions = np.einsum("sc,scd->sd", barycentric, surface.triangles[faces])
    axes, _ = column_axes(surface, faces, barycentric)
    azimuths = np.arange(rotations) * (360.0 / rotations)
    first = rng.uniform(0.0, 360.0, n)
    frames = cell_frames(np.repeat(axes, rotations, 0), (first[:, None] + azimuths).ravel())
    return Population(
        positions=jnp.asarray(np.repeat(positions, rotations, 0), jnp.float32),
        rotations=jnp.asarray(frames, jnp.float32),
        site=jnp.repeat(jnp.arange(n), rotations),
        azimuth_deg=jnp.tile(jnp.asarray(azimuths, jnp.float32), n),
        weight=jnp.full(n * rotations, areas.sum() / (n * rotations), jnp.float32),
        cell=jnp.zeros(n * rotations, jnp.int32),
        layer=layer.replace("/", "").upper(),
        depth=float(depth),
    )


def cell_frames(axes: Float[np.ndarray, "p 3"], azimuth_deg: Float[np.ndarray, " p"]) -> Float[np.ndarray, "p 3 3"]:
    """Rotations cell -> world: z columns are the unit ``axes``, x axes are turned by ``azimuth_deg`` about them.

    The zero of the azimuth is arbitrary but continuous almost everywhere: the branchless frame of Duff et al. 2017
    (J. Comput. Graph. Tech. 6:1), which has no singularity but for a cut at z = 0.
    """
    x, y, z = axes.T
    sign = np.where(z >= 0, 1.0, -1.0)
    a = -1.0 / (sign + z)
    b = x * y * a
    u = np.stack([1 + sign * x * x * a, sign * b, -sign * x], -1)
    v = np.stack([b, sign + y * y * a, -y], -1)
    phi = np.deg2rad(azimuth_deg)[:, None]
    return np.stack([np.cos(phi) * u + np.sin(phi) * v, -np.sin(phi) * u + np.cos(phi) * v, axes], -1)


def uniform_barycentric(rng: np.random.Generator, n: int) -> np.ndarray:
    """(n, 3) weights of uniformly distributed points of a triangle (square-root rule)."""
    r, s = np.sqrt(rng.random(n)), rng.random(n)
    return np.stack([1 - r, r * (1 - s), r * s], -1)
