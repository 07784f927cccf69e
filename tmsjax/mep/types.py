"""A subject of motor mapping: the cortical field of every stimulation beside the responses of many muscles."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np

from tmsjax.core.errors import InputError

MUSCLES = (
    "FDI", "3DI", "3Lum", "EI", "AbPB", "AdPB", "ADM", "FDM", "FCR", "FCU", "FDS", "EDC", "ECR", "ECU", "BRD",
)  # fmt: skip
"""The fifteen muscles of Akbar et al. 2024, section II-A, in their order."""


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """Stimulations of one subject; arrays are numpy, n stimulations, v voxels of the mask, m muscles.

    Attributes:
        fields: (n, v) |E| in V/m at the intensity that was given, at the mask's voxels in C order.
        mask: (i, j, k) bool, the motor cortex. affine: (4, 4) of its voxels to RAS+ mm.
        responses: (n, m) peak-to-peak MEP in mV; 0 is no response.
        intensity_percent: (n,) stimulator output in per cent of the resting motor threshold.
        muscles: their names.
        poses: (n, 4, 4) coil to RAS+ mm as SimNIBS's matrices, or None.
        didt_a_per_us: (n,) of the pulses, or None.
        name: of the subject. synthetic: whether responses were generated and not recorded.
        note: what else is to be said of where it came from.

    Raises InputError for arrays that do not pair up, values that are not finite or negative, and a mask without voxels.
    """

    fields: Any
    mask: Any
    affine: Any
    responses: Any
    intensity_percent: Any
    muscles: tuple[str, ...]
    poses: Any = None
    didt_a_per_us: Any = None
    name: str = "unnamed"
    synthetic: bool = False
    note: str = ""

    def __post_init__(self) -> None:
        fix = object.__setattr__
        fix(self, "mask", np.asarray(self.mask).astype(bool))
        for name, kind in (
            ("fields", np.float32),
            ("affine", float),
            ("responses", float),
            ("intensity_percent", float),
        ):
            fix(self, name, np.asarray(getattr(self, name), kind))
        fix(self, "muscles", tuple(str(name) for name in self.muscles))
        for name, shape in (("poses", (4, 4)), ("didt_a_per_us", ())):
            if (value := getattr(self, name)) is not None:
                fix(self, name, _paired(np.asarray(value, float), len(self.fields), shape, name))
        _check(self)

    def __len__(self) -> int:
        return len(self.fields)

    def __getitem__(self, rows: Any) -> Subject:
        """Some of the stimulations."""
        kept = {name: getattr(self, name) for name in ROWS}
        return dataclasses.replace(self, **{k: None if v is None else v[rows] for k, v in kept.items()})

    @property
    def voxels_mm(self) -> np.ndarray:
        """(v, 3) RAS+ mm of the mask's voxels."""
        return np.argwhere(self.mask) @ self.affine[:3, :3].T + self.affine[:3, 3]

    @property
    def voxel_mm(self) -> float:
        """Side of a voxel (the mean one)."""
        return float(np.abs(np.linalg.det(self.affine[:3, :3])) ** (1 / 3))

    def volume(self, values: Any) -> np.ndarray:
        """Values (v,) of the mask's voxels as a volume (i, j, k), 0 elsewhere."""
        out = np.zeros(self.mask.shape, np.float32)
        out[self.mask] = values
        return out

    def of_muscles(self, names: Sequence[str]) -> Subject:
        """With the responses of these muscles in this order; InputError where one was not recorded."""
        missing = [name for name in names if name not in self.muscles]
        if missing or not len(names):
            raise InputError(
                "muscles are missing", got=f"no {', '.join(missing) or 'muscle'} among {', '.join(self.muscles)}",
                expected=", ".join(names) or "one muscle or more",
                mend="train a model on the muscles that were recorded, or record these",
            )  # fmt: skip
        columns = [self.muscles.index(name) for name in names]
        return dataclasses.replace(self, responses=self.responses[:, columns], muscles=tuple(names))


ROWS = ("fields", "responses", "intensity_percent", "poses", "didt_a_per_us")
"""Attributes of one entry a stimulation."""


def _paired(values: np.ndarray, count: int, shape: tuple[int, ...], what: str) -> np.ndarray:
    if values.shape != (count, *shape):
        raise InputError(
            f"{what} and fields do not pair up", got=f"{what} of shape {values.shape}, {count} fields",
            expected=f"shape {(count, *shape)}: one a stimulation",
        )  # fmt: skip
    if not np.isfinite(values).all():
        raise InputError(f"{what} of stimulations", got="NaN or infinite entries", expected="finite numbers")
    return values


def _check(s: Subject) -> None:
    if s.mask.ndim != 3 or not s.mask.any():
        raise InputError("the mask of the motor cortex", got=f"shape {s.mask.shape}, {int(s.mask.sum())} voxels",
                         expected="a volume with voxels in it")  # fmt: skip
    if s.affine.shape != (4, 4) or not abs(np.linalg.det(s.affine)) > 0:
        raise InputError("the affine of the mask", got=s.affine.tolist(), expected="(4, 4), not singular")
    if s.fields.ndim != 2 or s.fields.shape[1] != int(s.mask.sum()):
        raise InputError(
            "the fields are not those of the mask's voxels", got=f"fields of shape {s.fields.shape}",
            expected=f"(n, {int(s.mask.sum())}): one value a voxel of the mask",
            mend="is this the mask of another head? Fields and mask must be on one grid",
        )  # fmt: skip
    if not len(s.muscles) or len(set(s.muscles)) < len(s.muscles):
        raise InputError("names of the muscles", got=s.muscles, expected="one or more, each once")
    _paired(s.responses, len(s), (len(s.muscles),), "responses")
    _paired(s.intensity_percent, len(s), (), "intensities")
    for what, values in (("fields", s.fields), ("responses", s.responses)):
        if not np.isfinite(values).all() or (values < 0).any():
            raise InputError(f"{what} of stimulations", got="NaN, infinite or negative values", expected="0 or more")
