"""The random search of the network's hyperparameters, on synthetic thresholds."""

import dataclasses
import json

import numpy as np
import pytest
from synthetic_thresholds import SIDE_MM, fields, hidden_functionals, thresholds

from tmsjax.core.errors import InputError
from tmsjax.nn import TrainSpec
from tmsjax.surrogate import SurrogateSpec, search
from tmsjax.surrogate.cnn import CnnSpec
from tmsjax.surrogate.search import PAPER_RANGES, Ranges

N = 3
RANGES = Ranges((1, 1), (1, 2), (4, 6), (1, 2), (4, 6), learning_rate=(1e-3, 1e-2), batch=(16, 32))
SPEC = SurrogateSpec(
    "synthetic/polarisation", n=N, side_mm=SIDE_MM, model=CnnSpec(conv_layers=1, output="log"), family="cnn"
)
TRAINING = TrainSpec(epochs=3, clip=None)
FEW = fields(200, seed=3, n=N)
TRUTH = thresholds(FEW, hidden_functionals(n=N))


def test_draws_are_within_the_papers_ranges_and_can_be_built():
    drawn = [search.draw(0, number, 9) for number in range(300)]
    for model, how in drawn:
        model.check(9)
        assert 50 <= model.filters <= 100
        assert 8 <= how["batch"] <= 128
        assert 1e-8 <= how["learning_rate"] <= 1e-5
        assert (model.output, model.coordinates) == ("threshold", "cartesian")
    for name in ("conv_layers", "kernel", "dense_layers"):
        low, high = getattr(PAPER_RANGES, name)
        assert {getattr(model, name) for model, _ in drawn} == set(range(low, high + 1)), name
    assert {model.batch_norm for model, _ in drawn} == {"", "before", "after"}
    rates = np.log10([how["learning_rate"] for _, how in drawn])
    assert np.median(rates) == pytest.approx(-6.5, abs=0.3)  # even in the logarithm
    assert drawn == [search.draw(0, number, 9) for number in range(300)] != [search.draw(1, i, 9) for i in range(300)]


def test_the_best_comes_first_and_a_search_goes_on_where_it_stopped(tmp_path):
    class Interrupt(Exception): ...

    def run(folder, progress=None, trials=3):
        how = {"trials": trials, "training": TRAINING, "ranges": RANGES, "groups": np.arange(200) // 2}
        return search.search(FEW, TRUTH, SPEC, 0, folder=folder, progress=progress, **how)

    def stop(text):
        if text.startswith("trial 2/3, epoch 2/"):
            raise Interrupt

    whole = run(tmp_path / "whole")
    assert [t.loss for t in whole] == sorted(t.loss for t in whole)
    assert sorted(t.number for t in whole) == [0, 1, 2]
    with pytest.raises(Interrupt):
        run(tmp_path / "broken", stop)
    assert list(search.read_trials(tmp_path / "broken")) == [0]
    said = []
    rest = run(tmp_path / "broken", said.append)
    assert [t._replace(seconds=0) for t in rest] == [t._replace(seconds=0) for t in whole]
    assert {text.split(",")[0] for text in said} == {"trial 2/3", "trial 3/3"}
    said.clear()
    assert run(tmp_path / "broken", said.append) == rest
    assert not said
    lines = (tmp_path / "broken" / "trials.jsonl").read_text().splitlines()
    assert [json.loads(line)["number"] for line in lines] == [0, 1, 2]
    assert sorted(path.name for path in (tmp_path / "broken").iterdir()) == ["search.json", "trials.jsonl"]
    with pytest.raises(InputError, match="another training"):
        search.search(
            FEW, TRUTH, SPEC, 0, trials=3, ranges=RANGES, folder=tmp_path / "broken",
            training=dataclasses.replace(TRAINING, epochs=4),
        )  # fmt: skip


def test_only_networks_are_searched(spec, tmp_path):
    with pytest.raises(InputError, match="family cnn"):
        search.search(fields(60, 0), np.full(60, 1.0), spec, 0, training=TRAINING, folder=tmp_path)
