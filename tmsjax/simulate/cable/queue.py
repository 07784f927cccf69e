"""Searches and single runs over the lanes: a lane whose run has ended begins the next one at once, so that none idles.

The same search as ``simulate.search.find_threshold``, as a state of every lane; results do not depend on which lane
they were found in, nor on what the others did.
"""

from __future__ import annotations

import numpy as np

from tmsjax.simulate.cable import step as steps
from tmsjax.simulate.cable.simd import LANES, inlined, kernel
from tmsjax.simulate.search import Search, Status

CROSSINGS = 3
RETRIES = 5
"""How often the search for the first compartment raises the amplitude by a percent, where the finer step is silent."""
IDLE, FIRST, DOWN, UP, BISECT, RUN, SITE = range(7)
OK, NOT_REACHED, AT_LOWEST, NOT_DONE = (
    int(s) for s in (Status.OK, Status.NOT_REACHED, Status.FIRES_AT_LOWEST, Status.NOT_DONE)
)
AMPLITUDE, LOW, HIGH, WIDTH = range(4)
"""Columns of a lane's numbers: the amplitude it runs, its bracket, the factor it widens by."""
TOLERANCE, ABSOLUTE, STEP, SPLIT, LOWEST, HIGHEST = range(6)
"""Columns of the settings."""


def settings(search: Search) -> np.ndarray:
    """The numbers of a search in the order of the columns above."""
    absolute = search.absolute_v_per_m or 0.0
    return np.array(
        [search.tolerance, absolute, search.step, search.split, search.lowest_v_per_m, search.highest_v_per_m]
    )


@kernel
def run_queue(
    p, wave, kind, currents, item_field, item_start, settings, number, whole, control,
    u, gates, unit, scale, r, d,
):  # fmt: skip
    """Work through items (field, start amplitude) until all are done or ``control[0]`` is set.

    Args:
        p: a ``Program``. wave (t,): the pulse at the middle of every step; its length is that of a run.
        kind: FIRST searches thresholds from the start amplitudes; RUN only runs them; SITE runs them, up to five
            per cent higher if they are silent, for the first row to cross.
        currents (k, n): injected currents of every field at unit amplitude, nA. item_field, item_start (i,).
        settings (6,): the search's numbers. number (i, 2), whole (i, 3): results: high and low amplitude; status or
            number of crossings, runs, first row. control (2,): stop, items done.
        u, gates, unit, scale, r, d: tables of the lanes, see step.py.
    """
    phase = np.zeros(LANES, np.int64)
    item = np.zeros(LANES, np.int64)
    time = np.zeros(LANES, np.int64)
    runs = np.zeros(LANES, np.int64)
    count = np.zeros(LANES, np.int64)
    first_row = np.full(LANES, -1)
    first_step = np.zeros(LANES, np.int64)
    state = np.zeros((LANES, 4))
    begun, finished, end = 0, 0, len(item_field)
    for lane in range(LANES):
        if begun < end:
            begin(kind, begun, lane, item_start, settings, phase, item, runs, state)
            _inject(currents, item_field[begun], lane, unit)
            begun += 1
        _reset(p, lane, time, count, first_row, u, gates)
    while finished < end and control[0] == 0:
        for lane in range(LANES):
            scale[0, lane] = state[lane, AMPLITUDE] * wave[time[lane]] if phase[lane] != IDLE else 0.0
        steps.membrane(p, u, gates, unit, scale, r, d)
        steps.solve(p, u, unit, scale, r, d, time, count, first_row, first_step)
        for lane in range(LANES):
            time[lane] += 1
            if phase[lane] == IDLE:
                time[lane] = 0
            elif count[lane] >= CROSSINGS or time[lane] == len(wave):
                runs[lane] += 1
                fired = count[lane] >= CROSSINGS
                status = judge(lane, fired, phase, runs, state, settings)
                if status != NOT_DONE:
                    k = item[lane]
                    number[k, 0], number[k, 1] = state[lane, HIGH], state[lane, LOW]
                    whole[k, 0] = min(count[lane], CROSSINGS) if kind == RUN else status
                    whole[k, 1] = runs[lane]
                    whole[k, 2] = first_row[lane] if fired else -1
                    finished += 1
                    control[1] += 1
                    phase[lane] = IDLE
                    if begun < end:
                        begin(kind, begun, lane, item_start, settings, phase, item, runs, state)
                        _inject(currents, item_field[begun], lane, unit)
                        begun += 1
                _reset(p, lane, time, count, first_row, u, gates)


@inlined
def begin(kind, k, lane, item_start, settings, phase, item, runs, state):
    """Give item ``k`` to a lane."""
    phase[lane], item[lane], runs[lane] = kind, k, 0
    start = item_start[k]
    if kind == FIRST:
        start = min(max(start, settings[LOWEST]), settings[HIGHEST])
    state[lane, AMPLITUDE] = start
    state[lane, LOW], state[lane, HIGH], state[lane, WIDTH] = 0.0, start, settings[STEP]


@inlined
def _inject(currents, field, lane, unit):
    """Give a lane the currents of a field."""
    for row in range(currents.shape[1]):
        unit[row, lane] = currents[field, row]


@inlined
def _reset(p, lane, time, count, first_row, u, gates):
    """Bring a lane to rest."""
    time[lane], count[lane], first_row[lane] = 0, 0, -1
    for row in range(u.shape[0]):
        u[row, lane] = 0.0
    for k in range(gates.shape[0]):
        gates[k, lane] = p.resting[k]


@inlined
def judge(lane, fired, phase, runs, state, settings):
    """What a run's outcome means for its lane: the next amplitude (NOT_DONE), or the status that ends its item."""
    amplitude, width = state[lane, AMPLITUDE], state[lane, WIDTH]
    now = phase[lane]
    if now == RUN:
        return OK
    if now == SITE:
        if fired or runs[lane] > RETRIES:
            return OK
        state[lane, AMPLITUDE] = state[lane, HIGH] * 1.01 ** runs[lane]
        return NOT_DONE
    if now == FIRST:
        now = DOWN if fired else UP
        phase[lane] = now
    state[lane, HIGH if fired else LOW] = amplitude
    if now == DOWN and fired:
        if amplitude <= settings[LOWEST]:
            state[lane, HIGH], state[lane, LOW] = np.nan, 0.0
            return AT_LOWEST
        if runs[lane] > 1:
            width = min(width * width, max(settings[STEP], 2.0))
        state[lane, WIDTH], state[lane, AMPLITUDE] = width, max(amplitude / width, settings[LOWEST])
        return NOT_DONE
    if now == UP and not fired:
        if amplitude >= settings[HIGHEST]:
            state[lane, HIGH] = np.nan
            return NOT_REACHED
        if runs[lane] > 1:
            width = min(width * width, max(settings[STEP], 2.0))
        state[lane, WIDTH], state[lane, AMPLITUDE] = width, min(amplitude * width, settings[HIGHEST])
        return NOT_DONE
    phase[lane] = BISECT
    low, high = state[lane, LOW], state[lane, HIGH]
    wide = settings[ABSOLUTE] if settings[ABSOLUTE] > 0.0 else settings[TOLERANCE] * low
    middle = low + settings[SPLIT] * (high - low)
    if high - low <= wide or not low < middle < high:
        return OK
    state[lane, AMPLITUDE] = middle
    return NOT_DONE
