"""Label maps and surfaces from files: world positions are kept, bad files are named."""

import json
import shutil
from importlib import resources

import nibabel
import numpy as np
import pytest
from nibabel.freesurfer.io import write_geometry
from nibabel.orientations import apply_orientation, axcodes2ornt, inv_ornt_aff

from tmsjax import head as heads
from tmsjax.core.errors import InputError

AFFINE = np.array([[1.0, 0, 0, -20], [0, 1.2, 0, 5], [0, 0, 0.9, 31], [0, 0, 0, 1]])
TETRAHEDRON = np.array([[0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3]], np.int32)


@pytest.fixture
def labels():
    return np.random.default_rng(0).integers(0, 6, (5, 6, 7)).astype(np.uint8)


def world(head):
    """World mm and label of every voxel, sorted."""
    index = np.argwhere(np.ones(head.labels.shape, bool))
    mm = index @ head.affine[:3, :3].T + head.affine[:3, 3]
    rows = np.column_stack([np.round(mm, 6), head.labels.ravel()])
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("axes", ["RAS", "LAS", "LIA", "PSR", "ARS"])
def test_any_storage_order_gives_the_same_head(tmp_path, labels, axes):
    turn = axcodes2ornt(axes)
    stored = apply_orientation(labels, turn)
    # apply_orientation moves axis n to turn[n]: build the affine of the turned array
    affine = AFFINE @ inv_ornt_aff(turn, labels.shape)
    nibabel.save(nibabel.Nifti1Image(stored, affine), tmp_path / "seg.nii.gz")
    head = heads.load(tmp_path / "seg.nii.gz")
    np.testing.assert_allclose(world(head), world(heads.from_labels(labels, AFFINE)), atol=1e-4)
    assert np.linalg.det(head.affine[:3, :3]) > 0
    assert (np.diag(head.affine)[:3] > 0).all()
    assert head.name == "seg"


def test_files_that_are_refused(tmp_path, labels):
    with pytest.raises(InputError, match="no such head"):
        heads.load(tmp_path / "absent.nii.gz")
    (tmp_path / "text.nii").write_text("not an image")
    with pytest.raises(InputError, match="cannot be read"):
        heads.load(tmp_path / "text.nii")
    (tmp_path / "head.msh").write_text("$MeshFormat")
    with pytest.raises(InputError, match="mesh file is malformed"):
        heads.load(tmp_path / "head.msh")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no label map"):
        heads.load(tmp_path / "empty")
    for name in ("mri", "surf"):
        (tmp_path / "bert" / name).mkdir(parents=True)
    with pytest.raises(
        InputError, match=r"FreeSurfer folder alone is no head[\s\S]*final_tissues.nii.gz with surfaces="
    ):
        heads.load(tmp_path / "bert")
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "seg.nii")
    with pytest.raises(InputError, match="voxel_mm and tissues are for meshes"):
        heads.load(tmp_path / "seg.nii", voxel_mm=2.0)
    nibabel.save(nibabel.Nifti1Image(np.stack([labels, labels], -1), AFFINE), tmp_path / "four.nii")
    with pytest.raises(InputError, match="not a volume"):
        heads.load(tmp_path / "four.nii")
    sheared = AFFINE.copy()
    sheared[0, 1] = 0.4
    nibabel.save(nibabel.Nifti1Image(labels, sheared), tmp_path / "sheared.nii")
    with pytest.raises(InputError, match="sheared"):
        heads.load(tmp_path / "sheared.nii")
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "whole.nii")
    (tmp_path / "cut.nii").write_bytes((tmp_path / "whole.nii").read_bytes()[:400])
    with pytest.raises(InputError, match="cannot be read"):
        heads.load(tmp_path / "cut.nii")


@pytest.mark.parametrize("name", ["seg.nii.gz", "seg.mgz"])
def test_a_damaged_label_map_is_refused_and_never_other_labels(tmp_path, labels, name):
    kind = nibabel.Nifti1Image if name.endswith("gz") and "nii" in name else nibabel.MGHImage
    nibabel.save(kind(labels, AFFINE), tmp_path / name)
    whole = (tmp_path / name).read_bytes()
    for seed in range(40):
        rng, damaged = np.random.default_rng(seed), bytearray(whole)
        for place in rng.choice(np.arange(20, len(whole)), 6, replace=False):
            damaged[place] ^= int(rng.integers(1, 256))
        (tmp_path / f"bad_{name}").write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            heads.load(tmp_path / f"bad_{name}")


REGISTRATION = np.array([[1.0, 0.1, 0, 3], [-0.1, 0.9, 0, 4], [0, 0, 1.1, 5], [0, 0, 0, 1]])


@pytest.mark.parametrize("kind", ["array", "list", "text.txt", "affine.mat", "comma.csv", "binary.npy"])
def test_registration_and_landmarks_are_given_to_load(tmp_path, kind):
    labels = np.full((40, 40, 40), 2, np.uint8)
    nibabel.save(nibabel.Nifti1Image(labels, np.diag([2.0, 2, 2, 1])), tmp_path / "seg.nii.gz")
    given = {"array": REGISTRATION, "list": REGISTRATION.tolist()}.get(kind, tmp_path / kind)
    if kind.endswith("npy"):
        np.save(given, REGISTRATION)
    elif "." in kind:
        np.savetxt(given, REGISTRATION, delimiter="," if kind.endswith("csv") else "  ")
    head = heads.load(tmp_path / "seg.nii.gz", mni_to_head=given, landmarks={"spot": (10.0, 20.0, 30.0)})
    np.testing.assert_allclose(head.mni_to_head, REGISTRATION)
    place = REGISTRATION[:3, :3] @ [10, 20, 30] + REGISTRATION[:3, 3]
    np.testing.assert_allclose(heads.landmark(head, "spot"), place, atol=1.0)


def test_registrations_that_are_refused(tmp_path, labels):
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "seg.nii.gz")
    for name, text in {
        "three.txt": "1 0 0 0\n0 1 0 0\n0 0 1 0\n",
        "ragged.txt": "1 0\n0\n",
        "words.txt": "a b\n",
    }.items():
        (tmp_path / name).write_text(text)
    (tmp_path / "matlab.mat").write_bytes(b"MATLAB 5.0 MAT-file\x00\xff\xfe")
    for name in ("three.txt", "ragged.txt", "words.txt", "matlab.mat", "absent.txt"):
        with pytest.raises(InputError, match=r"mni_to_head cannot be read[\s\S]*4 rows of 4"):
            heads.load(tmp_path / "seg.nii.gz", mni_to_head=tmp_path / name)
    with pytest.raises(InputError, match="mni_to_head cannot be used"):
        heads.load(tmp_path / "seg.nii.gz", mni_to_head=REGISTRATION.T)
    plain = heads.load(tmp_path / "seg.nii.gz")
    with pytest.raises(InputError, match=r"head.load\(..., mni_to_head="):
        heads.landmark(plain, "hand_knob_left")


def test_a_folder_laid_out_as_the_bundled_head(tmp_path, monkeypatch):
    folder = tmp_path / "S1"
    folder.mkdir()
    for name in ("labels.nii.gz", "surfaces.npz", "head.json"):
        shutil.copy(resources.files("tmsjax") / "data" / "heads" / "S1" / name, folder / name)
    facts = json.loads((folder / "head.json").read_text())
    facts |= {"name": "copy", "landmarks": {"spot": [1.0, 2.0, 3.0]}}
    (folder / "head.json").write_text(json.dumps(facts))
    s1 = heads.load("S1")
    monkeypatch.chdir(tmp_path)
    assert heads.load("S1").name == "S1"  # a folder of the same name makes no difference
    copy = heads.load("./S1", mni_to_head=REGISTRATION, landmarks={"other": (4.0, 5.0, 6.0)})
    assert copy.name == "copy"
    assert sorted(copy.landmarks) == ["other", "spot"]
    np.testing.assert_array_equal(copy.labels, s1.labels)
    np.testing.assert_array_equal(copy.affine, s1.affine)
    np.testing.assert_array_equal(copy.mni_to_head, REGISTRATION)
    for name, surface in s1.surfaces.items():
        np.testing.assert_array_equal(copy.surfaces[name].vertices, surface.vertices)
        np.testing.assert_array_equal(copy.surfaces[name].faces, surface.faces)
    for head in (s1, copy):
        assert not head.labels.flags.writeable


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("head.json", b"{", "head.json cannot be read"),
        ("head.json", b"[1]", "head.json cannot be used"),
        ("head.json", b'{"name": 3}', "head.json cannot be used"),
        ("head.json", b'{"mni_to_head": [[1, 2]]}', "mni_to_head cannot be used"),
        ("head.json", b'{"landmarks": {"spot": "here"}}', "landmark 'spot'"),
        ("surfaces.npz", b"nothing", "packed surfaces cannot be read"),
    ],
)
def test_bad_files_in_a_folder(tmp_path, labels, name, content, says):
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "labels.nii.gz")
    assert heads.load(tmp_path).name == tmp_path.name
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=says):
        heads.load(tmp_path)


def test_packed_surfaces_lack_one(tmp_path, labels):
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "labels.nii.gz")
    np.savez(tmp_path / "surfaces.npz", quantum_mm=0.01, lh_white=np.zeros((3, 3), np.int16))
    with pytest.raises(InputError, match="lh_faces"):
        heads.load(tmp_path)


def corners(scale):
    return scale * np.array([[-1.0, -1, -1], [1, 0, 0], [0, 1, 0], [0, 0, 1]]) + [10, 20, 30]


def gifti(path, vertices, faces=TETRAHEDRON, meta=None, space="NIFTI_XFORM_UNKNOWN"):
    points = nibabel.gifti.GiftiDataArray(
        vertices.astype(np.float32),
        intent="NIFTI_INTENT_POINTSET",
        datatype="NIFTI_TYPE_FLOAT32",
        coordsys=nibabel.gifti.GiftiCoordSystem(space, space, np.eye(4)),
        meta=nibabel.gifti.GiftiMetaData(meta or {}),
    )
    triangles = nibabel.gifti.GiftiDataArray(
        faces.astype(np.int32), intent="NIFTI_INTENT_TRIANGLE", datatype="NIFTI_TYPE_INT32"
    )
    nibabel.save(nibabel.gifti.GiftiImage(darrays=[points, triangles]), path)


def test_gifti_folder_beside_the_labels(tmp_path, labels):
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "labels.nii.gz")
    for side in ("lh", "rh"):
        gifti(tmp_path / f"{side}_white.gii", corners(1.0))
        gifti(tmp_path / f"{side}.pial.surf.gii", corners(1.5))
    head = heads.load(tmp_path)
    assert sorted(head.surfaces) == ["lh_pial", "lh_white", "rh_pial", "rh_white"]
    np.testing.assert_allclose(head.surfaces["lh_white"].vertices, corners(1.0), atol=1e-5)
    np.testing.assert_array_equal(head.surfaces["rh_pial"].faces, TETRAHEDRON)


def test_an_incomplete_set_beside_the_labels_is_ignored_with_a_warning(tmp_path, labels):
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "labels.nii.gz")
    gifti(tmp_path / "lh_white.gii", corners(1.0))
    for source in (tmp_path / "labels.nii.gz", tmp_path):
        with pytest.warns(UserWarning, match=r"ignored: .* has lh_white.gii but no lh_pial, rh_white, rh_pial"):
            head = heads.load(source)
        assert head.surfaces is None
        with pytest.raises(InputError, match="surfaces are missing"):
            heads.load(source, surfaces=tmp_path)
    with pytest.raises(InputError, match="surfaces are missing"):
        heads.load("S1", surfaces=tmp_path)


def test_tkr_surfaces_are_moved_by_c_ras(tmp_path):
    c_ras = np.array([1.5, -2.0, 3.25])
    info = {
        "head": np.array([2, 0, 20], np.int32),
        "valid": "1  # volume info valid",
        "filename": "orig.mgz",
        "volume": np.array([256, 256, 256]),
        "voxelsize": np.ones(3),
        "xras": np.array([-1.0, 0, 0]),
        "yras": np.array([0.0, 0, -1]),
        "zras": np.array([0.0, 1, 0]),
        "cras": c_ras,
    }
    for side in ("lh", "rh"):
        write_geometry(tmp_path / f"{side}.white", corners(1.0), TETRAHEDRON, volume_info=info)
        write_geometry(tmp_path / f"{side}.pial", corners(1.5), TETRAHEDRON, volume_info=info)
    surfaces = heads.load_surfaces(tmp_path)
    np.testing.assert_allclose(surfaces["lh_white"].vertices, corners(1.0) + c_ras, atol=1e-4)

    meta = dict(zip(("VolGeomC_R", "VolGeomC_A", "VolGeomC_S"), map(str, c_ras), strict=True))
    folder = tmp_path / "gifti"
    folder.mkdir()
    for side in ("lh", "rh"):
        for kind in ("white", "pial"):
            gifti(folder / f"{side}.{kind}.gii", corners(1.0), meta=meta)
    np.testing.assert_allclose(heads.load_surfaces(folder)["rh_pial"].vertices, corners(1.0) + c_ras, atol=1e-4)


def test_a_subject_folder_without_volume_information_in_its_surfaces(tmp_path, labels):
    """The subject's own volume says where they lie; without it a warning says that nothing does."""
    c_ras = np.array([1.5, -2.0, 3.25])
    for name in ("surf", "mri"):
        (tmp_path / "bert" / name).mkdir(parents=True)
    for side in ("lh", "rh"):
        write_geometry(tmp_path / "bert" / "surf" / f"{side}.white", corners(1.0), TETRAHEDRON)
        write_geometry(tmp_path / "bert" / "surf" / f"{side}.pial", corners(1.5), TETRAHEDRON)
    with pytest.warns(UserWarning, match="may be off by the volume's c_ras"):
        there = heads.load_surfaces(tmp_path / "bert")
    np.testing.assert_allclose(there["rh_pial"].vertices, corners(1.5), atol=1e-4)
    conformed = np.array([[-1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 0], [0, 0, 0, 1]])
    conformed[:3, 3] = c_ras - conformed[:3, :3] @ np.array([8, 8, 8])
    volume = nibabel.MGHImage(np.zeros((16, 16, 16), np.uint8), conformed)
    nibabel.save(volume, tmp_path / "bert" / "mri" / "orig.mgz")
    for place in (tmp_path / "bert", tmp_path / "bert" / "surf"):
        np.testing.assert_allclose(heads.load_surfaces(place)["rh_pial"].vertices, corners(1.5) + c_ras, atol=1e-4)
    nibabel.save(nibabel.Nifti1Image(labels, AFFINE), tmp_path / "seg.nii.gz")
    head = heads.load(tmp_path / "seg.nii.gz", surfaces=tmp_path / "bert")
    np.testing.assert_allclose(head.surfaces["lh_white"].vertices, corners(1.0) + c_ras, atol=1e-4)


def test_surfaces_that_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        heads.load_surfaces(tmp_path / "absent")
    with pytest.raises(InputError, match="missing"):
        heads.load_surfaces(tmp_path)
    assert heads.load_surfaces(tmp_path, required=False) is None
    for side in ("lh", "rh"):
        gifti(tmp_path / f"{side}_white.gii", corners(1.0))
        gifti(tmp_path / f"{side}_pial.gii", corners(1.5))
    gifti(tmp_path / "rh_pial.gii", corners(1.5), TETRAHEDRON[:3])
    with pytest.raises(InputError, match="do not correspond"):
        heads.load_surfaces(tmp_path)
    gifti(tmp_path / "rh_pial.gii", corners(np.nan))
    with pytest.raises(InputError, match="damaged"):
        heads.load_surfaces(tmp_path)
    gifti(tmp_path / "rh_pial.gii", np.zeros((0, 3)), np.zeros((0, 3)))
    with pytest.raises(InputError, match=r"empty|cannot be read"):
        heads.load_surfaces(tmp_path)
    (tmp_path / "rh_pial.gii").write_text("nothing")
    with pytest.raises(InputError, match="cannot be read"):
        heads.load_surfaces(tmp_path)
    (tmp_path / "rh_pial.gii").write_text('<?xml version="1.0"?><data/>')
    with pytest.raises(InputError, match="cannot be read"):
        heads.load_surfaces(tmp_path)


def test_a_damaged_surface_is_refused(tmp_path):
    rng = np.random.default_rng(0)
    gifti(tmp_path / "a.gii", rng.normal(size=(300, 3)), rng.integers(0, 300, (500, 3)))
    whole = (tmp_path / "a.gii").read_bytes()
    assert len(heads.read_surface(tmp_path / "a.gii").vertices) == 300
    start = whole.index(b"<Data>") + 6
    end = whole.index(b"</Data>")
    for place in rng.integers(start, end - 4, 30):
        damaged = bytearray(whole)
        damaged[place] = ord("A") if damaged[place] != ord("A") else ord("B")
        (tmp_path / "b.gii").write_bytes(damaged)
        with pytest.raises(InputError, match="cannot be read"):
            heads.read_surface(tmp_path / "b.gii")
