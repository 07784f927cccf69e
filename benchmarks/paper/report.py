"""What the notebook says: tables of our numbers beside the paper's, read from the committed tables, none typed here."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper import files, kept
from benchmarks.paper.run import rows as recipe_rows
from tmsjax.surrogate.evaluation import Rows
from tmsjax.viz import Picture as Picture  # what the notebook shows

LAYERS = {"L23": "L2/3 PC", "L4": "L4 LBC", "L5": "L5 PC"}
ESTIMATORS = {
    "support": "support function",
    "cnn": "network (CNN)",
    "uniform": "uniform field",
    "weise": "average model",
}
MISSING = "–"
NAMES = {"mape_percent": "MAPE (%)", "p99_ape_percent": "99th percentile (%)", "r2": "R²"}


@dataclasses.dataclass(frozen=True)
class Tables:
    """The committed tables; a table that is not there is empty."""

    folder: Path = files.FOLDER

    def rows(self, name: str, **where: Any) -> Rows:
        """Rows of a CSV file whose columns have these values."""
        return [row for row in _read(self.folder / f"{name}.csv") if all(row[k] == v for k, v in where.items())]

    def arrays(self, name: str) -> dict[str, np.ndarray]:
        """Arrays of an .npz file."""
        path = self.folder / f"{name}.npz"
        return kept.load(path)[1] if path.exists() else {}

    def paper(self, quantity: str, layer: str, estimator: str) -> tuple[float | None, float | None]:
        """The paper's (low, high); a bound has no low, and None is what it does not say."""
        found = self.rows("paper", quantity=quantity, layer=layer, estimator=estimator)
        low, high = (found[0]["low"], found[0]["high"]) if found else ("", "")
        return (None if low == "" else float(low)), (None if high == "" else float(high))


@functools.lru_cache(maxsize=64)
def _read(path: Path) -> Rows:
    return files.read_rows(path)


class Markdown(str):
    """Text that a notebook shows as Markdown."""

    def _repr_markdown_(self) -> str:
        return str(self)


def markdown(columns: Sequence[str], lines: Sequence[Sequence[Any]]) -> Markdown:
    """A Markdown table, numbers with three significant digits; None and NaN as a dash."""
    shown = [[_shown(value) for value in line] for line in lines]
    head = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    return Markdown("\n".join(head + ["| " + " | ".join(line) + " |" for line in shown]))


def _shown(value: Any) -> str:
    if value is None or (isinstance(value, float) and np.isnan(value)) or value == "":
        return MISSING
    if isinstance(value, float):
        return f"{value:.3g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def published(low: float | None, high: float | None) -> str:
    """The paper's number, its range, or its bound."""
    if high is None:
        return MISSING
    if low is None:
        return f"< {high:g}"
    return f"{high:g}" if low == high else f"{low:g} to {high:g}"


def tested(pulse: str) -> list[str]:
    """The paper's cells with a test dataset of a pulse, by layer and clone."""
    cells = [row.recipe.cell for row in recipe_rows(Path()) if row.recipe.head != "S1" and row.recipe.pulse == pulse]
    return sorted(cells)


def progress(found: Tables) -> Markdown:
    """Which of the paper's rows are judged, and which families they have."""
    lines = []
    for pulse in ("monophasic", "biphasic"):
        for cell in tested(pulse):
            scores = found.rows("scores", cell=cell, pulse=pulse)
            families = [score["estimator"] for score in scores]
            count = scores[0]["n"] if scores else None
            learned = next((s["trained_on"] for s in scores if s["estimator"] == "support"), None)
            marks = ["yes" if family in families else None for family in ESTIMATORS]
            lines.append([short(cell), pulse, learned, count, *marks])
    return markdown(["cell", "pulse", "trained on", "judged on", *ESTIMATORS.values()], lines)


def scores(found: Tables, pulse: str) -> Markdown:
    """Per clone: MAPE, median and R2 of every estimator, and the support function's 99th percentile (figures 4, S4)."""
    lines = []
    for cell in tested(pulse):
        line: list[Any] = [short(cell)]
        for family in ESTIMATORS:
            got = (found.rows("scores", cell=cell, pulse=pulse, estimator=family) or [{}])[0]
            line += [got.get("mape_percent"), got.get("median_ape_percent")]
            line += [got.get("p99_ape_percent")] if family == "support" else []
            line.append(f"{got['r2']:.4f}" if got else None)
        lines.append(line)
    heads = ["cell"]
    for family, name in ESTIMATORS.items():
        heads += [f"{name}: MAPE (%)", "median (%)", *(["99th pct. (%)"] if family == "support" else []), "R²"]
    return markdown(heads, lines)


def short(cell: str) -> str:
    """A cell's name without its table."""
    return cell.partition("/")[2]


def beside(found: Tables) -> Markdown:
    """The worst clone of every layer beside the paper's bounds."""
    lines = []
    for layer, name in LAYERS.items():
        for family in ("support", "cnn", "uniform"):
            some = found.rows("scores", layer=layer, pulse="monophasic", estimator=family)
            worst = {key: max(s[key] for s in some) if some else None for key in ("mape_percent", "median_ape_percent")}
            fits = [s["r2"] for s in some]
            span = f"{min(fits):.4f} to {max(fits):.4f}" if fits else None
            theirs = [published(*found.paper(key, layer, family)) for key in (*worst, "r2")]
            clones = "+".join(str(s["clone"]) for s in some)
            ours = [worst["mape_percent"], worst["median_ape_percent"], span]
            both = [x for pair in zip(ours, theirs, strict=True) for x in pair]
            lines.append([name, ESTIMATORS[family], clones, *both])
    heads = ["layer", "estimator", "clones", "MAPE, worst (%)", "paper", "median, worst (%)", "paper", "R²", "paper"]
    return markdown(heads, lines)


def population(found: Tables) -> Markdown:
    """Models of the median over clones and azimuths at a place, against the median that was simulated."""
    keys = ("n", "mape_percent", "median_ape_percent", "p99_ape_percent")
    there = {(row["layer"], row["pulse"]): row for row in found.rows("medians")}
    lines = []
    for layer, pulse in [*((layer, "monophasic") for layer in LAYERS), ("L5", "biphasic")]:
        row = there.get((layer, pulse), {})
        fit = f"{row['r2']:.4f}" if row else None
        lines.append([LAYERS[layer], pulse, row.get("clones"), *(row.get(key) for key in keys), fit])
    heads = ["population", "pulse", "clones", "places", "MAPE (%)", "median (%)", "99th pct. (%)", "R²"]
    return markdown(heads, lines)


def targets(found: Tables) -> Markdown:
    """What is asked of every clone: the worst that was judged, and how many hold."""
    asked = [
        ("support", "mape_percent", "at most 0.8", lambda score: score["mape_percent"] <= 0.8, max),
        ("support", "p99_ape_percent", "at most 4", lambda score: score["p99_ape_percent"] <= 4, max),
        ("support", "r2", "at least 0.995", lambda score: score["r2"] >= 0.995, min),
        ("cnn", "mape_percent", "the paper's bound", lambda score: score["mape_percent"] <= _bound(found, score), max),
        ("uniform", "mape_percent", "4 to 10", lambda score: 4 <= score["mape_percent"] <= 10, max),
    ]
    lines = []
    for family, key, bar, holds, worst in asked:
        some = found.rows("scores", pulse="monophasic", estimator=family)
        last = worst(some, key=lambda score: score[key]) if some else {}
        missed = ", ".join(f"{short(s['cell'])} ({s[key]:.3g})" for s in some if not holds(s))
        held = f"{sum(map(holds, some))} of {len(some)} judged" if some else None
        value = f"{last[key]:.4g}" if last else None
        lines.append([ESTIMATORS[family], NAMES[key], bar, value, short(last.get("cell", "")), held, missed])
    return markdown(["estimator", "score", "asked", "worst", "cell", "held", "missed"], lines)


def _bound(found: Tables, score: dict[str, Any]) -> float:
    return found.paper("mape_percent", score["layer"], "cnn")[1] or 0.0


def medians(found: Tables) -> Markdown:
    """Range of the median error at each position, P-A, and the share within 5 % (figure 3B)."""
    lines = []
    for layer, name in LAYERS.items():
        for family in ("support", "cnn", "uniform"):
            got = found.rows(
                "population", layer=layer, pulse="monophasic", estimator=family, of="medians", current="P-A"
            )
            row = got[0] if got else {}
            span = f"{row['lowest_percent']:.1f} to {row['highest_percent']:.1f}" if row else None
            share = f"{100 * row['within_5_percent']:.1f}" if row else None
            theirs = found.paper("position_within_5_percent", layer, family)[1]
            clones = str(row.get("clones", MISSING))
            lines.append(
                [
                    name,
                    ESTIMATORS[family],
                    clones,
                    span,
                    published(*found.paper("position_median_percent", layer, family)),
                    share,
                    None if theirs is None else f"{100 * theirs:.1f}",
                ]
            )
    return markdown(["layer", "estimator", "clones", "median errors (%)", "paper", "within 5 % (%)", "paper"], lines)
