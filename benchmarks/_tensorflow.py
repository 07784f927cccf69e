"""TensorFlow's side of a benchmark: a process of its own, in this environment or in the one of TMSJAX_TENSORFLOW."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any


class Peer:
    """TensorFlow's process; ``version`` is None where there is no TensorFlow."""

    def __init__(self, variables: Any, inputs: Any, folder: str) -> None:
        import numpy as np

        names = (("kernels", "kernel_"), ("biases", "bias_"))
        arrays = {f"{to}{i}": np.asarray(v) for of, to in names for i, v in variables[of].items()}
        for i, layer in variables["dense"].items():
            arrays |= {f"weights_{i}": np.asarray(layer["kernel"]), f"offsets_{i}": np.asarray(layer["bias"])}
        np.savez(Path(folder) / "network.npz", **arrays, patches=inputs)
        python = os.environ.get("TMSJAX_TENSORFLOW", sys.executable)
        script = Path(__file__).with_name("_tensorflow_cnn.py")
        pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen([python, str(script), f"{folder}/network.npz"], text=True, **pipes)
        first = self._read()
        self.version = json.loads(first)["version"] if first else None
        self.outputs = json.loads(first)["outputs"] if first else []

    def _read(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def __call__(self, batch: int, what: str = "") -> float:
        """CPU-seconds of one call, or of one step of training (``what="train"``)."""
        assert self.process.stdin is not None
        self.process.stdin.write(f"{what} {batch}\n")
        self.process.stdin.flush()
        return float(self._read())

    def close(self) -> None:
        """End the process."""
        assert self.process.stdin is not None
        self.process.stdin.close()
        self.process.wait()
