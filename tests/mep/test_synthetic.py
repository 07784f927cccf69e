"""Synthetic subjects: recruitment as published, somatotopy, a run that goes on, and poses found again."""

import dataclasses

import numpy as np
import pytest

import tmsjax as tj
from tmsjax.core.errors import InputError
from tmsjax.mep import recruitment, synthetic
from tmsjax.mep.muscle_model import TRAINING, fit_muscles, of_subject, parcels
from tmsjax.mep.pose import coordinates, pose_grid, prior_of, recover
from tmsjax.mep.strip import warped

PROTOCOL = synthetic.Protocol((115.0, 140.0), grid=3, spacing_mm=9.0, free=60, gap_mm=8.0, spread_mm=9.0)


@pytest.fixture(scope="module")
def made(lab, tmp_path_factory):
    work = tmp_path_factory.mktemp("work")
    args = (
        lab.head,
        lab.model,
        lab.coil,
        lab.chart,
        tj.surrogate.load("open/L5_PC_1"),
        lab.strip,
        lab.mask,
        lab.affine,
    )
    one, truth = synthetic.generate(*args, protocol=PROTOCOL, seed=1, sites=30, azimuths=2, work=work)
    return one, truth, args, work


def test_recruitment_is_the_mean_subject_of_goetz_2019():
    """Medians and chances from the published law (facts of the paper, worked out by Monte-Carlo)."""
    rng = np.random.default_rng(0)
    for percent, median, chance in ((100, 0.051, 0.51), (110, 0.20, 0.94), (120, 0.51, 1.0), (140, 1.32, 1.0)):
        found = recruitment.responses(np.full((4000, 1), float(percent)), np.array([3.4]), rng)[:, 0]
        assert np.median(np.maximum(found, 0.0)) == pytest.approx(median, rel=0.12) or percent == 100
        assert (found > 0).mean() == pytest.approx(chance, abs=0.06)
    assert recruitment.median_mv(1000.0, 3.4) == pytest.approx(3.4, rel=0.02)
    assert recruitment.median_mv(60.0, 3.4) < 0.001


def test_shared_noise_makes_muscles_go_together():
    rng = np.random.default_rng(0)
    drive = np.full((3000, 2), 125.0)
    together, apart = (np.sqrt(recruitment.responses(drive, np.array([3.0, 3.0]), rng, c)) for c in (0.9, 0.0))
    assert np.corrcoef(together.T)[0, 1] > 0.6
    assert abs(np.corrcoef(apart.T)[0, 1]) < 0.1


def test_a_subject_is_said_to_be_synthetic_and_obeys_its_protocol(made):
    one, truth, *_ = made
    assert one.synthetic
    assert "made up" in one.note
    assert sorted(set(one.intensity_percent)) == [115.0, 140.0]
    assert len(one) == 2 * (9 + 60)
    assert one.muscles == recruitment.muscles(1).names
    np.testing.assert_allclose(np.abs(one.didt_a_per_us), truth.threshold_a_per_us * one.intensity_percent / 100)
    grid = np.abs(truth.handle_deg - 45.0) < 1e-6
    assert grid.sum() == 18
    # The same grid pose at two intensities: fields in proportion to these.
    a, b = (np.flatnonzero(grid & (one.intensity_percent == level))[0] for level in (115.0, 140.0))
    np.testing.assert_allclose(one.fields[b] / 140, one.fields[a] / 115, rtol=1e-4)


def test_drive_is_a_hundred_per_cent_at_the_muscles_own_threshold(made):
    one, truth, *_ = made
    at_best = truth.drive_percent[:, 0] / one.intensity_percent
    grid = np.abs(truth.handle_deg - 45.0) < 1e-6
    assert at_best[grid].max() == pytest.approx(1.0, rel=1e-5)
    assert (truth.drive_percent[:, -1] / one.intensity_percent)[grid].max() == pytest.approx(1 / 1.20, rel=1e-5)


def test_lateral_muscles_are_driven_by_lateral_fields(made):
    one, truth, args, _ = made
    along, _ = args[5].nearest(one.voxels_mm)
    first, last = np.argmin(truth.muscles.lateral_mm), np.argmax(truth.muscles.lateral_mm)
    field = np.log(one.fields[:, along > 4].mean(1) / one.fields[:, along < -4].mean(1))
    drive = np.log(truth.drive_percent[:, last] / truth.drive_percent[:, first])
    assert np.corrcoef(field, drive)[0, 1] > 0.5


def test_killed_run_goes_on_with_the_same_numbers(made):
    one, _, args, work = made
    blocks = sorted(work.glob("block_*.npy"))
    blocks[0].unlink()
    again, _ = synthetic.generate(*args, protocol=PROTOCOL, seed=1, sites=30, azimuths=2, work=work)
    np.testing.assert_array_equal(again.fields, one.fields)
    np.testing.assert_array_equal(again.responses, one.responses)
    with pytest.raises(InputError, match="another thresholds"):
        synthetic.generate(*args, protocol=PROTOCOL, seed=2, sites=30, azimuths=2, work=work)


def test_poses_that_the_model_does_not_cover_are_refused(lab, made):
    low = synthetic.Protocol((115.0,), grid=3, spacing_mm=9.0, free=10, gap_mm=-6.0)
    with pytest.raises(InputError, match="does not cover the mapping"):
        synthetic.generate(*made[2], protocol=low, sites=10)


def test_the_muscles_likelihood_is_learned_and_finds_the_pose(lab, made):
    one, _, *_ = made
    test = np.arange(len(one)) % 6 == 0
    left, held = one[~test], one[test]
    held = held[(held.responses > 0).sum(1) >= 3]
    muscles = fit_muscles(left, training=dataclasses.replace(TRAINING, epochs=40))
    own, other = of_subject(muscles, held), of_subject(muscles, lab.replace(held, fields=held.fields[::-1]))
    assert own.mean() > other.mean() + 1
    prior = prior_of(lab.chart, left)
    grid = pose_grid(lab.model, lab.coil, lab.chart, prior, muscles.parcels, one.voxels_mm, 6.0)
    found = recover(held, lab.model, lab.coil, lab.chart, prior, muscles, grid)
    place, handle, gap = coordinates(lab.chart, held.poses)
    np.testing.assert_allclose(gap, 8.0, atol=0.01)
    np.testing.assert_allclose(handle, prior.handle_deg, atol=40)
    error = np.linalg.norm(found.place_mm - place, axis=1)
    before = np.linalg.norm(prior.place_mm - place, axis=1)
    assert error.mean() < 0.7 * before.mean()
    best = np.linalg.norm(found.best_mm - place, axis=1)
    assert best.mean() < before.mean()
    assert found.covered.all()
    assert 0.02 < found.inside.mean() < 0.9
    off = np.linalg.norm(found.fields - held.fields, axis=1) / np.linalg.norm(held.fields, axis=1)
    mean = left.fields.mean(0)
    with pytest.raises(InputError, match="without poses"):
        prior_of(lab.chart, lab.replace(one, poses=None))
    with pytest.raises(InputError, match="without intensity"):
        recover(lab.replace(held, didt_a_per_us=None), lab.model, lab.coil, lab.chart, prior, muscles, grid)
    assert off.mean() < (np.linalg.norm(mean - held.fields, axis=1) / np.linalg.norm(held.fields, axis=1)).mean()


def test_parcels_take_voxels_of_their_own(made):
    at = made[0].voxels_mm
    found = parcels(at, 12)
    assert len(found.voxels) == 12
    spread = [np.linalg.norm(at[rows] - at[rows].mean(0), axis=1).max() for rows in found.voxels]
    assert max(spread) < 20
    with pytest.raises(InputError, match="at least a voxel each"):
        parcels(at[:3], 12)


def test_a_warped_head_keeps_its_tissues_and_moves_its_surfaces_along(lab):
    other = warped(lab.head, 3)
    labels, before = np.asarray(other.labels), np.asarray(lab.head.labels)
    assert set(np.unique(labels)) == set(np.unique(before))
    assert 0.8 < (labels > 0).sum() / (before > 0).sum() < 1.25
    assert (labels != before).mean() > 0.005
    pial = np.asarray(other.surfaces["rh_pial"].vertices)
    index = np.rint((pial - np.asarray(other.affine)[:3, 3]) / 4.0).astype(int)
    assert np.isin(labels[tuple(index.T)], (1, 2, 4)).mean() > 0.95  # the pia stays at the grey matter's outside
    assert "warped" in other.name
