"""The README's table of measured numbers, from `results/*.json`: `python -m benchmarks.readme`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks._common import RESULTS

README = Path(__file__).parents[1] / "README.md"
BETWEEN = re.compile(r"(<!-- measured -->\n).*?(<!-- /measured -->)", re.DOTALL)


def rows() -> list[tuple[str, str, str]]:
    """(what, value, command and date) of the numbers that a newcomer wants to know."""
    out = []
    found = {path.stem: json.loads(path.read_text()) for path in sorted(RESULTS.glob("*.json"))}

    def add(name: str, what: str, value: str) -> None:
        out.append((what, value, f"`python -m benchmarks.{name}`, {found[name]['date'][:10]}"))

    if "demo" in found:
        demo = found["demo"]["results"]
        share = next(t["value"] for t in found["demo"]["targets"] if t["name"].startswith("predictions"))
        add("demo", "`tmsjax demo` without `--verify`, whole process, 2 cores", f"{demo['process_seconds']:.0f} s")
        check = demo["verified"]
        value = f"{100 * share:.0f} % within 5 %, median error {check['median_error_percent']:.1f} %"
        add("demo", f"its predictions against NEURON, {check['neurons']} neurons drawn at random", value)
    if "surrogates" in found:
        for cell, score in found["surrogates"]["results"].items():
            ours, uniform = score["unseen poses"], score["uniform"]
            value = (
                f"{ours['mape_percent']:.2f} / {ours['median_ape_percent']:.2f} %, R² {ours['r2']:.3f} "
                f"(uniform-field map, at the training poses: {uniform['mape_percent']:.1f} / "
                f"{uniform['median_ape_percent']:.1f} %, {uniform['r2']:.2f})"
            )
            add("surrogates", f"`{cell}`: mean / median error, {ours['n']} neurons at coil poses not trained on", value)
    if "other_head" in found:
        for cell, score in found["other_head"]["results"].items():
            ours = score["all"]
            value = f"{ours['mape_percent']:.2f} / {ours['median_ape_percent']:.2f} %, R² {ours['r2']:.3f}"
            add("other_head", f"`{cell}`: the same in a head not trained on, {ours['n']} neurons", value)
    if "efield" in found:
        targets = {t["name"]: t["value"] for t in found["efield"]["targets"]}
        for name, value in targets.items():
            if name.startswith("sphere"):
                add(
                    "efield",
                    "field in the brain of a sphere, 2 mm binary labels, against theory",
                    f"{100 * value:.2f} %",
                )
            if name.startswith("scipy"):
                add("efield", "time of SciPy's CG + Jacobi over ours, 2 mm", f"{value:.0f} x")
    if "inference" in found:
        rates = found["inference"]["results"]["one core"]["rows"]
        best = max(row["polynomial"] for row in rows_of_bundled(rates))
        add("inference", "thresholds per CPU-second of one core, from 9x9x9 field samples", f"{best:,.0f}")
    return out


def rows_of_bundled(rates: list[dict]) -> list[dict]:
    """Rates of the shipped model, not of the smaller one measured beside it."""
    return [row for row in rates if row["weights"].startswith("open/")]


def main() -> None:
    lines = ["| what | measured | how, when |", "|---|---|---|"]
    lines += [f"| {what} | {value} | {how} |" for what, value, how in rows()]
    text = README.read_text()
    table = "\n".join(lines) + "\n"
    README.write_text(BETWEEN.sub(lambda m: m.group(1) + table + m.group(2), text))
    print(table)


if __name__ == "__main__":
    main()
