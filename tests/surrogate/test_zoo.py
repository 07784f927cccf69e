"""Saved surrogates: the same bits back, and clear words for what is not there or damaged."""

import json

import jax
import numpy as np
import pytest
from synthetic_thresholds import fields

from tmsjax import surrogate
from tmsjax.core.errors import InputError

PATCHES = fields(30, seed=5)


@pytest.fixture
def home(model, tmp_path):
    surrogate.save(model, tmp_path / "synthetic/polarisation/monophasic", card={"licence": "CC0", "data": "synthetic"})
    return tmp_path


def test_round_trip_is_bit_exact(model, home):
    back = surrogate.load("synthetic/polarisation", root=home)
    assert back.spec == model.spec
    for a, b in zip(jax.tree.leaves(model), jax.tree.leaves(back), strict=True):
        assert np.asarray(a).tobytes() == np.asarray(b).tobytes()
    np.testing.assert_array_equal(back.predict(PATCHES), model.predict(PATCHES))
    np.testing.assert_array_equal(back.in_domain(PATCHES), model.in_domain(PATCHES))


def test_the_card_says_where_it_comes_from(home):
    card = surrogate.load(home / "synthetic/polarisation/monophasic").card
    assert (card["cell"], card["pulse"], card["licence"]) == ("synthetic/polarisation", "monophasic", "CC0")
    assert {"seed", "scores", "spec", "domain", "versions", "date", "sha256", "n_train"} <= set(card)


def test_a_model_is_small(home):
    files = [f for f in home.rglob("*") if f.is_file()]
    assert sum(f.stat().st_size for f in files) < 1e6
    assert len(files) < 20


def test_saving_over_a_model_replaces_it(model, home):
    folder = home / "synthetic/polarisation/monophasic"
    surrogate.save(model, folder, card={"licence": "MIT"})
    assert surrogate.load(folder).card["licence"] == "MIT"
    assert [p.name for p in folder.parent.iterdir()] == ["monophasic"]


def test_what_is_not_there_lists_what_is(home):
    assert surrogate.available(home) == [("synthetic/polarisation", "monophasic")]
    for cell, pulse in (("synthetic/other", "monophasic"), ("synthetic/polarisation", "biphasic")):
        with pytest.raises(InputError, match=r"synthetic/polarisation \(monophasic\)"):
            surrogate.load(cell, pulse, root=home)
    with pytest.raises(InputError, match="none"):
        surrogate.load("x", root=home / "nowhere")


def test_damage_is_named(home):
    folder = home / "synthetic/polarisation/monophasic"
    largest = max((f for f in (folder / "weights").rglob("*") if f.is_file()), key=lambda f: f.stat().st_size)
    content = largest.read_bytes()
    largest.write_bytes(content[:50] + bytes([content[50] ^ 1]) + content[51:])
    with pytest.raises(InputError, match=largest.name):
        surrogate.load(folder)
    largest.write_bytes(content)
    surrogate.load(folder)
    sums = folder / "weights" / "SHA256SUMS"
    sums.write_text(sums.read_text() + "\n")
    with pytest.raises(InputError, match="not the ones on their card"):
        surrogate.load(folder)


def test_a_broken_card_is_named(home):
    card = home / "synthetic/polarisation/monophasic" / "card.json"
    good = json.loads(card.read_text())
    for bad in ("{", "[]", json.dumps({**good, "spec": {}}), json.dumps({k: good[k] for k in good if k != "sha256"})):
        card.write_text(bad)
        with pytest.raises(InputError, match="card cannot be read"):
            surrogate.load("synthetic/polarisation", root=home)
    card.write_text(json.dumps({**good, "format": 99}))
    with pytest.raises(InputError, match="format"):
        surrogate.load("synthetic/polarisation", root=home)


def test_everything_bundled_loads_and_predicts():
    for cell, pulse in surrogate.available():
        bundled = surrogate.load(cell, pulse)
        n = bundled.spec.n
        uniform = np.zeros((6, n, n, n, 3), np.float32) + np.concatenate([np.eye(3), -np.eye(3)])[:, None, None, None]
        assert ((np.asarray(bundled.predict(uniform)) > 10) & (np.asarray(bundled.predict(uniform)) < 2000)).all()
        assert bundled.card["scores"]["surrogate"]["mape_percent"] < 5
