"""The demo as a user runs it, in a process of its own: seconds of every stage, predictions against NEURON.

`python -m benchmarks.demo [--quick]` verifies 60 neurons (12 with --quick).
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from benchmarks import _common


def run(verify: int, out: Path) -> tuple[dict, float]:
    """The summary of one demo and the process's wall-clock seconds."""
    command = [sys.executable, "-c", "from tmsjax.cli import main; main()", "demo"]
    _, seconds = _common.timed(
        lambda: subprocess.run([*command, "--out", str(out), "--verify", str(verify)], check=True)
    )
    return json.loads((out / "summary.json").read_text()), seconds


def main() -> None:
    options = _common.parse(__doc__ or "")
    with tempfile.TemporaryDirectory() as folder:
        plain, seconds = run(0, Path(folder) / "plain")
        verified, _ = run(12 if options.quick else 60, Path(folder) / "verified")
        if not options.quick:
            shutil.copy(Path(folder) / "plain" / "demo.png", Path(__file__).parents[1] / "docs" / "demo.png")
    errors = np.abs([row["error_percent"] for row in verified["verified"]])
    targets = [
        _common.target("whole demo, s", seconds, 300.0),
        _common.target("predictions within 5 % of NEURON, share", float((errors <= 5).mean()), 0.5, at_least=True),
        _common.target("residual of the field", plain["field"]["residual"], 1e-4),
    ]
    results = {
        "seconds": plain["seconds"],
        "process_seconds": seconds,
        "layers": plain["layers"],
        "verified": {
            "neurons": len(errors),
            "median_error_percent": float(np.median(errors)),
            "largest_error_percent": float(errors.max()),
            "rows": verified["verified"],
        },
    }
    _common.write("demo", results, targets, quick=options.quick)


if __name__ == "__main__":
    main()
