"""Activation thresholds of a population, streamed in chunks so that memory stays bounded."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.core.thresholds import Thresholds
from tmsjax.cortex import Population, patches
from tmsjax.efield import EField, MeshField
from tmsjax.surrogate import Surrogate, features

OUTSIDE, NO_FIELD, UNDRIVEN = 10, 11, 12
SENTENCES = {
    0: "threshold predicted",
    OUTSIDE: "the sampling grid leaves the tissue: no prediction",
    NO_FIELD: "there is no field at the centre of the sampling grid: no prediction",
    UNDRIVEN: "the field drives none of the surrogate's functionals: no prediction",
}
"""Status of a neuron, in words."""

CHUNK = 4096
"""Neurons in one compiled call: 36 MB of 9x9x9 samples."""


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
    if not bool(jnp.isfinite(field.values).all()):
        raise InputError(
            "the field has values that are not finite",
            got=f"{int((~jnp.isfinite(field.values)).sum())} such values",
            expected="finite V/m per A/us at every voxel (zero in air)",
            mend="solve it again, or mask the damaged voxels of the file it came from",
        )
    spec = model.spec
    size = min(chunk, len(population))
    parts: list[tuple[np.ndarray, ...]] = []
    for start in range(0, len(population), size):
        rows = np.minimum(np.arange(start, start + size), len(population) - 1)  # the last chunk repeats its last neuron
        samples, at_centre = _samples(field, population[rows], spec.side_mm, spec.z_shift_mm, spec.n)
        inside, driven = jnp.isfinite(samples).all(axis=(1, 2, 3, 4)), at_centre > 0
        good = inside & driven
        safe = jnp.where(good[:, None, None, None, None], samples, 1.0)
        predicted = model.predict(safe)
        status = jnp.select([~inside, ~driven, ~jnp.isfinite(predicted)], [OUTSIDE, NO_FIELD, UNDRIVEN], 0)
        v_per_m = jnp.where(status == 0, predicted, jnp.nan)
        keep = min(size, len(population) - start)
        parts.append(
            (
                np.asarray(v_per_m)[:keep],
                np.asarray(v_per_m / at_centre * jnp.abs(field.didt))[:keep],
                np.asarray(good & model.in_domain(safe))[:keep],
                np.asarray(status)[:keep],
            )
        )
        if progress is not None:
            progress(min(start + size, len(population)), len(population))
    v, a, known, status = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Thresholds(
        v_per_m=v,
        factor=a,
        initiation=np.full(len(v), -1),
        status=status,
        runs=np.zeros(len(v), int),
        sentences=SENTENCES,
        in_domain=known,
    )


@partial(jax.jit, static_argnames=("side_mm", "z_shift_mm", "n"))
def _samples(
    field: EField | MeshField, population: Population, side_mm: float, z_shift_mm: float, n: int
) -> tuple[Float[Array, "p n n n 3"], Float[Array, " p"]]:
    """Patches in the cell frame and |E| at the grid's centre, V/m per A/us."""
    samples = patches(field, population, side_mm, z_shift_mm, n)
    return samples, jnp.linalg.norm(jax.vmap(features.centre_field)(samples), axis=-1)


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
