"""Thresholds per second of the support-function surrogate: `python -m benchmarks.inference [--quick] [--gpu]`.

Two paths of the same model, interleaved in the same run: through the coefficients of the polynomial fit (what
`Surrogate.predict` does) and with the fit folded into functionals of the raw 2,187 samples. Both are checked against
float64 numpy. Each setting (one core, all cores, GPU) runs in a process of its own. The weights are the bundled
`open/L5_PC_1` where they are there, untrained otherwise: the speed does not depend on them.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from functools import partial

from benchmarks import _common

PATHS = ("polynomial", "raw", "predict from host memory")


def model_for(degrees):
    import jax
    import numpy as np

    from tmsjax import surrogate
    from tmsjax.surrogate import domain, features, support

    if ("open/L5_PC_1", "monophasic", "support") in surrogate.available() and degrees is None:
        return surrogate.load("open/L5_PC_1"), "open/L5_PC_1"
    spec = surrogate.SurrogateSpec("untrained", model=surrogate.SupportSpec(degrees or (4, 5, 6)))
    variables = {}
    for i, degree in enumerate(spec.model.degrees):
        start = support.member(spec.model, degree).init(jax.random.key(i))
        noise = 0.1 * np.random.default_rng(i).normal(size=start["kernel"].shape)
        variables[f"member_{i}"] = {**start, "kernel": ((start["kernel"] + noise) / 200).astype(np.float32)}
    c = np.random.default_rng(0).normal(size=(500, features.count(3)))
    return surrogate.Surrogate(variables, domain.fit(c, 3), spec), "untrained"


def raw_functionals(model):
    """[(functionals (k, 2187), sharpness)] of every member: the projection folded into its kernel."""
    import numpy as np

    from tmsjax.surrogate import features

    folded, n = [], model.spec.n
    for i, degree in enumerate(model.spec.model.degrees):
        member = model.variables[f"member_{i}"]
        kernel = np.asarray(member["kernel"], np.float64)
        basis = features.basis(n, degree).reshape(n**3, -1) / n**3
        raw = np.einsum("kfc,nf->knc", kernel.reshape(len(kernel), -1, 3), basis).reshape(len(kernel), -1)
        folded.append((raw, float(np.exp(np.float64(member["log_sharpness"])))))
    return folded


def reference(folded, patches):
    """Thresholds in float64 numpy, V/m at the centre, from the raw functionals (p-norm form)."""
    import numpy as np

    flat = patches.reshape(len(patches), -1).astype(np.float64)
    middle = flat.shape[1] // 2 - 1
    centre = np.linalg.norm(flat[:, middle : middle + 3], axis=1)
    each = []
    for raw, q in folded:
        drive = np.maximum(flat @ raw.T, 0) / centre[:, None]
        top = drive.max(1, keepdims=True)
        each.append(top[:, 0] * ((drive / top) ** q).sum(1) ** (1 / q))
    return 1 / np.median(each, 0)


def worker(quick: bool) -> dict:
    """Rates of one setting (this process's cores or device), and errors against float64."""
    import jax
    import jax.numpy as jnp
    import numpy as np

    from tmsjax.surrogate import support, types

    device = jax.default_backend()
    batches = (64, 512, 8192) if quick else (64, 512, 8192, 65536)
    batches = (*batches, 262144) if device == "gpu" and not quick else batches
    rng = np.random.default_rng(0)
    mean = rng.normal(size=(max(batches), 1, 1, 1, 3))
    mean /= np.linalg.norm(mean, axis=-1, keepdims=True)
    patches = (mean + 0.1 * rng.normal(size=(1, 9, 9, 9, 3))).astype(np.float32)
    rows = []
    for degrees in (None, (2,)):
        model, name = model_for(degrees)
        folded = raw_functionals(model)
        truth = reference(folded, patches[:512])
        on_device = [(jnp.asarray(raw, jnp.float32), jnp.float32(q)) for raw, q in folded]

        @jax.jit
        def raw_path(some, on_device=on_device):
            flat = some.reshape(len(some), -1)
            middle = flat.shape[1] // 2 - 1
            centre = jnp.linalg.norm(flat[:, middle : middle + 3], axis=1)
            exact = jax.lax.Precision.HIGHEST
            each = [
                jax.vmap(support.p_norm, (0, None))(jnp.matmul(flat, w.T, precision=exact), q) for w, q in on_device
            ]
            return centre / jnp.median(jnp.stack(each), 0)

        block = partial(types._block, model.spec, "field", model.variables, model.domain)
        errors = {
            "polynomial": float(np.abs(np.asarray(model.predict(patches[:512])) / truth - 1).max()),
            "raw": float(np.abs(np.asarray(raw_path(jnp.asarray(patches[:512]))) / truth - 1).max()),
        }
        chunk = types.CHUNK[device]
        for batch in batches:
            some = patches[:batch]
            there = [jnp.asarray(some[i : i + chunk]) for i in range(0, batch, chunk)]
            paths = {
                "polynomial": lambda there=there, block=block: [block(x) for x in there],
                "raw": lambda there=there, f=raw_path: [f(x) for x in there],
                "predict from host memory": lambda some=some, model=model: model.predict(some),
            }
            seconds = interleaved(paths, 5 if quick else 15)
            rates = {path: round(batch / s) for path, s in seconds.items()}
            rows.append({"degrees": list(model.spec.model.degrees), "weights": name, "batch": batch, **rates})
        rows[-1]["max_relative_error_against_float64"] = errors
    kind = jax.devices()[0].device_kind
    cores = len(os.sched_getaffinity(0)) if device == "cpu" else None
    return {"device": kind, "cores": cores, "per": "CPU-second" if cores == 1 else "second", "rows": rows}


def interleaved(paths, repeats):
    """Median seconds of every path, taking turns: of the CPU where there is one core, of the wall otherwise."""
    import jax
    import numpy as np

    one_core = jax.default_backend() == "cpu" and len(os.sched_getaffinity(0)) == 1
    clock = time.process_time if one_core else time.perf_counter
    times = {name: [] for name in paths}
    for path in paths.values():
        jax.block_until_ready(path())
    for _ in range(repeats):
        for name, path in paths.items():
            started = clock()
            jax.block_until_ready(path())
            times[name].append(clock() - started)
    return {name: float(np.median(t)) for name, t in times.items()}


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
    parser.add_argument("--worker", choices=("one core", "all cores", "gpu"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.worker:
        if options.worker == "one core":
            os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps(worker(options.quick)))
        return
    names = ["one core", "all cores"] + (["gpu"] if options.gpu else [])
    results = {name: setting(name, options.quick) for name in names}
    for name, result in results.items():
        print(f"\n{name}: {result['device']}, thresholds per {result['per']}")
        for row in result["rows"]:
            rates = "  ".join(f"{k} {v:>10,}" for k, v in row.items() if k in PATHS)
            print(f"  degrees {row['degrees']!s:<10} batch {row['batch']:>7}  {rates}")
    _common.write("inference", results, targets(results), quick=options.quick)


def targets(results: dict) -> list[dict]:
    rows = results["one core"]["rows"]
    largest = max(row["batch"] for row in rows)
    row = next(row for row in rows if row["batch"] == largest)
    key = "max_relative_error_against_float64"
    error = max(e for r in results.values() for row in r["rows"] for e in row.get(key, {}).values())
    return [
        _common.target("relative error against float64, worst path", error, 1e-5),
        _common.target(
            "one core, polynomial path over raw functionals", row["polynomial"] / row["raw"], 1.0, at_least=True
        ),
    ]


if __name__ == "__main__":
    main()
