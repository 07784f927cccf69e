"""What the sampling grid costs: size, number of samples, coordinates (Aberra et al. 2023, figures 5A-C, S5 and S6)."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tmsjax.core.errors import InputError
from tmsjax.nn import metrics
from tmsjax.surrogate.cnn import CnnSpec, variable_size
from tmsjax.surrogate.evaluation.scores import Rows
from tmsjax.surrogate.support import SupportSpec
from tmsjax.surrogate.types import Surrogate, SurrogateSpec

SIDES_MM = (1.0, 1.5, 2.0, 2.5, 3.0)
SAMPLES = (3, 5, 7, 9)
"""Sides and samples a side of the paper (section 2.2.1)."""


class Case(NamedTuple):
    """One setting of an ablation: what is varied (``name`` and ``value``), in which ``variant``, and the spec."""

    name: str
    value: float | str
    variant: str
    spec: SurrogateSpec


class Data(NamedTuple):
    """Patches (k, n, n, n, 3) on a case's grid; thresholds (V/m at the centre), ``site``, ``initiation``, (k,) each."""

    patches: Any
    v_per_m: Any
    site: Any = None
    initiation: Any = None


def side_cases(spec: SurrogateSpec, sides_mm: Sequence[float] = SIDES_MM) -> list[Case]:
    """The same model on cubes of other sides (figure 5B)."""
    return [Case("side_mm", side, spec.family, dataclasses.replace(spec, side_mm=side).check()) for side in sides_mm]


def sample_cases(spec: SurrogateSpec, samples: Sequence[int] = SAMPLES) -> list[Case]:
    """The same cube with fewer samples (figures 5C, S6).

    A CNN comes in the paper's two variants: "variable size", smaller kernels and fewer layers, and "constant size", the
    patch upsampled to 9 samples. A support-function model keeps the degrees that a grid can carry.
    """
    cases = []
    for n in samples:
        if isinstance(spec.model, CnnSpec):
            kept = {"coordinates": spec.model.coordinates, "unit_v_per_m": spec.model.unit_v_per_m}
            small = dataclasses.replace(variable_size(n), **kept)
            whole = dataclasses.replace(spec.model, upsample=0 if n == 9 else 9)
            models = {"variable size": small, "constant size": whole}
        elif isinstance(spec.model, SupportSpec):
            degrees = tuple(sorted({min(degree, n - 1) for degree in spec.model.degrees}))
            models = {spec.family: dataclasses.replace(spec.model, degrees=degrees)}
        else:
            raise InputError("no ablation of this family", got=spec.family, expected="support or cnn")
        cases += [
            Case("n", n, variant, dataclasses.replace(spec, n=n, model=model).check())
            for variant, model in models.items()
        ]
    return cases


def coordinate_cases(spec: SurrogateSpec) -> list[Case]:
    """A CNN on components and on spherical coordinates (figures 5A, S5)."""
    if not isinstance(spec.model, CnnSpec):
        raise InputError("only a CNN has coordinates to choose", got=spec.family, expected="cnn")
    return [
        Case(
            "coordinates",
            c,
            spec.family,
            dataclasses.replace(spec, model=dataclasses.replace(spec.model, coordinates=c)),
        )
        for c in ("cartesian", "spherical")
    ]


def ablation(
    cases: Sequence[Case],
    fit: Callable[[Data, SurrogateSpec], Surrogate],
    training: Callable[[SurrogateSpec], Data],
    test: Callable[[SurrogateSpec], Data],
    progress: Callable[[str], None] | None = None,
) -> Rows:
    """Train every case and score it: one row each, with what was varied and ``tmsjax.nn.metrics.summary``.

    Args:
        fit: trains a surrogate on a case's data.
        training, test: the data on the grid of a spec, e.g. ``lambda spec: Data(*source.patches(...), ...)``. The same
            neurons in every case, or the rows cannot be compared.
    """
    rows: Rows = []
    neurons = None
    for case in cases:
        judge = test(case.spec)
        if neurons is not None and len(judge.v_per_m) != neurons:
            raise InputError("cases are judged on other neurons", got=len(judge.v_per_m), expected=neurons)
        neurons = len(judge.v_per_m)
        model = fit(training(case.spec), case.spec)
        scores = metrics.summary(np.asarray(model.predict(judge.patches)), judge.v_per_m)
        rows.append({"varied": case.name, "value": case.value, "variant": case.variant, **scores})
        if progress is not None:
            progress(f"{case.variant}, {case.name} {case.value}: MAPE {scores['mape_percent']:.2f} %")
    return rows
