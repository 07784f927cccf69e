"""Files of points in the worlds of other programs, several raters, and what is refused."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tmsjax.core.errors import InputError
from tmsjax.target.consensus import consensus, consensus_marks, rater_errors
from tmsjax.target.marks import Mark, as_arrays, check_marks, read_marks, write_csv, write_fcsv
from tmsjax.target.points import MOTOR, POINTS, landmark_name, mni_mm, point_name
from tmsjax.target.volume import Volume

MARKS = [Mark("LULIMBMC", (-40.5, -20.25, 60.0), "a", "knob, left"), Mark("RULIMBMC", (38.0, -18.0, 61.5), "a")]
LPS = """# Markups fiducial file version = 4.13
# CoordinateSystem = {}
# columns = id,x,y,z,ow,ox,oy,oz,vis,sel,lock,label,desc,associatedNodeID
1,10,20,30,0,0,0,1,1,1,0,LOFC,"deep, or so",
"""


def put(folder, name, text):
    (folder / name).write_text(text)
    return folder / name


def test_there_are_eleven_points_with_landmarks_on_their_sides():
    assert len(POINTS) == 11
    assert set(MOTOR) < set(POINTS)
    for point in POINTS:
        assert (mni_mm(point)[0] < 0) == point.startswith("L")
        assert point_name(landmark_name(point)) == point
    with pytest.raises(InputError, match="no target point"):
        point_name("heschl_right")


@pytest.mark.parametrize("write", [(write_fcsv, ".fcsv"), (write_csv, ".csv")])
def test_marks_come_back_as_they_were(tmp_path, write):
    path = write[0](tmp_path / f"a{write[1]}", MARKS)
    found = read_marks(path)
    assert [(m.point, m.rater) for m in found] == [(m.point, m.rater) for m in MARKS]
    np.testing.assert_allclose([m.place_mm for m in found], [m.place_mm for m in MARKS])


@pytest.mark.parametrize(("world", "sign"), [("LPS", -1), ("1", -1), ("RAS", 1), ("0", 1)])
def test_the_world_of_slicers_file_is_obeyed(tmp_path, world, sign):
    (mark,) = read_marks(put(tmp_path, "a.fcsv", LPS.format(world)))
    assert mark.place_mm == (10 * sign, 20 * sign, 30)
    assert (mark.point, mark.rater, mark.note) == ("LOFC", "a", "deep, or so")
    assert read_marks(tmp_path / "a.fcsv", rater="b")[0].rater == "b"


def test_what_is_written_for_slicer_is_in_lps(tmp_path):
    text = write_fcsv(tmp_path / "a.fcsv", MARKS).read_text()
    assert "# CoordinateSystem = LPS" in text
    assert "\n1,40.5000,20.2500,60.0000,0,0,0,1,1,1,0,LULIMBMC,\"knob, left\"," in text  # fmt: skip


def test_old_files_without_a_world_are_ras_and_newer_ones_are_refused(tmp_path):
    old = LPS.replace("# CoordinateSystem = {}\n", "")
    with pytest.warns(UserWarning, match=r"Slicer 4\.10, so RAS"):
        assert read_marks(put(tmp_path, "old.fcsv", old.replace("4.13", "4.10")))[0].place_mm == (10, 20, 30)
    for text in (old, LPS.format("XYZ"), old.replace("4.13", "")):
        with pytest.raises(InputError, match="which world"):
            read_marks(put(tmp_path, "new.fcsv", text))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("name,x,y,z\nLOFC,1,2,3\n", "which world"),
        ("# space = RAS mm\nname,x,y\nLOFC,1,2\n", "columns"),
        ("# space = RAS mm\nname,x,y,z\nM1,1,2,3\n", "LOFC, ROFC"),
        ("# space = RAS mm\nname,x,y,z\nLOFC,1,2,here\n", "not made of numbers"),
        ("# space = RAS mm\nname,x,y,z\nLOFC,1,2\n", "not made of numbers"),
        ("# space = RAS mm\nname,x,y,z\nLOFC,1,2,nan\n", "not finite"),
        ("# space = RAS mm\nname,x,y,z\n", "no points"),
        ("# space = RAS mm\nname,x,y,z,rater\nLOFC,1,2,3,a\nLOFC,2,2,3,a\n", "twice"),
    ],
)
def test_files_of_points_that_are_refused(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        read_marks(put(tmp_path, "a.csv", text))


def test_other_files_are_refused(tmp_path):
    for name in ("absent.csv", "a.txt"):
        with pytest.raises(InputError, match="no such file of points"):
            read_marks(tmp_path / name)
    with pytest.raises(InputError, match="cut off"):
        read_marks(put(tmp_path, "a.fcsv", LPS.format("LPS") + "2,1,2\n"))
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(InputError, match="cannot be read"):
        read_marks(tmp_path / "b.csv")


@pytest.fixture(scope="module")
def volume():
    """A cube of 200 mm whose middle is at x = 5."""
    affine = np.eye(4)
    affine[:3, 3] = (-94.5, -99.5, -99.5)
    return Volume(np.zeros((200,) * 3, np.float32), affine)


def test_a_point_outside_the_image_is_refused(volume):
    with pytest.raises(InputError, match=r"outside the image[\s\S]*LOFC"):
        check_marks([Mark("LOFC", (-96.0, 0, 0))], volume)
    assert check_marks([Mark("LOFC", (-90.0, 0, 0))], volume) == []


def test_swapped_sides_are_warned_of(volume):
    """Even of the foot, whose points are 12 mm apart; a single point only where it is well across the middle."""
    assert check_marks([Mark("LLLIMBMC", (1.0, 0, 0)), Mark("RLLIMBMC", (9.0, 0, 0))], volume) == []
    with pytest.warns(UserWarning, match="LLLIMBMC of a lies on the other side"):
        swapped = check_marks([Mark("LLLIMBMC", (9.0, 0, 0), "a"), Mark("RLLIMBMC", (1.0, 0, 0), "a")], volume)
    assert len(swapped) == 1
    with pytest.warns(UserWarning, match="LHESCHL lies on the other side"):
        check_marks([Mark("LHESCHL", (45.0, 0, 0))], volume)
    assert check_marks([Mark("LOFC", (10.0, 0, 0))], volume) == []


def test_absent_points_are_nan():
    places, present = as_arrays(MARKS)
    assert present.sum() == 2
    np.testing.assert_allclose(places[POINTS.index("RULIMBMC")], (38.0, -18.0, 61.5))
    assert np.isnan(places[~present]).all()


def at(*xs):
    return [Mark("LOFC", (float(x), 0.0, 0.0), "abcdefgh"[i]) for i, x in enumerate(xs)]


def test_the_consensus_of_raters():
    """All three, two of three, none; a tie of two pairs; one rater alone."""
    assert consensus(at(0, 5, 10)) [0].tolist() == [5, 0, 0]  # fmt: skip
    two = consensus(at(0, 4, 30))
    assert (two.place_mm.tolist(), two.agreed, two.tied) == ([2, 0, 0], ("a", "b"), False)
    assert consensus(at(0, 20, 40)) == (None, (), False)
    tie = consensus(at(0, 10, 21))
    assert (tie.place_mm.tolist(), tie.agreed, tie.tied) == ([5, 0, 0], ("a", "b"), True)
    assert consensus(at(0, 12)).place_mm is None  # less than 12 mm, not 12
    assert consensus(at(7)).place_mm.tolist() == [7, 0, 0]
    with pytest.raises(InputError, match="one point"):
        consensus([*at(1), Mark("ROFC", (0.0, 0, 0))])
    with pytest.raises(InputError, match="one point"):
        consensus([])


def test_points_without_consensus_are_left_out_and_said():
    marks = [*at(0, 20, 40), *(Mark("ROFC", (x, 0.0, 0.0), r) for x, r in ((30.0, "a"), (34.0, "b")))]
    found, notes = consensus_marks(marks)
    assert [(m.point, m.place_mm, m.rater) for m in found] == [("ROFC", (32.0, 0.0, 0.0), "consensus")]
    assert len(notes) == 1
    assert "LOFC: no two of 3 raters" in notes[0]


def test_experts_are_judged_by_a_consensus_that_holds_them_or_not():
    """Three raters at 0, 3 and 6: 3, 0, 3 mm from their mean; 4.5, 0, 4.5 from the others'."""
    assert rater_errors(at(0, 3, 6)) == {"LOFC": [3, 0, 3]}
    assert rater_errors(at(0, 3, 6), leave_out=True) == {"LOFC": [4.5, 0, 4.5]}
    assert rater_errors(at(3)) == {}


@given(st.lists(st.floats(-50, 50), min_size=2, max_size=5), st.randoms())
def test_a_consensus_is_one_of_agreeing_raters(xs, random):
    marks = at(*xs)
    found = consensus(marks)
    agreed = [m.place_mm[0] for m in marks if m.rater in found.agreed]
    if found.place_mm is not None:
        assert max(agreed) - min(agreed) < 12
        assert np.isclose(found.place_mm[0], np.mean(agreed))
    else:
        assert all(abs(a - b) >= 12 for i, a in enumerate(xs) for b in xs[:i])
    if not found.tied and found.place_mm is not None:
        random.shuffle(marks)
        np.testing.assert_allclose(consensus(marks).place_mm, found.place_mm)
