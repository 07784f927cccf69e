"""The multi-resolution network of Baxter et al. (2021): a pyramid of a T1 in, places of all points at every level out.

The figures of the paper give no widths; those here are this library's (``NetworkSpec``). Levels run from the coarsest,
which sees the whole volume, to the finest; each sees a crop round where the level before has put the point. The crop
is cut at whole voxels and carries no gradient, so that levels learn by themselves.
"""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, UInt8

from tmsjax.core.errors import InputError
from tmsjax.nn.functional import Functional, Variables
from tmsjax.target import pyramid, residual, subnetwork
from tmsjax.target.points import POINTS, check_names

RESIDUALS = ("shared", "separate", "none")
"""The three variants of the paper: one set of residual layers for all levels, one for each, or none."""


@dataclasses.dataclass(frozen=True)
class NetworkSpec:
    """What a network is made of: hashable, and part of its card.

    ``side``: voxels a side of the finest grid, of ``voxel_mm``. ``levels``: resolutions. ``field``: voxels a side of a
    crop. ``channels``, ``maps``, ``hidden``: of the convolutions, of the last one, and of the linear layer that weighs
    the maps. ``layers``, ``width``: of the residual part.
    """

    side: int = 256
    levels: int = 6
    field: int = 16
    channels: int = 16
    maps: int = 16
    hidden: int = 64
    residual: str = "shared"
    layers: int = 20
    width: int = 64
    points: tuple[str, ...] = POINTS
    voxel_mm: float = 1.0

    def check(self) -> NetworkSpec:
        """Return self, or raise InputError."""
        coarsest = int(pyramid.sides(self.side, self.levels)[-1])
        if coarsest > self.field:
            raise InputError(
                "the coarsest level is not seen whole",
                got=f"{coarsest} voxels a side, a field of {self.field}",
                expected=f"a field of {coarsest} or more, or more levels",
            )
        if self.residual not in RESIDUALS:
            raise InputError("unknown residual layers", got=self.residual, expected=" or ".join(RESIDUALS))
        sizes = (self.channels, self.maps, self.hidden, self.layers, self.width, len(self.points))
        if min(sizes) < 1 or self.field < 2 or not self.voxel_mm > 0:
            raise InputError("no such network", got=self, expected="sizes of 1 or more, a field of 2 or more")
        if len(set(self.points)) != len(self.points):
            raise InputError("a point twice", got=self.points, expected="different points")
        check_names(self.points)
        return self

    def to_json(self) -> dict[str, Any]:
        """Plain values for a card."""
        return dataclasses.asdict(self) | {"points": list(self.points)}

    @staticmethod
    def from_json(values: dict[str, Any]) -> NetworkSpec:
        """The way back; InputError where a key is unknown."""
        try:
            return NetworkSpec(**{**values, "points": tuple(values["points"])}).check()
        except (TypeError, KeyError) as error:
            raise InputError("this is no network's spec", got=values, expected="what to_json gave") from error


class Located(NamedTuple):
    """What the network says at every level, finest last, in mm of the finest grid from its first voxel's centre.

    ``centres``: where the crops were centred; ``before``: the estimates of equation 1; ``places``: after the residual
    layers, the levels' results.
    """

    centres: Float[Array, "l p 3"]
    before: Float[Array, "l p 3"]
    places: Float[Array, "l p 3"]


class View(NamedTuple):
    """How a volume is looked at: an affine map of the network's places (mm) to the volume's, and a change of contrast.

    Moving the grid of a crop instead of the whole image makes augmentation cost nothing. Values become
    ``(gain * value) ** gamma``.
    """

    matrix: Float[Array, "3 3"]
    offset: Float[Array, 3]
    gain: Float[Array, ""]
    gamma: Float[Array, ""]


def network(spec: NetworkSpec) -> Functional:
    """``init(key) -> variables`` and ``apply(variables, flat) -> Located`` of one volume's pyramid."""
    spec.check()
    return Functional(lambda key: _init(spec, key), lambda variables, flat, **how: locate(spec, variables, flat, **how))


def _init(spec: NetworkSpec, key: jax.Array) -> Variables:
    keys = jax.random.split(key, spec.levels + 1)
    count = len(spec.points)
    sizes = (count, spec.field, spec.channels, spec.maps, spec.hidden)
    variables: Variables = {"levels": jax.vmap(lambda k: subnetwork.init(k, *sizes))(keys[: spec.levels])}
    if spec.residual != "none":
        how = (count, spec.layers, spec.width)
        shared = spec.residual == "shared"
        each = jax.vmap(lambda k: residual.init(k, *how))(jax.random.split(keys[-1], 1 if shared else spec.levels))
        variables["residual"] = jax.tree.map(lambda leaf: leaf[0], each) if shared else each
    return variables


def locate(
    spec: NetworkSpec,
    variables: Variables,
    flat: UInt8[Array, " t"],
    *,
    view: View | None = None,
    shown: Float[Array, "l p 3"] | None = None,
) -> Located:
    """Places of all points at every level.

    Args:
        spec: of the network.
        variables: its weights.
        flat: ``pyramid.build`` of the volume.
        view: how to look at it; as it is if left out.
        shown: where to centre the crops of each level, coarsest first, in place of the level before: for training.
            The coarsest sees the middle of the volume all the same.
    """
    sides = jnp.asarray(pyramid.sides(spec.side, spec.levels)[::-1].copy(), jnp.int32)
    offsets = jnp.asarray(pyramid.offsets(spec.side, spec.levels)[-2::-1].copy(), jnp.int32)
    voxels = jnp.asarray([2.0**level for level in range(spec.levels)][::-1], jnp.float32)
    middle = jnp.full((len(spec.points), 3), (spec.side - 1) / 2, jnp.float32)
    flat = jax.lax.stop_gradient(flat)

    def level(centres, given):
        side, offset, voxel, weights, own, seen = given
        centres = jax.lax.stop_gradient(centres if seen is None else seen)
        start = jnp.round(pyramid.to_level(centres, voxel) - (spec.field - 1) / 2).astype(jnp.int32)
        crops = jax.vmap(lambda s: _crop(spec, flat, offset, side, voxel, s, view))(start)
        middles = jnp.asarray(pyramid.to_finest(start + (spec.field - 1) / 2, voxel))
        before = middles + voxel * subnetwork.apply(weights, crops)
        layers = variables.get("residual") if spec.residual == "shared" else own
        places = before if layers is None else residual.apply(layers, before, spec.side)
        return places, Located(middles, before, places)

    own = variables["residual"] if spec.residual == "separate" else None
    seen = None if shown is None else shown.at[0].set(middle)
    _, out = jax.lax.scan(level, middle, (sides, offsets, voxels, variables["levels"], own, seen))
    return out


def _crop(spec: NetworkSpec, flat, offset, side, voxel, start, view: View | None):
    if view is None:
        return pyramid.crop(flat, offset, side, start, spec.field)
    places = pyramid.to_finest(start + jnp.asarray(pyramid.indices(spec.field), jnp.float32), voxel)
    moved = places @ view.matrix.T + view.offset
    values = pyramid.sample(flat, offset, side, pyramid.to_level(moved, voxel))
    return jnp.maximum(view.gain * values, 1e-6) ** view.gamma
