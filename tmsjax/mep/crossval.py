"""Cross-validation of inverse models and baselines on one subject: tables II and III of Akbar et al. 2024."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
from jaxtyping import Int

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.mep.baselines import BASELINES, fit_baseline
from tmsjax.mep.inverse import SHORT_TRAINING, train_inverse
from tmsjax.mep.networks import MODELS, InverseSpec
from tmsjax.mep.preprocess import scaling
from tmsjax.mep.scores import scores, summary
from tmsjax.mep.types import Subject
from tmsjax.nn import TrainSpec
from tmsjax.nn.runs import check_identity, digest

FOLDS = 10

DRAWS = 50
"""Of the latent, for the estimator that is the mean of draws."""

ESTIMATORS = ("mean", "draw", "draws")
"""Of variational models: the field of the latent's mean, of one draw (what the authors' program evaluates), and the
mean field of DRAWS draws. Other models have the first alone."""


def random_folds(level: Any, folds: int = FOLDS, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Fold (n,) of each stimulation, drawn at random and stratified by intensity (section II-F).

    Raises InputError for fewer stimulations than folds.
    """
    level, rng = np.asarray(level), np.random.default_rng(seed)
    if not 2 <= folds <= len(level):
        raise InputError(
            "folds of a cross-validation", got=f"{folds} of {len(level)} stimulations", expected="2 or more"
        )
    out, first = np.zeros(len(level), int), 0
    for value in np.unique(level):
        rows = rng.permutation(np.flatnonzero(level == value))
        out[rows] = (first + np.arange(len(rows))) % folds
        first += len(rows)
    return out


def blocked_folds(places_mm: Any, folds: int = FOLDS, seed: int = 0) -> Int[np.ndarray, " n"]:
    """Fold (n,) of each stimulation by its coil's place (n, 3) mm: whole patches of the scalp are left out.

    Patches are the nearest of ``folds`` places that spread over the stimulated area (k-means). A random split leaves
    grid points that recur at every intensity and free sites that lie close on both sides.
    """
    from scipy.cluster.vq import kmeans2

    places = np.asarray(places_mm, float)
    if not 2 <= folds <= len(places):
        raise InputError(
            "folds of a cross-validation", got=f"{folds} of {len(places)} stimulations", expected="2 or more"
        )
    _, label = kmeans2(places, folds, minit="++", missing="raise", seed=seed)  # pyright: ignore[reportCallIssue]
    return label.astype(int)


class Run(NamedTuple):
    """What one model did on all left-out stimulations: ``found`` metrics (n,) (NaN in folds not run), and folds run."""

    name: str
    found: dict[str, np.ndarray]
    folds: list[int]


def cross_validate(
    subject: Subject, name: str, fold: Int[np.ndarray, " n"], *, spec: InverseSpec | None = None,
    training: TrainSpec = SHORT_TRAINING, only: Sequence[int] | None = None, scale_on: Literal["fold", "all"] = "fold",
    seed: int = 0, folder: str | Path | None = None, progress: Callable[[str], None] | None = None,
) -> dict[str, Run]:  # fmt: skip
    """Train a model or baseline without each fold in turn and score it there; by estimator ("mean" if there is one).

    Args:
        subject: cleaned, in its box. name: of MODELS or BASELINES. fold: (n,) of each stimulation.
        spec: of a model; its own defaults if None. training: of each fold. only: some of the folds.
        scale_on: "fold" scales by the training fold; "all" by all stimulations, as the paper does, which leaks.
        seed: of the models. folder: keeps each fold's scores; a killed run goes on. progress: told of folds.

    Raises InputError for an unknown name, folds that do not pair up, or a folder of another run.
    """
    if name not in (*MODELS, *BASELINES) or len(fold) != len(subject):
        raise InputError("cross-validation", got=f"{name}, {len(fold)} folds of {len(subject)} stimulations",
                         expected=f"one of {', '.join((*MODELS, *BASELINES))}; a fold each")  # fmt: skip
    if name in MODELS and spec is None:
        spec = InverseSpec(name, muscles=len(subject.muscles), voxel_mm=subject.voxel_mm)
    where = None if folder is None else Path(folder)
    if where is not None:
        where.mkdir(parents=True, exist_ok=True)
        about = {"model": name, "spec": repr(spec), "training": repr(training), "scale": scale_on, "seed": seed}
        check_identity(where / "run.json", about | {"data": digest((subject.fields, subject.responses, fold))})
    wanted = [int(k) for k in (np.unique(fold) if only is None else only)]
    found: dict[str, dict[str, np.ndarray]] = {}
    for k in wanted:
        if progress is not None:
            progress(f"{name}, fold {k + 1} of {fold.max() + 1}")
        file = None if where is None else where / f"fold_{k}.json"
        if file is not None and file.is_file():
            part = json.loads(file.read_text())
        else:
            part = _one(subject, name, fold == k, spec, training, scale_on, seed + k, where and where / f"run_{k}")
            if file is not None:
                with staged_file(file) as stage:
                    stage.write_text(json.dumps(part) + "\n")
        for estimator, metrics in part.items():
            own = found.setdefault(estimator, {})
            for metric, values in metrics.items():
                own.setdefault(metric, np.full(len(subject), np.nan))[fold == k] = values
    return {estimator: Run(name, metrics, wanted) for estimator, metrics in found.items()}


def _one(subject, name, test, spec, training, scale_on, seed, folder) -> dict[str, dict[str, list[float]]]:
    left, held = subject[~test], subject[test]
    scale = scaling(subject if scale_on == "all" else left)
    if name in BASELINES:
        fields = {"mean": fit_baseline(name, left, scale).predict(held.responses)}
    else:
        model = train_inverse(left, spec, training, seed, scale=scale, folder=folder)
        fields = {"mean": model.predict(held.responses)}
        if "log_variance" in model.variables and name != "vae_decoder":
            fields["draw"] = model.predict(held.responses, draws=1, seed=seed)
            fields["draws"] = model.predict(held.responses, draws=DRAWS, seed=seed)
    at = subject.voxels_mm
    return {
        estimator: {m: v.tolist() for m, v in scores(f, held.fields, at).items()} for estimator, f in fields.items()
    }


def tabulated(runs: dict[str, dict[str, Run]], fold: Any, level: Any) -> dict[str, Any]:
    """Tables II and III of runs by model and estimator: mean and 95 % errors, by intensity too, and folds run."""
    out: dict[str, Any] = {}
    for name, by_estimator in runs.items():
        for estimator, run in by_estimator.items():
            rows = np.isin(fold, run.folds)
            found = {metric: values[rows] for metric, values in run.found.items()}
            label = name if len(by_estimator) == 1 else f"{name} ({estimator})"
            out[label] = {"folds": len(run.folds), **summary(found, np.asarray(fold)[rows], np.asarray(level)[rows])}
    return out


def against_responses(subject: Subject, run: Run, metric: str = "nrmse") -> dict[str, Any]:
    """Figure 5: an error against the normalised responses' mean and variance and the number of active muscles.

    Columns (n,) of the stimulations that were left out in some fold, and Spearman's correlations.
    """
    from scipy.stats import spearmanr

    y = scaling(subject).responses(subject.responses)
    kept = np.isfinite(run.found[metric])
    columns = {
        "mean": y.mean(1)[kept], "variance": y.var(1)[kept], "active": (subject.responses > 0).sum(1)[kept],
        "intensity_percent": subject.intensity_percent[kept], metric: run.found[metric][kept],
    }  # fmt: skip
    correlations = {
        name: float(np.asarray(spearmanr(columns[name], columns[metric])[0])) for name in ("mean", "variance", "active")
    }
    return {"columns": columns, "spearman": correlations}
