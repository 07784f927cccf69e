"""Thresholds of any number of neurons in bounded memory: in blocks over all devices, counted on the way."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_folder
from tmsjax.efield import EField
from tmsjax.response.gyrus import BLOCK, DensePopulation
from tmsjax.response.thresholds import SENTENCES, Predicted, made_ready, predict
from tmsjax.surrogate import Surrogate, SurrogateSpec

LOWEST_A_PER_US, DECADES, PER_DECADE = 0.1, 6, 1000
"""Thresholds are counted in bins of 0.23 %, from 0.1 A/us to 1e5; what lies beyond counts in the outermost bins."""


@dataclasses.dataclass(eq=False)
class Tally:
    """What is known of a layer's thresholds without keeping them; tallies of parts add up to that of the whole.

    ``counts`` has the neurons of every bin of A/us, ``statuses`` those of every status, ``in_domain`` the number with a
    threshold in fields that the model knows.
    """

    counts: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(DECADES * PER_DECADE, np.int64))
    statuses: dict[int, int] = dataclasses.field(default_factory=lambda: dict.fromkeys(SENTENCES, 0))
    in_domain: int = 0

    @property
    def neurons(self) -> int:
        """All of them, with a threshold or not."""
        return sum(self.statuses.values())

    def add(self, a_per_us: np.ndarray, status: np.ndarray, in_domain: np.ndarray) -> None:
        """Count some more neurons."""
        known = status == 0
        bins = PER_DECADE * np.log10(a_per_us[known] / LOWEST_A_PER_US)
        bins = np.clip(bins, 0, len(self.counts) - 1).astype(np.int64)
        self.counts += np.bincount(bins, minlength=len(self.counts))
        for code in self.statuses:
            self.statuses[code] += int((status == code).sum())
        self.in_domain += int((in_domain & known).sum())

    def __add__(self, other: Tally) -> Tally:
        statuses = {code: self.statuses[code] + other.statuses[code] for code in self.statuses}
        return Tally(self.counts + other.counts, statuses, self.in_domain + other.in_domain)

    def quantile(self, share: float | np.ndarray) -> np.ndarray:
        """A/us below which ``share`` of the neurons with a threshold have theirs, to the width of a bin."""
        below = np.concatenate([[0], np.cumsum(self.counts)])
        if not below[-1]:
            raise InputError("no neuron has a threshold", got=f"{self.neurons} neurons", expected="some")
        wanted = np.maximum(np.asarray(share) * below[-1], 1e-9)
        bins = np.searchsorted(below, wanted) - 1
        within = (wanted - below[bins]) / self.counts[bins]
        return np.asarray(LOWEST_A_PER_US * 10 ** ((bins + within) / PER_DECADE))

    def recruited(self, a_per_us: float | np.ndarray) -> np.ndarray:
        """Share of all neurons that fire at a dI/dt: a recruitment curve, to the width of a bin."""
        below = np.concatenate([[0], np.cumsum(self.counts)])
        with np.errstate(divide="ignore"):
            at = np.log10(np.asarray(a_per_us, float) / LOWEST_A_PER_US)
        return np.asarray(np.interp(at, _edges(), below / max(1, self.neurons), left=0.0))


def _edges() -> np.ndarray:
    return np.arange(DECADES * PER_DECADE + 1) / PER_DECADE


def stream(
    model: Surrogate,
    field: EField,
    population: DensePopulation,
    blocks_at_once: int = 4,
    devices: list[Any] | None = None,
    part: tuple[int, int] = (0, 1),
    out: str | Path | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Tally:
    """Thresholds of all neurons of a population, counted and, with ``out``, kept.

    Args:
        model: surrogate of the population's cell.
        field: solved with any dI/dt (``field.didt``).
        population: places x azimuths of a layer.
        blocks_at_once: of BLOCK places each, for every device; more take more memory and nothing else.
        devices: to share the neurons among; all that this process has if None. On a CPU there is one unless JAX is
            told otherwise before it starts: ``jax.config.update("jax_num_cpu_devices", cores)``.
        part: (this, of so many): with several processes or hosts, e.g. (``jax.process_index()``,
            ``jax.process_count()``), each takes its own blocks, and their tallies add up.
        out: folder for a zarr group: ``threshold_a_per_us`` and ``status`` (places, azimuths), ``place_mm``. It appears
            whole or not at all.
        progress: called with (neurons done, neurons in all), of this part.

    Raises:
        InputError: no such part, blocks or devices; ``out`` exists; a field that is not finite round the population.
    """
    this, of = part
    if not 0 <= this < of or blocks_at_once < 1 or (devices is not None and not devices):
        raise InputError("share of the work", got=(part, blocks_at_once, devices), expected="0 <= this < of, 1 or more")
    if out is not None and Path(out).exists():
        raise InputError("the folder for the results exists", got=out, expected="a name that is free")
    devices = jax.local_devices() if devices is None else devices
    ready = made_ready(model.spec, field, population.corners_mm)
    didt = np.float32(np.abs(np.asarray(field.didt)))
    mine = np.arange(this, population.blocks, of)
    size, tally, done = blocks_at_once * len(devices), Tally(), 0
    total = sum(min(BLOCK, population.places - int(i) * BLOCK) for i in mine) * population.azimuths
    compute = _over(tuple(devices), model.spec, population.azimuths)
    with contextlib.nullcontext() if out is None else staged_folder(out) as folder:
        store = None if folder is None else _open(folder, population)
        waiting = None
        for some in [*(mine[i : i + size] for i in range(0, len(mine), size)), None]:
            started = None
            if some is not None:
                made = [population.block(int(i)) for i in some]
                places, frames = (np.concatenate(column) for column in zip(*made, strict=True))
                short = size * BLOCK - len(places)  # one shape is compiled; the last part repeats its last place
                padded = (np.pad(x, [(0, short), *[(0, 0)] * (x.ndim - 1)], mode="edge") for x in (places, frames))
                started = some, places, compute(model.ready, model.domain, ready, *padded)
            if waiting is not None:  # the devices are at the next part meanwhile
                done += _count(tally, store, *waiting, didt=didt)
                if progress is not None:
                    progress(done, total)
            waiting = started
    return tally


def _count(tally: Tally, store: Any, blocks: np.ndarray, places: np.ndarray, found: Predicted, didt: Any) -> int:
    """Count what was found at some places, and keep it; returns the number of neurons."""
    factor, known, status = (np.asarray(x)[: len(places)] for x in (found.factor, found.in_domain, found.status))
    a_per_us = factor * didt
    tally.add(a_per_us, status, known)
    if store is not None:
        for i, block in enumerate(blocks):
            own = slice(i * BLOCK, min((i + 1) * BLOCK, len(places)))
            at = slice(int(block) * BLOCK, int(block) * BLOCK + own.stop - own.start)
            store["threshold_a_per_us"][at], store["status"][at] = a_per_us[own], status[own]
            store["place_mm"][at] = places[own]
    return status.size


@lru_cache(maxsize=8)
def _over(devices: tuple[Any, ...], spec: SurrogateSpec, azimuths: int) -> Callable[..., Predicted]:
    """Places (s, 3) and frames (s, 3, 3) -> ``Predicted`` of (s, azimuths) neurons, the places shared among devices."""
    mesh = Mesh(np.array(devices), ("places",))
    whole, shared = PartitionSpec(), PartitionSpec("places")

    def local(variables: Any, domain: Any, field: Any, places: Array, frames: Array) -> Predicted:
        turned = jnp.matmul(frames[:, None], _turns(azimuths), precision=jax.lax.Precision.HIGHEST)
        found = predict(spec, variables, domain, field, jnp.repeat(places, azimuths, 0), turned.reshape(-1, 3, 3))
        return jax.tree.map(lambda x: x.reshape(-1, azimuths), found)

    split = partial(jax.shard_map, mesh=mesh, in_specs=(whole, whole, whole, shared, shared), out_specs=shared)
    return jax.jit(split(local, check_vma=False))


def _turns(azimuths: int) -> Float[np.ndarray, "a 3 3"]:
    """Rotations about the cells' axes, in even steps."""
    angle = 2 * np.pi * np.arange(azimuths) / azimuths
    zero, one = np.zeros(azimuths), np.ones(azimuths)
    rows = [[np.cos(angle), -np.sin(angle), zero], [np.sin(angle), np.cos(angle), zero], [zero, zero, one]]
    return np.moveaxis(np.array(rows), 2, 0).astype(np.float32)


def _open(folder: Path, population: DensePopulation) -> Any:
    import zarr

    group = zarr.open_group(folder, mode="w")
    group.attrs.update({"layer": population.layer, "depth": population.surface.depth, "seed": population.seed})
    wide, tall = (population.places, population.azimuths), (population.places, 3)
    for name, shape, kind, fill in (
        ("threshold_a_per_us", wide, "float32", np.nan),
        ("status", wide, "int8", -1),
        ("place_mm", tall, "float32", np.nan),
    ):
        chunks = (BLOCK, shape[1])
        names = ("place", "azimuth") if shape is wide else ("place", "axis")
        group.create_array(name, shape=shape, chunks=chunks, dtype=kind, fill_value=fill, dimension_names=names)
    return group
