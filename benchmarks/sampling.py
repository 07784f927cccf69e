"""Fields at points: points a second and the cost of a gradient, side by side with scipy's and JAX's map_coordinates.

python -m benchmarks.sampling [--quick]
"""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.ndimage import map_coordinates as jax_map
from scipy.ndimage import map_coordinates as scipy_map
from scipy.ndimage import spline_filter

import tmsjax as tj
from benchmarks import _common as common
from tmsjax.cortex import sampling_grid
from tmsjax.efield import EField

REPEATS = 9
SCIPY, SPLINE = "scipy map_coordinates, order 1", "scipy map_coordinates, order 3 (prefiltered before)"
JAX = "jax.scipy map_coordinates, order 1"


def case(neurons: int) -> tuple[EField, np.ndarray, np.ndarray]:
    """A smooth made-up field in head S1 at 1 mm, and 9x9x9 points round neurons of layer 5: world mm, grid indices."""
    head = tj.head.load("S1")
    mask = np.asarray(head.labels) > 0
    grid = np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in mask.shape], indexing="ij"), -1)
    waves = np.random.default_rng(0).normal(size=(3, 3)) / 12
    values = np.where(mask[..., None], np.sin(grid @ waves) + 0.1 * np.cos(grid @ (3 * waves)), 0).astype(np.float32)
    affine = jnp.asarray(head.affine, jnp.float32)
    field = EField(jnp.asarray(values), jnp.asarray(mask), affine, jnp.zeros(()), jnp.asarray(0), 1e-4)
    population = tj.cortex.place(head, "L5", n=neurons, rotations=1)
    offsets = np.asarray(sampling_grid(1.5)).reshape(-1, 3)
    turned = np.einsum("pij,gj->pgi", np.asarray(population.rotations), offsets)
    points = (np.asarray(population.positions)[:, None] + turned).reshape(-1, 3)
    points = points[np.asarray(field.inside(points))]
    inverse = np.linalg.inv(np.asarray(head.affine, float))
    return field, points.astype(np.float32), (points @ inverse[:3, :3].T + inverse[:3, 3]).astype(np.float32)


def contenders(field: EField, points: np.ndarray, voxel: np.ndarray) -> dict[str, Callable]:
    """Name -> a call that samples all points. Only ours leaves air out and says which points lie outside."""
    x, v, values = jnp.asarray(points), jnp.asarray(voxel), np.asarray(field.values)
    smooth = np.stack([spline_filter(values[..., n], order=3, output=np.float32) for n in range(3)], -1)

    def of_jax(v, values):
        return jnp.stack([jax_map(values[..., n], list(v.T), order=1) for n in range(3)], -1)

    def call(function: Callable, *arguments) -> Callable:
        return lambda: function(*arguments)

    def gradient(function: Callable, argument: int) -> Callable:
        return jax.jit(jax.value_and_grad(lambda *a: jnp.sum(function(*a) ** 2), argnums=argument))

    calls = {
        SCIPY: lambda: [scipy_map(values[..., n], voxel.T, order=1) for n in range(3)],
        SPLINE: lambda: [scipy_map(smooth[..., n], voxel.T, order=3, prefilter=False) for n in range(3)],
        JAX: call(jax.jit(of_jax), v, field.values),
        "jax.scipy, value + gradient in the points": call(gradient(of_jax, 0), v, field.values),
        "jax.scipy, value + gradient in the field": call(gradient(of_jax, 1), v, field.values),
    }
    for how in ("linear", "cubic"):
        at = jax.jit(lambda x, values, how=how: dataclasses.replace(field, values=values).at(x, "nan", how))
        calls[f"tmsjax {how}"] = call(at, x, field.values)
        calls[f"tmsjax {how}, value + gradient in the points"] = call(gradient(at, 0), x, field.values)
        calls[f"tmsjax {how}, value + gradient in the field"] = call(gradient(at, 1), x, field.values)
    return calls


def main() -> None:
    quick = common.parse((__doc__ or "").splitlines()[0]).quick
    field, points, voxel = case(200 if quick else 1400)
    calls = contenders(field, points, voxel)
    for call in calls.values():
        jax.block_until_ready(call())
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(REPEATS):
        for name, call in calls.items():
            start = time.perf_counter()
            jax.block_until_ready(call())
            seconds[name].append(time.perf_counter() - start)
    rate = {name: len(points) / statistics.median(times) / 1e6 for name, times in seconds.items()}
    common.table(f"sampling at {len(points)} points", ("what", "million points/s"), list(rate.items()))
    linear, cubic = rate["tmsjax linear"], rate["tmsjax cubic"]
    targets = [
        common.target("linear over scipy's, points/s", linear / rate[SCIPY], 1, at_least=True),
        common.target("cubic over scipy's cubic spline, points/s", cubic / rate[SPLINE], 1, at_least=True),
    ]
    for how, plain in (("linear", linear), ("cubic", cubic)):
        ratio = plain / rate[f"tmsjax {how}, value + gradient in the points"]
        targets.append(common.target(f"{how}: value and gradient in the points over value, time", ratio, 5))
    results = {"points": len(points), "million_points_per_s": rate, "linear_over_jax": linear / rate[JAX]}
    common.write("sampling", results, targets, quick=quick)


if __name__ == "__main__":
    main()
