"""The README's table of measured numbers, from `results/*.json`: `python -m benchmarks.readme`."""

from __future__ import annotations

import json
import re
from pathlib import Path

from benchmarks._common import RESULTS

README = Path(__file__).parents[1] / "README.md"
BETWEEN = re.compile(r"(<!-- measured -->\n).*?(<!-- /measured -->)", re.DOTALL)


FIELD_ROWS = (
    (
        "sphere, 2 mm",
        "field in the brain of a sphere, 2 mm binary labels, against theory",
        lambda v: f"{100 * v:.2f} %",
    ),
    ("sphere, 1 mm", "the same, 1 mm", lambda v: f"{100 * v:.2f} %"),
    (
        "folded head, 1 mm from labels: E in grey matter 0.5-2.5 mm deep, any points",
        "field in the grey matter of a folded synthetic head (`within_tissue`), 1 mm, against 0.5 mm",
        lambda v: f"{100 * v:.1f} %",
    ),
    ("pyamg", "CPU time of a further field of head S1, 1 mm: pyamg over ours", lambda v: f"{v:.0f} x"),
    ("scipy", "the same: SciPy's CG + Jacobi over ours", lambda v: f"{v:.0f} x"),
    (
        "pose model, 5000 points of a 25 mm region, 1 mm: one more",
        "the same: a direct solve over the pose model",
        lambda v: f"{v:,.0f} x",
    ),
    (
        "pose model, 5000 points of a 25 mm region, 1 mm: worst",
        "the pose model's worst error at poses held out",
        lambda v: f"{100 * v:.3f} %",
    ),
)
"""Start of a target's name in efield.json, what it is to a newcomer, and how it is written."""

GROUND_TRUTH_ROWS = (
    ("(a) NEURON, extracellular", "NEURON as in the published pipeline"),
    ("(b) oracle", "our NEURON oracle"),
    ("(c) cable, full", "our cable engine, all channels"),
)


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
            place = "another head" if "another head" in score else "unseen poses"
            where = {"another head": "in a head not trained on", "unseen poses": "at coil poses not trained on"}[place]
            ours, uniform = score[place], score["families"][place]["uniform"]
            value = (
                f"{ours['mape_percent']:.2f} / {ours['median_ape_percent']:.2f} %, R² {ours['r2']:.3f} "
                f"(uniform-field map: {uniform['mape_percent']:.1f} / {uniform['median_ape_percent']:.1f} %, "
                f"{uniform['r2']:.2f})"
            )
            add("surrogates", f"`{cell}`: mean / median error, {ours['n']} neurons {where}", value)
    if "efield" in found:
        targets = {t["name"]: t["value"] for t in found["efield"]["targets"]}
        for start, what, form in FIELD_ROWS:
            values = [value for name, value in targets.items() if name.startswith(start)]
            if values:
                add("efield", what, form(values[0]))
    if "groundtruth" in found:
        cells = found["groundtruth"]["results"].values()
        for key, what in GROUND_TRUTH_ROWS:
            slowest, fastest = (pick(r["per_second"][key] for r in cells) for pick in (min, max))
            add("groundtruth", f"thresholds a second of one core, 2 %: {what}", f"{slowest:.3g} to {fastest:.3g}")
        worst = max(r["max_percent"] for r in cells)
        add("groundtruth", "cable engine against NEURON in random fields, worst threshold", f"{worst:.2f} %")
    if "published_thresholds" in found:
        targets = {t["name"]: t["value"] for t in found["published_thresholds"]["targets"]}
        worst = targets["cable: largest difference from published, %"]
        add(
            "published_thresholds",
            "cable engine against 398 published thresholds of each of 12 cells",
            f"{worst:.2f} %",
        )
    if "inference" in found:
        one = found["inference"]["results"]["one core"]
        best = max(row["support model, predict"] for row in one["rows"])
        add("inference", "thresholds per CPU-second of one core, from field samples", f"{best:,.0f}")
        for row in one["end to end"]:
            rate = f"{row['response.thresholds']:,.0f}"
            add("inference", f"the same from a field on its voxels, {row['samples']} samples each", rate)
        row = one["rows"][-1]
        if one["tensorflow"] is not None:
            add(
                "inference",
                "the paper's network, over TensorFlow",
                f"{row['network, predict'] / row['TensorFlow']:.1f} x",
            )
    return out


def main() -> None:
    lines = ["| what | measured | how, when |", "|---|---|---|"]
    lines += [f"| {what} | {value} | {how} |" for what, value, how in rows()]
    text = README.read_text()
    table = "\n".join(lines) + "\n"
    README.write_text(BETWEEN.sub(lambda m: m.group(1) + table + m.group(2), text))
    print(table)


if __name__ == "__main__":
    main()
