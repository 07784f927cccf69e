"""The field of one tissue alone, up to its borders: values that mix two tissues are replaced by the tissue's own.

Where conductivity jumps, so does the field's component across the border: sixfold between grey matter and CSF. A voxel
that a border cuts holds something between the two sides, and interpolation carries it a voxel further to either side.
Neurons sit right there. So cut voxels are filled with the mean of the nearest voxels that the tissue fills, and what is
interpolated among those is one-sided.

Measured in grey matter 0.5-2.5 mm under the pia of a synthetic folded head at 1 mm, at any points, against 0.5 mm with
exact shares (benchmarks/efield/folded.py): 5.5 % interpolated plainly, 3.7 % one-sided (4.8, 2.7 % with exact shares;
gyri of 9-12 mm). The finer solve is itself 1-2 % off, one-sided too: nothing under 2 % is claimed for folded grey
matter at 1 mm, nor do others (Gomez et al. 2020, Brain Stimul. 13:157, ask for 0.4 mm). Slopes, or the primary field
apart, taken into account while filling were worth 0.1 % and less.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tmsjax.core.errors import InputError
from tmsjax.efield.checks import check_head
from tmsjax.efield.medium import tissue_share
from tmsjax.efield.types import EField
from tmsjax.head import TISSUES, HeadModel
from tmsjax.head.model import GREY

ROUNDS = 2
"""A cut voxel is filled from no further than this many voxels."""

WHOLE = 1 - 1e-3
"""Share from which on a tissue fills a voxel."""

STEP_WEIGHT = float(np.exp(-2))
"""Weight of a face neighbour, its square an edge's, its cube a corner's: a Gaussian of half a voxel."""


def within_tissue(field: EField, head: HeadModel, tissue: int = GREY) -> EField:
    """``field`` as it is in ``tissue``, for sampling at points of that tissue close to its borders.

    Args:
        field: of ``efield.solve`` in ``head``, at any ``coarsen``.
        head: the head that it was solved in.
        tissue: label, grey matter by default.

    Returns:
        EField on the same grid: ``mask`` is True where a voxel holds some of the tissue, and there ``values`` are the
        tissue's. Linear in ``field.values`` and differentiable. Voxels of blades so thin that no voxel within reach is
        filled by the tissue keep their values.

    Raises:
        InputError: a tissue that the head does not have, a field on a grid that is not the head's.
    """
    check_head(head)
    if not isinstance(field, EField):
        raise InputError("this is no field on a grid", got=type(field).__name__, expected="an EField of efield.solve")
    if not tissue or not np.any(np.asarray(head.labels) == tissue):
        present = {int(v): TISSUES.get(int(v), "your own") for v in np.unique(head.labels) if v}
        raise InputError("the head has no such tissue", got=tissue, expected=f"one of its labels: {present}")
    n = _blocks_of(field, head)
    share = tissue_share(head, tissue)
    grown = np.pad(share, [(0, -s % n) for s in share.shape])
    i, j, k = (s // n for s in grown.shape)
    share = grown.reshape(i, n, j, n, k, n).mean((1, 3, 5))
    some = (share > 0) & np.asarray(field.mask)
    values = refill(jnp.asarray(field.values), jnp.asarray(some & (share > WHOLE)), jnp.asarray(some))
    return dataclasses.replace(field, values=values, mask=jnp.asarray(some))


def _blocks_of(field: EField, head: HeadModel) -> int:
    """How many voxels of the head make one of the field's, along each axis."""
    affine, own = np.asarray(head.affine, float), np.asarray(field.affine, float)
    n = max(1, round(float(np.linalg.norm(own[:3, 0]) / np.linalg.norm(affine[:3, 0]))))
    expected = affine.copy()
    expected[:3, 3] += affine[:3, :3] @ np.full(3, (n - 1) / 2)
    expected[:3, :3] *= n
    shape = tuple(-(-s // n) for s in head.labels.shape)
    if tuple(field.mask.shape) != shape or not np.allclose(own, expected, atol=1e-3):
        raise InputError(
            "the field is not on the head's grid",
            got=f"{tuple(field.mask.shape)} voxels of {np.linalg.norm(own[:3, :3], axis=0).round(3).tolist()} mm",
            expected=f"{shape} voxels where the head has them",
            mend="give the head that the field was solved in",
        )
    return n


@jax.jit
def refill(
    values: Float[Array, "i j k 3"], whole: Bool[Array, "i j k"], some: Bool[Array, "i j k"]
) -> Float[Array, "i j k 3"]:
    """Values of a tissue where a voxel holds ``some`` of it, from those of the voxels that it fills; 0 elsewhere.

    ``whole`` says which it fills. Voxels of ``some`` without any of ``whole`` within reach keep their values.
    """
    known = whole
    out = jnp.where(known[..., None], values, 0)
    for _ in range(ROUNDS):
        weight = _spread(known[..., None].astype(values.dtype))
        new = some & ~known & (weight[..., 0] > 0)
        out = jnp.where(new[..., None], _spread(out) / jnp.where(weight > 0, weight, 1), out)
        known = known | new
    return jnp.where(known[..., None], out, jnp.where(some[..., None], values, 0))


def _spread(a: Float[Array, "i j k c"]) -> Float[Array, "i j k c"]:
    """Sum over the 27 voxels round each, by their weights."""
    for axis in range(3):
        n = a.shape[axis]
        padded = jnp.pad(a, [(1, 1) if x == axis else (0, 0) for x in range(4)])
        low, high = (jax.lax.slice_in_dim(padded, s, s + n, axis=axis) for s in (0, 2))
        a = a + STEP_WEIGHT * (low + high)
    return a
