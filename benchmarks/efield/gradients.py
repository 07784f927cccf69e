"""Gradients of the field against finite differences, and what a value with its gradient costs."""

from __future__ import annotations

import dataclasses
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from benchmarks import _common as common
from tests.spheres import layered_sphere, pose_over
from tmsjax.coil import CoilPose
from tmsjax.efield import anisotropic, solve_conductivity

ROUNDS = 3
STEP = 1e-3


def moved(base: CoilPose, p) -> CoilPose:
    """The pose moved by p[:3] mm and turned about its z axis by p[3] rad."""
    c, s, zero, one = jnp.cos(p[3]), jnp.sin(p[3]), jnp.zeros_like(p[3]), jnp.ones_like(p[3])
    turn = jnp.stack([jnp.stack([c, -s, zero]), jnp.stack([s, c, zero]), jnp.stack([zero, zero, one])])
    return CoilPose(jnp.asarray(base.rotation, float) @ turn, jnp.asarray(base.centre, float) + p[:3])


def central(f: Callable, x, step: float) -> np.ndarray:
    """Central differences of a scalar function of a vector."""
    return np.array([float(f(x.at[n].add(step)) - f(x.at[n].add(-step))) / (2 * step) for n in range(len(x))])


def against_differences() -> dict[str, dict[str, Any]]:
    """Relative errors, in float64, in a layered sphere of 5 mm voxels with the MC-B70 over it."""
    out = {}
    with jax.enable_x64(True):
        labels, affine = layered_sphere(5.0, {5: 60.0, 4: 52.0, 3: 46.0, 2: 43.0, 1: 30.0})
        head = tj.head.from_labels(labels, affine)
        coil = jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), tj.coil.load("MagVenture_MC_B70"))
        base, names = pose_over(distance_mm=66.0), tuple(head.conductivity)
        rng = np.random.default_rng(0)
        points, weight = jnp.asarray(rng.uniform(-25, 25, (50, 3))), jnp.asarray(rng.normal(size=(50, 3)))
        rest, table = jnp.zeros(4), jnp.asarray(list(head.conductivity.values()))
        diffusion = rng.normal(size=(*labels.shape, 3, 3))
        diffusion = (diffusion @ diffusion.mT + np.eye(3))[..., [0, 0, 0, 1, 1, 2], [0, 1, 2, 1, 2, 2]]

        @jax.jit
        def scalar(p, values):
            tissue = dataclasses.replace(head, conductivity=dict(zip(names, values, strict=True)))
            return jnp.vdot(weight, tj.efield.solve(tissue, coil, moved(base, p), tolerance=1e-11).at(points))

        @jax.jit
        def tensor(values):
            tissue = dataclasses.replace(head, conductivity=dict(zip(names, values, strict=True)))
            sigma, mask, _, _ = anisotropic(tissue, diffusion)
            field = solve_conductivity(sigma, mask, affine, coil, base, tolerance=1e-11)
            return jnp.vdot(weight, field.at(points))

        cases = {
            "pose": (lambda p: scalar(p, table), rest, STEP),
            "conductivity": (lambda v: scalar(rest, v), table, 1e-4),
            "conductivity, with tensors": (tensor, table, 1e-4),
        }
        for name, (f, x, step) in cases.items():
            exact, numeric = np.asarray(jax.grad(f)(x)), central(f, x, step)
            out[name] = {
                "error": float(np.linalg.norm(exact - numeric) / np.linalg.norm(numeric)),
                "worst_entry": float(np.max(np.abs(exact - numeric) / np.abs(numeric))),
                "gradient": exact.tolist(),
            }
    return out


def cost(coarsen: int) -> dict[str, Any]:
    """Seconds of a forward solve in S1, and of value and gradient to the pose and to the conductivities, in turn."""
    head, coil = tj.head.load("S1"), tj.coil.load("MagVenture_MC_B70")
    pose = tj.coil.pose_on_scalp(head, tj.head.landmark(head, "hand_knob_left"), coil=coil)
    inside = np.argwhere(np.asarray(head.labels) == 2)[::5000]
    points = jnp.asarray(inside @ head.affine[:3, :3].T + head.affine[:3, 3], jnp.float32)
    sigma, mask, affine = tj.efield.conductivity(head, coarsen=coarsen, octants=True)
    rest = jnp.zeros(4)

    def energy(sigma, p):
        field = solve_conductivity(sigma, mask, affine, coil, moved(pose, p))
        return jnp.sum(field.at(points, outside="nan") ** 2)

    ways = {
        "value": jax.jit(energy),
        "value and gradient to the pose": jax.jit(jax.value_and_grad(energy, 1)),
        "value and gradient to pose and conductivity": jax.jit(jax.value_and_grad(energy, (0, 1))),
    }
    out: dict[str, Any] = {"coarsen": coarsen}
    seconds, cpu = ({name: [] for name in ways} for _ in range(2))
    for way in ways.values():
        jax.block_until_ready(way(sigma, rest))
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start, busy = time.perf_counter(), time.process_time()
            jax.block_until_ready(way(sigma, rest))
            seconds[name].append(time.perf_counter() - start)
            cpu[name].append(time.process_time() - busy)
    for name in ways:
        out[name] = {"seconds": statistics.median(seconds[name]), "cpu_seconds": statistics.median(cpu[name])}
        out[name] |= {f"{kind}_ratio": out[name][kind] / out["value"][kind] for kind in ("seconds", "cpu_seconds")}
    return out


def measure(quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    errors = against_differences()
    common.table(
        "gradients against central differences, float64, relative L2 error and worst entry",
        ("to", "error", "worst entry"),
        [(name, row["error"], row["worst_entry"]) for name, row in errors.items()],
    )
    costs = cost(2 if quick else 1)
    mm = costs["coarsen"]
    common.table(
        f"time of a value and its gradient, head S1, {mm} mm",
        ("what", "seconds", "CPU-seconds", "ratio", "CPU ratio"),
        [(name, *row.values()) for name, row in costs.items() if isinstance(row, dict)],
    )
    pose, both = (costs[name]["cpu_seconds_ratio"] for name in list(ways_of(costs))[1:])
    return {"differences": errors, "cost": costs}, [
        common.target("pose gradient against finite differences, float64", errors["pose"]["error"], 1e-3),
        common.target("conductivity gradient against finite differences", errors["conductivity"]["error"], 1e-2),
        common.target(
            "tensor gradient against finite differences", errors["conductivity, with tensors"]["error"], 1e-2
        ),
        common.target(f"value and pose gradient over a forward solve, CPU time, {mm} mm", pose, 3.0),
        common.target(f"value, pose and conductivity gradient over a forward solve, CPU time, {mm} mm", both, 3.0),
    ]


def ways_of(costs: dict[str, Any]) -> list[str]:
    return [name for name, row in costs.items() if isinstance(row, dict)]
