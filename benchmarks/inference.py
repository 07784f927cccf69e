"""Thresholds per second of the surrogates: `python -m benchmarks.inference [--quick] [--gpu]`.

On one pinned core, taking turns: the paper's network as users ask it (``Surrogate.predict``), the same by XLA's own
convolution, the same in TensorFlow's graph mode, the support-function model from samples (``predict``, on the grid of
the bundled one and on 64 samples), and the way from a field on its voxels to thresholds (``response.thresholds``: field
made ready, samples, features, thresholds, domain). CPU-seconds, medians. Networks have the bundled weights where they
are there and untrained ones otherwise, which are as fast.

TensorFlow is part of the extra `bench`; in an environment of its own, TMSJAX_TENSORFLOW names its Python. Where there
is none, its rows are left out and this is said.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks import _common
from benchmarks._tensorflow import Peer

CELL = "open/L5_PC_1"
BATCHES = (1, 32, 256, 1024)
SLOW = 256
"""Larger batches are not asked of XLA's own convolution."""

NEURONS = 16384
OURS, PLAIN = "network, predict", "XLA's convolution"
TENSORFLOW, SUPPORT, SUPPORT_64 = "TensorFlow", "support model, predict", "support model of 64 samples, predict"
COMPACT, LEAST = 4, 3
"""Samples a side of models for millions of neurons: 64 or 27 instead of 729.

With 64 functionals, trained on the 20,000 thresholds of ``open/L5_PC_1`` in 6 CPU-seconds, a cubic on the 64 samples
(side 1.5 mm) errs by 0.67 % on held-out sites and 0.65 % at unseen poses, a quadratic on the 27 (1.2 mm) by 0.77 %.
"""


def surrogates() -> dict[str, tuple[Any, str]]:
    """Family -> (model, where its weights are from)."""
    import jax
    import numpy as np

    from tmsjax import surrogate
    from tmsjax.surrogate import cnn, domain, features, support

    there = surrogate.available()

    def inside(n: int):
        degree = min(3, n - 1)
        return domain.fit(np.random.default_rng(0).normal(size=(500, features.count(degree))), degree)

    found = {}
    for family in ("cnn", "support"):
        if (CELL, "monophasic", family) in there:
            found[family] = surrogate.load(CELL, family=family), CELL
    if "cnn" not in found:
        model = surrogate.CnnSpec(unit_v_per_m=200.0)
        spec = surrogate.SurrogateSpec("untrained", family="cnn", model=model)
        found["cnn"] = surrogate.Surrogate(cnn.network(model, 9).init(jax.random.key(0)), inside(9), spec), "untrained"
    compact = surrogate.SurrogateSpec("untrained", n=COMPACT, model=surrogate.SupportSpec((3,), 64))
    full = dataclasses.replace(compact, n=9, model=surrogate.SupportSpec((2, 3, 4)))
    least = dataclasses.replace(compact, n=LEAST, side_mm=1.2, model=surrogate.SupportSpec((2,), 64))
    for name, spec in (("support", full), ("compact", compact), ("least", least)):
        if name not in found:
            variables = {}
            for i, degree in enumerate(spec.model.degrees):
                start = support.member(spec.model, degree).init(jax.random.key(i))
                variables[f"member_{i}"] = {**start, "kernel": start["kernel"] / 200}
            found[name] = surrogate.Surrogate(variables, inside(spec.n), spec), "untrained"
    return found


def patches(count: int, n: int = 9):
    import numpy as np

    rng = np.random.default_rng(0)
    mean = rng.normal(size=(count, 1, 1, 1, 3))
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    return (mean + 0.1 * rng.normal(size=(count, n, n, n, 3))).astype(np.float32)


def interleaved(paths: dict[str, Callable[[], float]], repeats: int) -> dict[str, float]:
    """Median seconds of every path, taking turns; each call says how long it took.

    Every path is called once before it is timed, so that it finds its memory and the caches as it left them itself.
    """
    times: dict[str, list[float]] = {name: [] for name in paths}
    for _ in range(repeats):
        for name, path in paths.items():
            path()
            times[name].append(path())
    return {name: statistics.median(t) for name, t in times.items()}


def clocked(function: Callable[..., Any], *arguments: Any) -> Callable[[], float]:
    """The call's seconds: of the CPU where there is one core, of the wall otherwise."""
    import jax

    one_core = jax.default_backend() == "cpu" and len(os.sched_getaffinity(0)) == 1
    clock = time.process_time if one_core else time.perf_counter

    def call() -> float:
        start = clock()
        jax.block_until_ready(function(*arguments))
        return clock() - start

    return call


def worker(quick: bool) -> dict:
    """Rates on this process's core (or device), and errors against float64."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tmsjax.surrogate import cnn
    from tmsjax.surrogate.types import CHUNK

    device, models = jax.default_backend(), surrogates()
    network, functionals, compact = (models[name][0] for name in ("cnn", "support", "compact"))
    batches = BATCHES[:3] if quick else BATCHES
    x = patches(max(batches), network.spec.n)
    x /= np.linalg.norm(x[:, 4, 4, 4], axis=-1)[:, None, None, None, None]
    net = cnn.network(network.spec.model, network.spec.n)
    plain = jax.jit(lambda v, x: net.apply(v, jax.vmap(partial(cnn.inputs, network.spec.model))(x)))

    fine, coarse = (jnp.asarray(patches(max(batches), model.spec.n)) for model in (functionals, compact))
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(network.variables, x, folder) if device == "cpu" else None
        use_peer = peer is not None and peer.version is not None
        rows = []
        for batch in batches:
            some = jnp.asarray(x[:batch])
            paths = {
                OURS: clocked(network.predict, some),
                SUPPORT: clocked(functionals.predict, fine[:batch]),
                SUPPORT_64: clocked(compact.predict, coarse[:batch]),
            }
            if batch <= SLOW:
                paths[PLAIN] = clocked(plain, network.variables, some)
            if use_peer:
                paths[TENSORFLOW] = partial(peer, batch)
            seconds = interleaved(paths, 5 if quick else 7)
            rows.append({"batch": batch, **{name: round(batch / s) for name, s in seconds.items()}})
        few = jnp.asarray(x[:64])
        errors = {}
        with jax.enable_x64(True):
            exact = np.asarray(plain(jax.tree.map(_double, network.variables), _double(x[:64])))
        reached = np.asarray(plain(network.variables, few))
        errors["network, outputs by XLA's convolution"] = _worst(reached, exact)
        scale = cnn.OUTPUTS[network.spec.model.output]
        unit = network.spec.model.unit_v_per_m
        errors["network, thresholds"] = _worst(np.asarray(network.predict(few)), unit * np.asarray(scale(exact)))
        if peer is not None and use_peer:
            errors["network, outputs by TensorFlow"] = _worst(np.asarray(peer.outputs), exact)
        version = peer.version if peer is not None else None
        if peer is not None:
            peer.close()
    kind = jax.devices()[0].device_kind
    cores = len(os.sched_getaffinity(0)) if device == "cpu" else None
    result = {"device": kind, "cores": cores, "per": "CPU-second" if cores == 1 else "second", "rows": rows}
    chain = end_to_end(models, 5 if quick else 11)
    weights = {family: name for family, (_, name) in models.items()}
    return {**result, "errors": errors, "tensorflow": version, "end to end": chain, "weights": weights, "chunk": CHUNK}


def _double(x: Any):
    import jax.numpy as jnp
    import numpy as np

    return jnp.asarray(np.asarray(x, np.float64))


def _worst(found: Any, exact: Any) -> float:
    """Largest difference over the root mean square."""
    import numpy as np

    return float(np.abs(found - exact).max() / np.sqrt(np.mean(exact**2)))


def end_to_end(models: dict[str, tuple[Any, str]], repeats: int) -> list[dict]:
    """Neurons a second from a field at 1 mm: their samples alone, and all the way, by samples each."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tmsjax.cortex import Population, pack
    from tmsjax.cortex import patches as sampled
    from tmsjax.efield import EField
    from tmsjax.response import thresholds as of_population

    rng = np.random.default_rng(0)
    shape = (182, 218, 182)
    grid = np.stack(np.meshgrid(*(np.arange(n, dtype=np.float32) for n in shape), indexing="ij"), -1)
    values = np.sin(grid @ (rng.normal(size=(3, 3)) / 12)).astype(np.float32)
    field = EField(
        jnp.asarray(values), jnp.ones(shape, bool), jnp.eye(4), jnp.zeros(()), jnp.asarray(0), tolerance=1e-4
    )
    count = NEURONS
    turns = np.linalg.qr(rng.normal(size=(count, 3, 3)))[0]
    population = Population(
        positions=jnp.asarray(rng.uniform(70, 110, (count, 3)), jnp.float32),
        rotations=jnp.asarray(turns * np.linalg.det(turns)[:, None, None], jnp.float32),
        site=jnp.arange(count),
        azimuth_deg=jnp.zeros(count),
        weight=jnp.ones(count),
        cell=jnp.zeros(count, jnp.int32),
        layer="L5",
        depth=0.5,
    )
    ready = pack(field)
    rows = []
    for name in ("support", "compact", "least"):
        model, weights = models[name]
        spec = model.spec

        @jax.jit
        def sample(field, some, spec=spec):
            return sampled(field, some, spec.side_mm, spec.z_shift_mm, spec.n)

        paths = {
            "sampling alone": clocked(sample, ready, population),
            "response.thresholds": clocked(lambda m=model: of_population(m, field, population).v_per_m),
        }
        seconds = interleaved(paths, repeats)
        rates = {path: round(count / s) for path, s in seconds.items()}
        rows.append({"samples": spec.n**3, "weights": weights, **rates})
    return rows


def setting(name: str, quick: bool) -> dict:
    """Run ``worker`` in a process of its own, pinned before JAX starts."""
    environment = {**os.environ, "JAX_PLATFORMS": "cuda" if name == "gpu" else "cpu"}
    command = [sys.executable, "-m", "benchmarks.inference", "--worker", name, *(["--quick"] if quick else [])]
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--gpu", action="store_true", help="also measure JAX's CUDA device")
    parser.add_argument("--worker", choices=("one core", "gpu"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        if options.worker == "one core":
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps(worker(options.quick)))
        return
    results = {name: setting(name, options.quick) for name in ("one core", *(["gpu"] if options.gpu else []))}
    for name, result in results.items():
        columns = list(result["rows"][0])
        lines = [[row.get(c, "") for c in columns] for row in result["rows"]]
        _common.table(f"{name}: {result['device']}, thresholds per {result['per']}", columns, lines)
        columns = list(result["end to end"][0])
        lines = [[row[c] for c in columns] for row in result["end to end"]]
        _common.table("from a field on its voxels to thresholds, neurons", columns, lines)
        _common.table("largest error over rms, float64", ("path", "error"), list(result["errors"].items()))
    if results["one core"]["tensorflow"] is None:
        print("\nno TensorFlow here (pip install tmsjax[bench], or TMSJAX_TENSORFLOW): its targets are not judged")
    _common.write("inference", results, targets(results), quick=options.quick)


def targets(results: dict) -> list[dict]:
    one = results["one core"]
    rows = {row["batch"]: row for row in one["rows"]}
    largest = rows[max(rows)]
    errors = max(e for r in results.values() for name, e in r["errors"].items() if "TensorFlow" not in name)
    at_least = partial(_common.target, at_least=True)
    found = [
        _common.target(f"network of {one['weights']['cnn']} weights against float64 plain convolution", errors, 1e-4),
        *(
            at_least(f"end to end from {row['samples']} samples, thresholds per CPU-second", rate, 250_000)
            for row in one["end to end"]
            if (rate := row["response.thresholds"]) and row["samples"] == COMPACT**3
        ),
    ]
    if one["tensorflow"] is not None:
        least = min(row[OURS] / row[TENSORFLOW] for batch, row in rows.items() if batch >= 32)
        found += [
            at_least(f"network over TensorFlow, batch {max(rows)}", largest[OURS] / largest[TENSORFLOW], 1.5),
            at_least("network over TensorFlow, least from batch 32 up", least, 1.0),
        ]
        for name in (SUPPORT, SUPPORT_64):
            ratio = largest[name] / largest[TENSORFLOW]
            found.append(at_least(f"{name}, over TensorFlow's network", ratio, 100.0))
    return found


if __name__ == "__main__":
    main()
