"""SWC files of all sorts: what the points become, and that every broken point is named."""

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from tmsjax.cells.morphology import read_morphology
from tmsjax.cells.swc import swc_table, swc_text
from tmsjax.core.errors import InputError

AXON = "10 2 0 -5 0 1 1\n11 2 0 -50 0 1 10\n12 2 30 -90 0 0.5 11\n13 2 -30 -90 0 0.5 11\n"
DENDRITE = "20 3 0 5 0 1 1\n21 3 0 70 0 1 20\n"
ONE = "1 1 0 0 0 5 -1\n"
CELL = ONE + AXON + DENDRITE


@pytest.fixture
def read(tmp_path):
    def read(text, **options):
        path = tmp_path / "cell.swc"
        path.write_text(text)
        return read_morphology(path, **options)

    return read


def same(ours, theirs):
    assert [(s.name, s.region, s.parent, s.parent_x) for s in ours] == [
        (s.name, s.region, s.parent, s.parent_x) for s in theirs
    ]
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(a.points_um, b.points_um)
        np.testing.assert_array_equal(a.diam_um, b.diam_um)


@pytest.mark.parametrize(
    ("soma", "length"),
    [
        (ONE, 10),  # a point: as long as it is wide
        ("1 1 0 0 0 5 -1\n2 1 0 -5 0 5 1\n3 1 0 5 0 5 1\n", 10),  # NeuroMorpho.org's three points of one sphere
        ("1 1 0 -6 0 4 -1\n2 1 0 0 0 5 1\n3 1 0 6 0 4 2\n", 12),  # a stack of cones
    ],
    ids=["one", "three", "stack"],
)
def test_somata_of_one_three_and_many_points(read, soma, length):
    sections = read(soma + AXON + DENDRITE)
    assert [s.name for s in sections] == ["soma[0]", "axon[0]", "axon[1]", "axon[2]", "dend[0]"]
    assert sections[0].length_um == pytest.approx(length, rel=1e-6)
    assert sections[0].diam_um.max() == pytest.approx(10)
    assert sections[2].length_um == pytest.approx(50, rel=1e-6)
    np.testing.assert_allclose(sections[3].diam_um, [2, 1])


def test_a_soma_of_three_points_is_one_point_of_that_radius(read):
    three = read("1 1 0 0 0 5 -1\n2 1 0 -5 0 5 1\n3 1 0 5 0 5 1\n" + AXON + DENDRITE)
    same(three[1:], read(CELL)[1:])


def test_lines_may_stand_in_any_order(read):
    straight = read(CELL)
    lines = CELL.splitlines()
    for seed in range(5):
        shuffled = np.random.default_rng(seed).permutation(lines)
        ours = read("# made by a program\n\n" + "\n".join(shuffled) + "\n  # the end\n")
        assert len(ours) == len(straight)
        for section in straight:  # siblings come in the order of the file
            (twin,) = (s for s in ours if np.array_equal(s.points_um, section.points_um))
            np.testing.assert_array_equal(twin.diam_um, section.diam_um)
            assert twin.region == section.region


def test_a_branch_is_one_section_although_its_points_are_scattered(read):
    """Import3d alone cuts a section wherever the next line is not the next point."""
    scattered = "1 1 0 0 0 5 -1\n2 2 0 -5 0 1 1\n3 3 0 5 0 1 1\n4 2 0 -50 0 1 2\n5 3 0 70 0 1 3\n6 2 0 -99 0 1 4\n"
    assert [s.name for s in read(scattered)] == ["soma[0]", "axon[0]", "dend[0]"]
    assert read(scattered)[1].length_um == pytest.approx(94, rel=1e-6)


def test_ids_may_begin_anywhere_and_skip(read):
    moved = CELL.replace("10 2", "710 2").replace("1 10\n", "1 710\n")
    same(read(moved), read(CELL))


def test_forks_and_ends_are_of_the_kind_that_they_end(read):
    marked = CELL.replace("11 2", "11 5").replace("12 2", "12 6").replace("21 3", "21 6")
    same(read(marked), read(CELL))


def test_custom_types_are_refused_until_they_are_explained(read):
    custom = CELL.replace(" 2 ", " 7 ")
    with pytest.raises(InputError, match=r"type 7[\s\S]*4 points: 10, 11, 12, 13[\s\S]*types="):
        read(custom)
    same(read(custom, types={7: "axon"}), read(CELL))
    with pytest.raises(InputError, match="type 7 cannot become this"):
        read(custom, types={7: "spine"})
    with pytest.raises(InputError, match="type 0"):
        read(CELL.replace("21 3", "21 0"))


def test_the_text_of_a_table_gives_the_table_back():
    rng = np.random.default_rng(0)
    rows = [
        f"{k} {1 if k == 1 else 2} {rng.normal()!r} {rng.normal()!r} {rng.normal()!r} 1.1 {k - 1 or -1}"
        for k in range(1, 9)
    ]
    rows = [row.replace("np.float64(", "").replace(")", "") for row in rows]
    table = swc_table("\n".join(rows), "x")
    np.testing.assert_array_equal(swc_table(swc_text(table), "x"), table)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "holds no reconstruction"),
        ("# only a comment\n", "holds no reconstruction"),
        ("1 2 3\n", "line 1 is no point"),
        (CELL + "x y\n", "line 8 is no point"),
        (CELL.replace("-50 ", "nan "), "point 11 is not finite"),
        (CELL.replace("-50 0 1 10", "-50 0 inf 10"), "point 11 is not finite"),
        (CELL.replace("11 2 0", "11.5 2 0"), "line 3 has an id"),
        (CELL.replace("1 10\n", "1 77\n"), r"parent does not exist[\s\S]*points 11 with parents 77"),
        (CELL.replace("12 2", "11 2"), r"id is used twice[\s\S]*11"),
        (CELL.replace("-50 0 1 10", "-50 0 1 12"), r"loop[\s\S]*11, 12, 13"),
        (CELL.replace("-50 0 1 10", "-50 0 1 11"), r"loop[\s\S]*11"),
        (CELL.replace("-50 0 1 10", "-50 0 1 -1"), r"2 pieces[\s\S]*points 1, 11"),
        (CELL.replace("1 1 0 0 0 5 -1", "1 1 0 0 0 0 -1"), r"soma without a size[\s\S]*points 1 "),
        (CELL.replace("1 1 0 0 0 5 -1", "1 1 0 0 0 -5 -1"), "soma without a size"),
        (CELL.replace("1 1 0 0", "1 3 0 0"), "no soma"),
        (CELL.replace("1 1 0 0", "1 3 0 0").replace("20 3", "20 1"), r"does not begin in its soma[\s\S]*point 1 "),
        (CELL.replace("21 3", "21 1").replace("20 3", "20 3"), r"more than one soma[\s\S]*points 21"),
        (CELL.replace("0.5 11", "0 11"), r"no width[\s\S]*points 12, 13"),
        (CELL.replace("70 0 1", "70 0 -1"), r"no width[\s\S]*points 21 with radii -1"),
        (CELL.replace("30 -90", "0 -50"), r"a branch has no length[\s\S]*points 12 at \[0.0, -50.0, 0.0\]"),
        (CELL.replace("0 70 0", "0 5 0"), r"a branch has no length[\s\S]*points 20, 21"),
        (CELL.replace("0 5 0 1", "0 75 0 1"), r"not connected to the soma[\s\S]*point 20 lies 70 um"),
    ],
)
def test_broken_points_are_named(read, content, message):
    with pytest.raises(InputError, match=message) as error:
        read(content)
    assert "cell.swc" in str(error.value)


def test_an_axon_of_a_dendrite_needs_a_soma_with_radii(read):
    outline = "".join(
        f"{k} 1 {x} {y} 0 0 {k - 1 or -1}\n" for k, (x, y) in enumerate([(5, 0), (0, 6), (-5, 0), (0, -6)], 1)
    )
    text = outline + "20 3 0 5 0 1 1\n21 3 0 70 0 1 20\n22 2 0 90 0 1 21\n23 2 0 99 0 1 22\n"
    with pytest.raises(InputError, match=r"changes its type[\s\S]*\[0.0, 90.0, 0.0\][\s\S]*radii"):
        read(text)
    assert [s.name for s in read(text.replace(outline, ONE))] == ["soma[0]", "axon[0]", "dend[0]"]


@st.composite
def trees(draw):
    """A soma of one point and a few neurites of points at random places, each joined to any point before it."""
    rows = [(1, 1, 0.0, 0.0, 0.0, 6.0, -1)]
    size = draw(st.integers(2, 14))
    near, far = (st.floats(-reach, reach).map(lambda x: round(x, 2)) for reach in (28, 60))
    for k in range(2, size + 2):
        parent = 1 if k == 2 else draw(st.integers(1, k - 1))
        kinds = (2,) if k == 2 else (3, 4) if parent == 1 else (rows[parent - 1][1],)
        place = near if parent == 1 else far  # a stem that begins further off would not be the soma's
        radius = draw(st.floats(0.1, 3).map(lambda x: round(x, 2)))
        rows.append((k, draw(st.sampled_from(kinds)), draw(place), draw(place), draw(place), radius, parent))
    return rows


def lengths(rows):
    """What must remain: every step between points, save those from the soma to a branch of two points or more.

    A branch that forks at its first point begins at the soma's surface, or halfway to its centre.
    """
    at = {row[0]: np.array(row[2:5]) for row in rows}
    kind = {row[0]: row[1] for row in rows}
    children = {row[0]: [r[0] for r in rows if r[6] == row[0]] for row in rows}
    total = dict.fromkeys((2, 3, 4), 0.0)
    for row in rows[1:]:
        step = np.linalg.norm(at[row[0]] - at[row[6]])
        if kind[row[6]] != 1 or not children[row[0]]:
            total[row[1]] += step
        elif len(children[row[0]]) > 1:
            total[row[1]] += step - min(6.0, step / 2)
    return total


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(trees(), st.randoms())
def test_no_step_of_any_tree_is_lost_whatever_the_order_of_its_lines(tmp_path, rows, random):
    def text(rows):
        return "".join(" ".join(f"{word:g}" for word in row) + "\n" for row in rows)

    expected = lengths(rows)
    apart = [np.linalg.norm(np.array(r[2:5]) - np.array(rows[r[6] - 1][2:5])) for r in rows[1:]]
    assume(min(apart) > 0.5)
    path = tmp_path / "tree.swc"
    path.write_text(text(rows))
    sections = read_morphology(path)
    regions = {2: "ais", 3: "basal", 4: "apical"}
    for kind, region in regions.items():
        made = sum(s.length_um for s in sections if s.region == region)
        assert made == pytest.approx(expected[kind], rel=1e-5, abs=1e-4)
    for section in sections[1:]:
        assert sections[section.parent].region in ("soma", section.region)
    shuffled = rows[:]
    random.shuffle(shuffled)
    path.write_text(text(shuffled))
    twins = read_morphology(path)
    key = lambda s: (s.region, round(s.length_um, 4), s.points_um[-1].tolist())  # noqa: E731
    assert sorted(map(key, twins)) == sorted(map(key, sections))
