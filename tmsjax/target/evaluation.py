"""Cross-validation with whole anatomies held out, repeated, and what it says: errors, dispersion, ensembles, tests.

Section 2.5 of Baxter et al. (2021): leave-one-out, five times, mean distance error, dispersion (equation 3), paired
Wilcoxon tests with Holm-Bonferroni. Warps of one head are no independent anatomies: statistics over anatomies (first
averaged within each) stand beside those over images, and tests pair anatomies where there are enough of them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Float
from scipy.stats import wilcoxon

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.nn.functional import Variables
from tmsjax.target.cohort import Cohort, by_base, check_apart, validation_rows
from tmsjax.target.network import NetworkSpec, locate
from tmsjax.target.train import Training, train

LEVELS_OF_P = ((0.001, "***"), (0.01, "**"), (0.05, "*"))

LEAST_PAIRS = 6
"""With fewer pairs no two-sided signed-rank test can reach 5 %."""

Predictions = Float[np.ndarray, "r b p 3"]


def errors(predicted: Float[np.ndarray, "*r b p 3"], truth: Float[np.ndarray, "b p 3"]) -> Float[np.ndarray, "*r b p"]:
    """Distance of every estimate from its point, mm; NaN where either is absent."""
    return np.linalg.norm(np.asarray(predicted, np.float64) - truth, axis=-1)


def dispersion(predicted: Predictions) -> Float[np.ndarray, "b p"]:
    """Equation 3: mean distance of the repetitions' estimates from their mean, mm.

    With five repetitions it is short of the spread about the true mean by sqrt(4/5), with r by sqrt((r - 1) / r).
    InputError for one repetition, which has none.
    """
    if len(predicted) < 2:
        raise InputError("dispersion is over repetitions", got=len(predicted), expected="2 or more")
    return np.linalg.norm(predicted - predicted.mean(0), axis=-1).mean(0)


def ensemble(predicted: Predictions) -> Float[np.ndarray, "b p 3"]:
    """The mean of the repetitions' estimates (table 4)."""
    return predicted.mean(0)


class Summary(NamedTuple):
    """Mean and SD (mm) of errors over images, and over anatomies after averaging within each; how many of either."""

    mean: float
    sd: float
    n: int
    anatomy_mean: float
    anatomy_sd: float
    anatomies: int


def summary(error: Float[np.ndarray, " n"], bases: Sequence[str]) -> Summary:
    """Of one point's errors, one an image (or an image and repetition); NaN are left out."""
    error, whose = np.asarray(error, np.float64), np.asarray(bases)
    inside = np.isfinite(error)
    if error.shape != whose.shape or not inside.any():
        raise InputError(
            "errors to summarise", got=f"{error.shape}, {inside.sum()} finite", expected="one for each base"
        )
    error, whose = error[inside], whose[inside]
    each = np.array([error[whose == name].mean() for name in dict.fromkeys(whose)])
    spread = [float(v.std(ddof=1)) if len(v) > 1 else 0.0 for v in (error, each)]
    return Summary(float(error.mean()), spread[0], len(error), float(each.mean()), spread[1], len(each))


def holm(values: Sequence[float]) -> np.ndarray:
    """p-values corrected for how many tests there are, by Holm's step-down method; NaN are no tests."""
    p = np.asarray(values, np.float64)
    out = np.full(p.shape, np.nan)
    tests = np.flatnonzero(np.isfinite(p))
    order = tests[np.argsort(p[tests], kind="stable")]
    out[order] = np.minimum(1, np.maximum.accumulate((len(order) - np.arange(len(order))) * p[order]))
    return out


class Test(NamedTuple):
    """A paired Wilcoxon test of two methods' errors: |Z|, corrected p, stars, and the method that errs less."""

    point: str
    pair: tuple[str, str]
    z: float
    p: float
    stars: str
    better: str
    n: int


def compare(
    table: Mapping[str, Float[np.ndarray, "n p"]], points: Sequence[str], pairs: Sequence[tuple[str, str]]
) -> list[Test]:
    """Tables 3 and 5: every pair of methods at every point, Holm-Bonferroni over all of these tests.

    Args:
        table: method -> errors (n, p), paired by row: one row an anatomy.
        points: names of the columns.
        pairs: which methods to compare.

    A test of fewer than ``LEAST_PAIRS`` pairs, or of equal errors, says nothing: Z and p are NaN.
    """
    rows = []
    for first, second in pairs:
        for k, point in enumerate(points):
            a, b = table[first][:, k], table[second][:, k]
            both = np.isfinite(a) & np.isfinite(b)
            difference = (a - b)[both]
            z, p = np.nan, np.nan
            if len(difference) >= LEAST_PAIRS and difference.any():
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore")  # of ties and zeros, which the approximation allows for
                    found: Any = wilcoxon(difference, method="approx")
                z, p = abs(float(found.zstatistic)), float(found.pvalue)
            mean = float(difference.mean()) if len(difference) else 0.0
            better = "" if mean == 0 else (first if mean < 0 else second)
            rows.append(Test(point, (first, second), z, p, "", better, len(difference)))
    corrected = holm([row.p for row in rows])
    stars = [next((mark for level, mark in LEVELS_OF_P if p <= level), "") for p in np.nan_to_num(corrected, nan=1.0)]
    return [row._replace(p=float(p), stars=mark) for row, p, mark in zip(rows, corrected, stars, strict=True)]


def by_anatomy(error: Float[np.ndarray, "*r b p"], bases: Sequence[str]) -> Float[np.ndarray, "a p"]:
    """Errors averaged over repetitions and over the images of each anatomy: the rows that tests may pair."""
    error = np.asarray(error, np.float64).reshape(-1, *error.shape[-2:])
    whose = np.asarray(bases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a point that an anatomy does not have stays NaN
        return np.stack([np.nanmean(error[:, whose == name], axis=(0, 1)) for name in dict.fromkeys(bases)])


def predict(spec: NetworkSpec, variables: Variables, cohort: Cohort) -> Float[np.ndarray, "b p 3"]:
    """Places of the finest level in every image, unturned, mm of the cube."""
    run = jax.jit(lambda flat: locate(spec, variables, flat).places[-1])
    return np.stack([np.asarray(run(flat)) for flat in cohort.flats])


def cross_validate(
    cohort: Cohort,
    spec: NetworkSpec,
    training: Training,
    *,
    repetitions: int = 5,
    folder: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> Predictions:
    """Places (r, b, p, 3) in every image by networks that have not seen its anatomy: leave-one-base-out, repeated.

    With a ``folder`` what is done is kept, and the same call after a kill goes on. Raises InputError where there is
    one base only, or no repetition.
    """
    if repetitions < 1:
        raise InputError("repetitions", got=repetitions, expected="1 or more")
    out = np.full((repetitions, len(cohort), len(spec.points), 3), np.nan)
    for r in range(repetitions):
        for train_rows, held_out in by_base(cohort):
            check_apart(cohort, train_rows, held_out)
            name = f"{cohort.bases[held_out[0]]}-{r}"
            home = None if folder is None else Path(folder) / name
            kept = None if home is None else home / "places.npy"
            if kept is not None and kept.is_file():
                out[r, held_out] = np.load(kept)
                continue
            choose = validation_rows(cohort, train_rows, r)
            learn = np.setdiff1d(train_rows, choose)
            told = None if progress is None else (lambda text, name=name: progress(f"without {name}: {text}"))
            variables, _ = train(cohort.rows(learn), cohort.rows(choose), spec, r, training, folder=home, progress=told)
            out[r, held_out] = predict(spec, variables, cohort.rows(held_out))
            if kept is not None:
                kept.parent.mkdir(parents=True, exist_ok=True)
                with staged_file(kept) as stage, stage.open("wb") as handle:
                    np.save(handle, out[r, held_out])
    return out
