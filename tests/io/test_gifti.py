"""GIFTI as Workbench needs it: structure, coordinate system, intents."""

import nibabel
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.io import write_metric, write_surface

VERTICES = np.array([[-1.0, -1, -1], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
FACES = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]])


def test_a_surface_says_what_it_is_and_where(tmp_path):
    image = nibabel.load(write_surface(tmp_path / "lh.pial.surf.gii", VERTICES, FACES, structure="lh_pial"))
    points, triangles = image.darrays
    np.testing.assert_array_equal(image.agg_data("pointset"), VERTICES)
    np.testing.assert_array_equal(image.agg_data("triangle"), FACES)
    assert points.data.dtype == np.float32
    assert triangles.data.dtype == np.int32
    assert points.meta["AnatomicalStructurePrimary"] == "CortexLeft"
    assert points.meta["AnatomicalStructureSecondary"] == "Pial"
    assert points.meta["GeometricType"] == "Anatomical"
    assert points.coordsys.dataspace == nibabel.nifti1.xform_codes["scanner"]
    np.testing.assert_array_equal(points.coordsys.xform, np.eye(4))


def test_a_surface_with_a_border_is_open(tmp_path):
    for faces, word in ((FACES, "Closed"), (FACES[:3], "Open")):
        image = nibabel.load(write_surface(tmp_path / "a.surf.gii", VERTICES, faces, structure="head"))
        assert image.darrays[1].meta["TopologicalType"] == word


@pytest.mark.parametrize(("ending", "intent"), [("func", 0), ("shape", 2005)])
def test_maps_have_names_and_a_structure(tmp_path, ending, intent):
    values = {"magnE": np.arange(4.0), "Ex": np.ones(4)}
    image = nibabel.load(write_metric(tmp_path / f"rh.{ending}.gii", values, structure="rh_white"))
    assert image.meta["AnatomicalStructurePrimary"] == "CortexRight"
    assert [array.meta["Name"] for array in image.darrays] == ["magnE", "Ex"]
    assert {array.intent for array in image.darrays} == {intent}
    np.testing.assert_array_equal(image.darrays[0].data, values["magnE"])


def test_what_workbench_could_not_open_is_refused(tmp_path):
    with pytest.raises(InputError, match="structure"):
        write_surface(tmp_path / "a.surf.gii", VERTICES, FACES, structure="left")
    with pytest.raises(InputError, match="name of a GIFTI"):
        write_surface(tmp_path / "a.gii", VERTICES, FACES, structure="lh")
    with pytest.raises(InputError, match="name of a GIFTI"):
        write_metric(tmp_path / "a.gii", {"a": np.zeros(4)}, structure="lh")
    with pytest.raises(InputError, match="maps on a surface"):
        write_metric(tmp_path / "a.func.gii", {"a": np.zeros((4, 3))}, structure="lh")
    with pytest.raises(InputError, match="maps on a surface"):
        write_metric(tmp_path / "a.func.gii", {"a": np.zeros(4), "b": np.zeros(5)}, structure="lh")
    with pytest.raises(InputError, match="no surface"):
        write_surface(tmp_path / "a.surf.gii", VERTICES[:, :2], FACES, structure="lh")
    for structure in ("lh_foo", "head_pial", "lh_"):
        with pytest.raises(InputError, match="structure"):
            write_surface(tmp_path / "a.surf.gii", VERTICES, FACES, structure=structure)
        with pytest.raises(InputError, match="structure"):
            write_metric(tmp_path / "a.func.gii", {"a": np.zeros(4)}, structure=structure)
    with pytest.raises(InputError, match="not finite"):
        write_surface(tmp_path / "a.surf.gii", np.where(VERTICES < 0, np.nan, VERTICES), FACES, structure="lh")
    for faces in (FACES + 1, FACES - 1):
        with pytest.raises(InputError, match="not there"):
            write_surface(tmp_path / "a.surf.gii", VERTICES, faces, structure="lh")
    with pytest.raises(InputError, match="not whole"):
        write_surface(tmp_path / "a.surf.gii", VERTICES, FACES + 0.5, structure="lh")
    with pytest.raises(InputError, match="no numbers"):
        write_surface(tmp_path / "a.surf.gii", "abc", FACES, structure="lh")
    with pytest.raises(InputError, match="no numbers"):
        write_metric(tmp_path / "a.func.gii", {"a": ["x", "y"]}, structure="lh")
    assert list(tmp_path.iterdir()) == []
