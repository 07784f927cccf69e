"""Tissue shares recovered from labels against those counted in 8x8x8 points a voxel."""

import dataclasses

import numpy as np
import pytest
from scipy import ndimage

from tmsjax import efield
from tmsjax import head as heads
from tmsjax.core.errors import InputError

SHELLS = {  # radius mm: label, and the voxel size in mm
    "skull 3 mm and CSF 2 mm at 2 mm": ({40.0: 5, 36.0: 4, 33.0: 3, 31.0: 2}, 2.0),
    "skull 3 mm and CSF 2 mm at 1 mm": ({26.0: 5, 24.0: 4, 21.0: 3, 19.0: 2}, 1.0),
    "sulcus of 1.5 mm at 1 mm": ({26.0: 4, 24.0: 3, 22.5: 2, 19.0: 3, 17.5: 2}, 1.0),
    "sulcus of 1 mm at 1 mm": ({26.0: 4, 24.0: 3, 22.5: 2, 19.0: 3, 18.0: 2}, 1.0),
}


def shells(radii, voxel_mm, points=1):
    """Labels of shells off the grid's centre, at ``points`` a voxel and axis."""
    n = 2 * int(max(radii) / voxel_mm + 3)
    axis = ((np.arange(n * points) + 0.5) / points - n / 2) * voxel_mm
    x, y, z = (axis - shift * voxel_mm for shift in (0.3, 0.7, -0.4))
    r2 = (x**2)[:, None, None] + (y**2)[:, None] + z**2
    labels = np.zeros(r2.shape, np.uint8)
    for radius, label in radii.items():
        labels[r2 < radius**2] = label
    return labels


def counted(radii, voxel_mm, label, points=8):
    fine = shells(radii, voxel_mm, points) == label
    n = fine.shape[0] // points
    return fine.reshape(n, points, n, points, n, points).mean((1, 3, 5))


@pytest.mark.parametrize("name", SHELLS)
def test_shares_are_near_the_truth_and_thin_layers_keep_their_volume(name):
    radii, voxel_mm = SHELLS[name]
    labels = shells(radii, voxel_mm)
    for label, share in heads.fractions(labels):
        truth = counted(radii, voxel_mm, label)
        mixed = (truth > 0) & (truth < 1)
        got = np.abs(share - truth)[mixed].mean()
        binary = np.abs((labels == label) - truth)[mixed].mean()
        assert got < (0.55 if "sulcus" in name else 0.2) * binary
        assert share.sum() == pytest.approx(truth.sum(), rel=0.03)


def test_shares_add_up():
    labels = shells(*SHELLS["sulcus of 1 mm at 1 mm"])
    total = sum(share for _, share in heads.fractions(labels))
    assert total.min() >= 0
    assert total.max() <= 1
    np.testing.assert_array_equal(total[ndimage.binary_erosion(labels > 0, iterations=2)], 1.0)


def test_air_round_the_head_does_not_matter():
    labels = shells(*SHELLS["skull 3 mm and CSF 2 mm at 2 mm"])
    tight = labels[tuple(slice(min(x) - 2, max(x) + 3) for x in np.nonzero(labels))]
    roomy = dict(heads.fractions(np.pad(tight, 12)))
    for label, share in heads.fractions(tight):
        np.testing.assert_array_equal(share, roomy[label][12:-12, 12:-12, 12:-12])


def test_mirrored_labels_give_mirrored_shares():
    labels = shells(*SHELLS["skull 3 mm and CSF 2 mm at 2 mm"])
    turned = np.ascontiguousarray(labels[::-1].transpose(2, 0, 1))
    for (_, a), (_, b) in zip(heads.fractions(labels), heads.fractions(turned), strict=True):
        differ = np.abs(a[::-1].transpose(2, 0, 1) - b) > 1 / 64 + 1e-6  # a point of 64 may fall on a boundary
        assert differ.mean() < 1e-4


def test_flat_layers_on_the_grid_are_left_alone():
    labels = np.zeros((20, 20, 20), np.uint8)
    labels[:, :, 4:] = 2
    labels[:, :, 12:] = 1
    shares = dict(heads.fractions(labels))
    np.testing.assert_array_equal(shares[2][10, 10], np.repeat([0.0, 1.0, 0.0], [4, 8, 8]))
    np.testing.assert_array_equal(shares[1][10, 10], np.repeat([0.0, 0.0, 1.0], [4, 8, 8]))


def test_conductivity_is_the_mean_over_the_shares():
    labels = shells(*SHELLS["skull 3 mm and CSF 2 mm at 2 mm"])
    head = heads.from_labels(labels, np.diag([2.0, 2.0, 2.0, 1.0]))
    sigma, mask, affine = efield.conductivity(head)
    mean = sum(heads.PAPER_CONDUCTIVITY[label] * share for label, share in heads.fractions(labels))
    np.testing.assert_allclose(sigma, mean, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(mask, labels > 0)
    np.testing.assert_array_equal(affine, head.affine)


def test_a_coarser_grid_counts_exactly():
    labels = np.zeros((4, 4, 5), np.uint8)
    labels[:, :, :3] = 2
    labels[0, 0, 0] = 3
    affine = np.diag([0.5, 0.5, 0.5, 1.0])
    affine[:3, 3] = [7, 8, 9]
    sigma, mask, coarse = efield.conductivity(heads.from_labels(labels, affine), partial_volume=False, coarsen=2)
    assert sigma.shape == mask.shape == (2, 2, 3)
    assert sigma[0, 0, 0] == pytest.approx((7 * 0.275 + 1.654) / 8)
    assert sigma[1, 1, 1] == pytest.approx(0.275 / 2)
    assert sigma[0, 0, 2] == 0
    np.testing.assert_allclose(coarse @ [0, 0, 0, 1], [7.25, 8.25, 9.25, 1])
    np.testing.assert_allclose(np.diag(coarse), [1, 1, 1, 1])


def test_what_is_refused():
    head = heads.from_labels(shells(*SHELLS["sulcus of 1 mm at 1 mm"]), np.eye(4))
    with pytest.raises(InputError, match="label 4"):
        efield.conductivity(dataclasses.replace(head, conductivity={2: 0.275, 3: 1.654}))
    with pytest.raises(InputError, match="coarsen"):
        efield.conductivity(head, coarsen=0)
