"""Time of a solve in head S1, stage by stage, and of scipy's CG on the same equations."""

from __future__ import annotations

import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, cg

import tmsjax as tj
from benchmarks import _common as common
from tmsjax.efield import multigrid, spfd
from tmsjax.efield.system import conducting_nodes, fit, plan, potential


def head_times(coarsen: int) -> dict:
    """Stages of one solve in the bundled head; "first" includes compilation, "again" does not."""
    clock = time.perf_counter
    start = clock()
    head = tj.head.load("S1")
    loaded = clock()
    coil = tj.coil.load("MagVenture_MC_B70")
    pose = tj.coil.pose_on_scalp(head, tj.head.landmark(head, "hand_knob_left"), coil=coil)
    placed = clock()
    sigma, mask, affine = tj.efield.conductivity(head, coarsen=coarsen)
    sigma.block_until_ready()
    tissue = clock()

    def solve():
        return jax.block_until_ready(tj.efield.solve(head, coil, pose, coarsen=coarsen))

    cpu = time.process_time()
    field, first = common.timed(solve)
    cpu = time.process_time() - cpu
    _, again = common.timed(solve, 2)
    spacing = np.linalg.norm(affine[:3, :3], axis=0)
    grid = plan(mask | (np.asarray(sigma) > 0), spacing)
    nodes, _ = conducting_nodes(mask | (np.asarray(sigma) > 0), affine, grid)
    primary = jax.jit(tj.coil.primary_field)
    jax.block_until_ready(primary(coil, pose, nodes))
    _, primary_s = common.timed(lambda: jax.block_until_ready(primary(coil, pose, nodes)))
    return {
        "coarsen": coarsen,
        "unknowns": len(nodes),
        "dipoles": len(coil.positions),
        "load_s": loaded - start,
        "pose_s": placed - loaded,
        "conductivity_s": tissue - placed,
        "first_solve_s": first,
        "first_solve_cpu_s": cpu,
        "solve_s": again,
        "of_which_primary_field_s": primary_s,
        "iterations": int(field.iterations),
        "residual": float(field.residual),
        "status": field.status,
    }


def against_scipy(coarsen: int) -> dict:
    """The same equations (float64) by scipy's CG with a Jacobi preconditioner, to the same residual."""
    head, coil = tj.head.load("S1"), tj.coil.load("MagVenture_MC_B70")
    pose = tj.coil.pose_on_scalp(head, tj.head.landmark(head, "hand_knob_left"), coil=coil)
    sigma, mask, affine = tj.efield.conductivity(head, coarsen=coarsen)
    extent = mask | (np.asarray(sigma) > 0)
    grid = plan(extent, np.linalg.norm(affine[:3, :3], axis=0))
    nodes, index = conducting_nodes(extent, affine, grid)
    shape = tuple(n + 1 for n in grid.padded)
    primary = np.zeros((np.prod(shape), 3), np.float32)
    primary[np.asarray(index)] = np.asarray(tj.coil.primary_field(coil, pose, nodes)) @ (affine[:3, :3] / grid.spacing)
    c = jax.jit(spfd.conductances, static_argnums=1)(fit(sigma, grid), grid.spacing)
    b = jax.jit(spfd.drive, static_argnums=2)(c, jnp.asarray(primary.reshape(*shape, 3)), grid.spacing)

    @jax.jit
    def ours(c, b):
        return potential(c, b, c, multigrid.hierarchy(c, grid.levels), 1e-4)

    jax.block_until_ready(ours(c, b))
    (_, residual, iterations), ours_s = common.timed(lambda: jax.block_until_ready(ours(c, b)))

    b = np.asarray(b, np.float64).ravel()
    matrix = _matrix([np.asarray(e, np.float64) for e in c], shape)
    diagonal = matrix.diagonal()
    keep = np.flatnonzero(diagonal > 0)
    matrix, b, diagonal = matrix[keep][:, keep].tocsr(), b[keep] - b[keep].mean(), diagonal[keep]
    steps = []
    start = time.perf_counter()
    x, _ = cg(
        matrix, b, rtol=1e-4, maxiter=5000, M=LinearOperator(matrix.shape, lambda r: r / diagonal),
        callback=lambda _: steps.append(1),
    )  # fmt: skip
    scipy_s = time.perf_counter() - start
    return {
        "coarsen": coarsen,
        "unknowns": len(keep),
        "tmsjax_s": ours_s,
        "tmsjax_iterations": int(iterations),
        "tmsjax_residual": float(residual),
        "scipy_cg_jacobi_s": scipy_s,
        "scipy_iterations": len(steps),
        "scipy_residual": float(np.linalg.norm(b - matrix @ x) / np.linalg.norm(b)),
        "ratio": scipy_s / ours_s,
    }


def _matrix(c: list[np.ndarray], shape: tuple[int, ...]) -> sp.csr_matrix:
    number = np.arange(np.prod(shape)).reshape(shape)
    rows, columns, values = [], [], []
    for axis, conductance in enumerate(c):
        low = np.take(number, np.arange(shape[axis] - 1), axis).ravel()
        high = np.take(number, np.arange(1, shape[axis]), axis).ravel()
        g = conductance.ravel()
        used = g > 0
        low, high, g = low[used], high[used], g[used]
        rows += [low, high, low, high]
        columns += [low, high, high, low]
        values += [g, g, -g, -g]
    n = number.size
    return sp.csr_matrix((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (n, n))


def measure(quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    heads = [head_times(c) for c in ((2,) if quick else (2, 1))]
    for row in heads:
        common.table(f"head S1, {row['coarsen']} mm", ("what", "value"), list(row.items()))
    peer = against_scipy(2)
    common.table("same equations at 2 mm, to 1e-4", ("what", "value"), list(peer.items()))
    targets = [common.target("scipy CG + Jacobi over tmsjax, time at 2 mm", peer["ratio"], 1.0, at_least=True)]
    if not quick:
        # CPU-seconds bound the wall-clock time from above on an idle machine, and hold on a busy one.
        first = heads[-1]["first_solve_cpu_s"]
        targets.append(common.target("head S1 at 1 mm, first solve with compilation, CPU-s", first, 40.0))
    return {"head": heads, "scipy": peer}, targets
