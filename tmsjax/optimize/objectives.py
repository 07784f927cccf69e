"""What a placement is to achieve, as functions of how groups of neurons see a pose. Lower is better.

An objective is a pytree of numbers with a method ``value(groups, tau)``: smooth with a temperature ``tau`` (in units of
the logarithm of dI/dt or of |E|), and what is meant in the end with ``tau`` None. ``groups`` are pairs of ``Neurons``
and what they see.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError, check_number
from tmsjax.core.pytree import pytree
from tmsjax.optimize.neurons import Neurons, Seen
from tmsjax.optimize.quantile import level

Groups = Sequence[tuple[Neurons, Seen]]

BEYOND = 20.0
"""Weight of the logarithm of dI/dt beyond its cap: ten per cent too much costs more than a whole ring does."""

SMOOTH_COUNT = 0.05
"""Least temperature of a count of neurons while it is smooth: sharper ones are flat between neurons."""


@pytree("name", "unit")
class LowestDidt:
    """Logarithm of the dI/dt at which a share of the target fires; of several layers the weighted mean.

    share: () of the target's neurons (by weight). layers: (layer, weight) pairs; None: all there are, alike.
    """

    share: Any
    layers: Any
    name: str = "lowest_didt"
    unit: str = "A/us"

    thresholds = True

    def value(self, groups: Groups, tau: Float[Array, ""] | None) -> Float[Array, ""]:
        """Weighted mean of log dI/dt over the layers."""
        return _mean(_of(groups, "target"), self.layers, lambda seen: _didt(seen, self.share, tau))


@pytree("name", "unit")
class Selectivity:
    """Share of the ring that fires at the dI/dt at which a share of the target does, which is capped.

    share: () of the target. cap: () logarithm of the largest dI/dt in A/us; layers: as ``LowestDidt``.
    """

    share: Any
    cap: Any
    layers: Any
    name: str = "selectivity"
    unit: str = "share of the ring"

    thresholds = True

    def value(self, groups: Groups, tau: Float[Array, ""] | None) -> Float[Array, ""]:
        """Weighted mean over the layers of the ring's active share and the excess over the cap."""

        def one(target: Seen, ring: Seen) -> Float[Array, ""]:
            didt = _didt(target, self.share, tau)
            active = _active(ring, didt, tau)
            beyond = didt - self.cap
            excess = jax.nn.relu(beyond) if tau is None else tau * jax.nn.softplus(beyond / tau)
            return jnp.sum(ring.weight * active) / jnp.sum(ring.weight) + BEYOND * excess

        rings = {neurons.layer: seen for neurons, seen in _of(groups, "ring")}
        targets = [(neurons, (seen, rings[neurons.layer])) for neurons, seen in _of(groups, "target")]
        return _mean(targets, self.layers, lambda pair: one(*pair))


@pytree("name", "unit")
class ActivationMap:
    """Mean square difference between a desired map of activity (``Neurons.wanted``) and that at some dI/dt.

    didt: () logarithm of A/us; NaN for the one at which as many neurons fire as are wanted. layers: as ``LowestDidt``.
    """

    didt: Any
    layers: Any
    name: str = "activation_map"
    unit: str = "mean square difference"

    thresholds = True

    def value(self, groups: Groups, tau: Float[Array, ""] | None) -> Float[Array, ""]:
        """Weighted mean over the layers; with ``tau`` None activity is 0 or 1."""

        def one(seen: Seen) -> Float[Array, ""]:
            wanted = jnp.sum(seen.weight * seen.wanted) / jnp.sum(seen.weight)
            own = _didt(seen, wanted, tau)
            active = _active(seen, jnp.where(jnp.isnan(self.didt), own, jnp.nan_to_num(self.didt)), tau)
            return jnp.sum(seen.weight * (active - seen.wanted) ** 2) / jnp.sum(seen.weight)

        layers = {neurons.layer: neurons for neurons, _ in groups}
        merged = [
            (neurons, _joined([seen for other, seen in groups if other.layer == layer]))
            for layer, neurons in layers.items()
        ]
        return _mean(merged, self.layers, one)


@pytree("name", "unit")
class Field:
    """Minus the logarithm of |E| in the target: the weighted mean of |E|, or the |E| that a share exceeds.

    exceeded: () share of the target that the percentile lies below it; NaN for the mean. layers: as ``LowestDidt``.
    """

    exceeded: Any
    layers: Any
    name: str = "mean_field"
    unit: str = "V/m per A/us"

    thresholds = False

    def value(self, groups: Groups, tau: Float[Array, ""] | None) -> Float[Array, ""]:
        """Minus the weighted mean over the layers of the logarithm of |E|."""

        def one(seen: Seen) -> Float[Array, ""]:
            mean = -jnp.log(jnp.sum(seen.weight * jnp.exp(seen.log_e)) / jnp.sum(seen.weight))
            share = jnp.where(jnp.isnan(self.exceeded), 0.5, jnp.nan_to_num(self.exceeded))
            return jnp.where(jnp.isnan(self.exceeded), mean, level(-seen.log_e, seen.weight, share, tau))

        return _mean(_of(groups, "target"), self.layers, one)


Objective = LowestDidt | Selectivity | ActivationMap | Field


def lowest_didt(share: float = 0.5, layers: dict[str, float] | None = None) -> LowestDidt:
    """The lowest |dI/dt| that activates ``share`` of the target; ``layers`` weighs the logarithms of several layers'.

    Raises InputError for a share that is not above 0 and at most 1, or weights that are no positive numbers.
    """
    return LowestDidt(_share(share), _weights(layers))


def selectivity(cap_a_per_us: float, share: float = 0.5, layers: dict[str, float] | None = None) -> Selectivity:
    """The smallest active share of the ring round the target when ``share`` of the target fires, at most at the cap.

    Raises InputError as ``lowest_didt``, and for a cap that is not positive.
    """
    cap = check_number(cap_a_per_us, "cap of dI/dt", above=0.0, unit="A/us")
    return Selectivity(_share(share), jnp.log(jnp.float32(cap)), _weights(layers))


def activation_map(didt_a_per_us: float | None = None, layers: dict[str, float] | None = None) -> ActivationMap:
    """A desired map of activity (``wanted`` of the target's and the ring's neurons) at a given dI/dt, or at the best.

    Without ``didt_a_per_us`` it is, at each pose, the one at which as many neurons fire as are wanted.

    Raises InputError as ``lowest_didt``, and for a dI/dt that is not positive.
    """
    if didt_a_per_us is None:
        return ActivationMap(jnp.float32(jnp.nan), _weights(layers))
    didt = check_number(didt_a_per_us, "dI/dt of the map", above=0.0, unit="A/us")
    return ActivationMap(jnp.log(jnp.float32(didt)), _weights(layers))


def mean_field(layers: dict[str, float] | None = None) -> Field:
    """The largest mean |E| at the target's neurons: what is commonly optimised, for comparison."""
    return Field(jnp.float32(jnp.nan), _weights(layers))


def percentile_field(percent: float = 95.0, layers: dict[str, float] | None = None) -> Field:
    """The largest percentile of |E| at the target's neurons. Raises InputError unless 0 <= percent < 100."""
    percent = check_number(percent, "percentile of |E|", 0, 99.9, unit="%")
    return Field(jnp.float32(1 - percent / 100), _weights(layers), name="percentile_field")


def _share(share: float) -> Any:
    return jnp.float32(check_number(share, "share of the target", high=1.0, above=0.0))


def _weights(layers: dict[str, float] | None) -> dict[str, Any] | None:
    if layers is None:
        return None
    if not isinstance(layers, dict) or not layers:
        raise InputError("weights of the layers", got=repr(layers), expected='such as {"L23": 1, "L5": 2}')
    return {
        name: jnp.float32(check_number(weight, f"weight of layer {name}", above=0.0)) for name, weight in layers.items()
    }


def check_layers(objective: Objective, groups: Sequence[Neurons]) -> None:
    """InputError where the objective asks for layers or a ring that there are not."""
    targets = {group.layer for group in groups if group.role == "target"}
    rings = {group.layer for group in groups if group.role == "ring"}
    asked = set(objective.layers or ())
    if asked - targets:
        raise InputError("layers of the objective", got=sorted(asked), expected=f"among {sorted(targets)}")
    if isinstance(objective, Selectivity) and (asked or targets) - rings:
        raise InputError(
            "selectivity needs a ring", got=f"rings in {sorted(rings) or 'no layer'}", expected=f"in {sorted(targets)}",
            mend="targets.ball(..., ring_mm=(12, 20))",
        )  # fmt: skip


def _didt(seen: Seen, share: Any, tau: Any) -> Float[Array, ""]:
    return level(seen.log_didt, seen.weight, share, tau)


def _active(seen: Seen, log_didt: Float[Array, ""], tau: Float[Array, ""] | None) -> Float[Array, " p"]:
    """Activity at a dI/dt: 0 or 1, or smooth."""
    if tau is None:
        return (seen.log_didt <= log_didt).astype(jnp.float32)
    return jax.nn.sigmoid((log_didt - seen.log_didt) / jnp.maximum(tau, SMOOTH_COUNT))


def _of(groups: Groups, role: str) -> list[tuple[Neurons, Seen]]:
    return [(neurons, seen) for neurons, seen in groups if neurons.role == role]


def _mean(groups: Sequence[tuple[Neurons, Any]], layers: dict[str, Any] | None, value: Any) -> Float[Array, ""]:
    """Weighted mean over layers of ``value(seen)``."""
    weights = [jnp.float32(1.0) if layers is None else layers.get(neurons.layer) for neurons, _ in groups]
    terms = [(w, w * value(seen)) for w, (_, seen) in zip(weights, groups, strict=True) if w is not None]
    return jnp.sum(jnp.stack([t for _, t in terms])) / jnp.sum(jnp.stack([w for w, _ in terms]))


def _joined(seen: list[Seen]) -> Seen:
    """Several groups of a layer as one."""
    if len(seen) == 1:
        return seen[0]
    return Seen(*(jnp.concatenate(parts) for parts in zip(*seen, strict=True)))
