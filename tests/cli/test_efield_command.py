"""``tmsjax efield`` as a user runs it, on small synthetic heads."""

import json

import nibabel
import numpy as np
import pytest
from command_line import command
from meshes import icosphere, sphere_mesh
from spheres import layered_sphere, pose_over

import tmsjax as tj
from tmsjax.cli.poses import pose_of_file
from tmsjax.core.errors import InputError
from tmsjax.efield import load_field
from tmsjax.io import Msh, read_msh, write_msh, write_surface

COIL = "Magstim_70mm_Fig8"
RADII = {2: 78.0, 4: 86.0, 5: 92.0}


@pytest.fixture(scope="module")
def tmsjax():
    return command("efield")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A voxel head with surfaces, a mesh, a pose, a map and tensors: all spheres, synthetic."""
    folder = tmp_path_factory.mktemp("heads")
    labels, affine = layered_sphere(6.0)
    nibabel.save(nibabel.Nifti1Image(labels, affine), folder / "labels.nii.gz")
    vertices, faces = icosphere(2)
    for side in ("lh", "rh"):
        for kind, radius in (("white", 60.0), ("pial", 74.0)):
            write_surface(folder / f"{side}.{kind}.surf.gii", radius * vertices, faces, structure=f"{side}_{kind}")
    nodes, tetrahedra, tags = sphere_mesh(2, 14.0, RADII)
    mesh = tj.head.mesh_from_arrays(nodes, tetrahedra, tags)
    kinds = np.full(len(mesh.outer), 1005, np.int32)
    write_msh(folder / "ball.msh", Msh(nodes, mesh.tetrahedra, mesh.tags, mesh.outer, kinds))
    np.savetxt(folder / "pose.txt", pose_over().matrix)
    (folder / "pose.json").write_text(json.dumps({"matsimnibs": pose_over().matrix.tolist()}))
    np.savetxt(folder / "mni.txt", np.eye(4))
    sigma = np.array([0, 0.126, 0.275, 1.654, 0.01, 0.25])[labels]
    nibabel.save(nibabel.Nifti1Image(sigma.astype(np.float32), affine), folder / "sigma.nii.gz")
    tensor = np.zeros((*labels.shape, 6), np.float32)
    tensor[..., [0, 3, 5]] = [2.0, 1.0, 1.0]
    nibabel.save(nibabel.Nifti1Image(tensor, affine), folder / "dti.nii.gz")
    return folder


def summary_of(out):
    return json.loads((out / "efield.json").read_text())


def test_voxels_surfaces_and_a_landmark(tmsjax, folder, tmp_path):
    out = tmp_path / "new" / "knob"
    done = tmsjax(
        "--head", folder / "labels.nii.gz", "--mni-to-head", folder / "mni.txt", "--coil", COIL, "--didt", "50",
        "--conductivity", "5", "0.465", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = summary_of(out)
    assert sorted(said["files"]) == sorted(item.name for item in out.iterdir())
    assert {"efield.nii.gz", "magnE.nii.gz", "pose.txt", "lh.central.surf.gii", "rh.central.func.gii"} <= set(
        said["files"]
    )
    assert said["status"] == "converged"
    assert said["residual"] <= 1e-4
    assert said["didt"] == {"a_per_us": 50.0, "a_per_s": 5e7}
    assert said["conductivity_s_per_m"]["5"] == 0.465
    assert {"tmsjax", "jax", "numpy"} <= set(said["versions"])
    assert "hand knob left" in said["pose"]["how"]
    assert "5e+07 A/s" in done.stdout
    # The same through Python, from the pose that it says.
    head = tj.head.load(folder / "labels.nii.gz", conductivity={5: 0.465})
    pose = tj.coil.CoilPose.from_matrix(said["pose"]["matsimnibs"])
    field = tj.efield.solve(head, tj.coil.load(COIL), pose, didt=50.0)
    back = load_field(out / "efield.nii.gz")
    scale = np.abs(np.asarray(field.values)).max()
    np.testing.assert_allclose(back.values, field.values, atol=1e-3 * scale)
    assert float(back.didt) == 50.0
    magnitude = nibabel.load(out / "magnE.nii.gz").get_fdata()
    np.testing.assert_allclose(magnitude, np.linalg.norm(np.asarray(back.values), axis=-1), atol=1e-5 * scale)
    np.testing.assert_allclose(np.loadtxt(out / "pose.txt"), said["pose"]["matsimnibs"], atol=1e-5)
    surface, maps = nibabel.load(out / "lh.central.surf.gii"), nibabel.load(out / "lh.central.func.gii")
    vertices = surface.agg_data("pointset")
    np.testing.assert_allclose(np.linalg.norm(vertices, axis=1), 67, rtol=1e-4)
    values = {array.meta["Name"].split()[0]: array.data for array in maps.darrays}
    e = np.asarray(field.at(vertices))
    np.testing.assert_allclose(np.stack([values["Ex"], values["Ey"], values["Ez"]], 1), e, atol=2e-3 * scale)
    inward = -(e * vertices).sum(axis=1) / np.linalg.norm(vertices, axis=1)
    np.testing.assert_allclose(values["E_inward"], inward, atol=2e-2 * scale)
    assert said["magnE_v_per_m"]["2 grey matter"]["p99"] > said["magnE_v_per_m"]["2 grey matter"]["median"] > 0


@pytest.mark.parametrize("pose", ["pose.txt", "pose.json"])
def test_a_mesh_and_a_pose_of_simnibs(tmsjax, folder, tmp_path, pose):
    out = tmp_path / "out"
    done = tmsjax(
        "--head", folder / "ball.msh", "--engine", "mesh", "--coil", COIL, "--pose", folder / pose, "--voxel-mm", "4",
        "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said = summary_of(out)
    assert said["engine"] == "mesh"
    np.testing.assert_allclose(said["pose"]["matsimnibs"], pose_over().matrix, atol=1e-6)
    mesh = read_msh(out / "efield.msh")
    assert set(mesh.element_data) == {"E", "magnE"}
    assert set(mesh.node_data) == {"v"}
    field = tj.efield.solve_mesh(tj.head.load_mesh(folder / "ball.msh"), tj.coil.load(COIL), pose_over())
    scale = np.abs(np.asarray(field.values)).max()
    np.testing.assert_allclose(mesh.on_tetrahedra("E"), field.values, atol=1e-4 * scale)
    back = load_field(out / "efield.nii.gz")
    points = np.array([[10.0, 20, 40], [-30, 10, 50]])
    np.testing.assert_allclose(back.at(points), field.at(points), atol=0.05 * scale)
    assert abs(back.affine[0, 0]) == 4
    # What it wrote is a pose for the next run.
    again, _ = pose_of_file(out / "efield.json")
    np.testing.assert_allclose(again.matrix, pose_over().matrix, atol=1e-6)


def test_a_mesh_made_voxels_and_a_target_in_mm(tmsjax, folder, tmp_path):
    out = tmp_path / "out"
    done = tmsjax(
        "--head", folder / "ball.msh", "--voxel-mm", "6", "--tissues", "5", "8", "--conductivity", "8", "0.25",
        "--coil", COIL, "--target-mm", "-50", "10", "60", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    said, mesh = summary_of(out), read_msh(out / "efield.msh")
    assert said["head"]["shape"] is not None
    assert said["conductivity_s_per_m"]["8"] == 0.25
    assert "8 spongy bone" in said["magnE_v_per_m"]
    e = mesh.on_tetrahedra("E")
    inside = np.isfinite(e).all(axis=1)
    assert inside.mean() > 0.9
    pose = tj.coil.CoilPose.from_matrix(said["pose"]["matsimnibs"])
    field = tj.efield.solve_mesh(tj.head.load_mesh(folder / "ball.msh"), tj.coil.load(COIL), pose)
    brain = inside & (mesh.tetrahedron_tags == 2)
    reference = np.asarray(field.at(field.mesh.centroids[brain]))
    assert np.linalg.norm(e[brain] - reference) < 0.12 * np.linalg.norm(reference)


@pytest.mark.parametrize("engine", ["voxel", "mesh"])
def test_diffusion_tensors(tmsjax, folder, tmp_path, engine):
    """White matter is where the tensors act: in the voxel head, but not in the mesh, which has none and says so."""
    head = folder / ("labels.nii.gz" if engine == "voxel" else "ball.msh")
    done = tmsjax(
        "--head", head, "--engine", engine, "--coil", COIL, "--pose", folder / "pose.txt",
        "--dti", folder / "dti.nii.gz", "--out", tmp_path / "out",
    )  # fmt: skip
    if engine == "mesh":
        assert done.returncode == 2
        assert "no such tissue" in done.stderr
        assert not (tmp_path / "out").exists()
        return
    assert done.returncode == 0, done.stderr
    assert "0 voxels of white matter without a tensor" in done.stdout
    said = summary_of(tmp_path / "out")
    white = int((np.asarray(nibabel.load(head).dataobj) == 1).sum())
    assert said["white_matter_without_tensor"] == {"count": 0, "of": white}
    assert said["conductivity_s_per_m"]["1"] == 0.126
    turned = np.asarray(load_field(tmp_path / "out" / "efield.nii.gz").values)
    plain = tj.efield.solve(tj.head.load(head), tj.coil.load(COIL), pose_over())
    white = np.asarray(nibabel.load(head).dataobj) == 1
    change = (
        np.linalg.norm(turned - plain.values, axis=-1)[white].mean()
        / np.linalg.norm(plain.values, axis=-1)[white].mean()
    )
    assert 0.005 < change < 0.5


def test_a_map_of_conductivities(tmsjax, folder, tmp_path):
    out = tmp_path / "out"
    done = tmsjax(
        "--head", folder / "labels.nii.gz", "--coil", COIL, "--pose", folder / "pose.txt", "--conductivity-map",
        folder / "sigma.nii.gz", "--out", out,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    binary = tj.efield.solve(
        tj.head.load(folder / "labels.nii.gz"), tj.coil.load(COIL), pose_over(), partial_volume=False
    )
    found = np.asarray(load_field(out / "efield.nii.gz").values)
    np.testing.assert_allclose(found, binary.values, atol=2e-3 * np.abs(found).max())
    said = summary_of(out)
    assert said["conductivity_s_per_m"] is None  # the labels' were not used
    assert said["conductivity_map"] == str(folder / "sigma.nii.gz")
    assert said["tissue_without_conductivity"]["count"] == 0


def moved(folder, name, mm):
    """A volume of the folder, put elsewhere in the world."""
    image = nibabel.load(folder / f"{name}.nii.gz")
    affine = image.affine.copy()
    affine[:3, 3] += mm
    path = folder / f"{name} {mm[0]:g}.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), affine), path)
    return path


def test_tensors_beside_the_head_are_refused(tmsjax, folder, tmp_path):
    """Some tensors missing are counted; most of them missing are those of another frame."""
    given = ("--head", folder / "labels.nii.gz", "--coil", COIL, "--pose", folder / "pose.txt", "--out", tmp_path / "o")
    done = tmsjax(*given, "--dti", moved(folder, "dti", [500.0, 0, 0]))
    assert done.returncode == 2
    assert "not where the white matter is" in done.stderr
    assert list(tmp_path.iterdir()) == []
    done = tmsjax(*given, "--dti", moved(folder, "dti", [90.0, 0, 0]))
    assert done.returncode == 0, done.stderr
    missing = summary_of(tmp_path / "o")["white_matter_without_tensor"]
    assert 0.02 < missing["count"] / missing["of"] < 0.4
    assert f"{missing['count']} voxels of white matter without a tensor" in done.stdout


def test_a_map_beside_the_head_is_refused(tmsjax, folder, tmp_path):
    given = ("--head", folder / "labels.nii.gz", "--coil", COIL, "--pose", folder / "pose.txt", "--out", tmp_path / "o")
    done = tmsjax(*given, "--conductivity-map", moved(folder, "sigma", [60.0, 0, 0]))
    assert done.returncode == 2
    assert "does not cover the head" in done.stderr
    values = nibabel.load(folder / "sigma.nii.gz")
    for bad in (np.nan, -1.0):
        sigma = np.asarray(values.dataobj).copy()
        sigma[0, 0, 0] = bad
        nibabel.save(nibabel.Nifti1Image(sigma, values.affine), folder / "bad.nii.gz")
        done = tmsjax(*given, "--conductivity-map", folder / "bad.nii.gz")
        assert done.returncode == 2
        assert "NaN, inf or negative" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_the_coil_must_clear_the_maps_tissue_too(tmsjax, folder, tmp_path):
    """The map's conductor is wider than the labels': a coil outside the one is inside the other."""
    image = nibabel.load(folder / "sigma.nii.gz")
    nibabel.save(
        nibabel.Nifti1Image(np.where(np.asarray(image.dataobj) > 0, image.dataobj, 0.25), image.affine),
        folder / "wide.nii.gz",
    )
    done = tmsjax(
        "--head", folder / "labels.nii.gz", "--coil", COIL, "--pose", folder / "pose.txt", "--conductivity-map",
        folder / "wide.nii.gz", "--out", tmp_path / "o",
    )  # fmt: skip
    assert done.returncode == 2
    assert "coil inside the head" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_hair_lifts_the_coil(tmsjax, folder, tmp_path):
    """By its thickness, along the scalp's normal; the gap stays what it was."""
    centres = []
    for hair in (0.0, 7.0):
        out = tmp_path / f"{hair:g}"
        done = tmsjax(
            "--head", folder / "ball.msh", "--voxel-mm", "6", "--coil", COIL, "--target-mm", "-50", "10", "60",
            "--engine", "mesh", "--hair-mm", hair, "--out", out,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        pose = summary_of(out)["pose"]
        centres.append(np.array(pose["matsimnibs"])[:3, 3])
        assert ("mm of hair" in pose["how"]) == (hair > 0)
    assert np.linalg.norm(centres[1] - centres[0]) == pytest.approx(7.0, abs=0.5)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--head", "nowhere.nii.gz"), "nowhere.nii.gz"),
        (("--coil", "Unknown_Coil"), "Unknown_Coil"),
        (("--target", "hand_knob_middle"), "hand_knob_middle"),
        (("--target", "C3", "--pose", "pose.txt"), "several places"),
        (("--pose", "absent.txt"), "absent.txt"),
        (("--pose", "sigma.nii.gz"), "sigma.nii.gz"),
        (("--pose-name", "a"), "--pose-name without --pose"),
        (("--engine", "mesh"), "needs tetrahedra"),
        (("--voxel-mm", "2"), "are for meshes"),
        (("--didt", "nan"), "didt"),
        (("--conductivity", "5", "-1"), "conductivity of label 5"),
        (("--conductivity-map", "sigma.nii.gz", "--coarsen", "2"), "stands alone"),
        (("--conductivity-map", "sigma.nii.gz", "--conductivity", "5", "0.9"), "--conductivity too"),
        (("--conductivity", "99", "0.3"), "does not have"),
        (("--coarsen", "99"), "too few voxels"),
        (("--coarsen", "0"), "coarsen must be"),
        (("--hair-mm", "-1"), "hair"),
    ],
)
def test_bad_input_is_a_message_and_leaves_nothing(tmsjax, folder, tmp_path, arguments, says):
    given = [folder / a if (folder / str(a)).is_file() else a for a in arguments]
    head = () if "--head" in arguments else ("--head", folder / "labels.nii.gz")
    where = () if {"--target", "--pose"} & set(arguments) else ("--target-mm", "0", "0", "80")
    done = tmsjax(*head, *where, "--mni-to-head", folder / "mni.txt", *given, "--out", tmp_path / "out")
    assert done.returncode == 2, done.stdout
    assert says in done.stderr
    assert "expected" in done.stderr
    assert "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_several_poses_wants_a_name(tmp_path):
    two = tmp_path / "two.txt"
    np.savetxt(two, np.concatenate([pose_over().matrix, pose_over((0.0, 0.0, 1.0)).matrix]))
    with pytest.raises(InputError, match=r"2 poses[\s\S]*--pose-name"):
        pose_of_file(two)
    names = [pose.name for pose in tj.coil.load_poses(two)]
    found, name = pose_of_file(two, names[1])
    assert name == names[1]
    np.testing.assert_allclose(found.matrix, pose_over((0.0, 0.0, 1.0)).matrix, atol=1e-6)
    with pytest.raises(InputError, match="0 poses named 'x'"):
        pose_of_file(two, "x")
    for text, says in (("{}", "no pose"), ("[[1, 2]]", "wrong shape"), ("{", "cannot be read")):
        (tmp_path / "bad.json").write_text(text)
        with pytest.raises(InputError, match=says):
            pose_of_file(tmp_path / "bad.json")


def test_nothing_is_overwritten(tmsjax, folder, tmp_path):
    (tmp_path / "out").mkdir()
    done = tmsjax("--head", folder / "labels.nii.gz", "--target-mm", "0", "0", "80", "--out", tmp_path / "out")
    assert done.returncode == 2
    assert "nothing is overwritten" in done.stderr
    assert list((tmp_path / "out").iterdir()) == []


def test_help_has_an_example(tmsjax):
    done = tmsjax("--help")
    assert done.returncode == 0
    assert "tmsjax efield --head ernie.msh --engine mesh" in " ".join(done.stdout.split())
