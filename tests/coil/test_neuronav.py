"""Poses of neuronavigation: files as the programs write them, synthesised here, against poses known beforehand."""

from inspect import unwrap

import numpy as np
import pytest
import scipy.io
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from tmsjax.coil import CoilPose, NamedPose, load_poses, save_poses
from tmsjax.core.errors import InputError

# A coil over the left of the head: z into the head, y forwards and to the midline. RAS+ mm.
X, Y, Z = (np.array(v) / np.linalg.norm(v) for v in ([0.48, -0.8, 0.36], [0.64, 0.6, 0.48], [0.6, 0.0, -0.8]))
X = np.cross(Y, Z) / np.linalg.norm(np.cross(Y, Z))
Y = np.cross(Z, X)
CENTRE = np.array([-52.25, -10.5, 71.75])


def ours():
    matrix = np.eye(4)
    matrix[:3] = np.column_stack([X, Y, Z, CENTRE])
    return matrix


def brainsight(system="NIfTI:S:Aligned", flip=(1, 1, 1), rows=None):
    """Brainsight's coil: x and z the other way round, columns m0, m1, m2 one after the other."""
    flip = np.array(flip)
    numbers = np.concatenate([flip * CENTRE, flip * -X, flip * Y, flip * -Z])
    cells = "\t".join(f"{v:.4f}" for v in numbers)
    location = "Loc. X\tLoc. Y\tLoc. Z\tm0n0\tm0n1\tm0n2\tm1n0\tm1n1\tm1n2\tm2n0\tm2n1\tm2n2"
    return "\n".join(
        [
            "# Version: 13",
            f"# Coordinate system: {system}",
            "# Created by: Brainsight 2.4.9",
            "# Units: millimetres, degrees, milliseconds, and microvolts",
            "# Encoding: UTF-8",
            "# Notes: Each column is delimited by a tab. Each value within a column is delimited by a semicolon.",
            f"# Target Name\t{location}",
            *(rows if rows is not None else [f"M1 left\t{cells}"]),
            f"# Sample Name\tSession Name\tIndex\tAssoc. Target\t{location}\tDist. to Target\tDate\tTime\tEMG Start",
            f"Sample 1\tSession 1\t1\tM1 left\t{cells}\t0.5\t2024-03-01\t10:11:12.123\t-50",
            "# Planned Landmark Name\tLoc. X\tLoc. Y\tLoc. Z",
            "nasion\t0.0\t85.0\t-30.0",
            "",
        ]
    )


def localite(space="RAS", flip=(1, 1, 1), extra=""):
    """Localite's coil: x into the head, y towards the grip, z across the wings."""
    m = np.eye(4)
    m[:3] = np.array(flip)[:, None] * np.column_stack([Z, -Y, X, CENTRE])
    data = " ".join(f'data{i}{j}="{m[i, j]:.8f}"' for i in range(4) for j in range(4))
    blank = " ".join(f'data{i}{j}="{float(i == j)}"' for i in range(4) for j in range(4))
    values = (
        '<ResponseValues><Value key="valueA" response="62.5"/><Value key="amplitudeA" response="45"/></ResponseValues>'
    )
    return f"""<?xml version="1.0" encoding="UTF-8"?>
<TriggerMarkerList coordinateSpace="{space}">
  <TriggerMarker description="p1" recordingTime="1234"><Matrix4D {data}/>{values}</TriggerMarker>
  <TriggerMarker description="lost" recordingTime="1300"><Matrix4D {blank}/>{values}</TriggerMarker>
  <InstrumentMarker index="0"><Marker description="hotspot &amp; co"><Matrix4D {data}/></Marker></InstrumentMarker>
  {extra}
</TriggerMarkerList>"""


def write(tmp_path, name, text):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("system", "flip"),
    [
        ("NIfTI:S:Aligned", (1, 1, 1)),
        ("NIfTI:Aligned", (1, 1, 1)),
        ("NIfTI:Q:Scanner", (1, 1, 1)),
        ("World", (-1, -1, 1)),
    ],
)
def test_brainsight(tmp_path, system, flip):
    target, sample = load_poses(write(tmp_path, "export.txt", brainsight(system, flip)))
    assert (target.name, target.kind, target.time) == ("M1 left", "target", "")
    assert (sample.name, sample.kind, sample.time) == ("Sample 1", "sample", "2024-03-01 10:11:12.123")
    for named in (target, sample):
        np.testing.assert_allclose(named.pose.matrix, ours(), atol=2e-4)
        np.testing.assert_allclose(named.pose.matrix[:3, :3] @ named.pose.matrix[:3, :3].T, np.eye(3), atol=1e-6)


def test_brainsight_samples_without_a_position(tmp_path):
    rows = ["lost\t" + "\t".join(["(null)"] * 12)]
    with pytest.warns(UserWarning, match=r"export.txt:8: 'lost' has no position"):
        poses = load_poses(write(tmp_path, "export.txt", brainsight(rows=rows)))
    assert [named.name for named in poses] == ["Sample 1"]


@pytest.mark.parametrize(("space", "flip"), [("RAS", (1, 1, 1)), ("LPS", (-1, -1, 1))])
def test_localite(tmp_path, space, flip):
    with pytest.warns(UserWarning, match="'lost' has no position"):
        trigger, marker = load_poses(write(tmp_path, "TriggerMarkers.xml", localite(space, flip)))
    assert (trigger.name, trigger.kind, trigger.time) == ("p1", "trigger", "1234")
    assert (trigger.didt, trigger.intensity_percent) == (62.5, 45.0)
    assert (marker.name, marker.kind, marker.didt) == ("hotspot & co", "instrument", None)
    for named in (trigger, marker):
        np.testing.assert_allclose(named.pose.matrix, ours(), atol=1e-5)


@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.lists(st.tuples(st.integers(0, 10**6), st.text("abc <&'\"é 7", max_size=8)), min_size=1, max_size=4),
    st.sampled_from(["brainsight", "localite", "matsimnibs"]),
)
def test_round_trips(tmp_path, drawn, form):
    poses = []
    for seed, name in drawn:
        rng, m = np.random.default_rng(seed), np.eye(4)
        m[:3, :3], m[:3, 3] = Rotation.random(random_state=rng).as_matrix(), rng.uniform(-150, 150, 3)
        poses.append(NamedPose(f"x{name}x", CoilPose.from_matrix(m)))
    path = tmp_path / f"poses{'.xml' if form == 'localite' else '.txt'}"
    save_poses(poses, path, form)
    back = load_poses(path)
    assert len(back) == len(poses)
    for one, other in zip(poses, back, strict=True):
        np.testing.assert_allclose(other.pose.matrix, one.pose.matrix, atol=2e-5)
        if form != "matsimnibs":
            assert other.name == " ".join(one.name.split()) or form == "localite"
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_one_pose_and_plain_matrices(tmp_path):
    save_poses(CoilPose.from_matrix(ours()), tmp_path / "one.txt", "matsimnibs")
    (named,) = load_poses(tmp_path / "one.txt")
    assert named.name == "one"
    np.testing.assert_allclose(named.pose.matrix, ours(), atol=1e-5)
    save_poses([CoilPose.from_matrix(ours()), NamedPose("b", named.pose)], tmp_path / "b.xml", "localite")
    assert [named.name for named in load_poses(tmp_path / "b.xml")] == ["pose_0", "b"]
    np.savetxt(tmp_path / "two.txt", np.concatenate([ours(), ours()]), delimiter=",")
    assert [named.name for named in load_poses(tmp_path / "two.txt")] == ["two_0", "two_1"]


def test_a_simnibs_session(tmp_path):
    pos = [{"matsimnibs": ours(), "name": "a", "didt": 1e6}, {"matsimnibs": ours(), "name": "", "didt": 0}]
    scipy.io.savemat(tmp_path / "session.mat", {"poslist": {"type": "TMSLIST", "pos": pos}})
    first, second = load_poses(tmp_path / "session.mat")
    assert (first.name, first.didt, second.name, second.didt) == ("a", 1.0, "session_1", None)
    np.testing.assert_allclose(first.pose.matrix, ours(), atol=1e-6)
    scipy.io.savemat(tmp_path / "one.mat", {"matsimnibs": ours()})
    assert len(load_poses(tmp_path / "one.mat")) == 1


def test_damaged_sessions_are_refused(tmp_path):
    """Bytes that crash SciPy's reader, if not at once then after: the process that reads them is another."""
    path = tmp_path / "session.mat"
    pos = [{"matsimnibs": np.eye(4), "name": "a", "didt": 1e6}, {"matsimnibs": np.eye(4), "name": "", "didt": 0}]
    scipy.io.savemat(path, {"poslist": {"type": "TMSLIST", "pos": pos}})
    whole = path.read_bytes()
    for place, byte in ((265, 224), (888, 246), (720, 163)):
        path.write_bytes(whole[:place] + bytes([byte]) + whole[place + 1 :])
        with pytest.raises(InputError, match=r"cannot be read\n.*session.mat"):
            load_poses(path)


REFLECTED = brainsight().replace(f"{X[0]:.4f}", f"{-X[0]:.4f}")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.txt", brainsight("Brainsight"), "coordinate system"),
        ("a.txt", brainsight("NIfTI:S:MNI-152"), "coordinate system"),
        ("a.txt", brainsight().replace("# Coordinate system", "# System"), "got:      none"),
        ("a.txt", brainsight().replace("m2n2", "m2n9"), r"lacks columns\n.*m2n2"),
        ("a.txt", brainsight(rows=["M1\t1.0\t2.0"]), "malformed"),
        ("a.txt", brainsight(rows=["M1\t" + "\t".join(["x"] * 12)]), r"a.txt:8"),
        ("a.txt", brainsight(rows=["M1\t" + "\t".join(["1"] * 12)]), "sheared"),
        ("a.txt", brainsight(rows=["M\t0\t0\t0\t1\t0\t0\t0\t1\t0\t0\t0\t-1"]), "reflected"),
        ("a.txt", "# Version: 12\n# Coordinate system: World\n", "no pose"),
        ("a.txt", "1 2 3\n4 5 6\n", "rows of four"),
        ("a.txt", "1 0 0 0\n0 1 0 0\n", "rows of four"),
        ("a.txt", "", "no pose|rows of four"),
        ("a.txt", "one two three four\n" * 4, "rows of four"),
        ("a.xml", "<TriggerMarkerList", "cannot be read"),
        ("a.xml", localite("MNI"), "coordinateSpace='MNI'"),
        ("a.xml", "<List coordinateSpace='RAS'/>", "no pose"),
        ("a.xml", "<L coordinateSpace='RAS'><TriggerMarker description='x'/></L>", "no matrix"),
        ("a.xml", "<L coordinateSpace='RAS'><TriggerMarker><Matrix4D data00='1'/></TriggerMarker></L>", "malformed"),
        ("a.mat", "nothing", "cannot be read"),
        ("a.csv", "", "no such file"),
    ],
)
def test_files_that_are_refused(tmp_path, name, text, message):
    with pytest.raises(InputError, match=message):
        load_poses(write(tmp_path, name, text))


def test_other_bad_requests(tmp_path):
    for path in (tmp_path / "absent.txt", None, tmp_path):
        with pytest.raises(InputError, match="no such file"):
            load_poses(path)
    (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x81")
    with pytest.raises(InputError, match="cannot be read"):
        load_poses(tmp_path / "binary.txt")
    scipy.io.savemat(tmp_path / "none.mat", {"poslist": {"pos": {"centre": [0, 0, 0]}}})
    with pytest.raises(InputError, match="no pose"):
        load_poses(tmp_path / "none.mat")
    pose = CoilPose.from_matrix(ours())
    with pytest.raises(InputError, match="not written in this form"):
        save_poses(pose, tmp_path / "a.txt", "softaxic")
    with pytest.raises(InputError, match="localite"):
        save_poses(pose, tmp_path / "a.txt", "localite")
    for wrong in (None, 3, [pose, ours()]):
        with pytest.raises(InputError, match="poses to write"):
            unwrap(save_poses)(wrong, tmp_path / "a.txt", "brainsight")
    with pytest.raises(InputError, match="brainsight"):
        unwrap(save_poses)(pose, None, "brainsight")
    with pytest.raises(InputError, match="0 poses"):
        save_poses([], tmp_path / "a.txt", "brainsight")
    with pytest.raises(InputError, match="cannot be written"):
        save_poses(pose, tmp_path / "absent" / "a.txt", "brainsight")
