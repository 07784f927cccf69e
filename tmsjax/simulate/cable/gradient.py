"""How a threshold changes with the field and the pulse: the implicit function theorem at threshold.

At the threshold factor f the third upward crossing of 0 mV, in compartment c at step k, is about to be missed: the
potential there is V(f E, w) = 0. Hence df/dE = -(dV/dE) / (dV/df), and the same for the pulse; one run with JAX's
reverse mode gives all of it. The factor is homogeneous: ``(df/dE . E) = -f``.
"""

from __future__ import annotations

import dataclasses
import functools
from os import PathLike

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int
from numpy import ndarray

from tmsjax.cells.types import Cell
from tmsjax.core.errors import InputError
from tmsjax.simulate.cable.device import Model, model, potentials
from tmsjax.simulate.cable.engine import CableEngine, cable_engine
from tmsjax.simulate.cable.queue import CROSSINGS
from tmsjax.simulate.engines import cable_of
from tmsjax.simulate.oracle import DT_MS
from tmsjax.simulate.pulses import Pulse
from tmsjax.simulate.pulses import pulse as as_pulse
from tmsjax.simulate.search import Search
from tmsjax.simulate.truth import GUESSED_STEP, checked_fields, checked_guesses, search_covered

CLOSE = 1e-9
"""Relative width of the bracket at whose firing end the derivative is taken."""


@dataclasses.dataclass(frozen=True, eq=False)
class ThresholdGradient:
    """The threshold of one field and its derivatives.

    ``factor`` is what the field as given is multiplied by; ``field`` (n, 3) is d factor / d E (per V/m), ``wave`` (t,)
    d factor / d of the pulse's value in the middle of every step of 5 us. ``row`` and ``step`` are the compartment and
    the step of the crossing that decides, ``residual_mv`` how far from 0 mV it is.
    """

    factor: float
    field: Float[ndarray, "n 3"]
    wave: Float[ndarray, " t"]
    row: int
    step: int
    residual_mv: float


def threshold_gradient(
    cell: Cell,
    field: Float[ndarray, "n 3"],
    pulse: str | PathLike | Pulse = "monophasic",
    *,
    guess: float | None = None,
    membrane: str = "full",
    rule: str = "tree",
) -> ThresholdGradient:
    """Derivatives of a cell's threshold with respect to the field at every compartment and to the pulse.

    Args:
        cell: from ``cells.load``. field: E (n, 3) V/m, any scale, as ``thresholds`` takes it.
        pulse: the time course. guess: V/m at the soma to search from. membrane, rule: as ``open_engine``.

    Raises:
        InputError: a field that ``thresholds`` would not take, or that has no threshold; a guess that is not one
            positive number.
    """
    fields, size, covered = checked_fields(cell, np.asarray(field)[None])
    engine = cable_engine(cable_of(cell), as_pulse(pulse), membrane, "float64", rule, workers=1)
    search = Search(tolerance=CLOSE, split=0.5, step=2.0 if guess is None else GUESSED_STEP).checked()
    starts = checked_guesses(1, guess)
    found = search_covered(engine, fields, size, covered, starts, search, initiation=False)
    if not found.ok[0]:
        raise InputError("gradient of a threshold", got=found.why(0), expected="a field that has a threshold")
    amplitude = float(found.v_per_m[0])
    row, step = deciding_crossing(engine, fields[0], amplitude)
    with jax.enable_x64(True):
        constants = model(engine.cable, membrane, DT_MS)
        unit = jnp.asarray(engine.unit_currents(fields)[0])
        value, (by_current, by_wave) = _value_and_gradient(
            constants, jnp.asarray(step), amplitude * unit, jnp.asarray(engine.run_wave), jnp.asarray([row], jnp.int32)
        )
    factor = amplitude / float(size[0])
    current = np.asarray(unit) * float(size[0])  # of the field as given
    by_factor = float(np.asarray(by_current) @ current)
    by_field = engine.matrix.T @ (np.asarray(by_current) * factor)
    return ThresholdGradient(
        factor=factor,
        field=-by_field.reshape(-1, 3) / by_factor,
        wave=-np.asarray(by_wave, float) / by_factor,
        row=row,
        step=step,
        residual_mv=float(value),
    )


def deciding_crossing(engine: CableEngine, field: Float[ndarray, "n 3"], amplitude: float) -> tuple[int, int]:
    """Compartment and step (from 1) of the third upward crossing of 0 mV; of several in one step, the last needed."""
    v = engine.traces(field, amplitude, np.arange(engine.cable.n))
    crossed = (v[:-1] < 0) & (v[1:] >= 0)
    before = np.cumsum(crossed.sum(1))
    step = int(np.argmax(before >= CROSSINGS))
    needed = CROSSINGS - (int(before[step - 1]) if step else 0)
    rows = np.flatnonzero(crossed[step])
    row = rows[np.argsort(-v[step + 1, rows])[needed - 1]]
    return int(row), step + 1


@functools.partial(jax.jit, static_argnums=0)
def _value_and_gradient(
    cell: Model,
    step: Int[Array, ""],
    current_na: Float[Array, " n"],
    wave: Float[Array, " t"],
    row: Int[Array, " 1"],
) -> tuple[Float[Array, ""], tuple[Float[Array, " n"], Float[Array, " t"]]]:
    """The potential after a step, and its derivatives with respect to the currents and the pulse."""

    def potential(current: Array, wave: Array) -> Array:
        return potentials(cell, current[:, None], jnp.ones(1, current.dtype), wave, row)[step - 1, 0]

    return jax.value_and_grad(potential, argnums=(0, 1))(current_na, wave)
