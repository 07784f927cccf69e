"""The paper's network in TensorFlow's graph mode, as a process that answers lines: run by ``benchmarks.inference``.

Needs tensorflow and numpy only. Argument: an .npz with ``kernel_i``, ``bias_i``, ``weights_i``, ``offsets_i`` and
``patches``. It prints the outputs for the patches as JSON; then, for every line ``N`` on its input, the CPU-seconds
that one call on the first N patches took, and for ``train N`` those of one step of Adam on their mean squared error.
"""

from __future__ import annotations

import json
import os
import sys
import time

os.environ["TF_CPP_MIN_LOG_LEVEL"] = "3"

import numpy as np
import tensorflow as tf


def main() -> None:
    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    with np.load(sys.argv[1]) as kept:
        arrays = dict(kept)

    def pairs(a: str, b: str) -> list:
        count = sum(name.startswith(a) for name in arrays)
        return [(tf.Variable(arrays[f"{a}{i}"]), tf.Variable(arrays[f"{b}{i}"])) for i in range(count)]

    convolutions, dense = pairs("kernel_", "bias_"), pairs("weights_", "offsets_")

    @tf.function(reduce_retracing=False)
    def network(x):
        for kernel, bias in convolutions:
            x = tf.nn.relu(tf.nn.conv3d(x, kernel, [1] * 5, "VALID") + bias)
        x = tf.reshape(x, (x.shape[0], -1))
        for i, (weights, offsets) in enumerate(dense):
            x = tf.matmul(x, weights) + offsets
            x = tf.nn.relu(x) if i < len(dense) - 1 else x
        return x[:, 0]

    trained = [variable for pair in (*convolutions, *dense) for variable in pair]
    adam = tf.keras.optimizers.Adam(1e-5)
    adam.build(trained)

    @tf.function
    def step(x):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(tf.square(network(x)))
        adam.apply_gradients(zip(tape.gradient(loss, trained), trained, strict=True))
        return loss

    patches = arrays["patches"]
    print(json.dumps({"version": tf.__version__, "outputs": network(tf.constant(patches[:64])).numpy().tolist()}))
    inputs = {}
    for line in sys.stdin:
        *what, n = line.split()
        call = step if what else network
        if (line, n) not in inputs:
            inputs[line, n] = tf.constant(patches[: int(n)])
            call(inputs[line, n]).numpy()
        start = time.process_time()
        call(inputs[line, n]).numpy()
        print(time.process_time() - start, flush=True)


if __name__ == "__main__":
    main()
