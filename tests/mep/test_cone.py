"""Layers by tables against XLA's own convolutions on whole volumes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.mep.networks import Norms, decode, encode, layers, map_convolutional
from tmsjax.mep.tables import tables

SIDE = 16
PLAIN = Norms({}, None, False)


@pytest.fixture(scope="module")
def mask():
    i, j, k = np.indices((SIDE,) * 3) - 7.5
    sheet = (np.abs(i - 0.4 * j) < 1.2) & (np.abs(k) < 4.6)
    sheet[:, :2] = False  # one side reaches the border, the other does not
    return sheet


def convolved(x, layer):
    width = round(layer["kernel"].shape[0] ** (1 / 3))
    kernel = layer["kernel"].reshape(width, width, width, *layer["kernel"].shape[1:])
    numbers = jax.lax.conv_dimension_numbers(x.shape, kernel.shape, ("NDHWC", "DHWIO", "NDHWC"))
    return jax.lax.conv_general_dilated(x, kernel, (1, 1, 1), "SAME", dimension_numbers=numbers) + layer["bias"]


def doubled(x):
    for axis in (1, 2, 3):
        x = jnp.repeat(x, 2, axis=axis)
    return x


@pytest.mark.parametrize("last", [1, 3])
def test_decoder_is_the_plain_one_in_the_mask_and_so_is_its_gradient(mask, last):
    cone = tables(mask, last)
    v = layers(jax.random.key(0), [(27, 1, 6), (27, 6, 5), (last**3, 5, 1)], 0.3)
    z = jax.random.uniform(jax.random.key(1), (2, cone.latent**3))
    weight = jax.random.normal(jax.random.key(2), (2, int(mask.sum())))

    def plain(v, z):
        x = z.reshape(2, *(cone.latent,) * 3, 1)
        x = doubled(jax.nn.relu(convolved(x, v["layer_1"])))
        x = doubled(jax.nn.relu(convolved(x, v["layer_2"])))
        return jnp.clip(convolved(x, v["layer_3"])[..., 0], 0, 1)[:, mask]

    def of(function):
        return lambda v, z: (function(v, z) * weight).sum()

    ours, (dv, dz) = jax.jit(jax.value_and_grad(of(lambda v, z: decode(cone, v, z, PLAIN)), (0, 1)))(v, z)
    theirs, (ev, ez) = jax.jit(jax.value_and_grad(of(plain), (0, 1)))(v, z)
    np.testing.assert_allclose(ours, theirs, rtol=2e-5)
    np.testing.assert_allclose(dz, ez, atol=2e-5)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=3e-4, rtol=1e-4), dv, ev)


def test_encoder_is_the_plain_one_in_a_box_that_goes_on(mask):
    """Beyond the box there is background, not the zeros of a padded convolution: compared in a box twice as large."""
    cone = tables(mask)
    v = layers(jax.random.key(0), [(27, 1, 6), (27, 6, 5), (27, 5, 1)], 0.2)
    v["layer_1"]["bias"] += 0.1
    x = jax.random.uniform(jax.random.key(1), (2, int(mask.sum())))
    large = np.zeros((2, *(3 * SIDE,) * 3, 1), np.float32)
    centre = large[:, SIDE : 2 * SIDE, SIDE : 2 * SIDE, SIDE : 2 * SIDE, 0]
    centre[:, mask] = x
    y = jnp.asarray(large)
    for level in (1, 2, 3):
        y = jax.nn.relu(convolved(y, v[f"layer_{level}"]))
        if level < 3:
            y = jax.lax.reduce_window(y, -jnp.inf, jax.lax.max, (1, 2, 2, 2, 1), (1, 2, 2, 2, 1), "VALID")
    wanted = y[:, 4:8, 4:8, 4:8, 0].reshape(2, -1)
    found = jax.jit(lambda x: encode(cone, v, x, PLAIN))(x)
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert np.ptp(np.asarray(found), axis=1).min() > 0.01


def test_mapper_is_the_plain_one(mask):
    cone = tables(mask)
    v = {
        "dense": layers(jax.random.key(0), [(4, 32), (32, 128), (128, 512)]),
        "convolutions": layers(jax.random.key(1), [(27, 64, 64), (27, 64, 32), (27, 32, 1)], 0.1),
    }
    y = jax.random.uniform(jax.random.key(2), (2, 4))
    x = y
    for n in (1, 2, 3):
        x = jax.nn.relu(x @ v["dense"][f"layer_{n}"]["kernel"] + v["dense"][f"layer_{n}"]["bias"])
    x = x.reshape(2, 2, 2, 2, 64)
    for n, up in enumerate(cone.mapper_up, 1):
        x = jax.nn.relu(convolved(doubled(x) if up else x, v["convolutions"][f"layer_{n}"]))
    found = jax.jit(lambda y: map_convolutional(cone, v, y, PLAIN))(y)
    np.testing.assert_allclose(found, x.reshape(2, -1), atol=1e-5)


def test_no_table_for_a_box_that_the_networks_do_not_have(mask):
    with pytest.raises(InputError, match="cube of 16, 32 or 64"):
        tables(np.ones((24, 24, 24), bool))
    with pytest.raises(InputError, match="0 voxels"):
        tables(np.zeros_like(mask))


def test_tables_of_the_papers_box_see_what_the_output_depends_on():
    mask = np.zeros((64,) * 3, bool)
    mask[30:34, 20:44, 32] = True
    cone = tables(mask)
    assert cone.latent == 16
    assert cone.mapper_up == (True, True, True)
    assert cone.decoder[0].taps.shape[0] < 16**3 / 4
    assert cone.decoder[2].taps.shape == (96, 8)
