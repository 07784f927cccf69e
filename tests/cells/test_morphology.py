"""Reading reconstructions: what comes out, and what bad files are told."""

import gzip
import inspect
import lzma

import numpy as np
import pytest

from tmsjax.cells import build_neuron, cable_model, from_file, load_neuron
from tmsjax.cells.morphology import read_morphology
from tmsjax.core.errors import InputError

SOMA = '("CellBody"\n (CellBody)\n (-5 0 0 0)\n (0 6 0 0)\n (5 0 0 0)\n (0 -6 0 0)\n)\n'
SWC = "1 1 0 0 0 5 -1\n2 2 0 -5 0 1 1\n3 2 0 -500 0 1 2\n4 3 0 5 0 1 1\n5 3 0 50 0 1 4\n"
ASC = SOMA + "( (Axon)\n  (0 -6 0 1)\n  (0 -90 0 1)\n)\n"
CONTOUR = [(5 * np.cos(a), 8 * np.sin(a)) for a in np.linspace(0, 2 * np.pi, 40, endpoint=False)]


def contour_swc(width=1.0):
    lines = [f"{k + 1} 1 {width * x:.6f} {y:.6f} 0 0 {k if k else -1}" for k, (x, y) in enumerate(CONTOUR)]
    lines += ["41 2 0 -30 0 0.5 1", "42 2 0 -100 0 0.5 41", "43 2 50 -150 0 0.4 42", "44 2 -50 -150 0 0.3 42"]
    lines += ["45 4 0 8 0 1 1", "46 4 0 90 0 1 45"]
    return "\n".join(lines) + "\n"


def test_sections_come_in_neurons_order_attached_to_the_soma(simple):
    sections = read_morphology(simple)
    assert [s.name for s in sections] == ["soma[0]", "axon[0]", "dend[0]", "apic[0]"]
    assert [s.region for s in sections] == ["soma", "ais", "basal", "apical"]
    assert [(s.parent, s.parent_x) for s in sections] == [(-1, 0.0), (0, 0.5), (0, 0.5), (0, 0.5)]
    assert sections[1].length_um == pytest.approx(430, rel=1e-6)
    assert [s.nseg for s in sections] == [1, 21, 5, 9]


def test_distances_run_from_the_start_of_the_soma_to_segment_centres_and_the_sections_end(simple):
    soma, _, dendrite, _ = read_morphology(simple)
    expected = soma.length_um / 2 + np.array([10, 30, 50, 70, 100])  # the last segment stands for the end: 100 um
    np.testing.assert_allclose(dendrite.distance_um, expected, rtol=1e-6)


def test_reading_leaves_nothing_in_neuron(simple, capfd):
    read_morphology(simple)
    assert list(load_neuron().allsec()) == []
    assert capfd.readouterr().out == ""


def test_a_contour_soma_becomes_a_body_of_its_size(tmp_path):
    path = tmp_path / "contour.swc"
    path.write_text(contour_swc())
    soma, *rest = read_morphology(path)
    assert soma.length_um == pytest.approx(16, rel=0.02)  # the ellipse's long axis
    assert soma.diam_um.max() == pytest.approx(10, rel=0.03)
    assert [(s.name, s.parent) for s in rest] == [("axon[0]", 0), ("axon[1]", 1), ("axon[2]", 1), ("apic[0]", 0)]
    np.testing.assert_allclose(rest[1].points_um, [[0, -100, 0], [50, -150, 0]], atol=1e-5)
    np.testing.assert_allclose(rest[1].diam_um, [1.0, 0.8], rtol=1e-6)  # .swc holds radii
    assert {s.diam_um[-1].round(3) for s in rest[1:3]} == {np.float32(0.8), np.float32(0.6)}


def test_an_swc_with_radii_is_read_as_it_is(tmp_path):
    path = tmp_path / "cell.swc"
    path.write_text(SWC)
    soma, axon, dendrite = read_morphology(path)
    assert soma.length_um == pytest.approx(10)
    assert (axon.length_um, dendrite.length_um) == pytest.approx((495, 45))


def test_an_axon_on_a_dendrite_is_kept_there(tmp_path):
    path = tmp_path / "cell.swc"
    path.write_text("1 1 0 0 0 5 -1\n2 3 0 -5 0 1 1\n3 3 0 -50 0 1 2\n4 2 0 -300 0 0.3 3\n5 3 20 -90 0 0.3 3\n")
    cell = from_file(path, "L23_PC")
    axon = next(s for s in cell.sections if s.region == "ais")
    assert cell.sections[axon.parent].region == "basal"
    cable, built = cable_model(cell), build_neuron(cell)
    assert [str(sec) for sec in load_neuron().allsec()] == list(cable.section_names)
    np.testing.assert_allclose(cable.ri_mohm[1 : cable.n], [s.ri() for s in built.segments[1:]], rtol=1e-6)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.asc", "", "no complete reconstruction"),
        ("a.asc", '("CellBody"\n (CellBody)\n (1 2', "no complete reconstruction"),
        ("a.asc", "(hello)", "no single soma"),
        ("a.asc", "( (Axon)\n (0 5 0 1)\n (0 50 0 1)\n)\n", "no single soma"),
        ("a.asc", SOMA, "no axon"),
        ("a.asc", ASC.replace("Axon", "Dendrite"), "no axon"),
        ("a.asc", ASC.replace("(0 -90 0 1)", "(0 -90 0 0)"), r"line 10: a point of the axon has no width[\s\S]*-90"),
        ("a.asc", ASC.replace("(0 -90 0 1)", "(0 -90 0 -1)"), "line 10: a point of the axon has no width"),
        ("a.asc", ASC.replace("(0 -90 0 1)", "(0 -6 0 1)"), "line 9: a section of the axon has no length"),
        ("a.asc", ASC.replace("(0 -90 0 1)", ""), "line 9: a section of the axon has no length"),
        ("a.asc", ASC.replace("(0 -6 0 1)", "(0 -86 0 1)"), r"axon is not connected to the soma[\s\S]*80 um"),
        ("a.asc", ASC.replace("Axon", "Bouton"), "line 9: a tree is of no kind"),
        ("a.asc", SOMA.replace("5 0 0 0", "500 0 0 0").replace("6 0 0", "600 0 0"), "in micrometres"),
        ("a.swc", SWC.replace(" 3 0 5 0 1 1", " 2 0 5 0 1 1").replace("5 3 0", "5 2 0"), "more than one axon"),
        ("a.swc", SWC.replace(" 3 0 ", " 2 0 "), "more than one axon"),
        ("a.swc", SWC.replace("0 0 0 5 -1", "0 0 0 5000 -1"), "in micrometres"),
        ("a.txt", "x", "of this kind"),
        (
            "a.asc",
            ASC.replace("(-5 0 0 0)", "(nan 0 0 0)"),
            "line 3: a point is nowhere",
        ),  # five that ended the process
        ("a.asc", ASC.replace("(-5 0 0 0)", "(inf, 0, 0, 0)"), "line 3: a point is nowhere"),
        ("a.asc", ASC.replace("(-5 0 0 0)", "(1e300 0 0 0)"), "line 3: a point is nowhere"),
        ("a.asc", ASC.replace("(0 6 0 0)", "(1 0 0 0)").replace("(0 -6 0 0)", ""), "soma's outline encloses nothing"),
        ("a.swc", contour_swc(width=0), "soma's outline encloses nothing"),
        ("a.asc", ASC.replace("-90", "-1e30"), "line 10: a point is nowhere"),
        ("a.asc", ASC.replace("(0 -90 0 1)", "(0 -90 0 5000)"), r"axon\[0\] has no volume[\s\S]*1 to 5000 um"),
        ("a.swc", SWC.replace("-500", "-1e30"), "point 3 is farther away or larger than any neuron"),
        ("a.swc", SWC.replace("5 3 0 50 0 1", "5 3 0 50 0 1e300"), "point 5 is farther away or larger"),
    ],
)
def test_bad_files_are_named_with_what_is_wrong(tmp_path, name, content, message):
    path = tmp_path / name
    path.write_text(content)
    with pytest.raises(InputError, match=message) as error:
        read_morphology(path)
    assert name in str(error.value)


@pytest.mark.parametrize("path", [None, 5])
def test_what_is_no_path_is_refused(path):
    with pytest.raises(InputError, match="is no path"):
        inspect.unwrap(read_morphology)(path)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(InputError, match=r"does not exist[\s\S]*nowhere.asc"):
        read_morphology(tmp_path / "nowhere.asc")


def test_a_packed_file_is_the_file(simple, tmp_path):
    plain = read_morphology(simple)
    for suffix, pack in ((".gz", gzip.compress), (".xz", lzma.compress)):
        path = tmp_path / f"cell.asc{suffix}"
        path.write_bytes(pack(simple.read_bytes()))
        for ours, theirs in zip(read_morphology(path), plain, strict=True):
            np.testing.assert_array_equal(ours.points_um, theirs.points_um)
            np.testing.assert_array_equal(ours.diam_um, theirs.diam_um)
        path.write_bytes(path.read_bytes()[:-20])
        with pytest.raises(InputError, match=f"cell.asc{suffix} cannot be read"):
            read_morphology(path)
