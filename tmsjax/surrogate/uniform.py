"""The uniform-field estimator: a threshold-direction map, blind to everything but the field at the soma.

Aberra 2023, section 2.3: thresholds in uniform fields on a 5 degree grid of polar and azimuthal angles (2,522
directions), interpolated linearly in the two angles. The baseline that every surrogate has to beat, and a first
guess for simulations. As a family of surrogates it takes the patches that the others take, and looks at the soma only.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree


def directions(step_deg: float = 5.0) -> Float[np.ndarray, "d 3"]:
    """Unit vectors of the grid in the cell frame: +z, then rings of rising polar angle, then -z.

    5 degrees give 2,522. The step must divide 180.
    """
    rings, around = _grid(step_deg)
    theta = np.deg2rad(np.arange(1, rings) * step_deg)[:, None]
    phi = np.deg2rad(np.arange(around) * step_deg)[None]
    ring = np.stack([np.sin(theta) * np.cos(phi), np.sin(theta) * np.sin(phi), np.cos(theta) + 0 * phi], -1)
    return np.concatenate([[[0, 0, 1.0]], ring.reshape(-1, 3), [[0, 0, -1.0]]])


@dataclasses.dataclass(frozen=True)
class UniformSpec:
    """The map as a family: ``step_deg`` of its grid, and where the soma lies in the patch.

    ``soma_z`` is the soma's place along z, from -1 (bottom of the cube) to 1; 0 unless the grid is shifted.
    """

    step_deg: float = 5.0
    soma_z: float = 0.0

    def check(self, n: int) -> None:
        """Raise InputError unless there is such a grid of directions, and the soma lies within the patch."""
        _grid(self.step_deg)
        if not abs(self.soma_z) <= 1:
            raise InputError("the soma lies outside the patch", got=self.soma_z, expected="-1 to 1 half sides")


@pytree()
class UniformMap:
    """Thresholds (V/m) on the grid: rows of polar angle 0 to 180 deg, columns of azimuth; pole rows are constant."""

    table: Any

    def predict(self, field: Float[Any, "b 3"]) -> Float[Array, " b"]:
        """Thresholds, V/m, for fields (b, 3) at the soma in the cell frame, any scale; NaN where the field is zero."""
        return _predict(self, jnp.asarray(field, jnp.float32))


def from_table(unit_vectors: Any, thresholds_v_per_m: Any, step_deg: float = 5.0) -> UniformMap:
    """Map from simulated thresholds (d,), V/m, at the unit vectors (d, 3) of ``directions(step_deg)``, in any order.

    Raises
    ------
    InputError
        Directions that are not those of the grid, each once; thresholds that are not finite and positive.
    """
    given, values = np.asarray(unit_vectors, np.float64), np.asarray(thresholds_v_per_m, np.float64)
    grid = directions(step_deg)
    if given.shape != grid.shape or values.shape != (len(grid),):
        raise InputError("not the directions of the grid", got=given.shape, expected=f"{grid.shape} for {step_deg} deg")
    if not (np.isfinite(values).all() and (values > 0).all()):
        raise InputError(
            "thresholds must be positive", got=f"{(~(values > 0)).sum()} others", expected="finite, V/m > 0"
        )
    given = given / np.linalg.norm(given, axis=1, keepdims=True)
    place = _nearest(given, grid, step_deg)
    off = np.rad2deg(np.linalg.norm(given - grid[place], axis=1).max())
    if off > 0.05 or len(np.unique(place)) != len(grid):
        raise InputError(
            "not the directions of the grid",
            got=f"{len(np.unique(place))} of them, up to {off:.2f} deg off",
            expected="uniform.directions(step_deg), each once",
        )
    ordered = np.empty(len(grid))
    ordered[place] = values
    rings, around = _grid(step_deg)
    poles = np.full((1, around), ordered[0]), np.full((1, around), ordered[-1])
    table = np.concatenate([poles[0], ordered[1:-1].reshape(rings - 1, around), poles[1]])
    return UniformMap(table.astype(np.float32))


def thresholds(spec: UniformSpec, variables: dict[str, Any], patches: Float[Array, "b n n n 3"]) -> Float[Array, " b"]:
    """Thresholds (b,), V/m at the centre of normalised patches, from the field at the soma alone."""

    def one(patch: Float[Array, "n n n 3"]) -> Float[Array, ""]:
        samples = axis_samples(patch)
        n = samples.shape[0]
        weights = jnp.maximum(0, 1 - jnp.abs((spec.soma_z + 1) * (n - 1) / 2 - jnp.arange(n)))
        soma = jnp.matmul(weights, samples, precision=jax.lax.Precision.HIGHEST)
        size = jnp.sqrt(jnp.sum(soma**2))
        return _at(variables["table"], soma) / jnp.where(size > 0, size, jnp.nan)

    return jax.vmap(one)(patches)


def axis_samples(patch: Float[Array, "n n n 3"]) -> Float[Array, "n 3"]:
    """Field along the somatodendritic axis: the middle column of a patch, or the mean of the middle 4 for an even n."""
    n = patch.shape[0]
    middle = slice((n - 1) // 2, n // 2 + 1)
    return patch[middle, middle].mean((0, 1))


@jax.jit
def _predict(model: UniformMap, field: Float[Array, "b 3"]) -> Float[Array, " b"]:
    return jax.vmap(lambda e: _at(model.table, e))(field)


def _at(table: Float[Array, "t p"], field: Float[Array, 3]) -> Float[Array, ""]:
    """Bilinear in (polar, azimuth); the gradient at a pole is taken along the azimuth 0."""
    rings, around = table.shape[0] - 1, table.shape[1]
    largest = jax.lax.stop_gradient(jnp.abs(field).max())
    ok = jnp.isfinite(largest) & (largest > 0)
    x, y, z = jnp.where(ok, field / jnp.where(ok, largest, 1), jnp.array([0.0, 0.0, 1.0], field.dtype))
    flat = x * x + y * y
    off_pole = flat > 0
    across = jnp.where(off_pole, jnp.sqrt(jnp.where(off_pole, flat, 1)), 0)
    polar = jnp.arctan2(across, z) * (rings / jnp.pi)
    azimuth = jnp.where(off_pole, jnp.arctan2(jnp.where(off_pole, y, 0), jnp.where(off_pole, x, 1)), 0)
    azimuth = (azimuth * (around / (2 * jnp.pi))) % around
    i = jnp.clip(jnp.floor(polar), 0, rings - 1).astype(int)
    j = jnp.floor(azimuth).astype(int) % around
    a, b = polar - i, azimuth - jnp.floor(azimuth)
    row = table[i] * (1 - a) + table[i + 1] * a
    return jnp.where(ok, row[j] * (1 - b) + row[(j + 1) % around] * b, jnp.nan)


def _grid(step_deg: float) -> tuple[int, int]:
    rings = round(180 / step_deg) if step_deg > 0 else 0
    if rings < 2 or abs(rings * step_deg - 180) > 1e-9:
        raise InputError("no such grid of directions", got=step_deg, expected="a step in degrees that divides 180")
    return rings, 2 * rings


def _nearest(given: np.ndarray, grid: np.ndarray, step_deg: float) -> np.ndarray:
    """Index of the grid direction nearest each given one."""
    rings, around = _grid(step_deg)
    i = np.rint(np.rad2deg(np.arccos(np.clip(given[:, 2], -1, 1))) / step_deg).astype(int)
    j = np.rint(np.rad2deg(np.arctan2(given[:, 1], given[:, 0])) / step_deg).astype(int) % around
    return np.where(i == 0, 0, np.where(i == rings, len(grid) - 1, 1 + (i - 1) * around + j))
