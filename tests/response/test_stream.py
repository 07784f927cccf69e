"""Streams of neurons: the same thresholds as one by one, whatever the chunks, devices and parts; counts as they are."""

import json
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
import zarr

from tmsjax.core.errors import InputError
from tmsjax.cortex import LayerSurface, Population
from tmsjax.efield import EField
from tmsjax.response import thresholds
from tmsjax.response.gyrus import BLOCK, DensePopulation
from tmsjax.response.stream import Tally, _turns, stream


def field() -> EField:
    """A field that grows along x, in tissue of 24 mm a side."""
    affine = np.eye(4)
    affine[:3, 3] = -11.5
    x = np.arange(24) - 11.5
    values = np.broadcast_to([0.3, -0.5, 0.8], (24, 24, 24, 3)) * (1 + 0.03 * x)[:, None, None, None]
    unknown = jnp.float32(np.nan)
    mask = jnp.ones((24, 24, 24), bool)
    return EField(jnp.asarray(values, jnp.float32), mask, jnp.asarray(affine, jnp.float32), unknown, 0, 0.0, 2.0)


def population(places: int = 2500, azimuths: int = 2) -> DensePopulation:
    """A flat layer of 12 x 12 mm that leaves the tissue at one side."""
    vertices = np.array([[0.0, -6, 0], [14, -6, 0], [14, 6, 0], [0, 6, 0]])
    faces = np.array([[0, 1, 2], [0, 2, 3]])
    columns = np.tile([0.0, 0.6, 2.4], (4, 1))
    surface = LayerSurface(vertices, faces, columns, 0.5, np.zeros(4, int))
    return DensePopulation("L5", surface, np.arange(2), places, azimuths, seed=3)


def listed(dense: DensePopulation) -> Population:
    """The same neurons, all at once."""
    parts = [dense.block(i) for i in range(dense.blocks)]
    places, frames = (np.concatenate(column) for column in zip(*parts, strict=True))
    turned = frames[:, None] @ _turns(dense.azimuths)
    count, same = len(dense), jnp.zeros(len(dense))
    return Population(
        positions=jnp.asarray(np.repeat(places, dense.azimuths, 0)),
        rotations=jnp.asarray(turned.reshape(-1, 3, 3)),
        site=jnp.arange(count),
        azimuth_deg=same,
        weight=same + 1,
        cell=jnp.zeros(count, jnp.int32),
        layer="L5",
        depth=0.5,
    )


def test_a_stream_keeps_and_counts_what_thresholds_finds(model, tmp_path):
    dense = population()
    reference = thresholds(model, field(), listed(dense))
    seen = []
    tally = stream(model, field(), dense, blocks_at_once=1, out=tmp_path / "all", progress=lambda *a: seen.append(a))
    kept = zarr.open_group(tmp_path / "all", mode="r")
    np.testing.assert_array_equal(np.asarray(kept["status"]).ravel(), reference.status)
    np.testing.assert_allclose(np.asarray(kept["threshold_a_per_us"]).ravel(), reference.a_per_us, rtol=1e-5)
    assert seen[-1] == (len(dense), len(dense))
    assert tally.neurons == len(dense)
    assert tally.in_domain == reference.in_domain.sum()
    assert 0 < tally.statuses[10] == (reference.status == 10).sum()
    known = reference.a_per_us[reference.ok]
    shares = np.array([0.05, 0.5, 0.95])
    np.testing.assert_allclose(tally.quantile(shares), np.quantile(known, shares), rtol=5e-3)
    level = float(np.median(known))
    assert tally.recruited(level) == pytest.approx((known <= level).sum() / len(dense), abs=0.02)
    assert tally.recruited(0.0) == 0
    with pytest.raises(InputError, match="exists"):
        stream(model, field(), dense, out=tmp_path / "all")


def test_parts_add_up_and_places_do_not_know_of_them(model):
    dense = population()
    whole = stream(model, field(), dense, blocks_at_once=3)
    parts = stream(model, field(), dense, 1, part=(0, 2)) + stream(model, field(), dense, 1, part=(1, 2))
    np.testing.assert_array_equal(parts.counts, whole.counts)
    assert parts.statuses == whole.statuses
    assert parts.in_domain == whole.in_domain


def test_places_fill_the_layer_evenly_and_axes_follow_the_columns():
    dense = population(3 * BLOCK)
    places, frames = dense.block(1)
    assert len(places) == BLOCK
    np.testing.assert_allclose(frames[:, :, 2], np.tile([0.0, 0.6, 2.4] / np.hypot(0.6, 2.4), (BLOCK, 1)), atol=1e-6)
    everywhere = np.concatenate([dense.block(i)[0] for i in range(3)])
    share = np.mean(everywhere[:, 0] < 7)
    assert share == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(len(everywhere)))
    np.testing.assert_array_equal(dense.block(1)[0], places)


def test_a_tally_beyond_its_bins_and_of_nothing():
    tally = Tally()
    with pytest.raises(InputError, match="no neuron"):
        tally.quantile(0.5)
    tally.add(np.array([1e-9, 50.0, 1e9]), np.zeros(3, int), np.ones(3, bool))
    assert tally.counts[0] == tally.counts[-1] == 1
    assert tally.quantile(0.5) == pytest.approx(50, rel=3e-3)


@pytest.mark.parametrize("bad", [{"part": (2, 2)}, {"blocks_at_once": 0}, {"devices": []}])
def test_bad_shares_of_the_work_are_named(model, bad):
    with pytest.raises(InputError, match="share"):
        stream(model, field(), population(), **bad)


SHARDED = """
import jax, json, sys
jax.config.update("jax_num_cpu_devices", int(sys.argv[1]))
import numpy as np
sys.path[:0] = sys.argv[2:]
import conftest, test_stream
from tmsjax.response.stream import stream
model = conftest.random_model()
tally = stream(model, test_stream.field(), test_stream.population(), 1)
print(json.dumps([len(jax.devices()), tally.neurons, tally.in_domain, np.flatnonzero(tally.counts).tolist()]))
"""


def test_two_devices_find_what_one_finds(model):
    here = str(__file__).rsplit("/", 1)[0]
    command = [sys.executable, "-c", SHARDED, "2", here]
    devices, neurons, in_domain, bins = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    one = stream(model, field(), population(), 1)
    assert (devices, neurons, in_domain) == (2, one.neurons, one.in_domain)
    np.testing.assert_array_equal(bins, np.flatnonzero(one.counts))
