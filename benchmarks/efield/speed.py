"""Time of a solve in head S1, stage by stage, and of pyamg and scipy on the same equations (extra ``bench``)."""

from __future__ import annotations

import gc
import multiprocessing
import statistics
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import scipy.sparse as sp
from scipy.sparse.linalg import LinearOperator, cg

import tmsjax as tj
from benchmarks import _common as common
from tmsjax.efield import discretise, induce, multigrid, spfd
from tmsjax.efield.system import potential

TOLERANCE = 1e-4
ROUNDS = 3
BATCH = 4


def head_times(coarsen: int) -> dict:
    """Stages of one solve in the bundled head; "first" includes compilation, "again" does not."""
    clock = time.perf_counter
    start = clock()
    head = tj.head.load("S1")
    loaded = clock()
    coil = tj.coil.load("MagVenture_MC_B70")
    pose = tj.coil.pose_on_scalp(head, tj.head.landmark(head, "hand_knob_left"), coil=coil)
    placed = clock()
    system = jax.block_until_ready(discretise(*tj.efield.conductivity(head, coarsen=coarsen, octants=True)))
    tissue = clock()

    def solve():
        return jax.block_until_ready(tj.efield.solve(head, coil, pose, coarsen=coarsen))

    cpu = time.process_time()
    field, first = common.timed(solve)
    cpu = time.process_time() - cpu
    _, again = common.timed(solve, 2)
    primary = jax.jit(tj.coil.primary_field)
    incoming = jax.block_until_ready(primary(coil, pose, system.points_mm))
    _, primary_s = common.timed(lambda: jax.block_until_ready(primary(coil, pose, system.points_mm)))
    jax.block_until_ready(induce(system, incoming))
    _, induce_s = common.timed(lambda: jax.block_until_ready(induce(system, incoming)), 2)
    return {
        "coarsen": coarsen,
        "unknowns": len(incoming),
        "dipoles": len(coil.positions),
        "load_s": loaded - start,
        "pose_s": placed - loaded,
        "conductivity_and_grid_s": tissue - placed,
        "first_solve_s": first,
        "first_solve_cpu_s": cpu,
        "solve_s": again,
        "primary_field_s": primary_s,
        "further_right_hand_side_s": induce_s,
        "iterations": int(field.iterations),
        "residual": float(field.residual),
        "status": field.status,
    }


def equations(coarsen: int, folder: Path) -> int:
    """Write S1's operator, ``conductances`` and as a float64 matrix, and right-hand side; return the unknowns."""
    head, coil = tj.head.load("S1"), tj.coil.load("MagVenture_MC_B70")
    pose = tj.coil.pose_on_scalp(head, tj.head.landmark(head, "hand_knob_left"), coil=coil)
    system = discretise(*tj.efield.conductivity(head, coarsen=coarsen, octants=True))
    grid, shape = system.grid, tuple(n + 1 for n in system.grid.padded)
    incoming = tj.coil.primary_field(coil, pose, system.points_mm) @ (system.affine[:3, :3] / jnp.asarray(grid.spacing))
    nodes = jnp.zeros((np.prod(shape), 3)).at[system.index].set(incoming).reshape(*shape, 3)
    b = jax.jit(spfd.drive, static_argnums=2)(system.conductances, nodes, grid.spacing)
    c = [np.asarray(e) for e in system.conductances]
    np.savez(folder / "grid.npz", *c, b=np.asarray(b), levels=grid.levels)
    matrix = _matrix([e.astype(np.float64) for e in c], shape)
    keep = np.flatnonzero(matrix.diagonal() > 0)
    sp.save_npz(folder / "matrix.npz", matrix[keep][:, keep].tocsr(), compressed=False)
    b = np.asarray(b, np.float64).ravel()[keep]
    np.save(folder / "b.npy", b - b.mean())
    np.save(folder / "keep.npy", keep)
    return len(keep)


def _matrix(c: list[np.ndarray], shape: tuple[int, ...]) -> sp.csr_matrix:
    number = np.arange(np.prod(shape), dtype=np.int32).reshape(shape)
    matrix = sp.csr_matrix((number.size, number.size))
    for axis, conductance in enumerate(c):
        low = np.take(number, np.arange(shape[axis] - 1), axis).ravel()
        high = np.take(number, np.arange(1, shape[axis]), axis).ravel()
        g = conductance.ravel()
        used = g > 0
        low, high, g = low[used], high[used], g[used]
        one_way = sp.csr_matrix((-g, (low, high)), matrix.shape)
        both = one_way + one_way.T
        matrix = matrix + both - sp.diags(np.asarray(both.sum(1)).ravel())
    return matrix.tocsr()


def _tmsjax(folder: Path) -> dict[str, Any]:
    stored = np.load(folder / "grid.npz")
    c, b = tuple(jnp.asarray(stored[f"arr_{n}"]) for n in range(3)), jnp.asarray(stored["b"])
    make = jax.jit(multigrid.hierarchy, static_argnums=1)
    jax.block_until_ready(make(c, int(stored["levels"])))
    levels, setup_s = common.timed(lambda: jax.block_until_ready(make(c, int(stored["levels"]))))
    one = jax.jit(lambda c, levels, b: potential(c, b, c, levels, TOLERANCE))
    jax.block_until_ready(one(c, levels, b))
    keep = np.load(folder / "keep.npy")

    def solve():
        phi, _, iterations = jax.block_until_ready(one(c, levels, b))
        return phi, int(iterations)

    return {"setup_s": setup_s, "solve": solve, "unpack": lambda phi: np.asarray(phi, np.float64).ravel()[keep]}


def _pyamg(folder: Path) -> dict[str, Any]:
    import pyamg

    matrix, b = sp.load_npz(folder / "matrix.npz"), np.load(folder / "b.npy")
    # Of thresholds of strength 0-0.25 and Gauss-Seidel, Jacobi and Chebyshev smoothers, the default solves fastest.
    levels, setup_s = common.timed(lambda: pyamg.smoothed_aggregation_solver(matrix))

    def solve():
        residuals: list[float] = []
        x = levels.solve(b, tol=TOLERANCE, accel="cg", residuals=residuals, maxiter=200)
        return x, len(residuals) - 1

    return {"setup_s": setup_s, "solve": solve, "unpack": lambda x: x}


def _scipy(folder: Path) -> dict[str, Any]:
    matrix, b = sp.load_npz(folder / "matrix.npz"), np.load(folder / "b.npy")
    inverse = 1 / matrix.diagonal()

    def solve():
        steps = []
        jacobi = LinearOperator(matrix.shape, lambda r: inverse * r)
        return cg(matrix, b, rtol=TOLERANCE, maxiter=5000, M=jacobi, callback=lambda _: steps.append(1))[0], len(steps)

    return {"setup_s": 0.0, "solve": solve, "unpack": lambda x: x}


SOLVERS = {"tmsjax": _tmsjax, "pyamg smoothed aggregation": _pyamg, "scipy CG + Jacobi": _scipy}


def _memory_mb() -> dict[str, float]:
    """Resident memory of this process, now (VmRSS) and at most (VmHWM); nan where there is no /proc."""
    status = Path("/proc/self/status")
    if not status.exists():
        return {"VmRSS": float("nan"), "VmHWM": float("nan")}
    lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
    return {key: int(lines[key].split()[0]) / 1024 for key in ("VmRSS", "VmHWM")}


def _worker(connection, name: str, folder: Path) -> None:
    """A process of one solver, which solves when it is told to; its memory is its own."""
    before = _memory_mb()["VmRSS"]
    solver = SOLVERS[name](folder)
    gc.collect()
    connection.send(solver["setup_s"])
    x = None
    while connection.recv() == "solve":
        cpu = time.process_time()
        (x, iterations), seconds = common.timed(solver["solve"])
        connection.send((seconds, time.process_time() - cpu, iterations))
    memory = _memory_mb()["VmHWM"] - before
    x = solver["unpack"](x)
    matrix, b = sp.load_npz(folder / "matrix.npz"), np.load(folder / "b.npy")
    connection.send((memory, float(np.linalg.norm(b - matrix @ x) / np.linalg.norm(b))))


def against_peers(coarsen: int) -> dict:
    """One right-hand side after the other by every solver in turn, each in a process of its own; medians."""
    context = multiprocessing.get_context("spawn")
    rows = {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        unknowns = equations(coarsen, folder)
        pipes, processes = {}, {}
        for name in SOLVERS:
            pipes[name], other = context.Pipe()
            processes[name] = context.Process(target=_worker, args=(other, name, folder))
            processes[name].start()
            rows[name] = {"setup_s": pipes[name].recv(), "seconds": [], "cpu_seconds": []}
        for _ in range(ROUNDS):
            for name, pipe in pipes.items():
                pipe.send("solve")
                seconds, cpu, rows[name]["iterations"] = pipe.recv()
                rows[name]["seconds"].append(seconds)
                rows[name]["cpu_seconds"].append(cpu)
        for name, pipe in pipes.items():
            pipe.send("end")
            rows[name]["peak_mb"], rows[name]["residual"] = pipe.recv()
            processes[name].join()
    for row in rows.values():
        row["solve_s"] = statistics.median(row["seconds"])
        row["solve_cpu_s"] = statistics.median(row["cpu_seconds"])
    ours = rows["tmsjax"]
    for row in rows.values():
        row["ratio"] = row["solve_s"] / ours["solve_s"]
        row["cpu_ratio"] = row["solve_cpu_s"] / ours["solve_cpu_s"]
    return {"coarsen": coarsen, "unknowns": unknowns, "rows": rows}


def batches(coarsen: int) -> dict:
    """Seconds per right-hand side of a batch: one after the other (as ``induce`` does) and vectorised."""
    head, coil = tj.head.load("S1"), tj.coil.load("MagVenture_MC_B70")
    pose = tj.coil.pose_on_scalp(head, tj.head.landmark(head, "hand_knob_left"), coil=coil)
    system = discretise(*tj.efield.conductivity(head, coarsen=coarsen, octants=True))
    one = tj.coil.primary_field(coil, pose, system.points_mm)
    several = jnp.stack([one, one[:, ::-1], -one[:, [1, 2, 0]], one * jnp.asarray([1.0, -1, 1])])
    ways = {
        "one by one": partial(induce, system),
        "a batch in turn": partial(induce, system),
        "a batch at once": partial(jax.jit(jax.vmap(induce, (None, 0))), system),
    }
    out = {"coarsen": coarsen, "batch": BATCH}
    for name, way in ways.items():
        inputs = [several] if "batch" in name else list(several)
        jax.block_until_ready([way(p) for p in inputs])
        out[name] = common.timed(lambda: jax.block_until_ready([way(p) for p in inputs]), ROUNDS)[1] / BATCH  # noqa: B023
    return out


def measure(quick: bool) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    heads = [head_times(c) for c in ((2,) if quick else (2, 1))]
    for row in heads:
        common.table(f"head S1, {row['coarsen']} mm", ("what", "value"), list(row.items()))
    batch = batches(2)
    common.table("seconds per right-hand side, 2 mm", ("what", "value"), list(batch.items()))
    peers = against_peers(2 if quick else 1)
    mm, columns = (
        peers["coarsen"],
        ("setup_s", "solve_s", "solve_cpu_s", "iterations", "residual", "peak_mb", "ratio", "cpu_ratio"),
    )
    common.table(
        f"head S1, {mm} mm, {peers['unknowns']} unknowns, a further right-hand side to {TOLERANCE:.0e}",
        ("solver", *columns),
        [(name, *(row[c] for c in columns)) for name, row in peers["rows"].items()],
    )
    rows = peers["rows"]
    targets = [
        common.target(
            f"{name} over tmsjax, CPU time of a further right-hand side, {mm} mm",
            rows[name]["cpu_ratio"],
            bar,
            at_least=True,
        )
        for name, bar in (("pyamg smoothed aggregation", 8.0), ("scipy CG + Jacobi", 20.0))
    ]
    targets.append(common.target(f"tmsjax, true residual of these at {mm} mm", rows["tmsjax"]["residual"], TOLERANCE))
    if not quick:
        # CPU-seconds bound the wall-clock time from above on an idle machine, and hold on a busy one.
        first = heads[-1]["first_solve_cpu_s"]
        targets.append(common.target("head S1 at 1 mm, first solve with compilation, CPU-s", first, 40.0))
    return {"head": heads, "batch": batch, "peers": peers}, targets
