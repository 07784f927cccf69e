"""The pose model in the bundled head: errors at held-out poses, time of a pose, of its gradient and of the making."""

from __future__ import annotations

import json
import time

import jax
import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from benchmarks import _common as common
from tmsjax.coil import CoilPose
from tmsjax.efield import posemodel

RADIUS_MM, POINTS, RANK, HELD_OUT, DIPOLES = 25.0, 5000, 100, 12, 300
REPEATS = 7


def grey_points(head, centre_mm: np.ndarray) -> np.ndarray:
    """Points of grey matter in the region, (5000, 3) RAS+ mm."""
    at = np.argwhere(np.asarray(head.labels) == 2) @ head.affine[:3, :3].T + head.affine[:3, 3]
    at = at[np.linalg.norm(at - centre_mm, axis=1) < RADIUS_MM - 1]
    return at[np.random.default_rng(0).permutation(len(at))[:POINTS]]


def moved(pose: CoilPose, p) -> CoilPose:
    """The pose moved by p[:3] mm and turned by p[3] rad about its own z axis."""
    c, s, o, i = jnp.cos(p[3]), jnp.sin(p[3]), jnp.zeros_like(p[3]), jnp.ones_like(p[3])
    turn = jnp.stack([jnp.stack([c, -s, o]), jnp.stack([s, c, o]), jnp.stack([o, o, i])])
    return CoilPose(pose.rotation @ turn, pose.centre + p[:3])


def times(model, head, coil, pose, coarsen: int) -> dict[str, float]:
    """Seconds of one more solve and of the model, in turns on the same machine: medians."""
    system = tj.efield.discretise(*tj.efield.conductivity(head, coarsen=coarsen, octants=True))
    primary = jax.jit(tj.coil.primary_field)
    p = jnp.zeros(4)
    weights = jnp.asarray(np.random.default_rng(1).normal(size=model.points_mm.shape), jnp.float32)
    at = jax.jit(lambda p: model(coil, moved(pose, p)))
    objective = jax.jit(lambda p: jnp.sum(weights * model(coil, moved(pose, p)) ** 2))
    both = jax.jit(jax.value_and_grad(lambda p: jnp.sum(weights * model(coil, moved(pose, p)) ** 2)))
    a = jax.block_until_ready(primary(coil, pose, system.points_mm))
    calls = {
        "solve_s": (lambda: tj.efield.induce(system, a), 1),
        "primary_s": (lambda: primary(coil, pose, system.points_mm), 1),
        "model_s": (lambda: at(p), 50),
        "objective_s": (lambda: objective(p), 50),
        "value_and_grad_s": (lambda: both(p), 50),
    }
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for call, _ in calls.values():
        jax.block_until_ready(call())
    cpu = 0.0
    for _ in range(REPEATS):
        for name, (call, count) in calls.items():
            for _ in range(count):
                start, used = time.perf_counter(), time.process_time()
                jax.block_until_ready(call())
                seconds[name].append(time.perf_counter() - start)
                cpu += (time.process_time() - used) * (name in ("solve_s", "primary_s"))
    return {name: float(np.median(values)) for name, values in seconds.items()} | {"solve_cpu_s": cpu / REPEATS}


def measure(quick: bool) -> tuple[dict, list[dict]]:
    coarsen = 2 if quick else 1
    head = tj.head.load("S1")
    centre = np.asarray(tj.head.landmark(head, "hand_knob_left"))
    start, used = time.perf_counter(), time.process_time()
    region = posemodel.precompute_region(head, centre, RADIUS_MM, rank=RANK, coarsen=coarsen, held_out=0)
    made_s, made_cpu_s = time.perf_counter() - start, time.process_time() - used
    points = grey_points(head, centre)
    points = points[np.asarray(region.inside(points))]
    model = posemodel.certify(region.resampled(points), head, HELD_OUT)
    certificate = model.certificate
    coil = tj.coil.load("MagVenture_MC_B70")
    pose = CoilPose.from_matrix(np.array(certificate["poses"][0]["matrix"]))
    cost = times(model, head, tj.coil.reduce(coil, DIPOLES), pose, coarsen)
    size = sum(np.asarray(leaf).nbytes for leaf in jax.tree.leaves(region)) / 1e6
    rows = certificate["poses"]
    common.table(
        f"pose model of {len(points)} points within {RADIUS_MM:g} mm, {coarsen} mm head, rank {RANK}: error in % of E",
        ("coil", "all dipoles, L2", "largest", f"{DIPOLES} dipoles, L2", "largest"),
        [(r["coil"], *(100 * r[name] for name in ("l2", "peak", "reduced_l2", "reduced_peak"))) for r in rows],
    )
    solve = cost["solve_s"] + cost["primary_s"]
    result = {
        **{name: value for name, value in json.loads(region.card).items() if name != "head_hash"},
        "points": len(points),
        "voxels": len(region.points_mm),
        "region_mb": size,
        "precompute_s": made_s,
        "precompute_cpu_s": made_cpu_s,
        "precompute_in_solves": made_cpu_s / cost["solve_cpu_s"],
        **cost,
        "solve_over_model": cost["solve_s"] / cost["model_s"],
        "solve_and_primary_over_model": solve / cost["model_s"],
        "gradient_over_forward": cost["value_and_grad_s"] / cost["objective_s"],
        "certificate": certificate,
    }
    common.table("its cost", ("what", "value"), [(k, v) for k, v in result.items() if isinstance(v, float | int)])
    name = f"pose model, {len(points)} points of a 25 mm region, {coarsen} mm"
    targets = [
        common.target(f"{name}: worst relative L2 at {HELD_OUT} held-out poses", certificate["worst_l2"], 0.005),
        common.target(f"{name}: one more solve over one pose, time", result["solve_over_model"], 500, at_least=True),
        common.target(f"{name}: value and gradient over value, time", result["gradient_over_forward"], 5),
        common.target(f"{name}: making, in solves (CPU time)", result["precompute_in_solves"], 300),
    ]
    return result, targets
