"""Every gate against its closed form (Hay et al. 2011; Aberra et al. 2018), and how mechanisms are compiled."""

from importlib import resources

import numpy as np
import pytest

from tmsjax.cells import load_neuron, use_tables
from tmsjax.cells import mechanism_library as library
from tmsjax.core.errors import MissingToolError

DT = 0.005
Q = 2.3 ** ((37 - 21) / 10)
POTENTIALS = [
    -110.3,
    -90.0,
    -72.6,
    -66.0,
    -60.0,
    -59.9,
    -54.0,
    -50.0,
    -38.0,
    -35.0,
    -27.0,
    -20.1,
    0.0,
    18.7,
    40.0,
    91.0,
]


def linoid(k, x, s):
    return k * s if abs(x) < 1e-9 else k * x / (1 - np.exp(-x / s))


def rate(a, b, q=1.0, slow=1.0):
    return a / (a + b), slow / (a + b) / q


def transient_sodium(shift):
    def gates(v):
        v = v - shift
        m = rate(linoid(0.182, v + 38, 6), linoid(0.124, -v - 38, 6), Q)
        h = rate(linoid(0.015, -(v + 66), 6), linoid(0.015, v + 66, 6), Q)
        return m, h

    return gates


def persistent_sodium(v):
    am, bm = linoid(0.182, v + 38, 6), linoid(0.124, -v - 38, 6)
    ah, bh = linoid(2.88e-6, -(v + 17), 4.63), linoid(6.94e-6, v + 64.4, 2.63)
    m = 1 / (1 + np.exp(-(v + 52.6) / 4.6)), 6 / (am + bm) / Q
    return m, (1 / (1 + np.exp((v + 48.8) / 10)), 1 / (ah + bh) / Q)


def transient_potassium(v):
    u = v + 10
    m = 1 / (1 + np.exp(-u / 19)), (0.34 + 0.92 * np.exp(-(((u + 71) / 59) ** 2))) / Q
    return m, (1 / (1 + np.exp((u + 66) / 10)), (8 + 49 * np.exp(-(((u + 73) / 23) ** 2))) / Q)


def persistent_potassium(v):
    u = v + 10
    tau = 1.25 + 175.03 * np.exp(0.026 * u) if u < -50 else 1.25 + 13 * np.exp(-0.026 * u)
    slow = 360 + (1010 + 24 * (u + 55)) * np.exp(-(((u + 75) / 48) ** 2))
    return (1 / (1 + np.exp(-(u + 1) / 12)), tau / Q), (1 / (1 + np.exp((u + 54) / 11)), slow / Q)


def high_voltage_calcium(v):
    m = rate(linoid(0.055, v + 27, 3.8), 0.94 * np.exp((-75 - v) / 17))
    h = rate(0.000457 * np.exp((-13 - v) / 50), 0.0065 / (np.exp((-v - 15) / 28) + 1))
    return m, h


def low_voltage_calcium(v):
    u = v + 10
    m = 1 / (1 + np.exp(-(u + 30) / 6)), (5 + 20 / (1 + np.exp((u + 25) / 5))) / Q
    return m, (1 / (1 + np.exp((u + 80) / 6.4)), (20 + 50 / (1 + np.exp((u + 40) / 7))) / Q)


def kv3(v):
    return ((1 / (1 + np.exp(-(v - 18.7) / 9.7)), 4 / (1 + np.exp(-(v + 46.56) / 44.14))),)


def muscarinic(v):
    return (rate(0.0033 * np.exp(0.1 * (v + 35)), 0.0033 * np.exp(-0.1 * (v + 35)), Q),)


def hyperpolarisation(v):
    x = v + 154.9
    return (rate(0.00643 * x / (np.exp(x / 11.9) - 1), 0.193 * np.exp(v / 33.1)),)


GATES = {
    "NaTa_t": (transient_sodium(0), 3, "ina", 50),
    "NaTs2_t": (transient_sodium(6), 3, "ina", 50),
    "Nap_Et2": (persistent_sodium, 3, "ina", 50),
    "K_Tst": (transient_potassium, 4, "ik", -85),
    "K_Pst": (persistent_potassium, 2, "ik", -85),
    "SKv3_1": (kv3, 1, "ik", -85),
    "Im": (muscarinic, 1, "ik", -85),
    "Ih": (hyperpolarisation, 1, "i_Ih", -45),
    "Ca_HVA": (high_voltage_calcium, 2, "ica", 120),
    "Ca": (high_voltage_calcium, 2, "ica", 120),
    "Ca_LVAst": (low_voltage_calcium, 2, "ica", 120),
}


@pytest.fixture(params=[False, True], ids=["exact", "tables"])
def tables(request):
    use_tables(request.param)
    yield request.param
    use_tables(True)


@pytest.fixture
def patch():
    """Make a patch of membrane with one mechanism."""
    h = load_neuron()
    h.celsius, h.dt = 37, DT
    made = []

    def make(name, **reversals):
        sec = h.Section(name="patch")
        sec.insert(name)
        for ion, value in reversals.items():
            setattr(sec, ion, value)
        made.append(sec)
        return h, sec(0.5)

    yield make
    made.clear()


@pytest.mark.parametrize("name", GATES)
def test_gates_follow_their_closed_forms(name, patch, tables):
    gates, power, current, reversal = GATES[name]
    ion = {"i_Ih": {}}.get(current, {"e" + current[1:]: reversal})
    h, segment = patch(name, **ion)
    mech = getattr(segment, name)
    mech.gbar = 0.25
    tight = 1e-3 if tables else 1e-10
    for v in POTENTIALS:
        h.finitialize(v)
        product = 1.0
        for gate, (steady, tau), p in zip("mh", gates(v), (power, 1), strict=False):
            assert getattr(mech, gate) == pytest.approx(steady, rel=tight, abs=1e-9)
            assert getattr(mech, gate + "step") == pytest.approx(1 - np.exp(-DT / tau), rel=tight)
            product *= steady**p
        flow = segment.Ih.i if current == "i_Ih" else getattr(segment, current)
        assert flow == pytest.approx(0.25 * product * (v - reversal), rel=5 * tight, abs=1e-9)


def test_a_gate_relaxes_exactly_over_a_step(patch, tables):
    h, segment = patch("NaTa_t", ena=50)
    h.finitialize(-70)
    segment.v = -40.0
    before = segment.NaTa_t.m
    h.fadvance()
    steady, tau = transient_sodium(0)(segment.v)[0]
    assert segment.NaTa_t.m == pytest.approx(before + (1 - np.exp(-DT / tau)) * (steady - before), rel=1e-3)


def test_sk_opens_with_calcium(patch):
    h, segment = patch("SK_E2", ek=-85)
    for cai in (1e-4, 4.3e-4, 2e-3):
        segment.cai = cai
        h.finitialize(-70)
        assert segment.SK_E2.z == pytest.approx(1 / (1 + (4.3e-4 / cai) ** 4.8), rel=1e-12)


def test_calcium_relaxes_to_what_enters(patch):
    h, segment = patch("CaDynamics_E2")
    sec = segment.sec
    sec.insert("Ca_HVA")
    segment.Ca_HVA.gbar = 1e-3
    segment.CaDynamics_E2.gamma, segment.CaDynamics_E2.decay = 0.01, 200.0
    h.finitialize(-20)
    before, ica = segment.cai, segment.ica
    h.fadvance()
    ica = segment.ica if segment.ica != ica else ica
    settled = 1e-4 - 1e4 * ica * 0.01 * 200.0 / (2 * 96485 * 0.1)
    assert segment.cai == pytest.approx(before + (1 - np.exp(-DT / 200.0)) * (settled - before), rel=1e-6)
    assert segment.cai > before


def test_the_compiled_library_is_kept_and_found_again(monkeypatch, tmp_path):
    monkeypatch.setenv("TMSJAX_CACHE", str(tmp_path))
    ran = []

    def compiled(sources, target):
        ran.append(sorted(sources))
        target.write_bytes(b"library")

    monkeypatch.setattr(library, "_compile", compiled)
    first = library.compiled_library()
    assert library.compiled_library() == first
    assert first.is_relative_to(tmp_path)
    folder = resources.files("tmsjax.cells") / "mechanisms"
    there = sorted(path.name for path in folder.iterdir() if path.name.endswith((".mod", ".inc")))
    assert ran == [there]
    assert len(there) == len(library.MECHANISMS) + len(library.DRIVE) + len(library.INCLUDED)
    for name in ("NaTa_t.mod", "linoid.inc"):  # an included file counts too
        sources = library._sources() | {name: b"changed"}
        monkeypatch.setattr(library, "_sources", lambda sources=sources: sources)
        assert library.compiled_library().parent != first.parent
        first = library.compiled_library()


def test_without_a_compiler_the_error_says_what_to_install(monkeypatch, tmp_path):
    monkeypatch.setenv("TMSJAX_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    with pytest.raises(MissingToolError, match=r"no C\+\+ compiler .* install one"):
        library.compiled_library()
    assert not list(tmp_path.rglob("libnrnmech*"))


def test_a_failed_compilation_leaves_nothing_and_shows_the_end_of_its_output(monkeypatch, tmp_path):
    monkeypatch.setenv("TMSJAX_CACHE", str(tmp_path))
    monkeypatch.setattr(library, "_sources", lambda: {"broken.mod": b"NEURON { SUFFIX broken } BREAKPOINT {"})
    with pytest.raises(MissingToolError, match="could not compile"):
        library.compiled_library()
    assert not list(tmp_path.rglob("*.so"))
