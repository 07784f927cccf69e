"""The field of one tissue up to its borders, on fields whose two sides are known."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spheres import layered_sphere

from tmsjax import efield
from tmsjax import head as heads
from tmsjax.core.errors import InputError
from tmsjax.efield import EField, within_tissue
from tmsjax.efield.medium import tissue_share

RADII = {3: 24.0, 2: 20.0, 1: 14.0}
INSIDE, OUTSIDE = np.array([1.0, -2, 3]), np.array([-4.0, 5, 0.5])


@pytest.fixture(scope="module")
def ball():
    """Grey matter between 14 and 20 mm, at 1 mm."""
    return heads.from_labels(*layered_sphere(1.0, RADII, shift=(0.2, 0.5, 0.3)))


def jumping(head, coarsen=1):
    """A field of INSIDE in grey matter and OUTSIDE elsewhere; cut voxels hold their mixture."""
    share = tissue_share(head, 2)
    _, mask, affine = efield.conductivity(head, coarsen=coarsen)
    n = coarsen
    share = np.pad(share, [(0, -s % n) for s in share.shape])
    i, j, k = (s // n for s in share.shape)
    share = share.reshape(i, n, j, n, k, n).mean((1, 3, 5))[..., None]
    values = np.where(mask[..., None], share * INSIDE + (1 - share) * OUTSIDE, 0)
    values, affine = (jnp.asarray(a, jnp.float32) for a in (values, affine))
    return EField(values, jnp.asarray(mask), affine, jnp.asarray(1e-5), jnp.asarray(7), 1e-4, didt=2.5)


@pytest.fixture(scope="module")
def close():
    """Points (500, 3) of grey matter within 0.7 mm of its borders."""
    rng = np.random.default_rng(0)
    u = rng.normal(size=(500, 3))
    r = np.where(rng.uniform(size=500) < 0.5, rng.uniform(14.1, 14.7, 500), rng.uniform(19.3, 19.9, 500))
    return (u / np.linalg.norm(u, axis=1, keepdims=True) * r[:, None]).astype(np.float32)


@pytest.mark.parametrize("coarsen", [1, 2])
def test_a_jump_is_not_smeared(ball, close, coarsen):
    field = jumping(ball, coarsen)
    jump = np.linalg.norm(INSIDE - OUTSIDE)
    smeared = np.linalg.norm(np.asarray(field.at(close)) - INSIDE, axis=1) / jump
    assert np.median(smeared) > 0.15
    own = within_tissue(field, ball)
    np.testing.assert_allclose(own.at(close), np.broadcast_to(INSIDE, close.shape), atol=1e-5)
    assert own.status == field.status
    assert float(own.didt) == 2.5


def test_the_inside_is_left_alone(ball):
    values = np.random.default_rng(1).normal(size=(*ball.labels.shape, 3)).astype(np.float32)
    field = dataclasses.replace(jumping(ball), values=jnp.asarray(values))
    own = within_tissue(field, ball)
    share = tissue_share(ball, 2)
    np.testing.assert_array_equal(np.asarray(own.values)[share == 1], values[share == 1])
    np.testing.assert_array_equal(np.asarray(own.mask), share > 0)
    assert (np.asarray(own.values)[share == 0] == 0).all()
    # A mean of neighbours stays among them.
    assert np.abs(own.values).max() <= np.abs(values[share == 1]).max()


def test_points_of_other_tissues_are_outside(ball):
    own = within_tissue(jumping(ball), ball)
    points = np.array([[0, 0, 0], [0, 0, 17.0], [0, 22.5, 0]], np.float32)
    assert np.asarray(own.inside(points)).tolist() == [False, True, False]
    with pytest.raises(InputError, match="2 of 3 points"):
        own.at(points)


def test_cut_voxels_count_for_nothing(ball, close):
    """The gradient of samples in the field's values: through the voxels that the tissue fills, and adding up to one."""
    field = jumping(ball)
    gradient = jax.grad(lambda v: jnp.sum(within_tissue(dataclasses.replace(field, values=v), ball).at(close)[:, 1]))(
        field.values
    )
    whole = tissue_share(ball, 2) == 1
    assert float(jnp.abs(gradient[~whole]).max()) == 0
    assert float(gradient[..., 1].sum()) == pytest.approx(len(close), rel=1e-4)


def test_a_blade_without_a_whole_voxel_keeps_its_values():
    labels = np.full((12, 12, 12), 3, np.uint8)
    labels[6] = 2  # one voxel thick
    labels[2:5, 2:5, 2:5] = 1
    head = heads.from_labels(labels, np.eye(4))
    values = jnp.asarray(np.random.default_rng(2).normal(size=(12, 12, 12, 3)), jnp.float32)
    field = EField(values, jnp.ones((12, 12, 12), bool), jnp.eye(4), jnp.asarray(1e-5), jnp.asarray(7), 1e-4)
    own = within_tissue(field, head)
    assert bool(own.mask[6, 4:8, 4:8].all())
    assert np.isfinite(own.at(np.array([[6.0, 5, 5]]))).all()


def test_what_is_refused(ball):
    field = jumping(ball)
    with pytest.raises(InputError, match="no such tissue"):
        within_tissue(field, ball, 4)
    other = heads.from_labels(*layered_sphere(2.0, RADII))
    with pytest.raises(InputError, match="head's grid"):
        within_tissue(field, other)
    moved = dataclasses.replace(field, affine=field.affine.at[0, 3].add(0.5))
    with pytest.raises(InputError, match="head's grid"):
        within_tissue(moved, ball)
