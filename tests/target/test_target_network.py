"""The network on small volumes: its geometry, its variants, its gradients, what it needs of memory."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.target import loss, pyramid, residual, subnetwork
from tmsjax.target.network import NetworkSpec, View, network

SPEC = NetworkSpec(
    side=32, levels=3, field=8, channels=4, maps=4, hidden=8, layers=3, width=8, points=("LULIMBMC", "RULIMBMC")
)
VOXELS = jnp.array([4.0, 2.0, 1.0])
rng = np.random.default_rng(0)


def blob(place, side=32, width=2.0, at=None):
    """A Gaussian at ``place`` (mm) of a volume that is moved there by ``at``, a function of places."""
    grid = np.moveaxis(np.indices((side,) * 3), 0, -1).astype(np.float64)
    distance = (grid if at is None else at(grid)) - place
    return np.exp(-(distance**2).sum(-1) / (2 * width**2)).astype(np.float32)


@pytest.fixture(scope="module")
def flat():
    return jnp.asarray(pyramid.build(rng.random((32, 32, 32)).astype(np.float32), 3))


@pytest.fixture(scope="module")
def variables():
    """Weights whose residual layers do something, as after training."""
    return noisy(jax.jit(network(SPEC).init)(jax.random.key(1)), 2)


@pytest.fixture(scope="module")
def located():
    return jax.jit(network(SPEC).apply)


@pytest.fixture(scope="module")
def viewed():
    return jax.jit(lambda variables, flat, view: network(SPEC).apply(variables, flat, view=view))


@pytest.mark.parametrize("level", range(4))
def test_a_place_is_the_same_at_every_level(level):
    """The centroid of a blob: dropping half a voxel would be 3.5 mm off at the level of 8 mm."""
    place = np.array([29.3, 33.1, 35.4])
    flat = pyramid.build(1.5 * blob(place, 64, 5.0), 4)
    first, side = pyramid.offsets(64, 4)[level], 64 >> level
    values = flat[first : first + side**3].reshape((side,) * 3).astype(float)
    centroid = (np.moveaxis(np.indices(values.shape), 0, -1) * values[..., None]).sum((0, 1, 2)) / values.sum()
    np.testing.assert_allclose(pyramid.to_finest(centroid, 2.0**level), place, atol=0.1)
    np.testing.assert_allclose(pyramid.to_level(place, 2.0**level), centroid, atol=0.1)
    assert pyramid.shape_of(flat, 4) == 64


def test_samples_are_linear_between_voxels_and_air_beyond():
    ramp = np.add.outer(np.arange(16.0), np.zeros((16, 16))).astype(np.float32) / 16
    flat = jnp.asarray(pyramid.build(ramp, 2))
    offset, side = jnp.int32(0), jnp.int32(16)
    crop = pyramid.crop(flat, offset, side, jnp.array([-2, 4, 10]), 8)
    np.testing.assert_allclose(crop[:2], 0)
    np.testing.assert_allclose(crop[2:, :, :6], ramp[:6, 4:12, 10:16], atol=0.5 / pyramid.ONE)
    np.testing.assert_allclose(crop[:, :, 6:], 0)
    places = jnp.array([[7.25, 3.5, 8.0], [0, 0, 0], [15.0, 15, 15], [-1.5, 3, 3], [3, 20.0, 3]])
    expected = [7.25 / 16, 0, 15 / 16, 0, 0]
    np.testing.assert_allclose(pyramid.sample(flat, offset, side, places), expected, atol=1 / pyramid.ONE)
    np.testing.assert_allclose(pyramid.sample(flat, jnp.int32(16**3), jnp.int32(8), jnp.array([3.0, 3, 3])), 6.5 / 16,
                               atol=1 / pyramid.ONE)  # fmt: skip


def test_volumes_that_cannot_be_halved():
    with pytest.raises(InputError, match="halved"):
        pyramid.build(np.zeros((20, 20, 20), np.float32), 4)
    with pytest.raises(InputError, match="no pyramid"):
        pyramid.shape_of(np.zeros(1000, np.uint8), 3)


@pytest.mark.parametrize("channels", [1, 3])
def test_the_convolution_is_xlas_for_every_point(channels):
    x = jnp.asarray(rng.normal(size=(2, 6, 6, 6, channels)), jnp.float32)
    kernel = jnp.asarray(rng.normal(size=(2, 27 * channels, 5)), jnp.float32)
    ours = subnetwork.convolved(x, kernel)
    for i in range(2):
        theirs = jax.lax.conv_general_dilated(
            x[i][None], kernel[i].reshape(3, 3, 3, channels, 5), (1, 1, 1), "SAME",
            dimension_numbers=("NDHWC", "DHWIO", "NDHWC"), precision="highest",
        )[0]  # fmt: skip
        np.testing.assert_allclose(ours[i], theirs, rtol=1e-4, atol=1e-4)


def test_the_centroid_of_a_peak_and_of_a_flat_map():
    maps = jnp.zeros((1, 8, 8, 8, 2)).at[0, 6, 1, 4, 1].set(30.0)
    np.testing.assert_allclose(subnetwork.centroid(maps)[0], [[0, 0, 0], [2.5, -2.5, 0.5]], atol=1e-4)


@pytest.mark.parametrize("layers", ["shared", "separate", "none"])
def test_residual_layers_start_as_identity_in_all_variants(flat, layers):
    spec = dataclasses.replace(SPEC, residual=layers)
    net = network(spec)
    start = jax.jit(net.init)(jax.random.key(0))
    found = jax.jit(net.apply)(start, flat)
    np.testing.assert_array_equal(found.places, found.before)
    leaves = jax.tree.leaves(start.get("residual", {}))
    one = 3 * (6 * 8 + 8 + 8 * 6 + 6)
    assert sum(x.size for x in leaves) == {"shared": one, "separate": 3 * one, "none": 0}[layers]
    assert found.places.shape == (3, 2, 3)
    # The crop of every level is round the estimate of the level before, to half a voxel.
    off = abs(found.centres[1:] - found.places[:-1]) / VOXELS[1:, None, None]
    assert float(off.max()) < 0.501, off
    reach = VOXELS[:, None, None] * (spec.field - 1) / 2
    assert (abs(found.before - found.centres) < reach).all()


def noisy(tree, seed):
    draw = np.random.default_rng(seed)  # JAX would compile a draw for every shape

    def moved(leaf):
        return jnp.asarray(np.asarray(leaf) + np.float32(0.05) * draw.standard_normal(leaf.shape, np.float32))

    return jax.tree.map(moved, tree)


def test_gradients_of_each_level(flat):
    """Against a difference along a random direction; and none reaches the subnetworks of other levels."""
    spec = dataclasses.replace(SPEC, residual="separate")
    at = noisy(jax.jit(network(spec).init)(jax.random.key(1)), 2)
    along = noisy(jax.tree.map(np.zeros_like, at), 3)
    shown = jnp.full((3, 2, 3), 15.5) + jnp.arange(2)[:, None]
    truth = jnp.array([[12.0, 18, 14], [19.0, 15, 13]])

    @jax.jit
    @jax.value_and_grad
    def of(v, level):
        places = network(spec).apply(v, flat, shown=shown).places
        return ((places - truth) ** 2).sum((1, 2)) @ level / 100

    for i, level in enumerate(np.eye(3, dtype=np.float32)):
        gradient = of(at, level)[1]
        for leaf in map(np.asarray, jax.tree.leaves(gradient["levels"])):
            assert not np.delete(leaf, i, axis=0).any()
            assert leaf[i].any()
        pairs = list(zip(*map(jax.tree.leaves, (gradient, along)), strict=True))
        slope = sum(float((g * d).sum()) for g, d in pairs)
        norm = np.sqrt(sum(float((g**2).sum()) * float((d**2).sum()) for g, d in pairs))
        step = 1e-2
        ahead, behind = (of(jax.tree.map(lambda a, d, s=s: a + s * d, at, along), level)[0] for s in (step, -step))
        assert float(ahead - behind) / (2 * step) == pytest.approx(slope, rel=0.02, abs=2e-3 * norm)


@pytest.fixture(scope="module")
def chained(flat):
    """Loss and gradient with every crop round the estimate of the level before; ``levels`` count as much as said."""
    spec = dataclasses.replace(SPEC, residual="none")

    @jax.jit
    @jax.value_and_grad
    def of(v, truth, present, levels):
        places = network(spec).apply(v, flat).places
        each = [loss.equation_2(places[i : i + 1], truth, present, VOXELS[i : i + 1], 8) for i in range(3)]
        return jnp.stack(each) @ levels

    return of


def test_no_gradient_passes_from_a_fine_level_to_a_coarse_one(chained, variables):
    truth, present = jnp.array([[12.0, 18, 14], [19.0, 15, 13]]), jnp.ones(2, bool)
    gradient = chained(variables, truth, present, jnp.array([0.0, 0, 1]))[1]["levels"]
    for leaf in map(np.asarray, jax.tree.leaves(gradient)):
        assert not leaf[:2].any()
        assert leaf[2].any()


def test_a_view_moves_the_picture_and_its_points_together(variables, located, viewed):
    """Turned by a quarter and moved by whole coarsest voxels, a volume is the same seen through the view."""
    turn = np.array([[0, -1.0, 0], [1, 0, 0], [0, 0, 1]])
    offset = np.array([35.0, 0, -8])
    image = rng.random((32, 32, 32)).astype(np.float32)
    grid = np.moveaxis(np.indices(image.shape), 0, -1)
    source = np.rint(grid @ turn.T + offset).astype(int)
    inside = ((source >= 0) & (source < 32)).all(-1)
    turned = np.where(inside, image[tuple(np.moveaxis(np.clip(source, 0, 31), -1, 0))], 0)
    view = View(jnp.asarray(turn, jnp.float32), jnp.asarray(offset, jnp.float32), jnp.float32(1), jnp.float32(1))
    seen = viewed(variables, jnp.asarray(pyramid.build(image, 3)), view)
    plain = located(variables, jnp.asarray(pyramid.build(turned, 3)))
    np.testing.assert_allclose(seen.places, plain.places, atol=0.02)


def test_gain_and_gamma_are_of_the_image(variables, viewed):
    """And the coarsest level is its subnetworks on the whole volume, then the residual layers."""
    image = blob([15.0, 15, 15], width=5.0)
    flat = jnp.asarray(pyramid.build(image, 3))
    still = View(jnp.eye(3), jnp.zeros(3), jnp.float32(0.8), jnp.float32(2))
    seen = viewed(variables, flat, still).places[0]
    coarse = np.asarray(flat[32**3 + 16**3 :], np.float32).reshape(8, 8, 8) / pyramid.ONE
    by_hand = subnetwork.apply(
        jax.tree.map(lambda leaf: leaf[0], variables["levels"]), jnp.stack([jnp.asarray((0.8 * coarse) ** 2)] * 2)
    )
    expected = residual.apply(variables["residual"], pyramid.to_finest(3.5 + by_hand, 4.0), 32)
    np.testing.assert_allclose(seen, expected, atol=1e-2)


@pytest.mark.parametrize("field", [8, 16, 32])
def test_the_weights_of_equation_2(field):
    """w = 1 / (1 + u^k) with u = e / (2 r), k = alpha / ln f; half at two voxels; constant in the gradient."""
    voxel = jnp.array([1.0, 4.0, 32.0])
    u = jnp.array([0.25, 0.5, 1.0, 2.0])[:, None]
    error2 = (2 * u * voxel) ** 2
    expected = 1 / (1 + u ** (8 / np.log(field)))
    np.testing.assert_allclose(loss.weight(error2, voxel, field), expected * jnp.ones(3), rtol=1e-4)
    assert not np.asarray(jax.grad(lambda e: loss.weight(e, voxel, field).sum())(error2)).any()


def test_the_loss_always_pulls_inwards_and_less_from_afar():
    """Through w the loss would push away what is farther than its peak (2 voxels at a field of 8)."""
    truth, present = jnp.zeros((1, 3)), jnp.ones(1, bool)

    def of(x):
        return loss.equation_2(jnp.array([[[1.0, 0, 0]]]) * x, truth, present, jnp.ones(1), 8)

    slopes = [float(jax.grad(of)(x)) for x in (0.5, 1.5, 3.0, 8.0)]
    assert all(slope > 0 for slope in slopes)
    assert slopes[1] > slopes[2] > slopes[3]
    assert float(of(4.0)) < float(of(2.0))  # the value itself falls, which is why w is held
    assert float(jax.grad(of)(0.0)) == 0


def test_points_that_are_absent_count_for_nothing(chained, variables):
    truth = jnp.array([[12.0, 18, 14], [np.nan] * 3])
    present = jnp.array([True, False])
    found, gradient = chained(variables, truth, present, jnp.ones(3))
    assert np.isfinite(found)
    assert float(found) == pytest.approx(float(chained(variables, truth.at[1].set(7.0), present, jnp.ones(3))[0]))
    for leaf in jax.tree.leaves(gradient["levels"]):
        assert np.isfinite(leaf).all()
        assert not np.asarray(leaf)[:, 1].any()
    one = loss.equation_2(jnp.ones((3, 1, 3)), jnp.zeros((1, 3)), jnp.ones(1, bool), VOXELS, 8)
    two = loss.equation_2(jnp.ones((3, 2, 3)), jnp.array([[0.0] * 3, [np.nan] * 3]), present, VOXELS, 8)
    np.testing.assert_allclose(one, two)  # a mean over what is there
    assert loss.equation_2(jnp.ones((3, 1, 3)), truth[1:], present[1:], VOXELS, 8) == 0


def test_a_whole_volume_needs_little_memory():
    """Of the default network on 256^3: what XLA sets aside beside the pyramid and the weights."""
    spec = NetworkSpec()
    net = network(spec)
    weights = jax.eval_shape(net.init, jax.random.key(0))
    volume = jax.ShapeDtypeStruct((int(pyramid.offsets(256, 6)[-1]),), jnp.uint8)
    need = jax.jit(net.apply).lower(weights, volume).compile().memory_analysis()
    assert need.temp_size_in_bytes < 0.5 * 2**30
    assert need.argument_size_in_bytes < 0.2 * 2**30
    assert sum(np.prod(leaf.shape) for leaf in jax.tree.leaves(weights["levels"])) == 66 * (
        27 * 16 + 3 * 27 * 16 * 16 + 4 * 16 + 16**3 * 64 + 64 + 64 * 16 + 16 + 3
    )


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"field": 4}, "not seen whole"),
        ({"residual": "some"}, "unknown residual"),
        ({"points": ("LULIMBMC", "M1")}, "unknown target points"),
        ({"points": ("LOFC", "LOFC")}, "twice"),
        ({"side": 30}, "halved"),
        ({"layers": 0}, "no such network"),
    ],
)
def test_networks_that_cannot_be(wrong, message):
    with pytest.raises(InputError, match=message):
        network(dataclasses.replace(SPEC, **wrong))


def test_a_spec_goes_to_a_card_and_back():
    assert NetworkSpec.from_json(SPEC.to_json()) == SPEC
    with pytest.raises(InputError, match="no network's spec"):
        NetworkSpec.from_json({**SPEC.to_json(), "colour": 1})
