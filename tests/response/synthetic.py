"""Responses made up for tests: positions on a sphere, thresholds drawn from a lognormal law. No neurons."""

import jax.numpy as jnp
import numpy as np

from tmsjax.core.thresholds import Thresholds
from tmsjax.cortex import Population
from tmsjax.cortex.place import cell_frames
from tmsjax.response import Response


def response(
    sites=50, rotations=4, layer="L5", cell="synthetic/a", seed=0, between=0.4, within=0.1, median=150.0, **changes
):
    """Thresholds exp(log median + between x site's deviate + within x neuron's own) A/us; |E| is 1.2 V/m per A/us."""
    rng = np.random.default_rng(seed)
    axes = rng.normal(size=(sites, 3))
    axes /= np.linalg.norm(axes, axis=1, keepdims=True)
    count = sites * rotations
    azimuths = np.arange(rotations) * 360.0 / rotations
    population = Population(
        positions=jnp.asarray(np.repeat(40.0 * axes, rotations, 0), jnp.float32),
        rotations=jnp.asarray(cell_frames(np.repeat(axes, rotations, 0), np.tile(azimuths, sites)), jnp.float32),
        site=jnp.repeat(jnp.arange(sites), rotations),
        azimuth_deg=jnp.tile(jnp.asarray(azimuths, jnp.float32), sites),
        weight=jnp.full(count, 2.5, jnp.float32),
        cell=jnp.zeros(count, jnp.int32),
        layer=layer,
        depth=0.65,
    )
    a = median * np.exp(np.repeat(between * rng.normal(size=sites), rotations) + within * rng.normal(size=count))
    a = np.asarray(changes.pop("a_per_us", a), np.float32)
    ok = np.isfinite(a)
    thresholds = Thresholds(
        v_per_m=1.2 * a,
        factor=a,
        initiation=np.full(count, -1),
        status=np.where(ok, 0, 10),
        runs=np.zeros(count, int),
        sentences={0: "threshold predicted", 10: "the sampling grid leaves the tissue: no prediction"},
        in_domain=ok,
        source="made up",
    )
    return Response(population, thresholds, cell, **changes)
