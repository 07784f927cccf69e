"""What is said of a pose that was found: its neighbourhood, its tolerance to slip, its sampling error."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.optimize.neurons import Neurons, Seen, in_domain
from tmsjax.optimize.objectives import Field, LowestDidt, Objective
from tmsjax.optimize.problem import Problem, amplitudes, chosen, look, values
from tmsjax.optimize.variables import HANDLE, PLACE, UNITS, batches

MAP_MM, MAP_STEP_MM, MAP_ANGLES = 12.0, 3.0, 24
"""Half-width and step of the objective map on the scalp, and angles of the one at the optimum's own place."""

SLIP_MM, SLIP_DEG, SLIPS = 5.0, 15.0, 64
"""A pose slips by up to this much; poses that its tolerance is fitted to."""

FEWEST = 20
"""Of these at least must be on the chart and have a value: the fit has ten numbers."""

REPEATS = 200
"""Of the bootstrap over sites."""


def shown(objective: Objective, value: Any) -> Any:
    """A value of an objective in its own unit: A/us, V/m per A/us, a share."""
    if isinstance(objective, LowestDidt):
        return np.exp(value)
    return np.exp(-np.asarray(value)) if isinstance(objective, Field) else value


def loss(objective: Objective, value: Any, best: float) -> Any:
    """How much worse a value is: relative for dI/dt and |E|, absolute for shares."""
    with np.errstate(invalid="ignore"):  # neither is ever reached
        away = np.asarray(value) - best
    return np.expm1(away) if isinstance(objective, LowestDidt | Field) else away


def objective_map(problem: Problem, objective: Objective, x: Float[np.ndarray, 6], polarity: int) -> dict[str, Any]:
    """The objective of the held-out neurons round a pose, in its unit.

    ``place_mm`` (n, 2) on the chart with ``value`` (n,), at the pose's own angle (NaN beyond the search's limits), and
    ``handle_deg`` (a,) with ``by_angle`` (a,) and ``reversed_by_angle`` (a,), of the current reversed, at its place.
    """
    ticks = np.arange(-MAP_MM, MAP_MM + 1e-6, MAP_STEP_MM)
    shifts = np.stack(np.meshgrid(ticks, ticks, indexing="ij"), -1).reshape(-1, 2)
    around = np.tile(x, (len(shifts), 1))
    around[:, PLACE] += shifts
    inside = np.linalg.norm(around[:, PLACE], axis=1) <= problem.variables.radius_mm
    value = np.full(len(shifts), np.nan)
    value[inside] = values(problem, objective, around[inside], polarity, held_out=True)
    turned = np.tile(x, (MAP_ANGLES, 1))
    turned[:, HANDLE] += np.arange(MAP_ANGLES) * 360.0 / MAP_ANGLES
    turned = problem.variables.held(turned)
    by_angle = [values(problem, objective, turned, sign, held_out=True) for sign in (polarity, -polarity)]
    return {
        "place_mm": around[:, PLACE],
        "value": np.asarray(shown(objective, value)),
        "handle_deg": turned[:, HANDLE],
        "by_angle": np.asarray(shown(objective, by_angle[0])),
        "reversed_by_angle": np.asarray(shown(objective, by_angle[1])),
    }


def tolerance(
    problem: Problem, objective: Objective, x: Float[np.ndarray, 6], polarity: int, seed: int = 0
) -> dict[str, float]:
    """What slipping costs, from a quadratic fitted to the held-out neurons' objective over +-5 mm and +-15 degrees.

    A quantile is piecewise smooth: its curvature at a point says nothing. Losses (relative for dI/dt and |E|) are those
    of the fit, from its value at the pose, in the worst direction: ``loss_2mm``, ``loss_5mm``, ``loss_5deg``,
    ``loss_15deg``; ``misfit`` is the fit's root mean square error, in the same unit. NaN where too few poses are known.
    """
    rng = np.random.default_rng(seed)
    length, angle = SLIP_MM * np.sqrt(rng.random(SLIPS)), rng.uniform(0, 2 * np.pi, SLIPS)
    slips = np.stack([length * np.cos(angle), length * np.sin(angle), rng.uniform(-SLIP_DEG, SLIP_DEG, SLIPS)], 1)
    moved = np.tile(x, (SLIPS, 1))
    moved[:, : HANDLE + 1] += slips
    inside = np.linalg.norm(moved[:, PLACE], axis=1) <= problem.variables.radius_mm
    slips, moved = slips[inside], problem.variables.held(moved[inside])
    found = values(problem, objective, moved, polarity, held_out=True)
    known = np.isfinite(found)
    if known.sum() < FEWEST:
        return dict.fromkeys(("loss_2mm", "loss_5mm", "loss_5deg", "loss_15deg", "misfit"), float("nan"))
    slips, found = slips[known], found[known]
    weights, *_ = np.linalg.lstsq(_quadratic(slips), found, rcond=None)
    at_rest = float(weights[0])

    def worst(slip: np.ndarray) -> float:
        return float(np.max(loss(objective, _quadratic(slip) @ weights, at_rest)))

    turn = np.linspace(0, 2 * np.pi, 37)[:-1]
    ring = np.stack([np.cos(turn), np.sin(turn), np.zeros(36)], 1)
    sides = np.array([[0.0, 0, 1], [0, 0, -1]])
    return {
        "loss_2mm": worst(2 * ring),
        "loss_5mm": worst(5 * ring),
        "loss_5deg": worst(5 * sides),
        "loss_15deg": worst(15 * sides),
        "misfit": float(np.sqrt(np.mean((_quadratic(slips) @ weights - found) ** 2))),
    }


def _quadratic(slips: Float[np.ndarray, "n 3"]) -> Float[np.ndarray, "n 10"]:
    """1, the slips, and their products, in the units of a search."""
    s = slips / UNITS[: HANDLE + 1]
    rows, columns = np.triu_indices(3)
    return np.concatenate([np.ones((len(s), 1)), s, s[:, rows] * s[:, columns]], axis=1)


def bootstrap(
    problem: Problem,
    objective: Objective,
    poses: Sequence[tuple[np.ndarray, int]],
    *,
    repeats: int = REPEATS,
    seed: int = 0,
) -> Float[np.ndarray, "n r"]:
    """The objective (n, repeats) at n poses, of the held-out sites drawn again with replacement, the same for all.

    So the spread of a row is a value's sampling error, and that of the difference of two rows a comparison's.
    """
    groups = chosen(problem.held_out, objective)
    rng = np.random.default_rng(seed)
    counts = []
    for group in groups:
        site = np.unique(np.asarray(group.site), return_inverse=True)[1]
        sites = int(site.max()) + 1
        drawn = rng.multinomial(sites, np.full(sites, 1 / sites), size=repeats)
        counts.append(jnp.asarray(drawn[:, site], jnp.float32))
    rows = []
    for x, sign in poses:
        seen = _seen(problem, groups, objective, x, sign)
        rows.append(np.asarray(_resampled(objective, groups, seen, tuple(counts))))
    return np.stack(rows)


def described(problem: Problem, objective: Objective, x: Float[np.ndarray, 6], polarity: int) -> dict[str, Any]:
    """Each layer's held-out target at a pose: dI/dt of some shares (A/us), mean |E| (V/m per A/us), what is known.

    ``share_with_threshold`` of the neurons, and ``share_in_domain``: fields like those the surrogate was trained on.
    """
    out = {}
    groups = tuple(group for group in problem.held_out if group.role == "target")
    for group in groups:
        seen = _seen(problem, (group,), LowestDidt(0.5, None), x, polarity)[0]
        mine = group.counted
        log_didt = np.sort(np.asarray(seen.log_didt, float)[mine])
        known = np.asarray(_known(group, _at(problem, x)))
        out[group.layer] = {
            "neurons": int(mine.sum()),
            "sites": len(np.unique(np.asarray(group.site)[mine])),
            "dropped": int(group.dropped),
            "didt_a_per_us": {
                f"{share:g}": float(np.exp(log_didt[int(np.ceil(share * len(log_didt))) - 1]))
                for share in (0.1, 0.5, 0.9)
            },
            "mean_e_v_per_m": float(np.exp(np.asarray(seen.log_e)[mine]).mean()),
            "share_with_threshold": float(np.isfinite(log_didt).mean()),
            "share_in_domain": float(known[mine].mean()),
        }
    return out


def _seen(
    problem: Problem, groups: tuple[Neurons, ...], objective: Objective, x: np.ndarray, sign: int
) -> tuple[Seen, ...]:
    return _look(groups, _at(problem, x), jnp.float32(sign), objective.thresholds)


def _at(problem: Problem, x: np.ndarray) -> Float[Array, " r"]:
    """Amplitudes of the modes at one set of variables."""
    ((rows, _, _),) = batches(x, 1)
    return amplitudes(problem.scalp, problem.modes, rows)[0]


@partial(jax.jit, static_argnums=3)
def _look(groups, amplitude, sign, thresholds) -> tuple[Seen, ...]:
    return tuple(seen for _, seen in look(groups, amplitude, sign, thresholds))


_known = jax.jit(in_domain)


@jax.jit
def _resampled(objective, groups, seen, counts) -> Array:
    def one(count):
        again = [(g, s._replace(weight=s.weight * c)) for g, s, c in zip(groups, seen, count, strict=True)]
        return objective.value(again, None)

    return jax.lax.map(one, counts)
