"""What counts as a head, and what is refused."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax import head as heads
from tmsjax.core.errors import InputError


def small_labels():
    labels = np.zeros((6, 7, 8), np.uint8)
    labels[1:5, 1:6, 1:7] = 5
    labels[2:4, 2:5, 2:6] = 2
    return labels


def test_from_labels_keeps_array_and_affine_as_they_are():
    affine = np.array([[0, -2.0, 0, 5], [2, 0, 0, -7], [0, 0, 1.5, 3], [0, 0, 0, 1]])
    head = heads.from_labels(small_labels(), affine, name="block")
    assert head.labels.dtype == np.uint8
    np.testing.assert_array_equal(head.labels, small_labels())
    np.testing.assert_array_equal(head.affine, affine)
    np.testing.assert_allclose(head.voxel_mm, [2, 2, 1.5])
    assert head.conductivity == heads.PAPER_CONDUCTIVITY
    assert head.surfaces is None
    assert head.mni_to_head is None


def test_a_head_is_its_own_and_its_labels_cannot_be_edited():
    labels, affine, registration = small_labels(), np.eye(4), np.eye(4)
    head = heads.from_labels(labels, affine, mni_to_head=registration)
    labels[2, 2, 2] = affine[0, 3] = registration[0, 3] = 3
    np.testing.assert_array_equal(head.labels, small_labels())
    np.testing.assert_array_equal(head.affine, np.eye(4))
    np.testing.assert_array_equal(head.mni_to_head, np.eye(4))
    with pytest.raises(ValueError, match="read-only"):
        head.labels[2, 2, 2] = 3
    again = heads.from_labels(head.labels, head.affine)
    with pytest.raises(ValueError, match="read-only"):
        again.labels[2, 2, 2] = 3


def test_paper_conductivities():
    # Aberra et al. 2023, NeuroImage 275:120184
    assert heads.PAPER_CONDUCTIVITY == {1: 0.126, 2: 0.275, 3: 1.654, 4: 0.01, 5: 0.25}


def test_head_is_a_pytree_with_conductivities_as_leaves():
    head = heads.from_labels(small_labels(), np.eye(4))
    doubled = jax.tree.map(lambda leaf: leaf * 2, head)
    assert doubled.conductivity[2] == pytest.approx(0.55)
    assert doubled.name == head.name
    assert dataclasses.replace(head, name="other").name == "other"


def test_conductivity_extends_and_replaces():
    labels = small_labels()
    labels[2, 2, 2] = 7
    head = heads.from_labels(labels, np.eye(4), {7: 0.3, 5: 0.465})
    assert head.conductivity[7] == 0.3
    assert head.conductivity[5] == 0.465
    assert head.conductivity[1] == 0.126


@pytest.mark.parametrize("value", [jnp.float32(0.1), np.array(0.1), np.float32(0.1), 1])
def test_conductivity_may_be_any_number(value):
    head = heads.from_labels(small_labels(), np.eye(4), {1: value})
    assert head.conductivity[1] == float(value)
    assert isinstance(head.conductivity[1], float)


def broken(change):
    labels = small_labels().astype(float)
    change(labels)
    return labels


@pytest.mark.parametrize(
    ("labels", "says"),
    [
        (np.zeros((4, 4)), "not a volume"),
        (np.zeros((4, 4, 0)), "not a volume"),
        (broken(lambda x: x.__setitem__((2, 2, slice(2, 4)), 9)), r"9 \(2 voxels\)(.|\n)*conductivity=\{9"),
        (broken(lambda x: x.__setitem__((2, 2, 2), -1)), r"-1 \(1 voxels\)"),
        (broken(lambda x: x.__setitem__((2, 2, 2), 300)), r"300 \(1 voxels\)"),
        (broken(lambda x: x.__setitem__((2, 2, 2), 1.5)), "not made of integers"),
        (broken(lambda x: x.__setitem__((2, 2, 2), np.nan)), "NaN"),
        (np.where(small_labels() == 2, 5, small_labels()), "no brain"),
        (np.full((2, 2, 2), "a"), "no numbers"),
    ],
)
def test_labels_that_are_refused(labels, says):
    with pytest.raises(InputError, match=says):
        heads.from_labels(labels, np.eye(4))


@pytest.mark.parametrize(
    ("affine", "says"),
    [
        (np.diag([-1.0, 1, 1, 1]), "reflected"),
        (np.diag([0.0, 1, 1, 1]), "singular"),
        (np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), "sheared"),
        (np.eye(3), "wrong shape"),
        (np.full((4, 4), np.nan), "not finite"),
        ("abc", "affine of the label map is not made of numbers"),
        ([[1, 2], [3]], "not made of numbers"),
    ],
)
def test_affines_that_are_refused(affine, says):
    with pytest.raises(InputError, match=says):
        heads.from_labels(small_labels(), affine)


@pytest.mark.parametrize("value", [-0.1, 0.0, np.nan, np.inf, "0.1", None, True, np.array([0.1]), jnp.float32(-1)])
def test_conductivities_that_are_refused(value):
    with pytest.raises(InputError, match="skull"):
        heads.from_labels(small_labels(), np.eye(4), {4: value})
    with pytest.raises(InputError, match="impossible label"):
        heads.from_labels(small_labels(), np.eye(4), {0: 0.1})


def test_a_reflected_registration_is_refused():
    with pytest.raises(InputError, match="mni_to_head"):
        heads.from_labels(small_labels(), np.eye(4), mni_to_head=np.diag([-1.0, 1, 1, 1]))
    with pytest.raises(InputError, match="mni_to_head is not made of numbers"):
        heads.from_labels(small_labels(), np.eye(4), mni_to_head="matrix")


@pytest.mark.parametrize("place", [(1.0, 2.0), (0.0, np.nan, 0.0), "here"])
def test_landmarks_that_are_no_points(place):
    with pytest.raises(InputError, match="landmark 'spot'"):
        heads.from_labels(small_labels(), np.eye(4), landmarks={"spot": place})
