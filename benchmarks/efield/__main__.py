"""Accuracy, gradients and speed of the field engine, all parts in one run.

python -m benchmarks.efield [--quick] [--only PART ...]
"""

from __future__ import annotations

import argparse
import multiprocessing
from concurrent.futures import ProcessPoolExecutor

from benchmarks import _common as common
from benchmarks.efield import measure, parts


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller cases, a minute or two each")
    parser.add_argument(
        "--only", nargs="+", choices=parts(), default=parts(), metavar="PART",
        help=f"some parts only, printed and not written: {', '.join(parts())}",
    )  # fmt: skip
    arguments = parser.parse_args()
    results, targets = {}, []
    for part in arguments.only:
        # A process each, so that no part's memory or compiled programs weigh on the next one's numbers.
        with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as alone:
            results[part], held = alone.submit(measure, part, arguments.quick).result()
        targets += held
    if set(arguments.only) == set(parts()):
        common.write("efield", results, targets, quick=arguments.quick)
    else:
        common.show(targets)


if __name__ == "__main__":
    main()
