"""Activation thresholds of a population, streamed in chunks so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.core.thresholds import Thresholds
from tmsjax.cortex import Population, Voxels, blocks, pack, patches
from tmsjax.efield import EField, MeshField
from tmsjax.surrogate import Surrogate, SurrogateSpec
from tmsjax.surrogate.types import respond

OUTSIDE, NO_FIELD, UNDRIVEN = 10, 11, 12
SENTENCES = {
    0: "threshold predicted",
    OUTSIDE: "the sampling grid leaves the tissue: no prediction",
    NO_FIELD: "there is no field at the centre of the sampling grid: no prediction",
    UNDRIVEN: "the field drives none of the surrogate's functionals: no prediction",
}
"""Status of a neuron, in words."""

CHUNK = 16384
"""Neurons in one compiled call."""

TOGETHER = 64
"""Neurons whose samples and thresholds are worked out together, at least: few enough for a CPU's cache."""


class Predicted(NamedTuple):
    """What is known of every neuron (p,)."""

    v_per_m: Any
    """Threshold at the grid's centre, NaN where ``status`` is not 0."""
    factor: Any
    """What the field is to be multiplied by to reach it."""
    in_domain: Any
    status: Any


def thresholds(
    model: Surrogate,
    field: EField | MeshField,
    population: Population,
    chunk: int = CHUNK,
    progress: Callable[[int, int], None] | None = None,
) -> Thresholds:
    """Predict the activation threshold of every neuron of a population in a field.

    Args:
        model: surrogate of the population's cell.
        field: solved with any dI/dt (``field.didt``): its sign matters, its size does not.
        population: p neurons.
        chunk: neurons per compiled call.
        progress: called with (neurons done, neurons in all).

    Returns:
        Thresholds, p of each: ``v_per_m`` |E| at the centre of the sampling grid (the soma, unless the model shifts its
        grid) and ``a_per_us`` the coil's |dI/dt| at threshold; ``status`` other than 0 where there is no prediction
        (NaN); ``in_domain`` False there and where the field is unlike the model's training fields.

    Raises:
        InputError: an empty population, or a field that holds NaN in the tissue.
    """
    if len(population) == 0:
        raise InputError("the population is empty", got="0 neurons", expected="at least one")
    size, count = min(chunk, len(population)), len(population)
    places, turns = np.asarray(population.positions), np.asarray(population.rotations)
    ready = made_ready(model.spec, field, places)
    parts: list[tuple[np.ndarray, ...]] = []
    for start in range(0, count, size):
        rows = np.minimum(np.arange(start, start + size), count - 1)  # the last chunk repeats its last neuron
        found = predict(model.spec, model.ready, model.domain, ready, places[rows], turns[rows])
        keep = min(size, count - start)
        parts.append(tuple(np.asarray(column)[:keep] for column in found))
        if progress is not None:
            progress(start + keep, count)
    v, factor, known, status = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Thresholds(
        v_per_m=v,
        factor=factor * np.abs(np.asarray(field.didt, factor.dtype)),
        initiation=np.full(len(v), -1),
        status=status,
        runs=np.zeros(len(v), int),
        sentences=SENTENCES,
        in_domain=known,
    )


def made_ready(
    spec: SurrogateSpec, field: EField | MeshField, positions: Float[np.ndarray, "p 3"]
) -> Voxels | MeshField:
    """A field to sample at ``positions`` (mm); raises InputError where it is not finite there."""
    if isinstance(field, EField):
        reach = np.sqrt(3) / 2 * spec.side_mm + abs(spec.z_shift_mm)
        ready = pack(blocks.around(field, positions, reach))
        bad = int((ready.packed[..., 3] > 1).sum())
    else:
        ready, bad = field, int((~jnp.isfinite(field.values)).sum())
    if bad:
        raise InputError(
            "the field has values that are not finite",
            got=f"{bad} such values near the population",
            expected="finite V/m per A/us wherever there is tissue",
            mend="solve it again, or mask the damaged voxels of the file it came from",
        )
    return ready


@partial(jax.jit, static_argnames="spec")
def predict(
    spec: SurrogateSpec,
    variables: Any,
    domain: Any,
    field: Voxels | EField | MeshField,
    positions: Float[Array, "p 3"],
    rotations: Float[Array, "p 3 3"],
) -> Predicted:
    """One compiled chain from a field to the thresholds of p neurons; ``variables`` are the model's ``ready``.

    Samples, features and thresholds of a few neurons follow each other, so that no sample leaves a CPU's cache.
    """

    def part(some: tuple[Array, Array]) -> Predicted:
        samples = patches(field, _neurons(*some), spec.side_mm, spec.z_shift_mm, spec.n)
        inside = jnp.isfinite(samples).all(axis=(1, 2, 3, 4))
        found = respond(spec, variables, domain, samples)
        status = jnp.select([~inside, ~found.ok, ~jnp.isfinite(found.threshold)], [OUTSIDE, NO_FIELD, UNDRIVEN], 0)
        v_per_m = jnp.where(status == 0, found.threshold, jnp.nan)
        return Predicted(v_per_m, v_per_m / found.magnitude, found.in_domain, status)

    return blocks.in_parts(part, (positions, rotations), max(TOGETHER, blocks.at_once(spec.n)))


def _neurons(positions: Float[Array, "p 3"], rotations: Float[Array, "p 3 3"]) -> Population:
    """Neurons of which nothing else is asked."""
    same = jnp.zeros(len(positions))
    site = jnp.arange(len(positions))
    return Population(positions, rotations, site, same, same + 1, site, "", 0.0)


def summarise(result: Thresholds, max_didt_a_per_us: float) -> dict[str, float]:
    """Numbers of one layer's row in a report: neurons, median, 5th and 95th percentiles, share a stimulator reaches.

    Percentiles are over neurons with a threshold; the share counts all neurons.
    """
    known = np.isfinite(result.a_per_us)
    if not known.any():
        raise InputError("no neuron has a threshold", got=f"{len(known)} neurons outside the tissue", expected="some")
    row: dict[str, float] = {"neurons": len(known), "without_threshold": int((~known).sum())}
    for name in ("v_per_m", "a_per_us"):
        p5, p50, p95 = np.percentile(getattr(result, name)[known], [5, 50, 95])
        row |= {f"{name}_median": float(p50), f"{name}_p5": float(p5), f"{name}_p95": float(p95)}
    row["share_below_maximum"] = float((result.a_per_us[known] <= max_didt_a_per_us).sum() / len(known))
    row["share_in_domain"] = float(np.mean(result.in_domain)) if result.in_domain is not None else float("nan")
    return row
