"""An average model as a second baseline: the threshold by polar angle and relative gradient alone.

After Weise et al. (2023, Imaging Neurosci 1, doi 10.1162/imag_a_00036): thresholds averaged over azimuths and clones,
as a function of the angle between field and somatodendritic axis and of the relative change of |E| along that axis. Its
authors simulate fields that change linearly along the axis; here the same function is fitted to thresholds simulated
in heads, so that it sees the data that the other surrogates see.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.surrogate import features
from tmsjax.surrogate.uniform import UniformMap, axis_samples

ROUGHNESS = 1e-3
"""Weight of the squared second differences of the table, in units of the mean number of examples per node."""

OUTER_QUANTILE = 0.005
"""Share of the training gradients beyond either end of the table, which is continued flat there."""


FLAT = 1e-4
"""Changes across a patch that differ by less are rounding: there is nothing to tabulate."""

BLOCK = 4096
"""Patches looked at in one compiled call."""


@dataclasses.dataclass(frozen=True)
class WeiseSpec:
    """Nodes of the table: polar angles every ``step_deg`` from 0 to 180, and ``gradients`` relative gradients."""

    step_deg: float = 10.0
    gradients: int = 9

    def check(self, n: int) -> None:
        """Raise InputError unless there is such a table."""
        if not 0 < self.step_deg <= 90 or abs(180 / self.step_deg - round(180 / self.step_deg)) > 1e-9:
            raise InputError("no such polar angles", got=self.step_deg, expected="a step in degrees that divides 180")
        if self.gradients < 2 or n < 2:
            raise InputError("no such table", got=(self.gradients, n), expected="2 gradients and 2 samples a side")


def polar_and_change(patch: features.Patch) -> Float[Array, 2]:
    """Polar angle of the field at the centre (rad), and the change of |E| along +z over the whole side of the patch.

    The change is the least-squares slope of |E| along the axis, over |E| at the centre; times 100 over the side in mm
    it is Weise's relative gradient in %/mm, positive where the field grows towards the pia.
    """
    x, y, z = features.centre_field(patch)
    across2 = x * x + y * y
    off_axis = across2 > 0
    polar = jnp.arctan2(jnp.where(off_axis, jnp.sqrt(jnp.where(off_axis, across2, 1)), 0), z)
    square = jnp.sum(axis_samples(patch) ** 2, axis=-1)
    sizes = jnp.where(square > 0, jnp.sqrt(jnp.where(square > 0, square, 1)), 0)
    ticks = jnp.linspace(-0.5, 0.5, patch.shape[0])
    slope = jnp.sum(ticks * sizes) / jnp.sum(ticks**2)
    return jnp.stack([polar, slope / jnp.sqrt(across2 + z * z)])


def thresholds(spec: WeiseSpec, variables: dict[str, Any], patches: Float[Array, "b n n n 3"]) -> Float[Array, " b"]:
    """Thresholds (b,), V/m at the centre: bilinear in the table, which goes on flat beyond its gradients."""
    return jax.vmap(lambda patch: _look_up(variables["table"], variables["change"], polar_and_change(patch)))(patches)


def relative_gradients(patches: Any, side_mm: float) -> Float[np.ndarray, "b 2"]:
    """Polar angle (deg) and relative gradient of |E| along the axis (%/mm) of patches (b, n, n, n, 3)."""
    return _found(patches) * [180 / np.pi, 100 / side_mm]


def fit_table(patches: Any, thresholds_v_per_m: Any, spec: WeiseSpec) -> dict[str, np.ndarray]:
    """Variables of the family from patches (b, n, n, n, 3) of all azimuths and clones and their thresholds (b,).

    The mean threshold at each node, by least squares on the bilinear interpolant with a penalty on its curvature, which
    also fills nodes without examples. ``change`` (g,) holds the nodes as ``polar_and_change`` gives them.

    Raises
    ------
    InputError
        Patches that cannot be normalised, or whose gradients are all alike: there is nothing to tabulate.
    """
    target = np.asarray(thresholds_v_per_m, np.float64)
    found = _found(patches)
    if not np.isfinite(found).all() or len(found) != len(target):
        raise InputError(
            "patches cannot be tabulated",
            got=f"{(~np.isfinite(found).all(1)).sum()} of {len(found)} without a field; {len(target)} thresholds",
            expected="finite samples, a field at the centre, and as many thresholds",
        )
    polar, change = found.T
    low, high = np.quantile(change, [OUTER_QUANTILE, 1 - OUTER_QUANTILE])
    if not high - low > FLAT:
        raise InputError(
            "the gradients are all alike", got=low, expected="fields that differ", mend="take fields of a head"
        )
    nodes = np.linspace(low, high, spec.gradients)
    rows = round(180 / spec.step_deg) + 1
    weights = _hat(polar * (rows - 1) / np.pi, rows)[:, :, None]
    weights = weights * _hat((change - low) / (high - low) * (spec.gradients - 1), spec.gradients)[:, None]
    design = weights.reshape(len(target), -1)
    smooth = ROUGHNESS * len(target) / design.shape[1] * _roughness(rows, spec.gradients)
    table = np.linalg.solve(design.T @ design + smooth, design.T @ target)
    return {"table": table.reshape(rows, -1).astype(np.float32), "change": nodes.astype(np.float32)}


def average_over_azimuth(*maps: UniformMap) -> Float[np.ndarray, " t"]:
    """Mean threshold (V/m) at each polar angle of the maps' grid, over azimuths and maps: Weise's at no gradient."""
    return np.mean([np.asarray(one.table, np.float64).mean(axis=1) for one in maps], axis=0)


def _found(patches: Any) -> Float[np.ndarray, "b 2"]:
    """``polar_and_change`` of every patch, in blocks."""
    blocks = [
        _both(jnp.asarray(np.asarray(patches[i : i + BLOCK]), jnp.float32)) for i in range(0, len(patches), BLOCK)
    ]
    return np.concatenate([np.zeros((0, 2)), *map(np.asarray, blocks)]).astype(np.float64)


@jax.jit
def _both(patches: Float[Array, "b n n n 3"]) -> Float[Array, "b 2"]:
    return jax.vmap(lambda patch: polar_and_change(features.normalise(patch).patch))(patches)


def _look_up(table: Float[Array, "t g"], nodes: Float[Array, " g"], at: Float[Array, 2]) -> Float[Array, ""]:
    rows, columns = table.shape
    u = jnp.clip(at[0] * ((rows - 1) / jnp.pi), 0, rows - 1)
    v = jnp.clip((at[1] - nodes[0]) / (nodes[-1] - nodes[0]) * (columns - 1), 0, columns - 1)
    i = jnp.clip(jnp.floor(u), 0, rows - 2).astype(int)
    j = jnp.clip(jnp.floor(v), 0, columns - 2).astype(int)
    a, b = u - i, v - j
    low, high = (table[k, j] * (1 - b) + table[k, j + 1] * b for k in (i, i + 1))
    return jnp.where(jnp.isfinite(at).all(), low * (1 - a) + high * a, jnp.nan)


def _hat(at: np.ndarray, count: int) -> np.ndarray:
    """Weights (b, count) of linear interpolation at (b,) places in units of nodes, flat beyond the ends."""
    return np.maximum(0, 1 - np.abs(np.clip(at, 0, count - 1)[:, None] - np.arange(count)))


def _roughness(rows: int, columns: int) -> np.ndarray:
    """Squared second differences along both axes of a (rows, columns) table, as a matrix on its raveled values."""
    total = np.zeros((rows * columns,) * 2)
    for count, others, along_rows in ((rows, columns, True), (columns, rows, False)):
        second = np.diff(np.eye(count), 2, axis=0)
        square = second.T @ second
        total += np.kron(square, np.eye(others)) if along_rows else np.kron(np.eye(others), square)
    # The kernel of second differences (planes) is fixed by the data; a whisper keeps few examples solvable.
    return total + 1e-9 * np.eye(len(total))
