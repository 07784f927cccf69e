"""Tables and bars of the placement benchmark."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks import _common


def say(rows: list[dict[str, Any]], errors: dict[str, dict[str, float]]) -> None:
    """Tables: what each pose costs against the search's, and the gradients."""
    lines = []
    for row in rows:
        for c in row["cases"]:
            loss = [
                f"{c['loss_percent'][n]:+.1f} ({c['loss_error_percent'][n]:.1f})" for n in list(c["loss_percent"])[1:]
            ]
            border = "border" if c["borders"] else ""
            lines.append(
                (
                    row["head"],
                    row["name"],
                    row["kind"],
                    c["layer"],
                    c["share"],
                    c["didt_a_per_us"]["search"],
                    *loss,
                    border,
                )
            )
    columns = (
        "head",
        "target",
        "kind",
        "layer",
        "share",
        "A/us",
        "600 poses",
        "5,000 poses",
        "|E|, better",
        "|E|, worse",
        "",
    )
    _common.table(
        "more output than the search's pose needs, % (standard error), neurons not searched with", columns, lines
    )
    columns = ("kind", "layer", "share", "cases", "better", "from", "to", "error", "worse", "from", "to", "error")
    _common.table(
        "what the optimum of mean |E| costs in its better and its worse polarity, %: median, range, standard error",
        columns,
        [tuple(row.values()) for row in field_costs(rows)],
    )
    _common.table("gradients against central differences", ("objective", "median", "p90", "worst"),
                  [(name, *row.values()) for name, row in errors.items()])  # fmt: skip


def field_costs(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """By kind of target, layer and share: extra output (%) of the mean-|E| optimum in either polarity.

    Median and range over targets, and the median of a case's own sampling error (bootstrap over held-out sites).
    """
    kinds: dict[tuple, list[dict[str, Any]]] = {}
    for row in rows:
        for c in row["cases"]:
            kinds.setdefault((row["kind"], c["layer"], c["share"]), []).append(c)
    out = []
    for (kind, layer, share), cases in sorted(kinds.items()):
        found: dict[str, Any] = {"kind": kind, "layer": layer, "share": share, "cases": len(cases)}
        for name in ("field_better", "field_worse"):
            losses = [c["loss_percent"][name] for c in cases]
            errors = [c["loss_error_percent"][name] for c in cases]
            found |= {name: float(np.median(losses)), f"{name}_least": min(losses), f"{name}_most": max(losses)}
            found[f"{name}_error"] = float(np.median(errors))
        out.append(found)
    return out


def against(rows: list[dict[str, Any]], name: str) -> dict[str, float]:
    """How the search's poses compare with another method's on held-out neurons: in how many cases beyond two errors."""
    cases = [c for row in rows for c in row["cases"]]
    sure = [c["loss_percent"][name] / max(c["loss_error_percent"][name], 1e-9) for c in cases]
    if not cases:
        return {"cases": 0}
    return {
        "cases": len(cases),
        "search_better": sum(s > 2 for s in sure),
        "no_difference": sum(-2 <= s <= 2 for s in sure),
        "search_worse": sum(s < -2 for s in sure),
        "median_percent": float(np.median([c["loss_percent"][name] for c in cases])),
    }


def bars(rows: list[dict[str, Any]], errors: dict[str, Any], solve_s: float) -> list[dict[str, Any]]:
    bar = _common.target
    slopes = [
        bar(f"gradient of {name}, relative error, median over poses", row["median"], 0.01)
        for name, row in errors.items()
    ]
    if not rows:
        return [bar("heads", 0, 2, at_least=True), bar("targets, both layers", 0, 10, at_least=True), *slopes]
    cases = [c for row in rows for c in row["cases"]]
    heads = {row["head"] for row in rows}

    def least(name: str, key: str) -> float:
        if key == "held out":
            return min(c["loss_percent"][name] for c in cases)
        return min(100 * (c["didt_searched_a_per_us"][name] / c["didt_searched_a_per_us"]["search"] - 1) for c in cases)

    grids = {name: against(rows, name) for name in ("grid_600", "grid_5000")}
    search = float(np.median([c["cpu_seconds"] for c in cases]))
    slowest = max(c["cpu_seconds"] for c in cases)
    grid = max(layer["grid_poses"] for row in rows for layer in row["layers"].values())
    wins = float(np.mean([c["loss_percent"]["grid_600"] > 0 for c in cases]))
    same = "the same on held-out neurons"
    cost = "search over the grid's direct solves, CPU time"
    fixed = [
        bar("heads", len(heads), 2, at_least=True),
        bar("targets, both layers", sum(row["whole"] for row in rows), 10, at_least=True),
        bar(
            "grid of 6 mm and 30 degrees over the search, searched neurons, least %",
            least("grid_600", "own"),
            0,
            at_least=True,
        ),
        bar(f"{same}, least %", least("grid_600", "held out"), 0, at_least=True),
        bar(f"{same}, share of cases that the search wins", wins, 1, at_least=True),
        bar(f"{same}, cases worse by more than two standard errors", grids["grid_600"]["search_worse"], 0),
        bar("search over the best of 5,000 poses, searched neurons, most %", -least("grid_5000", "own"), 0.5),
        bar(f"{same}, most %", -least("grid_5000", "held out"), 0.5),
        bar(
            f"{same}, cases worse by more than two standard errors and 0.5 %",
            sum(-c["loss_percent"]["grid_5000"] > 0.5 + 2 * c["loss_error_percent"]["grid_5000"] for c in cases),
            0,
        ),
        bar("evaluations of a search, most", max(c["evaluations"] for c in cases), 500),
        bar(f"{cost}, median", search / (grid * solve_s), 0.01),
        bar(f"{cost}, worst, with compilation", slowest / (grid * solve_s), 0.01),
    ]
    return fixed + slopes
