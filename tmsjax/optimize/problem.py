"""A target, a coil and a head made ready once, so that any objective can be asked at any pose in milliseconds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float
from scipy.spatial import KDTree

from tmsjax.coil import Coil, CoilPose, reduce
from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.efield import posemodel
from tmsjax.efield.checks import check_coil, check_head
from tmsjax.efield.posemodel import PoseModel
from tmsjax.efield.posemodel_train import head_hash
from tmsjax.head import HeadModel
from tmsjax.optimize.groups import Target, joined_positions
from tmsjax.optimize.modes import CoilModes, coil_modes
from tmsjax.optimize.neurons import Neurons, neurons, outside
from tmsjax.optimize.objectives import Objective
from tmsjax.optimize.scalp import Scalp, batch_of_poses, batch_of_tangents, hold, poses
from tmsjax.optimize.targets import of_population
from tmsjax.optimize.variables import Variables, batches
from tmsjax.surrogate import Surrogate

DIPOLES = 300
"""Of the reduced coil that the search uses (the MC-B70: 0.004 % off)."""

DRAWN = 300
"""Poses whose fields the coil's modes span."""

Progress = Callable[[str, int, int], None]


@pytree("target", "variables", "head_name", "made", "dropped")
class Problem:
    """Made by ``prepare``.

    scalp: with the coil held against it. modes: of the reduced coil. search, held_out: neurons of the target's two
    draws. coil: with all its dipoles. target: its name. made: JSON of the pose model's card, without its certificate.
    dropped: share of the neurons whose samples leave the pose model's region.
    """

    scalp: Scalp
    modes: CoilModes
    search: tuple[Neurons, ...]
    held_out: tuple[Neurons, ...]
    coil: Coil
    centre_mm: Any
    target: str
    variables: Variables
    head_name: str
    made: str
    dropped: float


def prepare(
    head: HeadModel,
    coil: Coil,
    target: Target | Any,
    models: dict[str, Surrogate] | Surrogate,
    *,
    pose_model: PoseModel | None = None,
    variables: Variables | None = None,
    progress: Progress | None = None,
    seed: int = 0,
) -> Problem:
    """Work out what the coil's modes put into a target's neurons: seconds, and once for all objectives.

    Args:
        head: the head. coil: any.
        target: from ``targets``, or a ``Population``, whose sites are then dealt into two halves.
        models: surrogate of each layer, or the one of the only layer.
        pose_model: of a region of this head that holds the target (``efield.posemodel.precompute_region``). Made here
            if there is none, which takes some 200 solves.
        variables: limits of the search.
        progress: called with (what, done, in all).
        seed: of the drawn poses.

    Raises:
        InputError: a layer without a surrogate, a pose model of another head or without a grid, a target outside it, a
            search beyond it, limits that contradict each other; whatever ``scalp_chart`` refuses.
    """
    report = progress or (lambda *_: None)
    check_head(head)
    if not isinstance(coil, Coil):
        raise InputError("this is no coil", got=type(coil).__name__, expected="a Coil")
    target = target if isinstance(target, Target) else of_population(target)
    variables = (variables or Variables()).checked()
    surrogates = _surrogates(target, models)
    if pose_model is None:
        margin = max(model.spec.side_mm * np.sqrt(3) / 2 + abs(model.spec.z_shift_mm) for model in surrogates.values())
        pose_model = posemodel.precompute_region(
            head, target.centre_mm, target.reach_mm + margin, held_out=0, progress=progress
        )
    check_model(pose_model, head)
    for group in target.search:  # before the scalp, which takes longer
        if not bool(pose_model.inside(group.population.positions).any()):
            raise outside(group.population, pose_model)
    few = reduce(coil, DIPOLES)
    report("scalp", 0, 1)
    scalp = hold(head, coil, target.centre_mm, variables, pose_model, few)
    some = poses(scalp, drawn(variables, DRAWN, seed))
    middle = CoilPose(some.rotation[0], some.centre[0])
    check_coil(few, middle)
    voxel = KDTree(np.asarray(pose_model.points_mm)).query(joined_positions(target))[1]
    modes, reduced = coil_modes(pose_model, few, some, np.unique(voxel))
    seen = []
    count = len(target.search) + len(target.held_out)
    for groups in (target.search, target.held_out):
        rows = []
        for group in groups:
            report("neurons", len(seen) * len(groups) + len(rows), count)
            surrogate = surrogates[group.population.layer]
            rows.append(neurons(group.population, surrogate, reduced, role=group.role, wanted=group.wanted))
        seen.append(tuple(rows))
    everyone = [*seen[0], *seen[1]]
    card = {name: value for name, value in json.loads(pose_model.card).items() if name != "certificate"}
    return Problem(
        scalp=scalp, modes=modes, search=seen[0], held_out=seen[1], coil=coil,
        centre_mm=jnp.asarray(target.centre_mm, jnp.float32), target=target.name, variables=variables,
        head_name=head.name, made=json.dumps(card, sort_keys=True),
        dropped=float(sum(int(group.dropped) for group in everyone) / sum(map(len, everyone))),
    )  # fmt: skip


def check_model(model: PoseModel, head: HeadModel) -> None:
    """InputError for what is no pose model, has no grid, or was made from another head."""
    if not isinstance(model, PoseModel):
        raise InputError("this is no pose model", got=type(model).__name__, expected="a PoseModel")
    if model.voxels is None:
        raise InputError(
            "this pose model has no grid", got="a model of separate points",
            expected="one of a region: posemodel.precompute_region(head, target_mm, radius_mm)",
        )  # fmt: skip
    made = json.loads(model.card)
    if head_hash(head, made["coarsen"], made["partial_volume"]) != made["head_hash"]:
        raise InputError(
            "this pose model belongs to another head", got=f"head {head.name!r}",
            expected=f"the labels, affine and conductivities of head {made['head']!r} that it was made from",
            mend="precompute one for this head",
        )  # fmt: skip


def drawn(variables: Variables, count: int, seed: int) -> Float[np.ndarray, "m 6"]:
    """Random variables (m, 6) all over the limits; the first is the middle."""
    rng = np.random.default_rng(seed)
    length, angle = variables.radius_mm * np.sqrt(rng.random(count)), rng.uniform(0, 2 * np.pi, count)
    x = variables.start(np.stack([length * np.cos(angle), length * np.sin(angle)], 1), rng.uniform(-180, 180, count))
    x[:, 3] = rng.uniform(*variables.gap_mm, count)
    x[:, 4:] = rng.uniform(-1, 1, (count, 2)) * variables.tilt_deg
    x[0] = variables.start(np.zeros((1, 2)), np.zeros(1))[0]
    return x


def _surrogates(target: Target, models: dict[str, Surrogate] | Surrogate) -> dict[str, Surrogate]:
    layers = sorted({group.population.layer for group in target.search})
    if isinstance(models, Surrogate):
        models = dict.fromkeys(layers, models) if len(layers) == 1 else {}
    if not isinstance(models, dict) or not all(isinstance(models.get(layer), Surrogate) for layer in layers):
        found = sorted(models) if isinstance(models, dict) else type(models).__name__
        raise InputError("surrogates of the target's layers", got=found, expected=f"one of each of {layers}")
    return {layer: models[layer] for layer in layers}


def values(
    problem: Problem, objective: Objective, x: Float[np.ndarray, "m 6"], polarity: int | Sequence[int] | np.ndarray,
    *, held_out: bool = False, tau: float | None = None,
) -> Float[np.ndarray, " m"]:  # fmt: skip
    """The objective (m,) at variables (m, 6) and signs (m,), on the search's neurons or on the held-out ones."""
    groups = chosen(problem.held_out if held_out else problem.search, objective)
    ask = partial(_values, groups, objective, None if tau is None else jnp.float32(tau))
    parts = [
        np.asarray(ask(amplitudes(problem.scalp, problem.modes, rows), signs))[:count]
        for rows, signs, count in batches(x, polarity)
    ]
    return np.concatenate(parts)


def gradients(
    problem: Problem,
    objective: Objective,
    x: Float[np.ndarray, "m 6"],
    polarity: int | Sequence[int] | np.ndarray,
    tau: float,
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Smooth values (m,), their gradients (m, 6) per mm and degree, and hard values (m,), of the search's neurons."""
    groups = chosen(problem.search, objective)
    parts = []
    for rows, signs, count in batches(x, polarity):
        amplitude, along = _excited_along(problem.modes, *batch_of_tangents(problem.scalp, rows))
        smooth, slope, hard = _gradients(groups, objective, jnp.float32(tau), amplitude, signs)
        slope = np.einsum("br,bxr->bx", np.asarray(slope, np.float64), np.asarray(along, np.float64))
        parts.append([np.asarray(each)[:count] for each in (smooth, slope, hard)])
    smooth, slope, hard = (np.concatenate(column) for column in zip(*parts, strict=True))
    return smooth, slope, hard


def chosen(groups: tuple[Neurons, ...], objective: Objective) -> tuple[Neurons, ...]:
    """The groups that an objective asks: no ring is worked out for nothing."""
    kept = [g for g in groups if g.role == "target" or objective.name in ("selectivity", "activation_map")]
    return tuple(g for g in kept if objective.layers is None or g.layer in objective.layers)


def look(groups: tuple[Neurons, ...], amplitudes: Array, sign: Array, thresholds: bool) -> list:
    """Pairs of neurons and what they see under amplitudes (r,)."""
    return [(group, group.see(amplitudes, sign, thresholds)) for group in groups]


# Pose, modes and neurons are compiled apart: the first takes the longest, and serves all coils, layers and objectives.


def amplitudes(scalp: Scalp, modes: CoilModes, x: Float[Array, "b 6"]) -> Float[Array, "b r"]:
    """Amplitudes of the modes (b, r) at a batch of variables (b, 6), for 1 A/us."""
    return _excited(modes, batch_of_poses(scalp, x))


@jax.jit
def _excited(modes: CoilModes, poses: CoilPose) -> Array:
    return jax.vmap(modes)(poses)


@jax.jit
def _excited_along(modes: CoilModes, poses: CoilPose, moved: CoilPose) -> tuple[Array, Array]:
    """Amplitudes (b, r) at poses, and their changes (b, 6, r) as the poses move along each of six variables."""

    def one(pose: CoilPose, moved: CoilPose) -> tuple[Array, Array]:
        return jax.vmap(lambda tangent: jax.jvp(modes, (pose,), (tangent,)), out_axes=(None, 0))(moved)

    return jax.vmap(one)(poses, moved)


@jax.jit
def _values(groups, objective, tau, amplitudes, sign):
    def one(amplitude, sign):
        return objective.value(look(groups, amplitude, sign, objective.thresholds), tau)

    return jax.vmap(one)(amplitudes, sign)


@jax.jit
def _gradients(groups, objective, tau, amplitudes, sign):
    def one(amplitude, sign):
        seen = look(groups, amplitude, sign, objective.thresholds)
        return objective.value(seen, tau), jax.lax.stop_gradient(objective.value(seen, None))

    (smooth, hard), slope = jax.vmap(jax.value_and_grad(one, has_aux=True))(amplitudes, sign)
    return smooth, slope, hard
