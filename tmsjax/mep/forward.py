"""M2M-Net: from fields to the responses of all muscles (Akbar et al. 2020, arXiv 2002.06250; equation 1 of 2024).

First an auto-encoder of the fields (ELU, linear output, no batch norm), then a network from the encoder's z-grid,
scaled to [0, 1] by the training fold's, to the responses. The authors train the first by SGD at rate 0.1; here both are
trained by Adadelta at 1, on summed squared errors, which a few epochs can do.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import cached_property, partial
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError, MissingToolError
from tmsjax.mep.cone import Table, convolve, everywhere, gather, lookup, neighbours, table
from tmsjax.mep.inverse import CHUNK, SHORT_TRAINING, VALIDATION
from tmsjax.mep.networks import Norms, decode, encode, fresh_norms, layers
from tmsjax.mep.preprocess import Scaling, scaling
from tmsjax.mep.tables import START, Tables, tables
from tmsjax.mep.types import Subject
from tmsjax.nn import TrainSpec, fit

CHANNELS = (16, 32, 64)
"""Of the second network's convolutions; the last ones where the z-grid is too small for three."""

DENSE, DROPOUT, L1 = (128, 32), 0.15, 1e-4
"""Widths of its fully connected layers, share of units dropped in training, weight of kernels' absolute values."""


class Grid(NamedTuple):
    """Tables of a dense grid: its 3^3 convolution, and the children of the next coarser one."""

    convolution: Table
    pool: Table


@dataclasses.dataclass(frozen=True, eq=False)
class ForwardModel:
    """A trained M2M-Net: ``predict`` gives responses in mV.

    ``synergies`` (s, m), or None where the head has one unit a muscle.
    """

    variables: dict[str, Any]
    scaling: Scaling
    grid_scale: tuple[float, float]
    tables: Tables
    muscles: tuple[str, ...]
    synergies: Any
    histories: dict[str, Any]

    @cached_property
    def _run(self) -> Callable[..., Any]:
        def run(variables: Any, x: Array) -> Array:
            grid = (_encoded(self.tables, variables["fields"], x) - self.grid_scale[0]) / self.grid_scale[1]
            return _respond(grids(self.tables), variables["responses"], grid, None, self.synergies)[0]

        return jax.jit(run)

    def predict(self, fields_v_per_m: Any) -> Float[np.ndarray, "n m"]:
        """Responses (n, m) in mV to fields (n, v) in V/m; InputError for fields of another mask."""
        x = self.scaling.fields(fields_v_per_m)
        if x.ndim != 2 or x.shape[1] != self.tables.voxels:
            raise InputError("fields of another mask than the model's", got=f"shape {x.shape}",
                             expected=f"(n, {self.tables.voxels})")  # fmt: skip
        found = [np.asarray(self._run(self.variables, jnp.asarray(x[i : i + CHUNK]))) for i in range(0, len(x), CHUNK)]
        return np.concatenate(found) * np.asarray(self.scaling.response_mv)


def train_forward(
    subject: Subject, training: TrainSpec = SHORT_TRAINING, seed: int = 0, *, synergies: int | None = None,
    folder: str | Path | None = None, progress: Callable[[str], None] | None = None,
) -> ForwardModel:  # fmt: skip
    """Train M2M-Net on all stimulations of a subject (cleaned, in a box).

    ``synergies``: so many fixed muscle synergies (9 in the paper of 2020) by non-negative factorisation of these
    stimulations' responses, which the network weighs; None has it give each muscle.
    """
    cone, scale, key = tables(subject.mask), scaling(subject), jax.random.key(seed)
    x, y = scale.fields(subject.fields), scale.responses(subject.responses)
    found = None if synergies is None else _factors(y, synergies, seed)
    keys = jax.random.split(key, 4)
    start = {
        "encoder": layers(keys[0], [(27, 1, 32), (27, 32, 64), (27, 64, 1)]),
        "decoder": layers(keys[1], [(27, 1, 64), (27, 64, 32), (27, 32, 1)], float(x.mean())),
    }
    volume = subject.voxel_mm**3

    def restore(variables: dict[str, Any], fields: Array, key: Any) -> Array:
        z = _encoded(cone, variables, fields)
        out = decode(cone, variables["decoder"], z, Norms({}, None, False), jax.nn.elu, bounded=False)
        kernels = [variables[block][f"layer_{i}"]["kernel"] for block in ("encoder", "decoder") for i in (1, 2)]
        return volume * ((out - fields) ** 2).sum(1) + L1 * _absolute(kernels)

    def run(what: str, loss: Any, variables: Any, examples: Any, key: Array, free: Any = True) -> Any:
        return fit(
            loss, variables, examples, jax.tree.map(lambda a: a[:VALIDATION], examples), training, key, batched=True,
            trainable=free, steps_per_call=1, folder=None if folder is None else Path(folder) / what,
            progress=None if progress is None else partial(_told, progress, what),
        )  # fmt: skip

    first = run("fields", restore, start, x, keys[2])
    encoded = jax.jit(lambda rows: _encoded(cone, first.variables, rows))
    grid = np.concatenate([np.asarray(encoded(jnp.asarray(x[i : i + CHUNK]))) for i in range(0, len(x), CHUNK)])
    low, size = float(grid.min()), float(max(np.ptp(grid), 1e-6))
    dense = grids(cone)

    def respond(variables: dict[str, Any], batch: tuple[Array, Array], key: Any) -> tuple[Array, dict[str, Any]]:
        out, averages = _respond(dense, variables, batch[0], key, found)
        kernels = [v["kernel"] for block in ("convolutions", "dense") for v in variables[block].values()]
        return ((out - batch[1]) ** 2).sum(1) + L1 * _absolute(kernels), {"averages": averages}

    variables = _start(keys[3], cone, y.shape[1] if found is None else len(found))
    free = {name: jax.tree.map(lambda _, n=name: n != "averages", branch) for name, branch in variables.items()}
    second = run("responses", respond, variables, ((grid - low) / size, y), keys[3], free)
    histories = {"fields": first.history, "responses": second.history}
    both = {"fields": first.variables, "responses": second.variables}
    return ForwardModel(both, scale, (low, size), cone, subject.muscles, found, histories)


def grids(cone: Tables) -> tuple[Grid, ...]:
    """Tables of the dense grids from the z-grid down to START^3."""
    made, side = [], cone.latent
    children = np.stack(np.meshgrid(*3 * [[0, 1]], indexing="ij"), -1).reshape(-1, 3)
    while side > START:
        all_of, coarse = everywhere(side), everywhere(side // 2)
        taps = lookup(neighbours(all_of, side), all_of, side)
        pool = lookup(2 * coarse[:, None] + children, all_of, side)
        made.append(Grid(table(taps, len(all_of)), table(pool, len(all_of))))
        side //= 2
    return tuple(made)


def _start(key: Array, cone: Tables, outputs: int) -> dict[str, Any]:
    channels = CHANNELS[len(CHANNELS) - len(grids(cone)) :]
    keys = jax.random.split(key, 2)
    widths = (START**3 * channels[-1], *DENSE, outputs)
    scales, averages = fresh_norms(channels)
    before = (1, *channels[:-1])
    return {
        "convolutions": layers(keys[0], [(27, a, b) for a, b in zip(before, channels, strict=True)]),
        "dense": layers(keys[1], list(pairwise(widths))),
        "norms": scales,
        "averages": {"responses": averages},
    }


def _encoded(cone: Tables, variables: dict[str, Any], x: Float[Array, "b v"]) -> Float[Array, "b n"]:
    return encode(cone, variables["encoder"], x, Norms({}, None, False), jax.nn.elu)


def _respond(
    dense: tuple[Grid, ...], variables: dict[str, Any], grid: Float[Array, "b n"], key: Any, synergies: Any
) -> tuple[Float[Array, "b m"], dict[str, Any]]:
    """Scaled z-grids to responses in [0, 1], and the running averages."""
    norms = Norms(variables["norms"], variables["averages"]["responses"], key is not None)
    x = grid[..., None]
    for number, one in enumerate(dense, 1):
        layer = variables["convolutions"][f"layer_{number}"]
        x = jax.nn.relu(convolve(one.convolution, x, layer["kernel"][None], layer["bias"]))
        x, _ = norms(x, number)
        x = gather(x, jnp.asarray(one.pool.taps), jnp.asarray(one.pool.back)).max(axis=2)
    x = x.reshape(len(x), -1)
    last = len(variables["dense"])
    for number in range(1, last + 1):
        layer = variables["dense"][f"layer_{number}"]
        x = x @ layer["kernel"] + layer["bias"]
        if number < last:
            x = jax.nn.relu(x)
            if key is not None:
                kept = jax.random.bernoulli(jax.random.fold_in(key, number), 1 - DROPOUT, (x.size,)).reshape(x.shape)
                x = jnp.where(kept, x / (1 - DROPOUT), 0.0)
    x = x if synergies is None else jax.nn.softplus(x) @ jnp.asarray(synergies) + jnp.float32(SHIFT)
    return jax.nn.sigmoid(x), (norms.new and {"responses": norms.new}) or variables["averages"]


def _told(progress: Callable[[str], None], what: str, text: str) -> None:
    progress(f"{what}, {text}")


SHIFT = -4.0
"""Synergies are not negative: without activity the sigmoid is nearly 0."""


def _absolute(kernels: list[Array]) -> Float[Array, ""]:
    return sum((jnp.abs(k).sum() for k in kernels[1:]), start=jnp.abs(kernels[0]).sum())


def _factors(y: np.ndarray, count: int, seed: int) -> Float[np.ndarray, "s m"]:
    """Synergies by non-negative matrix factorisation of the training responses, each with largest weight 1."""
    try:
        from sklearn.decomposition import NMF
    except ImportError as error:
        raise MissingToolError("synergies need scikit-learn: pip install 'tmsjax[mep]'") from error
    if not 1 <= count <= y.shape[1]:
        raise InputError("synergies", got=count, expected=f"1 to {y.shape[1]}, the muscles")
    settings: Any = {"n_components": count, "init": "nndsvda", "random_state": seed, "max_iter": 1000, "tol": 1e-3}
    found = NMF(**settings).fit(y).components_
    return (found / np.maximum(found.max(1, keepdims=True), 1e-9)).astype(np.float32)
