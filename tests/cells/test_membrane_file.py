"""A user's own cell: membrane file, channels, scaling; what is wrong is named by table, region and key."""

import inspect
import math
import pickle
import subprocess
import sys

import numpy as np
import pytest

from tmsjax import cells
from tmsjax.cells import mechanism_library
from tmsjax.cells.biophysics import channels, membrane, tables
from tmsjax.cells.scaling import scaling_of
from tmsjax.core.errors import InputError

OWN = """
[MY_CELL]
g_pas = { soma = 4e-5, dendrite = 5e-5, axon = 6e-5 }
e_pas_mv = { soma = -71, dendrite = -72.0, axon = -73.0 }
distant = { Ih = { regions = ["basal"], per_um = 0.002, offset = 0.5, factor = 0.5 } }

[MY_CELL.soma]
NaTs2_t = 0.5
Ca_HVA = 1e-4
gamma = 0.01
decay = 100.0

[MY_CELL.basal]
Ih = 1e-4

[MY_CELL.ais]
NaTa_t = 3.0
SKv3_1 = 1.0

[common]
ra_ohm_cm = 150.0
e_k_mv = -90.0
cm_uf_per_cm2 = { basal = 1.5 }

[axon_factors.node]
NaTa_t = 3.0
"""


@pytest.fixture
def own(tmp_path):
    def own(text=OWN, name="my.toml"):
        path = tmp_path / name
        path.write_text(text)
        return path

    return own


def written(table):
    """A table of ``biophysics.toml`` as a file of its own."""
    lines = []
    for key, value in table.items():
        if key in cells.REGIONS:
            lines += [f"[X.{key}]", *(f"{name} = {number!r}" for name, number in value.items())]
    head = ["[X]"]
    head += [
        f"{key} = {{ {', '.join(f'{part} = {number!r}' for part, number in table[key].items())} }}"
        for key in ("g_pas", "e_pas_mv")
    ]
    rules = [
        f'{n} = {{ regions = ["{r["regions"][0]}"], per_um = {r["per_um"]!r} }}' for n, r in table["distant"].items()
    ]
    return "\n".join([*head, f"distant = {{ {', '.join(rules)} }}", *lines]) + "\n"


@pytest.mark.parametrize("name", ["L23_PC", "L4_LBC", "L5_TTPC2"])
def test_our_own_tables_as_a_users_file_give_the_same_cell(own, simple, name):
    path = own(written(tables()[name]))
    ours, theirs = cells.from_file(simple, name), cells.from_file(simple, path)
    assert theirs.biophysics == "my.toml#X"
    a, b = cells.cable_model(ours), cells.cable_model(theirs)
    assert set(a.channels) == set(b.channels)
    for key in a.channels:
        np.testing.assert_array_equal(a.channels[key], b.channels[key])
    for key in ("g_pas", "e_pas_mv", "cm_uf_per_cm2", "gamma", "decay_ms", "ri_mohm"):
        np.testing.assert_array_equal(getattr(a, key), getattr(b, key))


def test_what_the_file_says_is_what_the_compartments_have(own, simple):
    cell = cells.from_file(simple, own())
    cable = cells.cable_model(pickle.loads(pickle.dumps(cell)))  # as a worker gets it
    region = {name: cable.region == k for k, name in enumerate(cells.REGIONS)}
    assert (cable.ra_ohm_cm, cable.e_k_mv, cable.e_na_mv) == (150.0, -90.0, 50.0)
    assert set(cable.cm_uf_per_cm2[region["basal"]]) == {1.5}
    assert set(cable.cm_uf_per_cm2[region["soma"]]) == {1.0}
    assert set(cable.g_pas[region["ais"]]) == {6e-5}
    assert set(cable.e_pas_mv[region["apical"]]) == {-72.0}
    assert set(cable.channels["NaTa_t"][region["ais"]]) == {3.0}
    assert set(cable.channels["NaTa_t"][region["node"]]) == {9.0}
    assert set(cable.channels["SKv3_1"][region["node"]]) == {0.0}
    assert set(cable.decay_ms[region["soma"]]) == {100.0}
    dendrite = next(s for s in cell.sections if s.region == "basal")
    np.testing.assert_allclose(
        cable.channels["Ih"][region["basal"]], 1e-4 * (0.5 + 0.5 * np.exp(0.002 * dendrite.distance_um)), rtol=1e-12
    )


def test_neuron_builds_what_the_compartments_say(own, simple):
    cell = cells.from_file(simple, own())
    cable, built = cells.cable_model(cell), cells.build_neuron(cell)
    for name, density in cable.channels.items():
        there = [getattr(s, name).gbar if hasattr(s, name) else 0.0 for s in built.segments]
        np.testing.assert_array_equal(density, there)
    np.testing.assert_allclose(cable.ri_mohm[1 : cable.n], [s.ri() for s in built.segments[1:]], rtol=2e-6)
    assert {s.sec.ek for s in built.segments if hasattr(s, "SKv3_1")} == {-90.0}
    assert np.isfinite(cells.steady_state()).all()


def test_one_of_several_tables_is_named(own, simple):
    two = own(OWN + OWN[: OWN.index("[common]")].replace("MY_CELL", "OTHER").replace("4e-5", "8e-5"))
    with pytest.raises(InputError, match=r"2 tables[\s\S]*MY_CELL[\s\S]*OTHER[\s\S]*#TABLE"):
        cells.from_file(simple, two)
    cell = cells.from_file(simple, f"{two}#OTHER")
    assert cell.biophysics == "my.toml#OTHER"
    assert cells.cable_model(cell).g_pas[0] == 8e-5
    with pytest.raises(InputError, match=r"no table \[THIRD\]"):
        cells.from_file(simple, f"{two}#THIRD")


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[MY_CELL]", "[MY_CELL", "my.toml is no TOML"),
        ("NaTs2_t = 0.5", "NaTs2_t = -0.5", r"\[MY_CELL.soma\] NaTs2_t"),
        ("NaTs2_t = 0.5", "NaTs2_t = nan", r"\[MY_CELL.soma\] NaTs2_t"),
        ("NaTs2_t = 0.5", 'NaTs2_t = "much"', r"\[MY_CELL.soma\] NaTs2_t"),
        ("NaTs2_t = 0.5", "NaTs2_t = true", r"\[MY_CELL.soma\] NaTs2_t"),
        (
            "NaTs2_t = 0.5",
            "NaTs_t = 0.5",
            r"\[MY_CELL.soma\]: there is no channel NaTs_t[\s\S]*SKv3_1[\s\S]*mean NaTs2_t",
        ),
        ("NaTs2_t = 0.5", "hNav16 = 0.5", r"no channel hNav16[\s\S]*option mechanisms"),
        ("[MY_CELL.basal]", "[MY_CELL.dendrite]", r"\[MY_CELL\]: unknown key dendrite"),
        ("[MY_CELL.basal]", "[MY_CELL.bassal]", r"unknown key bassal[\s\S]*did you mean basal"),
        ("[MY_CELL.ais]", "[MY_CELL.node]", r"\[MY_CELL\] lacks ais"),
        ("dendrite = 5e-5, ", "", r"\[MY_CELL.g_pas\] lacks dendrite"),
        ("soma = 4e-5", "soma = -4e-5", r"\[MY_CELL.g_pas\] soma"),
        ("soma = -71", "soma = inf", r"\[MY_CELL.e_pas_mv\] soma"),
        ("gamma = 0.01\n", "", r"\[MY_CELL.soma\]: the calcium is not described"),
        ("decay = 100.0", "decay = 0", r"\[MY_CELL.soma\]: the calcium is not described"),
        ("gamma = 0.01\ndecay = 100.0\n", "", r"\[MY_CELL.soma\]: Ca_HVA carries calcium"),
        ("Ca_HVA = 1e-4\ngamma = 0.01\ndecay = 100.0", "SK_E2 = 1.0", r"\[MY_CELL.soma\]: SK_E2 is opened by calcium"),
        ("NaTs2_t = 0.5", f"NaTs2_t = {10**400}", r"\[MY_CELL.soma\] NaTs2_t"),
        ("NaTs2_t = 0.5", f"NaTs2_t = {'9' * 5000}", "my.toml is no TOML"),
        ("NaTs2_t = 0.5", f"NaTs2_t = {'[' * 5000}", "my.toml is no TOML"),
        ("NaTs2_t = 0.5", "NaTs2_t = 1e4", r"\[MY_CELL.soma\] NaTs2_t"),
        ("soma = 4e-5", "soma = 1e300", r"\[MY_CELL.g_pas\] soma"),
        ("soma = -71", "soma = -1e300", r"\[MY_CELL.e_pas_mv\] soma"),
        ("e_k_mv = -90.0", "e_k_mv = 1e300", r"\[common\] e_k_mv[\s\S]*at most 200"),
        ("e_k_mv = -90.0", "g_pas_myelin = 1e300", r"\[common\] g_pas_myelin"),
        ("ra_ohm_cm = 150.0", "ra_ohm_cm = 1e300", r"\[common\] ra_ohm_cm"),
        ("basal = 1.5", "basal = 1e300", r"\[common.cm_uf_per_cm2\] basal"),
        ("gamma = 0.01", "gamma = 2", r"\[MY_CELL.soma\] gamma"),
        ("decay = 100.0", "decay = 1e300", r"\[MY_CELL.soma\] decay"),
        ("offset = 0.5", "offset = 1e300", r"\[MY_CELL.distant.Ih\] offset"),
        ("node]\nNaTa_t = 3.0", "node]\nNaTa_t = 1e300", r"\[axon_factors.node\] NaTa_t"),
        ('["basal"]', '["apical"]', r"\[MY_CELL.distant.Ih\]: the channel is not in apical"),
        ('["basal"]', '["node"]', r"\[MY_CELL.distant.Ih\] regions"),
        ('["basal"]', "3", r"\[MY_CELL.distant.Ih\] regions"),
        ("per_um = 0.002, ", "", r"\[MY_CELL.distant.Ih\] lacks"),
        ("per_um = 0.002", 'per_um = "x"', r"\[MY_CELL.distant.Ih\] per_um"),
        ("ra_ohm_cm = 150.0", "ra_ohm_cm = 0", r"\[common\] ra_ohm_cm"),
        ("ra_ohm_cm = 150.0", "ra = 150.0", r"\[common\]: unknown key ra"),
        ("ra_ohm_cm = 150.0", "temperature_c = 34.0", r"\[common\] temperature_c cannot be changed"),
        ("basal = 1.5", "basal = 0", r"\[common.cm_uf_per_cm2\] basal"),
        ("[common]", "[common.x]", r"\[common\]: unknown key x"),
        ("[axon_factors.node]\nNaTa_t", "[axon_factors.node]\nIm", r"\[axon_factors.node\]: unknown key Im"),
        ("[axon_factors.node]", "[axon_factors.myelin]", r"\[axon_factors\]: unknown key myelin"),
        ("NaTa_t = 3.0\nSKv3_1 = 1.0", "Im = 1.0", "axon_factors.node"),
    ],
)
def test_what_is_wrong_in_a_file_is_named(own, simple, old, new, message):
    assert old in OWN
    with pytest.raises(InputError, match=message) as error:
        cells.from_file(simple, own(OWN.replace(old, new, 1)))
    assert "my.toml" in str(error.value)


def test_a_missing_or_empty_file_is_named(own, simple, tmp_path):
    with pytest.raises(InputError, match="membrane file cannot be read"):
        cells.from_file(simple, tmp_path / "none.toml")
    with pytest.raises(InputError, match="0 tables"):
        cells.from_file(simple, own("[common]\n"))


def test_a_distribution_that_turns_negative_names_the_section(own, simple):
    cell = cells.from_file(simple, own(OWN.replace("offset = 0.5", "offset = -9")))
    with pytest.raises(InputError, match=r"density of Ih cannot be used in section dend\[0\]"):
        cells.cable_model(cell)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("per_um = 0.002", "per_um = 1000", r"density of Ih cannot be used in section dend\[0\]"),  # overflows
        ("node]\nNaTa_t = 3.0", "node]\nNaTa_t = 1e4", r"density of NaTa_t cannot be used in section Node\[0\]"),
    ],
)
def test_densities_that_grow_beyond_any_membrane_name_the_section(own, simple, old, new, message):
    cell = cells.from_file(simple, own(OWN.replace(old, new)))
    with pytest.raises(InputError, match=message):
        cells.cable_model(cell)


CALCIUM_IN_AIS = OWN.replace("SKv3_1 = 1.0", "SKv3_1 = 1.0\nSK_E2 = 0.1\ngamma = 0.02\ndecay = 300.0")


def test_channels_that_nodes_take_over_need_their_calcium_too(own, simple):
    bare = CALCIUM_IN_AIS.replace("node]\nNaTa_t = 3.0", "node]\nNaTa_t = 3.0\nSK_E2 = 1.0")
    with pytest.raises(InputError, match=r"\[axon_factors.node\]: SK_E2 is opened by calcium"):
        cells.from_file(simple, own(bare))
    cable = cells.cable_model(cells.from_file(simple, own(bare + "gamma = 1.0\ndecay = 1.0\n")))
    assert set(cable.decay_ms[cable.region == cells.REGIONS.index("node")]) == {300.0}


def test_both_engines_agree_on_a_membrane_full_of_calcium_gated_channels(own, simple):
    from tmsjax import simulate

    text = OWN.replace("Ca_HVA = 1e-4", "Ca_HVA = 1e-4\nSK_E2 = 1.0")
    cell = cells.from_file(simple, own(text))
    fields = np.broadcast_to([0.0, 0.0, 1.0], (1, cells.cable_model(cell).n, 3))
    neuron, cable = (
        simulate.thresholds(cell, fields, engine=engine, workers=1, initiation=False).v_per_m
        for engine in ("neuron", "cable")
    )
    assert np.isfinite(neuron).all()
    np.testing.assert_allclose(cable, neuron, rtol=0.011)  # two brackets of 0.5 %


@pytest.mark.parametrize("given", [5, b"my.toml", None])
def test_a_membrane_that_is_no_path_is_refused(given):
    from tmsjax.cells.membrane_file import read_membrane

    with pytest.raises(InputError, match="the membrane is no path"):
        inspect.unwrap(read_membrane)(given)
    if given is not None:
        with pytest.raises(InputError, match="mechanisms' folder is no path"):
            inspect.unwrap(read_membrane)("my.toml", given)


def test_an_axon_without_channels_in_its_nodes_is_refused(own, simple):
    bare = OWN[: OWN.index("[axon_factors")].replace("NaTa_t = 3.0\nSKv3_1 = 1.0", "Im = 1.0")
    with pytest.raises(InputError, match="the axon's region node has no channel"):
        cells.from_file(simple, own(bare))


LEAKY = """NEURON {
    SUFFIX %s
    USEION k READ ek WRITE ik
    RANGE gbar, g
}
PARAMETER { gbar = 0 (S/cm2) }
ASSIGNED { v (mV) ek (mV) ik (mA/cm2) g (S/cm2) }
BREAKPOINT { : not a SUFFIX other
    g = gbar
    ik = g * (v - ek)
}
"""


@pytest.fixture
def folder(tmp_path):
    def folder(**files):
        path = tmp_path / "mod"
        path.mkdir(exist_ok=True)
        for name, text in files.items():
            (path / f"{name}.mod").write_text(text)
        return path

    return folder


def test_own_mechanisms_run_in_neuron(own, simple, folder, monkeypatch, tmp_path):
    """A potassium leak in the soma pulls the cell to its reversal potential; in a process of its own."""
    mod = folder(leaky=LEAKY % "leaky_k")
    path = own(OWN.replace("NaTs2_t = 0.5", "NaTs2_t = 0.5\nleaky_k = 0.05"))
    code = f"""
from tmsjax import cells
cell = cells.from_file({str(simple)!r}, {str(path)!r}, mechanisms={str(mod)!r})
cable = cells.cable_model(cell)
assert cable.channels["leaky_k"][0] == 0.05 and cable.channels["leaky_k"][1:].max() == 0
built = cells.build_neuron(cell)
assert built.segments[0].leaky_k.gbar == 0.05 and built.segments[0].sec.ek == -90
v = cells.steady_state()
assert abs(v[0] + 90) < 1.5, v[0]
again = cells.build_neuron(cell)  # loaded once a process
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with pytest.raises(InputError, match="no channel leaky_k"):
        cells.from_file(simple, path)
    with pytest.raises(InputError, match="own mechanisms need an own membrane"):
        cells.from_file(simple, "L23_PC", mechanisms=mod)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (LEAKY % "Ih", "name Ih is taken"),
        ((LEAKY % "leaky_k").replace("RANGE gbar, g", "RANGE g"), "leaky_k without RANGE gbar"),
        ((LEAKY % "leaky_k").replace("SUFFIX", "POINT_PROCESS"), "no SUFFIX"),
        ("COMMENT NEURON { SUFFIX x RANGE gbar } ENDCOMMENT", "no SUFFIX"),
    ],
)
def test_mechanisms_that_cannot_be_used_are_named(own, simple, folder, text, message):
    with pytest.raises(InputError, match=message) as error:
        cells.from_file(simple, own(), mechanisms=folder(one=text))
    assert "one.mod" in str(error.value)


def test_a_folder_without_mechanisms_is_named(own, simple, tmp_path):
    for path in (tmp_path / "nothing", tmp_path):
        with pytest.raises(InputError, match="there are no mechanisms"):
            cells.from_file(simple, own(), mechanisms=path)


def test_two_mechanisms_of_one_name_are_refused(folder, monkeypatch):
    with pytest.raises(InputError, match="is taken"):
        mechanism_library.own_mechanisms(folder(a=LEAKY % "leaky_k", b=LEAKY % "leaky_k"))
    monkeypatch.setattr(mechanism_library, "_loaded_mechanisms", lambda h: {"leaky_k"})
    monkeypatch.setattr(mechanism_library, "compiled_library", lambda sources=None: "nowhere")
    (folder() / "b.mod").unlink()
    with pytest.raises(InputError, match=r"loaded other mechanisms[\s\S]*leaky_k"):
        mechanism_library.load_mechanisms(folder())


def test_a_cell_cannot_be_built_without_a_compiler(own, simple, folder, tmp_path):
    """Neither with our mechanisms nor with a user's, in processes that have loaded nothing yet."""
    mod = folder(a=LEAKY % "leaky_k")
    ours = cells.from_file(simple, "L23_PC")
    theirs = cells.from_file(simple, own(OWN.replace("NaTs2_t = 0.5", "leaky_k = 0.5")), mechanisms=mod)
    for cell in (ours, theirs):
        (tmp_path / "cell").write_bytes(pickle.dumps(cell))
        code = f"""
import pathlib, pickle
from tmsjax import cells
from tmsjax.core.errors import MissingToolError
try:
    cells.build_neuron(pickle.loads(pathlib.Path({str(tmp_path / "cell")!r}).read_bytes()))
except MissingToolError as error:
    print(error)
"""
        environment = {"TMSJAX_CACHE": str(tmp_path / "empty"), "PATH": str(tmp_path)}
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
        assert "no C++ compiler was found" in done.stdout
        assert "apt install g++ make" in done.stdout
        assert not list((tmp_path / "empty").rglob("*.so"))


def test_all_channels_of_our_tables_are_ours():
    for name in ("L23_PC", "L4_LBC", "L5_TTPC2"):
        assert set(channels(membrane(name))) < set(mechanism_library.MECHANISMS)


def test_scalings_by_name(simple):
    def widths(scaling):
        cell = cells.from_file(simple, "L23_PC", scaling=scaling)
        first = {s.region: s for s in reversed(cell.sections)}
        soma = cells.cable_model(cell)
        return [float(first[region].diam_um[0]) for region in ("ais", "basal", "apical")] + [
            float(soma.area_um2[soma.region == 0].sum()),
            first["basal"].length_um,
        ]

    bare = widths("none")
    np.testing.assert_allclose(bare[:3], [0.4, 2, 3], rtol=1e-6)
    for name, axon, basal, apical, soma in (
        ("adult human", 2.453, 1.946, 1.876, 2.453),
        ("adult rat", 1.322, 1.133, 1.248, 1.322),
    ):
        np.testing.assert_allclose(np.divide(widths(name), bare), [axon, basal, apical, soma, 1.17], rtol=1e-5)
    assert widths(cells.Scaling(1, 1, 1, 1, 1)) == bare
    assert cells.load("open/L1_DAC_1").name == "open/L1_DAC_1"
    assert cells.load("open/L1_DAC_1", scaling="adult rat").name == "open/L1_DAC_1 (adult rat)"
    assert cells.load("open/L1_DAC_1", scaling=cells.Scaling(1, 1, 1, 1, 1)).name == "open/L1_DAC_1 (scaled)"


@pytest.mark.parametrize(
    "scaling",
    [
        "human",
        cells.Scaling(1, 1, 1, 0, 1),
        cells.Scaling(1, math.nan, 1, 1, 1),
        cells.Scaling(1, 1, 1, 1, 1e9),
    ],
)
def test_scalings_that_make_no_sense_are_refused(simple, scaling):
    with pytest.raises(InputError, match="scaling"):
        inspect.unwrap(cells.from_file)(simple, "L23_PC", scaling=scaling)


@pytest.mark.parametrize("scaling", [None, 2.0, {"soma_area": 2.0}])
def test_what_is_no_scaling_is_refused(scaling):
    with pytest.raises(InputError, match="this is no scaling"):
        inspect.unwrap(scaling_of)(scaling)
