"""The conductivities that ``tmsjax efield`` solves with, and what its summary says of them."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np

import tmsjax as tj
from tmsjax.core.errors import InputError
from tmsjax.efield.mesh_tensors import mesh_tensors
from tmsjax.io import onto, read_scalar, read_tensor

FEWEST_VOXELS = 8
"""Voxels across the head along each axis: with fewer there is no field to speak of."""

MOST_WITHOUT = 0.05
"""Share of the head's tissue that a map of conductivities may give 0: more, and it is not the map of this head."""

MOST_UNTURNED = 0.5
"""Share of white matter that may be without a tensor: more, and these are not the tensors of this head."""

WHITE = 1


class Medium(NamedTuple):
    """What a solver takes, None for the head's own; heads whose tissue the coil must clear; what is said of it."""

    sigma: Any
    mask: Any
    affine: Any
    conductors: tuple
    facts: dict[str, Any]
    about: str


def of_mesh(options, mesh) -> Medium:
    """The tags' conductivities, or tensors (t, 6) where there is --dti."""
    facts = _facts(options, mesh.conductivity)
    if options.dti is None:
        return Medium(None, None, None, (), facts, "")
    tensors, affine = read_tensor(options.dti, options.dti_convention)
    sigma, bad = mesh_tensors(mesh, tensors, affine)
    about = _check_turned(options, bad, int((mesh.tags == WHITE).sum()), "tetrahedra", facts)
    return Medium(sigma, None, None, (), facts, about)


def of_voxels(options, head) -> Medium:
    """The labels' conductivities, a map of them, or tensors."""
    _check_coarseness(options, head)
    shape, grid = head.labels.shape, np.asarray(head.affine, float)
    if options.conductivity_map is not None:
        sigma, affine = read_scalar(options.conductivity_map)
        if not np.isfinite(sigma).all() or (sigma < 0).any():
            raise InputError(
                "the map of conductivities cannot be used",
                got=f"NaN, inf or negative values in {options.conductivity_map}",
                expected="S/m, 0 in air",
            )
        sigma = onto(sigma[..., None], affine, grid, shape)[..., 0]
        facts = _facts(options, None)
        about = _check_covered(options, head, sigma, facts)
        own = dataclasses.replace(head, labels=(sigma > 0).astype(np.uint8))
        return Medium(sigma, sigma > 0, grid, (head, own), facts, about)
    facts = _facts(options, head.conductivity)
    if options.dti is None:
        return Medium(None, None, None, (), facts, "")
    tensors, affine = read_tensor(options.dti, options.dti_convention)
    sigma, mask, coarse, bad = tj.efield.anisotropic(head, onto(tensors, affine, grid, shape), coarsen=options.coarsen)
    about = _check_turned(options, bad, int((np.asarray(head.labels) == WHITE).sum()), "voxels", facts)
    return Medium(sigma, mask, coarse, (head,), facts, about)


def _facts(options, conductivity: dict | None) -> dict[str, Any]:
    """Of the summary; the labels' conductivities only where they were used."""
    return {
        "conductivity_s_per_m": None if conductivity is None else {k: float(v) for k, v in conductivity.items()},
        "conductivity_map": None if options.conductivity_map is None else str(options.conductivity_map),
        "dti": None if options.dti is None else str(options.dti),
    }


def _check_turned(options, bad: int, total: int, what: str, facts: dict[str, Any]) -> str:
    facts["white_matter_without_tensor"] = {"count": bad, "of": total}
    if bad > MOST_UNTURNED * total:
        raise InputError(
            "the diffusion tensors are not where the white matter is",
            got=f"{bad} of {total} {what} of white matter without a usable tensor in {options.dti}",
            expected=f"tensors in at least {100 * (1 - MOST_UNTURNED):g} % of it",
            mend="register them to the head, and turn them with it; check --dti-convention",
        )
    return f"; {bad} {what} of white matter without a tensor, of {total}"


def _check_covered(options, head, sigma: np.ndarray, facts: dict[str, Any]) -> str:
    tissue = np.asarray(head.labels) > 0
    without, total = int((tissue & (sigma <= 0)).sum()), int(tissue.sum())
    facts["tissue_without_conductivity"] = {"count": without, "of": total}
    if without > MOST_WITHOUT * total:
        raise InputError(
            "the map of conductivities does not cover the head",
            got=f"0 S/m in {without} of {total} voxels that the head has tissue in ({options.conductivity_map})",
            expected=f"S/m in at least {100 * (1 - MOST_WITHOUT):g} % of them; beyond the map it is 0, which is air",
            mend="a map of the whole head in its frame, or a --head whose labels are 0 where the map is",
        )
    return f"; conductivities as in the map, {without} of {total} voxels of tissue without one"


def _check_coarseness(options, head) -> None:
    tissue = np.asarray(head.labels) > 0
    sides = [int(np.ptp(np.flatnonzero(tissue.any(axis=tuple({0, 1, 2} - {axis}))))) + 1 for axis in range(3)]
    if options.coarsen > 1 and min(sides) < FEWEST_VOXELS * options.coarsen:
        raise InputError(
            "--coarsen leaves too few voxels",
            got=f"{options.coarsen}: the head is {min(sides) / options.coarsen:.1f} of them across",
            expected=f"{min(sides) // FEWEST_VOXELS or 1} at most: {FEWEST_VOXELS} voxels across the head",
        )
