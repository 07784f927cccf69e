"""Neurons aimed at: groups of a layer with a role, in two independent draws over the same area.

A search that is judged by its own neurons looks better than it is: a few per cent with 50 sites. So a target holds two
populations of each layer, of other places each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tmsjax.core.errors import InputError, check_number
from tmsjax.cortex import LayerSurface, Population, Roi, place
from tmsjax.head import HeadModel

SITES, AZIMUTHS, HELD_OUT = 600, 6, 900
"""Sites of a layer's search and azimuths of each, and sites that results are judged by. With 60 sites the optimum is
1 % off, with 15 nearly 3 % (head S1); with 300 it loses to the sampling what it gains on a grid of 600 poses."""


@dataclasses.dataclass(frozen=True)
class Area(Roi):
    """A region of interest with a rule of its own: ``rule(surface)`` (f,) True for the faces of a layer in it."""

    rule: Callable[[LayerSurface], np.ndarray] | None = None

    def contains(self, surface: LayerSurface) -> np.ndarray:
        """(f,) True for the faces in the ball that the rule keeps."""
        inside = super().contains(surface)
        return inside if self.rule is None else inside & self.rule(surface)


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Neurons of one layer with a role ("target" or "ring"), and the activity wanted of each, (p,) 0 to 1."""

    role: str
    population: Population
    wanted: Float[np.ndarray, " p"]


@dataclasses.dataclass(frozen=True, eq=False)
class Target:
    """What is aimed at: a name, its middle (3,) mm, and two independent draws of its neurons."""

    name: str
    centre_mm: Float[np.ndarray, 3]
    search: tuple[Group, ...]
    held_out: tuple[Group, ...]

    @property
    def layers(self) -> list[str]:
        """Layers of the target, in order."""
        return [group.population.layer for group in self.search if group.role == "target"]

    @property
    def reach_mm(self) -> float:
        """Distance of the furthest neuron from the middle."""
        both = [np.asarray(group.population.positions) for group in (*self.search, *self.held_out)]
        return float(max(np.linalg.norm(p - self.centre_mm, axis=1).max() for p in both))


def drawn(
    head: HeadModel,
    area: Area,
    ring_mm: tuple[float, float] | None,
    layers: Sequence[str],
    name: str,
    *,
    sites: int = SITES,
    azimuths: int = AZIMUTHS,
    held_out: int = HELD_OUT,
    seed: int = 0,
) -> Target:
    """Both draws of all layers; InputError where there is no layer, no cortex, or the ring is none."""
    if isinstance(layers, str) or not len(layers) or len(set(layers)) < len(layers):
        raise InputError("layers of the target", got=repr(layers), expected='such as ("L23", "L5")')
    roles = [("target", area)]
    if ring_mm is not None:
        inner, outer = (check_number(value, "radius of the ring", above=0, unit="mm") for value in ring_mm)
        if not area.radius_mm <= inner < outer:
            raise InputError(
                "the ring",
                got=f"{inner:g} to {outer:g} mm",
                expected=f"from the target's {area.radius_mm:g} mm outwards",
            )
        centre = np.asarray(area.centre_mm)

        def beyond(surface: LayerSurface) -> np.ndarray:
            return np.linalg.norm(surface.triangles.mean(axis=1) - centre, axis=1) > inner

        roles.append(("ring", Area(area.centre_mm, outer, area.hemisphere, beyond)))
    draws = []
    for number, count in enumerate((sites, held_out)):
        groups = []
        for role, region in roles:
            for layer in layers:
                # Of its own seed each: no two draws share a place.
                own = int(np.random.SeedSequence([seed, number, len(groups)]).generate_state(1)[0])
                population = place(head, layer, n=count, roi=region, rotations=azimuths, seed=own)
                groups.append(Group(role, population, np.full(len(population), float(role == "target"))))
        draws.append(tuple(groups))
    return Target(name, np.asarray(area.centre_mm, float), *draws)


def joined_positions(target: Target) -> Float[np.ndarray, "p 3"]:
    """Somata (p, 3) mm of all neurons of a target, both draws and the ring."""
    return np.asarray(jnp.concatenate([g.population.positions for g in (*target.search, *target.held_out)]), np.float64)
