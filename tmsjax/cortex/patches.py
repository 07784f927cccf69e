"""Sampling grids round the neurons: the field on n x n x n points in each cell's own frame."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.cortex import blocks
from tmsjax.cortex.blocks import Voxels, pack
from tmsjax.cortex.place import Population
from tmsjax.efield import EField, MeshField

PACKING = 10
"""Packing a voxel takes as long as reading a tenth of a sample."""

USUAL_MM = 1.99
"""What is taken to span two voxels where a transformation hides the grid: voxels of 1 mm or more."""


def sampling_grid(side_mm: float, z_shift_mm: float = 0.0, n: int = 9) -> Float[Array, "n n n 3"]:
    """Points of the grid in the cell frame, mm; axes x, y, z; the soma at its centre, moved by ``z_shift_mm`` along z.

    Aberra 2023, section 2.2.1 and figure S1.
    """
    ticks = jnp.linspace(-side_mm / 2, side_mm / 2, n)
    grid = jnp.stack(jnp.meshgrid(ticks, ticks, ticks, indexing="ij"), -1)
    return grid + jnp.array([0.0, 0.0, z_shift_mm])


def to_cell_frame(
    field: EField | MeshField, position: Float[Array, 3], rotation: Float[Array, "3 3"], offsets: Float[Array, "... 3"]
) -> Float[Array, "... 3"]:
    """Field at ``offsets`` (mm, cell frame) of one neuron, in V/m per A/us along the cell's own axes."""
    world = position + offsets.reshape(-1, 3) @ rotation.T
    return (field.at(world) @ rotation).reshape(offsets.shape)


def patches(
    field: EField | MeshField | Voxels, population: Population, side_mm: float, z_shift_mm: float = 0.0, n: int = 9
) -> Float[Array, "p n n n 3"]:
    """The field's samples round every neuron, V/m per A/us, in each cell's frame with axes x, y, z; NaN off the tissue.

    One patch of 9 x 9 x 9 samples takes 8.7 kB: give large populations in slices, or let
    ``tmsjax.response.thresholds`` stream them. A field on voxels that is asked for slice by slice is best made ready
    once: ``pack(field)``. On voxels, samples are interpolated linearly between the tissue's (``EField.at``).
    """
    if isinstance(field, EField) and len(population) * n**3 * PACKING > field.mask.size:
        field = pack(field)
    if not isinstance(field, Voxels):
        return _by_points(field, population, side_mm, z_shift_mm, n)
    known = field.widest_mm > 0
    pieces = blocks.parted(n, (field.widest_mm if known else USUAL_MM) * (n - 1) / side_mm)
    if pieces is None:
        return _by_points(blocks.unpack(field), population, side_mm, z_shift_mm, n)

    def in_blocks(voxels: Voxels, some: Population) -> Array:
        return blocks.sample(voxels, some.positions, some.rotations, side_mm, z_shift_mm, n, pieces)

    def one_by_one(voxels: Voxels, some: Population) -> Array:
        return _by_points(blocks.unpack(voxels), some, side_mm, z_shift_mm, n)

    if known:
        return in_blocks(field, population)
    return jax.lax.cond(blocks.widest(field.affine) >= USUAL_MM, in_blocks, one_by_one, field, population)


def _by_points(
    field: EField | MeshField, population: Population, side_mm: float, z_shift_mm: float, n: int
) -> Float[Array, "p n n n 3"]:
    """The same for any kind of field."""
    offsets = sampling_grid(side_mm, z_shift_mm, n)
    sample = jax.vmap(lambda position, rotation: to_cell_frame(field, position, rotation, offsets))
    return sample(population.positions, population.rotations)


def compartment_fields(
    field: EField | MeshField, population: Population, xyz_um: Float[np.ndarray, "c 3"]
) -> Float[np.ndarray, "p c 3"]:
    """The field at every compartment of every neuron, V/m per A/us in each cell's frame: what a simulation needs.

    Args:
        field: the head's field.
        population: p neurons of one cell model.
        xyz_um: (c, 3) compartment centres in the cell frame, um.
    """
    offsets = jnp.asarray(xyz_um / 1e3, jnp.float32)
    rows = [_one_cell(field, x, r, offsets) for x, r in zip(population.positions, population.rotations, strict=True)]
    return np.asarray(jnp.stack(rows), np.float64)


_one_cell = jax.jit(to_cell_frame)
