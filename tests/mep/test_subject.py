"""Subjects, their files, and the input that must be refused."""

import dataclasses

import numpy as np
import pytest
from made_up_subject import MUSCLES, mask, subject

from tmsjax.core.errors import InputError
from tmsjax.io import write_scalar
from tmsjax.mep import clean, coarser, in_box, load_subject, read_responses, save_subject, scaling
from tmsjax.mep.files import read_poses


@pytest.fixture(scope="module")
def one():
    return subject()


def test_zarr_gives_back_what_was_written(one, tmp_path):
    save_subject(one, tmp_path / "s.zarr")
    back = load_subject(tmp_path / "s.zarr")
    for field in dataclasses.fields(one):
        np.testing.assert_array_equal(getattr(back, field.name), getattr(one, field.name))
    with pytest.raises(InputError, match="nothing is overwritten"):
        save_subject(one, tmp_path / "s.zarr")


def write_table(path, rows, columns=("stimulation", "intensity_percent", *MUSCLES)):
    path.write_text("\n".join(",".join(map(str, row)) for row in [columns, *rows]) + "\n")


def write_folder(folder, s):
    (folder / "fields").mkdir(parents=True)
    write_scalar(folder / "mask.nii.gz", s.mask.astype(np.float32), s.affine)
    rows = [[f"n{i}", s.intensity_percent[i], *s.responses[i]] for i in range(len(s))]
    write_table(folder / "responses.csv", rows)
    for i in range(len(s)):
        write_scalar(folder / "fields" / f"n{i}.nii.gz", s.volume(s.fields[i]), s.affine)
    np.savetxt(folder / "poses.txt", s.poses.reshape(-1, 4))
    return folder


def test_folder_of_other_programs_gives_the_same_subject(one, tmp_path):
    some = one[:3]
    back = load_subject(write_folder(tmp_path / "s", some))
    for name in ("fields", "mask", "affine", "responses", "intensity_percent", "poses"):
        np.testing.assert_allclose(getattr(back, name), getattr(some, name), rtol=1e-6, atol=1e-6)
    assert back.muscles == MUSCLES
    assert not back.synthetic


def test_mask_of_another_head_is_refused(one, tmp_path):
    folder = write_folder(tmp_path / "s", one[:2])
    elsewhere = one.affine.copy()
    elsewhere[:3, 3] += 20
    write_scalar(folder / "mask.nii.gz", one.mask.astype(np.float32), elsewhere)
    with pytest.raises(InputError, match="mask of another head"):
        load_subject(folder)
    with pytest.raises(InputError, match="mask of another head"):
        dataclasses.replace(one, mask=np.roll(one.mask, 1, 0) | one.mask)


def test_poses_that_do_not_pair_up_are_refused(one, tmp_path):
    folder = write_folder(tmp_path / "s", one[:3])
    np.savetxt(folder / "poses.txt", one.poses[:2].reshape(-1, 4))
    with pytest.raises(InputError, match=r"2 poses in poses.txt, 3 rows of responses"):
        load_subject(folder)
    with pytest.raises(InputError, match="poses and fields do not pair up"):
        dataclasses.replace(one, poses=one.poses[:-1])
    with pytest.raises(InputError, match="no poses"):
        read_poses(tmp_path, 3)


@pytest.mark.parametrize(
    ("cell", "said"), [("", "column ADM"), ("none", "'none'"), ("-1", "'-1'"), ("nan", "a number, 0 or more")]
)
def test_missing_and_impossible_responses_are_refused(tmp_path, cell, said):
    write_table(tmp_path / "r.csv", [["a", 110, 0.1, 0.2, cell, 0.4]])
    with pytest.raises(InputError, match=said):
        read_responses(tmp_path / "r.csv")


def test_a_table_without_muscles_or_intensity_is_refused(tmp_path):
    write_table(tmp_path / "r.csv", [["a", 110]], ("stimulation", "intensity_percent"))
    with pytest.raises(InputError, match="a column in mV for each muscle"):
        read_responses(tmp_path / "r.csv")
    with pytest.raises(InputError, match="cannot be read"):
        read_responses(tmp_path / "nothing.csv")


def test_missing_muscles_are_named(one):
    with pytest.raises(InputError, match="no BRD, ECU among FDI"):
        one.of_muscles(("FDI", "BRD", "ECU"))
    assert one.of_muscles(("ADM", "FDI")).responses[0, 1] == one.responses[0, 0]


def test_cleaning_counts_what_it_leaves_out(one):
    responses, fields = one.responses.copy(), one.fields.copy()
    responses[:5] = 0.04  # below 50 uV
    fields[5:8] *= 1e-7
    responses[5:8] = 1.0
    done = clean(dataclasses.replace(one, responses=responses, fields=fields))
    silent = int(((responses >= 0.05).sum(1) == 0).sum())
    assert (done.no_response, done.weak_field) == (silent, 3)
    assert len(done.subject) == len(one) - silent - 3 == sum(done.kept.values())
    assert sum(done.applied.values()) == len(one)
    assert not ((done.subject.responses > 0) & (done.subject.responses < 0.05)).any()


def test_all_zero_responses_and_fields_are_refused(one):
    with pytest.raises(InputError, match="no muscle ever responded"):
        clean(dataclasses.replace(one, responses=0 * one.responses))
    with pytest.raises(InputError, match="no stimulation with a response has a field"):
        clean(dataclasses.replace(one, fields=1e-9 * one.fields))
    with pytest.raises(InputError, match="nothing to scale by"):
        scaling(dataclasses.replace(one, responses=0 * one.responses))


def test_scaling_is_of_the_largest_value_and_of_each_muscle(one):
    scale = scaling(one)
    assert scale.fields(one.fields).max() == pytest.approx(1.0)
    np.testing.assert_allclose(scale.responses(one.responses).max(0), 1.0, rtol=1e-6)


def test_coarser_voxels_keep_the_mean_over_the_mask(one):
    half = coarser(one, 2)
    assert half.mask.shape == (8, 8, 8)
    first = np.argwhere(half.mask)[0]
    children = (np.argwhere(one.mask) // 2 == first).all(1)
    np.testing.assert_allclose(half.fields[:, 0], one.fields[:, children].mean(1), rtol=1e-5)
    np.testing.assert_allclose(half.voxels_mm[0], (2 * first + 0.5) * 4.0)
    with pytest.raises(InputError, match="multiples of the factor"):
        coarser(one, 3)


def test_box_moves_no_voxel(one):
    boxed = in_box(one, 24)
    np.testing.assert_allclose(boxed.voxels_mm, one.voxels_mm)
    assert boxed.mask.shape == (24, 24, 24)
    with pytest.raises(InputError, match="does not fit"):
        in_box(one, 8)


def test_values_that_cannot_be_are_refused(one):
    with pytest.raises(InputError, match="negative"):
        dataclasses.replace(one, responses=-one.responses)
    with pytest.raises(InputError, match="each once"):
        dataclasses.replace(one, muscles=("FDI",) * 4)
    with pytest.raises(InputError, match="voxels in it"):
        dataclasses.replace(one, mask=np.zeros_like(mask()))
