"""Meshes of gmsh and SimNIBS: every version and byte order, round trips, gmsh's own reading, damaged files."""

import dataclasses
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tmsjax.core.errors import InputError
from tmsjax.io import Msh, read_msh, write_msh

CUBE = np.array([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1], [1, 1, 1]])
FORMATS = [(version, binary) for version in ("2.2", "4.1") for binary in (True, False)]


def small(**changes):
    mesh = Msh(
        nodes=CUBE,
        tetrahedra=np.array([[0, 1, 2, 3], [1, 2, 3, 4]], np.int32),
        tetrahedron_tags=np.array([2, 1], np.int32),
        triangles=np.array([[0, 2, 1]], np.int32),
        triangle_tags=np.array([1002], np.int32),
    )
    return dataclasses.replace(mesh, **changes)


def same(a, b):
    for name in ("nodes", "tetrahedra", "tetrahedron_tags", "triangles", "triangle_tags"):
        np.testing.assert_array_equal(getattr(a, name), getattr(b, name), err_msg=name)
    for name in ("node_data", "element_data"):
        first, second = getattr(a, name), getattr(b, name)
        assert list(first) == list(second)
        for key in first:
            np.testing.assert_array_equal(first[key], second[key], err_msg=key)
    assert a.names == b.names


@st.composite
def meshes(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, t, m = draw(st.integers(4, 30)), draw(st.integers(0, 20)), draw(st.integers(0, 20))
    m += t + m == 0
    element = rng.normal(size=(m + t, 3)) * 10.0 ** rng.integers(-9, 9)
    element[rng.random(m + t) < 0.2] = np.nan
    names = {(3, int(tag)): f"region {tag} (µ)" for tag in rng.integers(1, 9, 2)}
    return Msh(
        nodes=rng.normal(size=(n, 3)) * 100,
        tetrahedra=rng.integers(0, n, (t, 4)).astype(np.int32),
        tetrahedron_tags=rng.integers(1, 4, t).astype(np.int32),
        triangles=rng.integers(0, n, (m, 3)).astype(np.int32),
        triangle_tags=rng.integers(1001, 1004, m).astype(np.int32),
        names=draw(st.sampled_from([{}, names])),
        node_data={"v": rng.normal(size=n)},
        element_data={"E": element, "magnE": np.linalg.norm(element, axis=1)} if m + t else {},
    )


@given(mesh=meshes(), how=st.sampled_from(FORMATS))
@settings(max_examples=60, deadline=None)
def test_what_is_written_is_read_to_the_last_bit(tmp_path_factory, mesh, how):
    version, binary = how
    path = write_msh(tmp_path_factory.mktemp("m") / "a.msh", mesh, version=version, binary=binary)
    same(read_msh(path), mesh)
    assert [item.name for item in path.parent.iterdir()] == ["a.msh"]


HEADER = b"$MeshFormat\n2.2 1 8\n%s\n$EndMeshFormat\n"


def old_binary(order="<", *, headers_of_their_own=False):
    """The small mesh as other programs write it: numbered with gaps and backwards, a line and a point among them."""
    number = {0: 900, 1: 70, 2: 8, 3: 12345, 4: 6}
    out = HEADER % struct.pack(order + "i", 1) + b"$Nodes\n5\n"
    for index, place in enumerate(CUBE):
        out += struct.pack(order + "i3d", number[index], *place)
    out += b"\n$EndNodes\n$Elements\n5\n"
    records = {
        15: [(1, 7, 7, number[0])],
        1: [(2, 7, 7, number[0], number[1])],
        2: [(30, 1002, 5, *(number[i] for i in (0, 2, 1)))],
        4: [(50, 1, 5, *(number[i] for i in (1, 2, 3, 4))), (40, 2, 5, *(number[i] for i in (0, 1, 2, 3)))],
    }
    for kind, rows in records.items():
        blocks = [[row] for row in rows] if headers_of_their_own else [rows]
        for block in blocks:
            out += struct.pack(order + "3i", kind, len(block), 2)
            for row in block:
                out += struct.pack(f"{order}{len(row)}i", *row)
    out += b"\n$EndElements\n$Comments\n$whatever\n$EndComments\n"
    # The field has a value for the point too, and none for element 50.
    out += b'$ElementData\n1\n"E"\n1\n0.0\n3\n0\n3\n3\n'
    for entry, value in ((40, 4.0), (1, 9.0), (30, 3.0)):
        out += struct.pack(order + "i3d", entry, value, 0.5, -value)
    out += b'\n$EndElementData\n$NodeData\n1\n"v"\n1\n0\n3\n0\n1\n1\n' + struct.pack(order + "id", 70, 2.5)
    return out + b"\n$EndNodeData\n"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("headers", [True, False])
def test_gaps_in_the_numbers_byte_orders_and_other_elements(tmp_path, order, headers):
    path = tmp_path / "old.msh"
    path.write_bytes(old_binary(order, headers_of_their_own=headers))
    mesh = read_msh(path)
    by_number = CUBE[[4, 2, 1, 0, 3]]  # 6, 8, 70, 900, 12345
    np.testing.assert_array_equal(mesh.nodes, by_number)
    np.testing.assert_array_equal(mesh.tetrahedron_tags, [2, 1])  # 40, 50
    np.testing.assert_array_equal(mesh.nodes[mesh.tetrahedra], CUBE[[[0, 1, 2, 3], [1, 2, 3, 4]]])
    np.testing.assert_array_equal(mesh.nodes[mesh.triangles], CUBE[[[0, 2, 1]]])
    assert mesh.skipped == {"point": 1, "line": 1}
    np.testing.assert_array_equal(mesh.element_data["E"], [[3, 0.5, -3], [4, 0.5, -4], [np.nan] * 3])
    np.testing.assert_array_equal(mesh.on_tetrahedra("E"), [[4, 0.5, -4], [np.nan] * 3])
    np.testing.assert_array_equal(mesh.node_data["v"], [np.nan, np.nan, 2.5, np.nan, np.nan])


PHYSICAL_41 = """$MeshFormat
4.1 0 8
$EndMeshFormat
$PhysicalNames
1
3 2 "grey matter"
$EndPhysicalNames
$Entities
1 0 0 2
1 0 0 0 0
7 0 0 0 1 1 1 1 2 0
9 0 0 0 1 1 1 0 0
$EndEntities
$Nodes
2 5 1 5
0 1 0 1
1
0 0 0
3 7 1 4
2
3
4
5
1 0 0 .1 .2 .3
0 1 0 .1 .2 .3
0 0 1 .1 .2 .3
1 1 1 .1 .2 .3
$EndNodes
$Elements
2 2 1 2
3 7 4 1
1 1 2 3 4
3 9 4 1
2 2 3 4 5
$EndElements
"""


def test_physical_tags_go_before_those_of_the_geometry(tmp_path):
    path = tmp_path / "p.msh"
    path.write_text(PHYSICAL_41)
    mesh = read_msh(path)
    np.testing.assert_array_equal(mesh.tetrahedron_tags, [2, 9])
    np.testing.assert_array_equal(mesh.nodes, CUBE)
    assert mesh.names == {(3, 2): "grey matter"}


def test_nodes_of_no_dimension_are_refused(tmp_path):
    (tmp_path / "p.msh").write_text(PHYSICAL_41.replace("3 7 1 4\n2", "-3 7 1 4\n2"))
    with pytest.raises(InputError, match="dimension -3"):
        read_msh(tmp_path / "p.msh")


def test_sections_of_one_name_are_joined_or_told_apart(tmp_path):
    path = write_msh(tmp_path / "a.msh", small(element_data={"E": np.array([1.0, np.nan, np.nan])}), binary=False)
    rest = '$ElementData\n1\n"E"\n1\n0\n3\n0\n1\n2\n2 5\n3 6\n$EndElementData\n'
    path.write_text(path.read_text() + rest)
    assert read_msh(path).element_data["E"].tolist() == [1, 5, 6]
    path.write_text(path.read_text() + rest)
    found = read_msh(path).element_data
    assert found["E"].tolist() == [1, 5, 6]
    np.testing.assert_array_equal(found["E [2]"], [np.nan, 5, 6])


@pytest.mark.parametrize(("version", "binary"), FORMATS)
def test_gmsh_opens_what_we_write_and_we_what_gmsh_writes(tmp_path, version, binary):
    try:
        import gmsh
    except (ImportError, OSError) as error:  # the package, or the system's graphics libraries
        pytest.skip(f"needs gmsh, which is in no extra (it wants the system's libGLU): pip install gmsh. {error}")
    rng = np.random.default_rng(0)
    mesh = small(
        names={(3, 1): "white matter", (3, 2): "grey matter"},
        node_data={"v": rng.normal(size=5)},
        element_data={"E": rng.normal(size=(3, 3)), "magnE": rng.normal(size=3)},
    )
    path = write_msh(tmp_path / "a.msh", mesh, version=version, binary=binary)
    gmsh.initialize(interruptible=False)
    try:
        gmsh.option.setNumber("General.Terminal", 0)
        gmsh.open(str(path))
        assert sorted(gmsh.model.getPhysicalGroups()) == [(2, 1002), (3, 1), (3, 2)]
        assert gmsh.model.getPhysicalName(3, 2) == "grey matter"
        numbers, places, _ = gmsh.model.mesh.getNodes()
        np.testing.assert_array_equal(places.reshape(-1, 3)[np.argsort(numbers)], mesh.nodes)
        _, corners = gmsh.model.mesh.getElementsByType(4)
        assert sorted(map(tuple, corners.reshape(-1, 4).tolist())) == [(1, 2, 3, 4), (2, 3, 4, 5)]
        views = {}
        for view in gmsh.view.getTags():
            name = gmsh.view.option.getString(view, "Name")
            kind, entries, values, _, components = gmsh.view.getModelData(view, 0)
            views[name] = (kind, dict(zip(map(int, entries), map(list, values), strict=True)), components)
        assert views["v"] == ("NodeData", {n + 1: [x] for n, x in enumerate(mesh.node_data["v"])}, 1)
        assert views["E"] == ("ElementData", {n + 1: list(x) for n, x in enumerate(mesh.element_data["E"])}, 3)
        gmsh.option.setNumber("Mesh.MshFileVersion", float(version))
        gmsh.option.setNumber("Mesh.Binary", int(binary))
        gmsh.write(str(tmp_path / "b.msh"))
    finally:
        gmsh.finalize()
    back = read_msh(tmp_path / "b.msh")
    np.testing.assert_allclose(back.nodes, mesh.nodes)
    assert sorted(back.tetrahedron_tags) == [1, 2]
    assert back.names == mesh.names


@pytest.mark.parametrize(("version", "binary"), FORMATS)
def test_meshio_reads_the_same_geometry(tmp_path, version, binary):
    meshio = pytest.importorskip("meshio")
    path = write_msh(tmp_path / "a.msh", small(), version=version, binary=binary)
    other = meshio.read(path)
    np.testing.assert_array_equal(other.points, CUBE)
    tetrahedra = np.concatenate([c.data for c in other.cells if c.type == "tetra"])
    tags = np.concatenate(
        [d for c, d in zip(other.cells, other.cell_data["gmsh:physical"], strict=True) if c.type == "tetra"]
    )
    order = np.argsort(tags)
    np.testing.assert_array_equal(tetrahedra[order], small().tetrahedra[[1, 0]])


@pytest.mark.shared
def test_the_layered_sphere_of_simnibs(shared):
    mesh = read_msh(shared / "efield" / "sphere3.msh")
    assert mesh.nodes.shape == (4556, 3)
    assert dict(zip(*np.unique(mesh.tetrahedron_tags, return_counts=True), strict=True)) == {3: 6834, 4: 7601, 5: 8269}
    assert dict(zip(*np.unique(mesh.triangle_tags, return_counts=True), strict=True)) == {
        1003: 2352,
        1004: 2724,
        1005: 2750,
    }
    for tag, radius in ((1003, 85), (1004, 90), (1005, 95)):
        corners = mesh.nodes[mesh.triangles[mesh.triangle_tags == tag]]
        np.testing.assert_allclose(np.linalg.norm(corners, axis=-1), radius, rtol=1e-12)


@pytest.mark.shared
@given(data=st.data())
@settings(max_examples=40, deadline=None)
def test_a_file_cut_off_anywhere_is_refused(shared, tmp_path_factory, data):
    whole = (shared / "efield" / "sphere3.msh").read_bytes()
    end = data.draw(st.integers(0, whole.rindex(b"$EndElements") + 11))
    path = tmp_path_factory.mktemp("cut") / "cut.msh"
    path.write_bytes(whole[:end])
    with pytest.raises(InputError, match="malformed"):
        read_msh(path)


@pytest.mark.parametrize(("version", "binary"), FORMATS)
def test_a_short_file_cut_off_anywhere_is_refused(tmp_path, version, binary):
    mesh = small(node_data={"v": np.arange(5.0)})
    whole = write_msh(tmp_path / "a.msh", mesh, version=version, binary=binary).read_bytes()
    ends = {whole.index(mark) + len(mark) for mark in (b"$EndElements", b"$EndElements\n")}  # nothing is missing there
    for end in range(len(whole.rstrip()) - 1):
        if end not in ends:
            (tmp_path / "cut.msh").write_bytes(whole[:end])
            with pytest.raises(InputError, match="malformed"):
                read_msh(tmp_path / "cut.msh")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("2.2 0 8", "1.0 0 8", "version 1.0"),
        ("2.2 0 8", "4.0 0 8", "msh22"),
        ("2.2 0 8", "hello", "version, 0"),
        ("$MeshFormat", "$NOD", "begins with"),
        ("$Nodes\n5", "$Nodes\n6", "ends in the middle"),
        ("$Nodes\n5", "$Nodes\n4", "numbers too many"),
        ("$Nodes\n5", "$Nodes\nfive", "whole number"),
        ("1 0.0 0.0 0.0", "1 0.0 zero 0.0", "no number"),
        ("1 0.0 0.0 0.0", "1 0.0 nan 0.0", "not finite"),
        ("1 0.0 0.0 0.0", "1.5 0.0 0.0 0.0", "not whole"),
        ("2 1.0 0.0 0.0", "1 1.0 0.0 0.0", "same number"),
        ("$Elements\n3", "$Elements\n4", "ends in the middle"),
        ("2 4 2 2 2 1 2 3 4", "2 4 2 2 2 1 2 3 9", "nodes 1 to 9"),
        ("2 4 2 2 2 1 2 3 4", "2 4 0 1 2 3 4", "a tag on each"),
        ("2 4 2 2 2 1 2 3 4", "2 93 2 2 2 1 2 3 4", "elements of kind 93"),
        ("$EndNodes", "$EndNothing", "EndNodes"),
        ('"v"\n1\n0\n3\n0\n1\n5', '"v"\n1\n0\n3\n0\n0\n5', "0 components"),
        ('"v"\n1\n0\n3\n0\n1\n5', '"v"\n1\n0\n1\n0', "time step, components, entries"),
        ('"v"\n1\n0\n3\n0\n1\n5', '"v"\n1\n0\n3\n0\n1000000000\n5', "1000000000 components"),
        ('"v"\n1\n0\n3\n0\n1\n5', '"v"\n1\n0\n3\n0\n²\n5', "time step, components, entries"),
        ("$NodeData\n1", "$NodeData\n99999999999", "99999999999 lines"),
        ("$Nodes\n5", "$Nodes\n²", "whole number"),
        ("$Nodes\n5", "$\x1c\n5", "after the entries"),  # white space to Python's text, not to its bytes
        ("$Nodes\n5", '$PhysicalNames\n1\n3 --2 "a"\n$EndPhysicalNames\n$Nodes\n5', "dimension, tag"),
        ("$Nodes\n5", '$PhysicalNames\n1\n³ 2 "a"\n$EndPhysicalNames\n$Nodes\n5', "dimension, tag"),
        ("2 4 2 2 2 1 2 3 4", "2 4 2 5000000000 2 1 2 3 4", "beyond 32 bits"),
        ("$NodeData", "$PartitionedEntities", "partitioned"),
        ("\n5 4.0\n", "\n6 4.0\n", "nodes or elements 1 to 6"),
    ],
)
def test_malformed_files_are_named(tmp_path, old, new, says):
    path = write_msh(tmp_path / "bad.msh", small(node_data={"v": np.arange(5.0)}), binary=False)
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=says) as error:
        read_msh(path)
    assert "bad.msh" in str(error.value)


def test_files_that_are_no_mesh(tmp_path):
    with pytest.raises(InputError, match="no such mesh"):
        read_msh(tmp_path / "absent.msh")
    for content in (b"", b"\x00\xff" * 50, b"$MeshFormat\n2.2 1 8\nabcd\n$EndMeshFormat\n"):
        (tmp_path / "x.msh").write_bytes(content)
        with pytest.raises(InputError, match="malformed"):
            read_msh(tmp_path / "x.msh")


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"element_data": {"E": np.zeros((2, 3))}}, "wrong shape"),
        ({"element_data": {"T": np.zeros((3, 6))}}, "wrong shape"),
        ({"node_data": {'a"b': np.zeros(5)}}, "name"),
        ({"tetrahedra": np.full((2, 4), 5, np.int32)}, "not there"),
    ],
)
def test_meshes_that_are_not_written(tmp_path, changes, says):
    with pytest.raises(InputError, match=says):
        write_msh(tmp_path / "a.msh", small(**changes))
    assert list(tmp_path.iterdir()) == []


def test_a_version_that_is_not_written(tmp_path):
    with pytest.raises(InputError, match=r"4\.0"):
        write_msh(tmp_path / "a.msh", small(), version="4.0")
    with pytest.raises(InputError, match="empty"):
        write_msh(tmp_path / "a.msh", Msh(CUBE, np.zeros((0, 4), np.int32), np.zeros(0, np.int32)))
    with pytest.raises(InputError, match="cannot be written"):
        write_msh(tmp_path / "absent" / "a.msh", small())


@given(seed=st.integers(0, 2**32 - 1), how=st.sampled_from([*FORMATS, "<", ">"]))
@settings(max_examples=200, deadline=None)
def test_damaged_bytes_are_refused_or_read_but_nothing_else(tmp_path_factory, seed, how):
    """Bytes changed, lost or put in: an InputError, or a mesh whose indices are good."""
    rng, path = np.random.default_rng(seed), tmp_path_factory.getbasetemp() / "damaged.msh"
    if isinstance(how, str):
        whole = bytearray(old_binary(how))
    else:
        mesh = small(names={(3, 2): "grey"}, node_data={"v": np.arange(5.0)}, element_data={"E": np.ones((3, 3))})
        whole = bytearray(write_msh(path, mesh, version=how[0], binary=how[1]).read_bytes())
    at, some = int(rng.integers(len(whole))), rng.integers(0, 256, rng.integers(1, 6)).astype(np.uint8).tobytes()
    whole[at : at + int(rng.integers(0, 6))] = some
    path.write_bytes(whole)
    try:
        mesh = read_msh(path)
    except InputError:
        return
    assert np.isfinite(mesh.nodes).all()
    assert set(mesh.tetrahedra.ravel()) | set(mesh.triangles.ravel()) <= set(range(len(mesh.nodes)))
