"""Random search of the network's hyperparameters, as Aberra et al. (2023) made it (section 2.2.3, table 1).

Every trial is drawn from the seed and its own number, trained on a third of the training rows and judged on the
validation rows. Finished trials are lines of ``trials.jsonl``; a search that was cut off goes on with the others, and
inside the trial that was running.
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.nn import TrainSpec
from tmsjax.nn.runs import check_identity, digest
from tmsjax.surrogate.cnn import CnnSpec
from tmsjax.surrogate.cnn_train import HELD_OUT, VALIDATION, fit_network
from tmsjax.surrogate.examples import check_examples, normalised
from tmsjax.surrogate.split import split
from tmsjax.surrogate.types import SurrogateSpec

TRIALS, IDENTITY = "trials.jsonl", "search.json"

SHARE = 1 / 3
"""Of the training rows, for every trial."""


@dataclasses.dataclass(frozen=True)
class Ranges:
    """What is drawn, (lowest, highest) or a choice; the defaults are table 1's.

    The paper's best network has 115 filters, more than its own range. ``learning_rate`` is drawn evenly in its
    logarithm.
    """

    conv_layers: tuple[int, int] = (2, 6)
    kernel: tuple[int, int] = (1, 3)
    filters: tuple[int, int] = (50, 100)
    dense_layers: tuple[int, int] = (1, 5)
    units: tuple[int, int] = (50, 1000)
    shrink: tuple[float, float] = (0.5, 0.9)
    batch: tuple[int, int] = (8, 128)
    learning_rate: tuple[float, float] = (1e-8, 1e-5)
    dropout: tuple[float, float] = (0.0, 0.5)
    activation: tuple[str, ...] = ("relu", "leaky_relu")
    batch_norm: tuple[str, ...] = ("", "before", "after")


PAPER_RANGES = Ranges()

SHORT_RANGES = Ranges(learning_rate=(1e-4, 3e-3))
"""For dozens of epochs instead of 1,000."""


class Trial(NamedTuple):
    """A drawn network and its training; ``loss`` on the validation rows, ``status`` and ``seconds`` of its fit."""

    number: int
    model: CnnSpec
    training: TrainSpec
    loss: float
    status: str
    seconds: float

    def line(self) -> dict[str, Any]:
        """Plain dict of every field."""
        parts = {"model": dataclasses.asdict(self.model), "training": dataclasses.asdict(self.training)}
        return {**self._asdict(), **parts}


def draw(
    seed: int, number: int, n: int, ranges: Ranges = PAPER_RANGES, base: CnnSpec | None = None
) -> tuple[CnnSpec, dict[str, Any]]:
    """Trial ``number`` of a seed: a network that patches of n samples a side allow, batch size and learning rate.

    ``base`` holds what is not drawn (coordinates, upsampling, output).
    """
    rng = np.random.default_rng([seed, number])
    while True:
        drawn: dict[str, Any] = {}
        for field in dataclasses.fields(ranges):
            low, *_, high = bounds = getattr(ranges, field.name)
            if isinstance(low, str):
                drawn[field.name] = str(rng.choice(bounds))
            elif field.name == "learning_rate":
                drawn[field.name] = float(np.exp(rng.uniform(np.log(low), np.log(high))))
            elif isinstance(low, int):
                drawn[field.name] = int(rng.integers(low, high, endpoint=True))
            else:
                drawn[field.name] = float(rng.uniform(low, high))
        how = {name: drawn.pop(name) for name in ("batch", "learning_rate")}
        model = dataclasses.replace(base or CnnSpec(), **drawn)
        try:
            model.check(n)
        except InputError:
            continue  # six layers of kernel 3 leave nothing of 9 samples
        return model, how


def search(
    patches: Any,
    thresholds_v_per_m: Any,
    spec: SurrogateSpec,
    seed: int,
    *,
    trials: int = 52,
    groups: Any = None,
    training: TrainSpec,
    ranges: Ranges = PAPER_RANGES,
    folder: str | Path,
    progress: Callable[[str], None] | None = None,
) -> list[Trial]:
    """Train ``trials`` drawn networks and return them, the best (lowest validation loss) first.

    Arguments as ``train_cnn``'s, whose split this is: its held-out rows are not looked at. ``training`` is every
    trial's, apart from the batch size and the learning rate, which are drawn. ``folder`` keeps what was done: a call
    with the same arguments goes on, with more ``trials`` it adds to them.

    Raises
    ------
    InputError
        As ``train_cnn``; a ``folder`` that holds another search.
    """
    thresholds = check_examples(patches, thresholds_v_per_m, spec.check())
    if not isinstance(spec.model, CnnSpec):
        raise InputError("the search is for the paper's network", got=spec.family, expected="family cnn")
    parts = split(len(thresholds), seed, HELD_OUT, VALIDATION * (1 - HELD_OUT), groups=groups)
    some = np.random.default_rng(seed).permutation(parts.train)[: max(1, round(SHARE * len(parts.train)))]
    folder = Path(folder).absolute()
    folder.mkdir(parents=True, exist_ok=True)
    about = {
        "seed": seed,
        "spec": spec.to_json(),
        "training": dataclasses.asdict(training),
        "ranges": dataclasses.asdict(ranges),
        "examples": digest((patches, thresholds)),
    }
    check_identity(folder / IDENTITY, about)
    units = normalised(patches)
    done = read_trials(folder)
    for number in range(trials):
        if number in done:
            continue
        model, how = draw(seed, number, spec.n, ranges, spec.model)
        one = dataclasses.replace(training, **how)
        say = None if progress is None else partial(_say, progress, number, trials)
        run = folder / f"trial-{number:03d}"
        model, fitted = fit_network(
            model, units, thresholds, some, parts.validation, one, seed, folder=run, progress=say
        )
        loss = min(fitted.history["validation"])
        done[number] = Trial(number, model, one, loss, fitted.status, round(fitted.seconds, 1))
        _write(folder, done)
        shutil.rmtree(run)
    return sorted((done[i] for i in range(trials)), key=lambda t: t.loss if np.isfinite(t.loss) else np.inf)


def read_trials(folder: str | Path) -> dict[int, Trial]:
    """Finished trials of a search by number; none where there is no search."""
    path = Path(folder) / TRIALS
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []
    parts = [{**d, "model": CnnSpec(**d["model"]), "training": TrainSpec(**d["training"])} for d in lines]
    return {d["number"]: Trial(**d) for d in parts}


def _write(folder: Path, done: dict[int, Trial]) -> None:
    with staged_file(folder / TRIALS) as stage:
        stage.write_text("".join(json.dumps(done[i].line()) + "\n" for i in sorted(done)))


def _say(progress: Callable[[str], None], number: int, trials: int, text: str) -> None:
    progress(f"trial {number + 1}/{trials}, {text}")
