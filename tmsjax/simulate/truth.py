"""Thresholds of a cell under given fields, by simulation."""

from __future__ import annotations

from collections.abc import Callable
from os import PathLike

import numpy as np
from jaxtyping import Bool, Float, Int
from numpy import ndarray

from tmsjax.cells.types import Cell
from tmsjax.core.errors import InputError, check_number
from tmsjax.core.thresholds import Thresholds
from tmsjax.simulate.engines import Engine, open_engine
from tmsjax.simulate.pulses import Pulse, real_numbers
from tmsjax.simulate.pulses import pulse as as_pulse
from tmsjax.simulate.search import Found, Search, Status
from tmsjax.simulate.workers import Answer, checked_workers

GUESS_V_PER_M = 100.0
GUESSED_STEP = 1.1


def thresholds(
    cell: Cell,
    fields: Float[ndarray, ...],
    pulse: str | PathLike | Pulse = "monophasic",
    engine: str = "neuron",
    *,
    tolerance: float = 0.005,
    absolute_v_per_m: float | None = None,
    guess: Float[ndarray, ...] | float | None = None,
    highest_v_per_m: float = 5000.0,
    initiation: bool = True,
    workers: int | None = None,
    progress: Callable[[str], None] | None = None,
    **engine_options,
) -> Thresholds:
    """Activation thresholds of a cell under fields that all follow one pulse.

    Args:
        cell: from ``cells.load``.
        fields: E (V/m, any scale) at every compartment, in the cell's frame and the order of ``cable_model(cell)``. A
            field with NaN, as samplers give outside the tissue, has no threshold: its status says so.
        pulse: a name, the path of a recording, or a Pulse.
        engine: "neuron", the reference, or "cable", the batched solver of the same equations.
        tolerance: the relative width of the last bracket; its firing end is the threshold.
        absolute_v_per_m: its absolute width instead (V/m at the soma), by halving: with 0.05 and no guess this is the
            published search.
        guess: thresholds (V/m at the soma) to search from: within 10 % they save a third of the runs.
        highest_v_per_m: largest |E| at the soma to try.
        initiation: whether to find the first compartment to fire too (about two runs more).
        workers: number of processes (NEURON: each holds one cell and no JAX) or threads, one a core by default.
        progress: called with a sentence as thresholds arrive.
        **engine_options: ``membrane``, ``backend``, ``precision``, ``rule``, ``tables`` of ``open_engine``.

    Raises:
        InputError: a field of the wrong shape, infinite, or zero at the soma; an unknown engine or pulse; a guess
        not positive.
    """
    fields, size, covered = checked_fields(cell, fields)
    guesses = checked_guesses(len(fields), guess)
    search = Search(
        tolerance=tolerance,
        absolute_v_per_m=absolute_v_per_m,
        step=2.0 if guess is None else GUESSED_STEP,
        split=Search.split if absolute_v_per_m is None else 0.5,
        highest_v_per_m=highest_v_per_m,
    ).checked()
    workers = checked_workers(workers)
    if workers is not None:
        workers = max(1, min(workers, len(fields)))
    with open_engine(cell, as_pulse(pulse), engine, workers=workers, **engine_options) as opened:
        return search_covered(opened, fields, size, covered, guesses, search, initiation, progress)


def uniform_thresholds(
    cell: Cell,
    directions: Float[ndarray, ...],
    pulse: str | PathLike | Pulse = "monophasic",
    engine: str = "neuron",
    **options,
) -> Thresholds:
    """Thresholds (V/m) under uniform fields along unit vectors in the cell's frame; options as ``thresholds``."""
    directions = np.asarray(directions, float)
    if directions.ndim != 2 or directions.shape[1] != 3:
        raise InputError("directions", got=directions.shape, expected="(k, 3)")
    if not np.allclose(np.linalg.norm(directions, axis=1), 1.0, atol=1e-3):
        raise InputError(
            "directions",
            got=f"lengths {np.linalg.norm(directions, axis=1)}",
            expected="unit vectors",
            mend="divide by the length",
        )
    from tmsjax.cells import cable_model

    n = cable_model(cell).n
    fields = np.broadcast_to(directions[:, None, :], (len(directions), n, 3))
    return thresholds(cell, fields, pulse, engine, **options)


def fires(
    cell: Cell,
    fields: Float[ndarray, ...],
    amplitudes: Float[ndarray, ...],
    pulse: str | PathLike | Pulse = "monophasic",
    engine: str = "neuron",
    *,
    workers: int | None = None,
    progress: Callable[[str], None] | None = None,
    **engine_options,
) -> Bool[ndarray, "k a"]:
    """Whether the cell fires under fields scaled so that |E| at the soma is each of the amplitudes (V/m).

    Two runs check a threshold that is known from elsewhere: at 0.99 times it the cell is silent, at 1.01 it fires.
    """
    fields, _, covered = checked_fields(cell, fields)
    if not covered.all():
        raise InputError(
            f"fields for {cell.name}", got=f"NaN in field {int(np.argmin(covered))}", expected="finite V/m",
            mend="check that every compartment lies inside the head's grid",
        )  # fmt: skip
    amplitudes = real_numbers(amplitudes, "amplitudes").astype(float)
    if amplitudes.ndim != 2 or len(amplitudes) != len(fields):
        raise InputError("amplitudes", got=amplitudes.shape, expected=f"({len(fields)}, a)")
    if not (np.isfinite(amplitudes) & (amplitudes >= 0)).all():
        raise InputError(
            "amplitudes", got=f"{amplitudes.min()} to {amplitudes.max()}", expected="finite, 0 V/m or more"
        )
    with open_engine(cell, as_pulse(pulse), engine, workers=workers, **engine_options) as opened:
        return opened.fires(fields, amplitudes, progress)


def traces(
    cell: Cell,
    field: Float[ndarray, "n 3"],
    amplitude: float,
    rows: Int[ndarray, ...] | list[int],
    pulse: str | PathLike | Pulse = "monophasic",
    engine: str = "neuron",
    **engine_options,
) -> Float[ndarray, "steps_plus_1 r"]:
    """Membrane potential (mV) of some compartments at t = 0, 5 us, ... 1 ms, with |E| at the soma of ``amplitude`` V/m.

    Raises:
        InputError: a row that does not exist, or a field that ``thresholds`` would not take.
    """
    fields, _, covered = checked_fields(cell, np.asarray(field)[None])
    rows, n = real_numbers(rows, "rows to record"), fields.shape[1]
    if rows.ndim != 1 or not ((rows >= 0) & (rows < n) & (rows == np.round(rows))).all():
        raise InputError("rows to record", got=rows, expected=f"whole numbers from 0 to {n - 1}")
    amplitude = check_number(amplitude, "amplitude to record under", 0.0, unit="V/m")
    if not covered.all():
        raise InputError("field to record under", got="NaN", expected="a known field")
    with open_engine(cell, as_pulse(pulse), engine, workers=1, **engine_options) as opened:
        return opened.traces(fields[0], amplitude, rows.astype(np.int64))


def search_covered(
    engine: Engine,
    fields: Float[ndarray, "k n 3"],
    size: Float[ndarray, " k"],
    covered: Bool[ndarray, " k"],
    guesses: Float[ndarray, " k"],
    search: Search,
    initiation: bool,
    progress: Callable[[str], None] | None = None,
) -> Thresholds:
    """The thresholds of checked fields; those that are not covered are not simulated."""
    unknown = Answer(Found(float("nan"), 0.0, Status.NOT_COVERED, 0), -1)
    answers = [unknown] * len(fields)
    rows = np.flatnonzero(covered)
    if len(rows):
        some = fields if covered.all() else fields[rows]
        for row, answer in zip(rows, engine.search(some, guesses[rows], search, initiation, progress), strict=True):
            answers[row] = answer
    amplitude = np.array([answer.found.high for answer in answers], float)
    return Thresholds(
        v_per_m=amplitude,
        factor=amplitude / size,
        initiation=np.array([answer.initiation for answer in answers], int),
        status=np.array([int(answer.found.status) for answer in answers], int),
        runs=np.array([answer.found.runs for answer in answers], int),
        sentences={int(status): status.sentence for status in Status},
        source=engine.source,
    )


def checked_fields(cell: Cell, fields: ndarray) -> tuple[ndarray, " ndarray", " ndarray"]:
    """The fields (k, n, 3), their |E| at the soma (k,), and whether each is known at every compartment (k,)."""
    from tmsjax.cells import cable_model

    fields = real_numbers(fields, f"fields for {cell.name}")
    n = cable_model(cell).n
    if fields.ndim != 3 or fields.shape[1:] != (n, 3):
        raise InputError(
            f"fields for {cell.name}", got=fields.shape, expected=f"(k, {n}, 3): E at each of its compartments"
        )
    bounded = ~np.isinf(fields).any(axis=(1, 2))
    if not bounded.all():
        raise InputError(
            f"fields for {cell.name}", got=f"infinity in field {int(np.argmin(bounded))}", expected="finite V/m"
        )
    covered = np.asarray(~np.isnan(fields).any(axis=(1, 2)))
    size = np.linalg.norm(np.asarray(fields[:, 0], float), axis=1)
    if not (size[covered] > 0).all():
        raise InputError(
            f"fields for {cell.name}",
            got=f"no field at the soma in field {int(np.argmax(covered & ~(size > 0)))}",
            expected="|E| > 0 at the soma",
        )
    return fields, size, covered


def checked_guesses(k: int, guess: Float[ndarray, ...] | float | None) -> Float[ndarray, " k"]:
    """Where each of k searches begins (V/m at the soma)."""
    guesses = real_numbers(GUESS_V_PER_M if guess is None else guess, "guess").astype(float)
    if (
        guesses.ndim > 1
        or (guesses.ndim == 1 and guesses.shape != (k,))
        or not (np.isfinite(guesses) & (guesses > 0)).all()
    ):
        raise InputError(
            "guess", got=f"{guesses.shape}, smallest {guesses.min(initial=np.inf)}", expected=f"({k},) positive V/m"
        )
    return np.broadcast_to(guesses, (k,))
