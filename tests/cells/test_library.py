"""The cell library: the bundled cells, and what wrong names and folders are told."""

import hashlib
import inspect
import json
import lzma
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
    assert len(listed) == 10
    known = {cells.info(name).sha256 for name in cells.names() if name.startswith("open/")}
    assert known == {sha256 for _, sha256 in listed}
    for name, sha256 in listed:
        assert hashlib.sha256(lzma.decompress((OPEN / f"{name}.xz").read_bytes())).hexdigest() == sha256


def test_five_layer_5_pyramidal_cells_are_independent_reconstructions():
    l5 = [cells.info(name) for name in cells.names() if name.startswith("open/L5_PC")]
    assert len(l5) == 5
    assert {(cell.kind, cell.membrane, cell.licence) for cell in l5} == {("reconstruction", "L5_TTPC2", "CC-BY-4.0")}
    assert len({cell.sha256 for cell in l5}) == 5


def test_what_is_no_reconstruction_says_so():
    readme = (OPEN / "README.md").read_text()
    for name in cells.names():
        cell = cells.info(name)
        derived = "Clone" in cell.source or "axon-" in cell.source or name.startswith("aberra2019/")
        assert (cell.kind != "reconstruction") == derived
        assert cell.licence in ("Apache-2.0", "CC-BY-4.0", "CC-BY-NC-SA-4.0")
        if name.startswith("open/"):
            (row,) = (r for r in readme.splitlines() if r.startswith(f"| `{name[5:]}."))
            assert f"| {cell.kind} |" in row
            assert f"| {cell.membrane} |" in row
            assert cell.licence.replace("CC-BY-4", "CC BY 4") in row


def test_the_readme_credits_every_source_and_says_what_of_the_licences_is_not_verified():
    readme = (OPEN / "README.md").read_text()
    credit = readme[readme.index("## Sources, licences, attribution") :]
    for name in cells.names():
        if name.startswith("open/"):
            package, version, *_ = cells.info(name).source.replace(",", "").split()
            assert f"https://pypi.org/project/{package}/{version}/" in credit
            unsure = credit[credit.index("not verified") :]
            assert (package in unsure[: unsure.index("Only emodel")]) == (cells.info(name).licence == "Apache-2.0")
    assert "doi:10.1016/j.isci.2023.108222" in credit
    assert "https://creativecommons.org/licenses/by/4.0/" in credit


def test_the_loaded_cell_is_what_is_known_of_it(bundled):
    assert bundled.biophysics == cells.info(bundled.name).membrane
    with pytest.raises(InputError, match="no such cell"):
        cells.info("open/L7_PC_1")


def test_bundled_cells_stand_upright_at_the_origin(bundled):
    cable = cells.cable_model(bundled)
    assert np.linalg.norm(cable.xyz_um[0]) < 3
    apical = cable.region == cells.REGIONS.index("apical")
    if bundled.biophysics == "L4_LBC":  # the interneurons
        assert not apical.any()
    else:
        x, y, z = np.average(cable.xyz_um[apical], axis=0, weights=cable.area_um2[apical])
        assert z > 1.3 * np.hypot(x, y)


def test_bundled_cells_have_the_numbers_of_the_readme(bundled, described):
    cable, says = cells.cable_model(bundled), described(bundled.name)
    assert cable.n == says["n"]
    assert sum(name.startswith("Node") for name in cable.section_names) == says["nodes"]
    along = cable.region >= cells.REGIONS.index("ais")
    assert cable.length_um[along].sum() / 1e3 == pytest.approx(says["axon_mm"], abs=0.06)
    assert says["axon_mm"] > 9  # no stubs


def test_the_readmes_thresholds_are_those_of_the_reference():
    reference = Path(__file__).parents[1] / "reference" / "open_uniform_thresholds.json"
    thresholds = json.loads(reference.read_text())["v_per_m"]
    rows = [row.split("|") for row in (OPEN / "README.md").read_text().splitlines() if row.count("|") == 9]
    listed = {f"open/{row[1].strip()}": row[8].strip() for row in rows[2:]}
    assert listed == {name: f"{min(values):.0f}-{max(values):.0f}" for name, values in thresholds.items()}


def test_disabling_touches_only_the_last_segment_of_the_main_axon():
    intact, disabled = (cells.load("open/L5_PC_4", axon=axon) for axon in ("intact", "disabled"))
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


def test_a_reference_cell_without_its_folder_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setenv("TMSJAX_DATA", str(tmp_path / "nothing"))
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


@pytest.mark.parametrize("axon", ["intact", "disabled"])
def test_an_unknown_main_axon_is_refused_even_where_it_is_not_needed(simple, axon):
    with pytest.raises(InputError, match=r"no such main axon[\s\S]*zzz[\s\S]*deepest"):
        inspect.unwrap(cells.from_file)(simple, "L23_PC", axon=axon, main_axon="zzz")


@pytest.mark.parametrize("root", [5, b"folder"])
def test_a_folder_that_is_no_path_is_refused(root):
    with pytest.raises(InputError, match="no path"):
        inspect.unwrap(cells.load)("aberra2019/L4_LBC_cACint209_1", root=root)


def test_the_room_imports_no_jax():
    code = "import sys, tmsjax.cells as c; c.cable_model(c.load('open/L4_LBC_1')); assert 'jax' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
