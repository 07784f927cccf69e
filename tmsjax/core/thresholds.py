"""Activation thresholds with what is known about them (plain NumPy: NEURON's worker processes make these)."""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray


@dataclasses.dataclass(frozen=True, eq=False)
class Thresholds:
    """One entry for each field.

    ``v_per_m`` is |E| at the soma at threshold; ``factor`` what the given field is multiplied by to reach it (both
    NaN where there is no threshold). ``initiation`` is the compartment (cable row) that crosses 0 mV first, -1
    where not known. ``status`` is 0 where a threshold was found; ``sentences`` says every code in words. ``runs``
    counts simulations, 0 of a prediction. ``in_domain`` says whether a surrogate knows such fields (None:
    simulated). ``source`` says in words what simulated them: the engine, its membrane and precision.
    """

    v_per_m: Float[ndarray, " k"]
    factor: Float[ndarray, " k"]
    initiation: Int[ndarray, " k"]
    status: Int[ndarray, " k"]
    runs: Int[ndarray, " k"]
    sentences: dict[int, str] = dataclasses.field(default_factory=dict)
    in_domain: Bool[ndarray, " k"] | None = None
    source: str = ""

    def __len__(self) -> int:
        return len(self.v_per_m)

    def __array__(self, dtype=None, copy=None) -> ndarray:
        """``v_per_m``, so that a result can be handed to NumPy as it is."""
        return np.array(self.v_per_m, dtype=dtype, copy=copy if copy is not None else True)

    @property
    def a_per_us(self) -> ndarray:
        """The coil's |dI/dt| at threshold, A/us (k,): ``factor``, where the field was given in V/m per A/us."""
        return self.factor

    @property
    def ok(self) -> ndarray:
        """Where a threshold was found (k,)."""
        return np.asarray(self.status) == 0

    def why(self, index: int) -> str:
        """The status of one entry as a sentence."""
        return self.sentences[int(self.status[index])]
