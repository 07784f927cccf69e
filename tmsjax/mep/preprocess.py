"""Preprocessing (Akbar et al. 2024, section II-C): what is left out and counted, scaling, coarser voxels, the box."""

from __future__ import annotations

import dataclasses
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float

from tmsjax.core.errors import InputError
from tmsjax.mep.types import Subject

ACTIVE_MV = 0.05
"""A response is one from 50 uV on, as in the definition of the motor threshold."""

WEAK_V_PER_M = 0.01
"""Stimulations whose largest field is below 10 mV/m are taken for experimental errors."""

FILLED = 0.3
"""A coarse voxel belongs to the mask where at least this share of it does."""


class Cleaned(NamedTuple):
    """A subject without the stimulations that are left out, and how many these were."""

    subject: Subject
    no_response: int
    weak_field: int
    applied: dict[float, int]
    """Stimulations applied at each intensity (% of RMT)."""
    kept: dict[float, int]
    """Those of them that were kept."""


def clean(subject: Subject, *, active_mv: float = ACTIVE_MV, weak_v_per_m: float = WEAK_V_PER_M,
          weak_share: float = 0.0) -> Cleaned:  # fmt: skip
    """Leave out stimulations without a response and those with hardly a field; responses below ``active_mv`` are 0.

    A field is weak below ``weak_v_per_m`` (the paper's 10 mV/m, absolute) or below ``weak_share`` of the subject's
    largest. Raises InputError where no stimulation is left: all responses zero, all fields weak.
    """
    responses = np.where(subject.responses >= active_mv, subject.responses, 0.0)
    silent = ~(responses > 0).any(axis=1)
    largest = subject.fields.max(axis=1)
    weak = largest < max(weak_v_per_m, weak_share * float(largest.max(initial=0)))
    if silent.all():
        raise InputError(
            "no muscle ever responded", got=f"{len(subject)} stimulations, none of {active_mv:g} mV or more",
            expected="responses in mV", mend="are the responses in mV? Volts must be multiplied by 1000",
        )  # fmt: skip
    if (silent | weak).all():
        raise InputError(
            "no stimulation with a response has a field",
            got=f"largest field {largest.max():.3g} V/m", expected=f"{weak_v_per_m:g} V/m or more",
            mend="fields are |E| in V/m at the intensity that was given",
        )  # fmt: skip
    keep = ~(silent | weak)
    levels = [float(level) for level in np.unique(subject.intensity_percent)]
    count = {level: subject.intensity_percent == level for level in levels}
    left = dataclasses.replace(subject, responses=responses)[keep]
    return Cleaned(
        left, int(silent.sum()), int((weak & ~silent).sum()),
        {level: int(rows.sum()) for level, rows in count.items()},
        {level: int((rows & keep).sum()) for level, rows in count.items()},
    )  # fmt: skip


class Scaling(NamedTuple):
    """Min-max scaling to [0, 1]: of fields by one number, of responses muscle by muscle."""

    field_v_per_m: float
    response_mv: Any

    def fields(self, values: Any) -> Float[np.ndarray, "n v"]:
        """Fields in V/m (n, v) to the networks' unit."""
        return np.asarray(values, np.float32) / np.float32(self.field_v_per_m)

    def responses(self, values: Any) -> Float[np.ndarray, "n m"]:
        """Responses in mV (n, m) to the networks' unit."""
        return (np.asarray(values) / self.response_mv).astype(np.float32)


def scaling(subject: Subject) -> Scaling:
    """Scaling by the largest values of these stimulations: the training fold's, so that nothing leaks from the test's.

    The paper scales by the largest of all stimulations of a subject: give it the whole subject. A muscle that never
    responds stays 0. Raises InputError where no muscle ever responds or there is no field.
    """
    field, response = float(subject.fields.max(initial=0)), subject.responses.max(axis=0, initial=0)
    if not field > 0 or not response.max() > 0:
        raise InputError(
            "there is nothing to scale by", got=f"largest field {field:g} V/m, largest response {response.max():g} mV",
            expected="both above 0",
        )  # fmt: skip
    return Scaling(field, np.where(response > 0, response, 1.0))


def in_box(subject: Subject, side: int = 64) -> Subject:
    """The same voxels in a cubic box of ``side`` voxels with the mask in its middle; InputError where it is larger."""
    index = np.argwhere(subject.mask)
    low, high = index.min(0), index.max(0) + 1
    if side % 8 or (high - low).max() > side:
        raise InputError(
            "the mask does not fit the box", got=f"{(high - low).tolist()} voxels in a box of {side}",
            expected="a smaller mask, or a larger side that is a multiple of 8",
        )  # fmt: skip
    first = (low + high) // 2 - side // 2
    mask = np.zeros((side,) * 3, bool)
    mask[tuple((index - first).T)] = True
    affine = subject.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ first
    return dataclasses.replace(subject, mask=mask, affine=affine)


def coarser(subject: Subject, factor: int = 2) -> Subject:
    """Voxels ``factor`` times as large: the mean over the mask's voxels in each, where ``FILLED`` of it are the mask's.

    Raises InputError for a box whose sides are no multiples of the factor, and where no voxel is left.
    """
    if factor == 1:
        return subject
    sides = subject.mask.shape
    if factor < 1 or any(side % factor for side in sides):
        raise InputError("coarser voxels", got=f"{sides} voxels by {factor}", expected="multiples of the factor")
    size = tuple(side // factor for side in sides)
    parent = np.ravel_multi_index(tuple((np.argwhere(subject.mask) // factor).T), size)
    count = np.bincount(parent, minlength=int(np.prod(size)))
    kept = np.flatnonzero(count >= FILLED * factor**3)
    if not len(kept):
        raise InputError("coarser voxels", got=f"none is {FILLED:.0%} the mask's", expected="a smaller factor")
    order = np.argsort(parent, kind="stable")
    starts = np.searchsorted(parent[order], kept)
    fields = np.stack(
        [subject.fields[:, order[a : a + count[k]]].mean(1) for a, k in zip(starts, kept, strict=True)], 1
    )
    mask = np.zeros(int(np.prod(size)), bool)
    mask[kept] = True
    affine = subject.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ np.full(3, (factor - 1) / 2)
    affine[:3, :3] *= factor
    return dataclasses.replace(subject, fields=fields, mask=mask.reshape(size), affine=affine)
