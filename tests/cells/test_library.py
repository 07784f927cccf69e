"""The cell library: the bundled cells, and what wrong names and folders are told."""

import hashlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tmsjax
from tmsjax import cells
from tmsjax.core.errors import InputError

OPEN = Path(tmsjax.__file__).parent / "data" / "cells" / "open"


def test_bundled_files_are_those_that_the_readme_lists():
    listed = re.findall(r"\| (\S+\.(?:swc|asc)) \| ([0-9a-f]{64}) \|", (OPEN / "README.md").read_text())
    assert len(listed) == 3
    for name, sha256 in listed:
        assert hashlib.sha256((OPEN / name).read_bytes()).hexdigest() == sha256


def test_bundled_cells_stand_upright_at_the_origin(bundled):
    cable = cells.cable_model(bundled)
    assert np.linalg.norm(cable.xyz_um[0]) < 3
    apical = cable.region == cells.REGIONS.index("apical")
    if bundled.biophysics == "L4_LBC":
        assert not apical.any()
    else:
        x, y, z = np.average(cable.xyz_um[apical], axis=0, weights=cable.area_um2[apical])
        assert z > 1.3 * np.hypot(x, y)


def test_bundled_cells_have_the_numbers_of_the_readme(bundled):
    cable = cells.cable_model(bundled)
    row = next(r for r in (OPEN / "README.md").read_text().splitlines() if r.startswith(f"| {bundled.name[5:]} |"))
    compartments, axon_mm, nodes = (float(word) for word in row.split("|")[2:5])
    assert cable.n == compartments
    assert sum(name.startswith("Node") for name in cable.section_names) == nodes
    along = cable.region >= cells.REGIONS.index("ais")
    assert cable.length_um[along].sum() / 1e3 == pytest.approx(axon_mm, abs=0.06)


def test_disabling_touches_only_the_last_segment_of_the_main_axon():
    intact, disabled = (cells.load("open/L5_PC_1", axon=axon) for axon in ("intact", "disabled"))
    assert (intact.axon, disabled.axon) == ("intact", "disabled")
    a, b = cells.cable_model(intact), cells.cable_model(disabled)
    (row,) = np.flatnonzero(a.diam_um != b.diam_um)
    assert b.diam_um[row] == 1000
    assert b.area_um2[row] == pytest.approx(np.pi * 1000 * b.length_um[row])
    assert b.section_names[b.section[row]].startswith("Node")


@pytest.mark.parametrize("name", ["L5_PC_1", "open/L6_PC_1", "aberra2019/L23_PC_cADpyr229_6", ""])
def test_an_unknown_cell_lists_the_known_ones(name):
    with pytest.raises(InputError, match="no such cell") as error:
        cells.load(name)
    assert "open/L5_PC_1" in str(error.value)


@pytest.mark.parametrize("name", [None, 5])
def test_what_is_no_name_is_refused(name):
    with pytest.raises(InputError, match="no such cell"):
        inspect.unwrap(cells.load)(name)


def test_a_reference_cell_without_its_folder_says_how_to_get_it(tmp_path):
    with pytest.raises(InputError, match=r"root=FOLDER[\s\S]*github.com/Aman-A"):
        cells.load("aberra2019/L4_LBC_cACint209_1")
    with pytest.raises(InputError, match=r"option root[\s\S]*asc/L4_LBC_cACint209_1.asc"):
        cells.load("aberra2019/L4_LBC_cACint209_1", root=tmp_path)


def test_an_unknown_axon_or_membrane_is_refused(simple):
    with pytest.raises(InputError, match="axon variant"):
        cells.load("open/L5_PC_1", axon="cut")
    with pytest.raises(InputError, match="axon variant"):
        cells.from_file(simple, "L23_PC", axon="cut")
    with pytest.raises(InputError, match=r"membrane table[\s\S]*L23_PC[\s\S]*L5_TTPC2"):
        cells.from_file(simple, "L6_TPC")


def test_the_room_imports_no_jax():
    code = "import sys, tmsjax.cells as c; c.cable_model(c.load('open/L4_LBC_1')); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
