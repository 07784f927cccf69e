"""Samples a second in training the paper's network: `python -m benchmarks.training [--quick]`.

Steps of Adam on batches of 62 on one pinned core, taking turns: by minimal filtering, as ``nn.fit`` runs them (an epoch
in one loop); by XLA's own convolution step by step, and in the same loop, where its gradients are slow; and Keras's
Adam in TensorFlow's graph mode (see ``benchmarks.inference`` for where TensorFlow is found). CPU-seconds, medians. The
gradients of both formulations are compared.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from functools import partial

from benchmarks import _common
from benchmarks._tensorflow import Peer
from benchmarks.inference import clocked, interleaved, patches

BATCH = 62
LOOP, STEPWISE, TRAP, TENSORFLOW = "ours", "XLA's convolution", "XLA's convolution in a loop", "TensorFlow"


def worker(quick: bool) -> dict:
    """Rates and gradients on this process's core."""
    import jax
    import jax.numpy as jnp
    import numpy as np
    import optax

    from tmsjax.surrogate import CnnSpec, cnn

    net = cnn.network(CnnSpec(), 9)
    variables = net.init(jax.random.key(0))
    adam = optax.adam(1e-5)
    steps = 4 if quick else 12
    x = patches(BATCH * steps).reshape(steps, BATCH, 9, 9, 9, 3)

    def loss(variables, x, fast):
        return jnp.mean(net.apply(variables, x, fast=fast) ** 2)

    def step(fast, carry, x):
        value, gradient = jax.value_and_grad(loss)(carry[0], x, fast)
        updates, state = adam.update(gradient, carry[1], carry[0])
        return (optax.apply_updates(carry[0], updates), state), value

    start = variables, adam.init(variables)
    loop = jax.jit(lambda c, x: jax.lax.scan(partial(step, True), c, x))
    trap = jax.jit(lambda c, x: jax.lax.scan(partial(step, False), c, x))
    single = jax.jit(partial(step, False))
    some = jnp.asarray(x)
    counts = {LOOP: steps, STEPWISE: 1, TRAP: 2, TENSORFLOW: 1}
    paths = {LOOP: clocked(loop, start, some), STEPWISE: clocked(single, start, some[0])}
    with tempfile.TemporaryDirectory() as folder:
        peer = Peer(variables, x[0], folder)
        if peer.version is not None:
            paths[TENSORFLOW] = partial(peer, BATCH, "train")
        seconds = interleaved(paths, 3 if quick else 9)
        seconds |= interleaved({TRAP: clocked(trap, start, some[:2])}, 1)
        peer.close()
    rates = {name: round(BATCH * counts[name] / s) for name, s in seconds.items()}
    plain, fast = (jax.jit(jax.grad(partial(loss, fast=f)))(variables, some[0]) for f in (False, True))
    errors = jax.tree.map(lambda a, b: float(jnp.abs(a - b).max() / jnp.abs(a).max()), plain, fast)
    return {"rates": rates, "gradient": float(np.max(jax.tree.leaves(errors))), "tensorflow": peer.version}


def main() -> None:
    if "--worker" in sys.argv:
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
        print(json.dumps(worker("--quick" in sys.argv)))
        return
    options = _common.parse(__doc__ or "")
    command = [sys.executable, "-m", "benchmarks.training", "--worker", *(["--quick"] if options.quick else [])]
    environment = {**os.environ, "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, stdout=subprocess.PIPE, text=True, check=True)
    result = json.loads(done.stdout.splitlines()[-1])
    rates = result["rates"]
    _common.table("samples per CPU-second, batch 62", ("path", "samples"), list(rates.items()))
    targets = [
        _common.target("largest difference of gradients, of each array's largest", result["gradient"], 1e-4),
        _common.target("ours over XLA's convolution", rates[LOOP] / rates[STEPWISE], 1.0, at_least=True),
    ]
    if TENSORFLOW in rates:
        targets.append(_common.target("ours over TensorFlow", rates[LOOP] / rates[TENSORFLOW], 1.0, at_least=True))
    else:
        print("\nno TensorFlow here (pip install tmsjax[bench], or TMSJAX_TENSORFLOW)")
    _common.write("training", result, targets, quick=options.quick)


if __name__ == "__main__":
    main()
