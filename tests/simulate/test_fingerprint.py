"""One store, one simulation: whatever decides a threshold is written down, and another is refused."""

import copy
import dataclasses

import numpy as np
import pytest

from tmsjax.cells import cable_model
from tmsjax.core.errors import InputError
from tmsjax.simulate import Pulse, Search, create_dataset, open_dataset, pulse, run_dataset
from tmsjax.simulate.fingerprint import differences, fingerprint

ROWS = 1100  # two units of the cable engine


def _run(dataset, cell, **options):
    directions, n = dataset.recipe()["direction"], cable_model(cell).n
    given = {"engine": "cable", "initiation": False, "search": Search(tolerance=0.2), **options}
    run_dataset(dataset, cell, lambda rows: np.repeat(directions[rows, None], n, axis=1), **given)


def _stop(_):
    raise KeyboardInterrupt


@pytest.fixture(scope="module")
def begun(small_cell, tmp_path_factory):
    """A store with some of its rows."""
    path = tmp_path_factory.mktemp("begun") / "d"
    directions = np.random.default_rng(1).normal(size=(ROWS, 3))
    dataset = create_dataset(path, {"direction": directions}, cell="small", pulse="monophasic", seed=0)
    with pytest.raises(KeyboardInterrupt):
        _run(dataset, small_cell, progress=_stop)
    assert 0 < len(open_dataset(path).pending()) < ROWS
    return path


def _other_wave():
    named = pulse("monophasic")
    return Pulse(named.time_ms, np.maximum(named.waveform, 0.0), "monophasic")


def _denser(cell):
    """The same name and shape, with half the length constants' worth of another diameter."""
    section = dataclasses.replace(cell.sections[2], diam_um=cell.sections[2].diam_um * np.float32(1.01))
    return dataclasses.replace(cell, sections=(*cell.sections[:2], section, *cell.sections[3:]))


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"search": Search(tolerance=1e-3)}, "search"),
        ({"rule": "aberra2019"}, "rule = 'aberra2019'"),
        ({"pulse": _other_wave()}, "pulse"),
        ({"initiation": True}, "initiation = True"),
        ({"membrane": "reduced"}, "membrane = 'reduced'"),
        ({"precision": "float64"}, "precision"),
        ({"guess_of": lambda soma: np.full(len(soma), 300.0), "search": Search(tolerance=0.2)}, "guessed"),
        ({"engine": "neuron"}, "engine = 'neuron'"),
    ],
)
def test_another_simulation_is_refused(small_cell, begun, options, says):
    before = open_dataset(begun).content_hash()
    with pytest.raises(InputError, match=f"another simulation made it[\\s\\S]*{says}"):
        _run(open_dataset(begun), small_cell, **options)
    assert open_dataset(begun).content_hash() == before


def test_another_cell_of_the_same_name_is_refused(small_cell, begun):
    disabled = dataclasses.replace(small_cell, disabled=len(small_cell.sections) - 1)
    for cell in (disabled, _denser(small_cell), dataclasses.replace(small_cell, biophysics="L5_TTPC2")):
        with pytest.raises(InputError, match=r"another simulation made it\n\s+got:\s+cell = "):
            _run(open_dataset(begun), cell)


def test_the_same_simulation_has_the_same_fingerprint(small_cell):
    settings = {"initiation": True, "guessed": False, "engine": "cable", "options": {}}
    one = fingerprint(small_cell, pulse("biphasic"), Search(), **settings)
    again = fingerprint(copy.deepcopy(small_cell), pulse("biphasic"), Search(), **settings)
    assert differences(one, again) == ("", "")
    named = {**settings, "options": {"rule": "tree", "workers": 3, "scheduler": "tcp://a"}}
    assert differences(one, fingerprint(small_cell, pulse("biphasic"), Search(), **named)) == ("", "")


def test_a_store_without_a_fingerprint_is_read_but_not_gone_on_with(small_cell, begun, tmp_path):
    import shutil

    shutil.copytree(begun, tmp_path / "old")
    dataset = open_dataset(tmp_path / "old")
    attrs = dataset.attrs
    del attrs["simulation"]
    dataset.group.attrs.put(attrs)
    dataset = open_dataset(tmp_path / "old")
    before = dataset.results()
    assert (before["status"] == 0).any()
    with pytest.raises(InputError, match="earlier version"):
        _run(dataset, small_cell)
    pending = dataset.pending()
    for name, value in (("v_per_m", 1.0), ("factor", 1.0), ("soma", 1.0), ("status", 0)):
        values = before[name]
        values[pending] = value
        dataset.group[name][:] = values
    _run(open_dataset(tmp_path / "old"), small_cell)  # whole: there is nothing to do
    np.testing.assert_array_equal(open_dataset(tmp_path / "old").results()["v_per_m"], before["v_per_m"])
