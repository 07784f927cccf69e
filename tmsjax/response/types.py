"""The response of one population to one pulse in one field."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np

from tmsjax.core.errors import InputError
from tmsjax.core.thresholds import Thresholds
from tmsjax.cortex import Population


@dataclasses.dataclass(frozen=True, eq=False)
class Response:
    """Thresholds of a population with what they are of.

    Attributes:
        population: p neurons of one layer.
        thresholds: of the same p neurons.
        cell: name of the cell model (the clone). pulse: name of the pulse.
        region: (p,) label of the place of each neuron, text or integers, or None (``statistics.regions``).
    """

    population: Population
    thresholds: Thresholds
    cell: str
    pulse: str = "monophasic"
    region: Any = None

    def __post_init__(self) -> None:
        counts = {"population": len(self.population), "thresholds": len(self.thresholds)}
        if self.region is not None:
            counts["region"] = len(self.region)
        if len(set(counts.values())) != 1:
            raise InputError("a response's parts do not belong together", got=counts, expected="one entry a neuron")
        if not len(self.population):
            raise InputError("the population is empty", got="0 neurons", expected="at least one")

    def __len__(self) -> int:
        return len(self.population)

    @property
    def layer(self) -> str:
        """Name of the layer."""
        return self.population.layer

    @property
    def in_domain(self) -> np.ndarray:
        """(p,) where there is a threshold and the model has seen such fields."""
        known = self.thresholds.in_domain
        ok = np.isfinite(self.thresholds.a_per_us)
        return ok if known is None else ok & np.asarray(known)


def checked(responses: Any) -> list[Response]:
    """One response or several as a list; InputError where there is none."""
    found = [responses] if isinstance(responses, Response) else list(responses)
    if not found or not all(isinstance(one, Response) for one in found):
        got = [type(one).__name__ for one in found] or "none"
        raise InputError("no responses", got=got, expected="at least one tmsjax.response.Response")
    return found
