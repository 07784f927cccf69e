"""SWC files: read, checked point by point, and put in the order that NEURON's Import3d needs.

The format (Cannon et al. 1998, J. Neurosci. Methods 84:49): a point a line, `id type x y z radius parent`, in um, and
comments after a #. Import3d takes much on trust: it breaks a section wherever a child does not follow its parent in the
file, loses the diameters of files that are not sorted, and drops types it does not know. So every file is checked and
rewritten first.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float

from tmsjax.cells.neurolucida import DISCONNECTED_UM, FARTHEST_UM
from tmsjax.core.errors import InputError

KINDS: dict[str, int] = {"soma": 1, "axon": 2, "basal": 3, "apical": 4}
STRUCTURAL = (5, 6)
"""Fork and end points: they are of the type of the point before them."""

SOMA = 1
FIELDS = "id, type, x, y, z, radius, parent"


def swc_table(text: str, name: str, types: Mapping[int, str] | None = None) -> Float[np.ndarray, "k 7"]:
    """Rows id, type, x, y, z, radius, parent of an .swc file: ids 1..k, children after their parents, types 1 to 4.

    Comments and blank lines may stand anywhere, lines in any order. ``types`` says what custom types (0, 7 and more)
    are. A point keeps its place among its parent's children; a soma's own points come first. Raises InputError, which
    names the points, for what is no table of finite numbers of um, ids used twice, parents that are missing, loops,
    more than one tree, a tree that does not begin in a soma, types without a meaning, radii that are not positive (a
    soma may be a contour of radius 0), and branches that have no length or begin far from the soma.
    """
    table = _numbers(text, name)
    _check_ids(table, name)
    table = _in_order(table, name)
    table[:, 1] = _kinds(table, name, types or {})
    _check_soma(table, name)
    _check_radii(table, name)
    table = _stems(table)
    _check_branches(table, name)
    return _renumbered(table)


def swc_text(table: Float[np.ndarray, "k 7"]) -> str:
    """A table as an .swc file, exact to the last bit."""
    rows = ([int(r[0]), int(r[1]), *(f"{x:.17g}" for x in r[2:6]), int(r[6])] for r in table.tolist())
    return "".join(" ".join(str(word) for word in row) + "\n" for row in rows)


def has_contour(table: Float[np.ndarray, "k 7"]) -> bool:
    """Whether the soma is a contour: points of radius 0."""
    return bool((table[table[:, 1] == SOMA, 5] == 0).any())


def _numbers(text: str, name: str) -> np.ndarray:
    rows = []
    for number, line in enumerate(text.splitlines(), 1):
        words = line.split("#")[0].split()
        if not words:
            continue
        try:
            row = [float(word) for word in words]
        except ValueError:
            row = []
        if len(row) != 7:
            raise InputError(
                f"{name}: line {number} is no point", got=repr(line.strip()[:80]), expected=f"seven numbers: {FIELDS}"
            )
        if not np.isfinite(row).all():
            raise InputError(f"{name}: point {words[0]} is not finite", got=line.strip(), expected="finite numbers")
        if max(map(abs, row[2:6])) > FARTHEST_UM:
            raise InputError(
                f"{name}: point {words[0]} is farther away or larger than any neuron",
                got=line.strip()[:80],
                expected=f"numbers up to {FARTHEST_UM:g} um",
                mend="is the file in micrometres? Pixels or nanometres must be converted",
            )
        whole = [row[0], row[1], row[6]]
        if any(value != round(value) for value in whole):
            raise InputError(
                f"{name}: line {number} has an id, type or parent that is no whole number",
                got=line.strip()[:80],
                expected=f"whole numbers in the first, second and last of {FIELDS}",
            )
        rows.append(row)
    if not rows:
        raise InputError(f"{name} holds no reconstruction", got="no points", expected=f"lines of {FIELDS}")
    return np.array(rows)


def _check_ids(table: np.ndarray, name: str) -> None:
    ids, counts = np.unique(table[:, 0], return_counts=True)
    if (ids < 0).any():
        raise InputError(f"{name}: ids are negative", got=_list(ids[ids < 0]), expected="ids from 0 or 1 on")
    if (counts > 1).any():
        raise InputError(
            f"{name}: an id is used twice", got=f"points {_list(ids[counts > 1])}", expected="an id of its own each"
        )
    lost = (table[:, 6] >= 0) & ~np.isin(table[:, 6], ids)
    if lost.any():
        raise InputError(
            f"{name}: a parent does not exist",
            got=f"points {_list(table[lost, 0])} with parents {_list(table[lost, 6])}",
            expected="the id of a point, or -1 for the first point of the soma",
        )
    roots = table[table[:, 6] < 0]
    if len(roots) > 1:
        raise InputError(
            f"{name} is in {len(roots)} pieces that are not connected",
            got=f"points {_list(roots[:, 0])} without a parent",
            expected="one tree: only the first point of the soma has parent -1",
            mend="join the pieces to the soma, or delete them",
        )


def _in_order(table: np.ndarray, name: str) -> np.ndarray:
    """Rows with every point before its children, and a chain of points in one run (depth first)."""
    at = {int(row[0]): k for k, row in enumerate(table)}
    children: list[list[int]] = [[] for _ in table]
    roots = []
    for k, row in enumerate(table):
        (roots if row[6] < 0 else children[at[int(row[6])]]).append(k)
    for own in children:
        own.sort(key=lambda k: table[k, 1] != SOMA)  # stable: a soma's points stay together
    order, waiting = [], roots
    while waiting:
        order.append(waiting.pop())
        waiting += reversed(children[order[-1]])
    if len(order) < len(table):
        raise InputError(
            f"{name}: points form a loop",
            got=f"points {_list(table[np.setdiff1d(np.arange(len(table)), order), 0])} lead back to themselves",
            expected="parents that lead to the soma",
        )
    return table[order]


def _kinds(table: np.ndarray, name: str, types: Mapping[int, str]) -> np.ndarray:
    """Types 1 to 4 of all points (rows in order)."""
    for custom, kind in types.items():
        if kind not in KINDS:
            raise InputError(f"type {custom} cannot become this", got=repr(kind), expected=f"one of {sorted(KINDS)}")
    known = {1: 1, 2: 2, 3: 3, 4: 4} | {custom: KINDS[kind] for custom, kind in types.items()}
    at = {int(row[0]): k for k, row in enumerate(table)}
    out = np.empty(len(table))
    for k, row in enumerate(table):
        kind = int(row[1])
        if kind in STRUCTURAL and kind not in types and row[6] >= 0:
            out[k] = out[at[int(row[6])]]
        elif kind in known:
            out[k] = known[kind]
        else:
            same = table[table[:, 1] == kind, 0]
            raise InputError(
                f"{name} has points of type {kind}, which means nothing here",
                got=f"{len(same)} points: {_list(same)}",
                expected="1 soma, 2 axon, 3 basal dendrite, 4 apical dendrite (5 fork, 6 end: what they end)",
                mend=f'say what they are, e.g. types={{{kind}: "axon"}}, or edit the file',
            )
    return out


def _check_soma(table: np.ndarray, name: str) -> None:
    soma = table[:, 1] == SOMA
    if not soma.any():
        raise InputError(
            f"{name} has no soma", got="no point of type 1", expected="a soma", mend="add a point of type 1 as the root"
        )
    if not soma[0]:
        raise InputError(
            f"{name} does not begin in its soma",
            got=f"point {int(table[0, 0])} of type {int(table[0, 1])} has parent -1",
            expected="the first point of the soma as the root of the tree",
        )
    of_soma = dict(zip(table[:, 0], soma, strict=True))
    stray = [row[0] for row in table[1:] if row[1] == SOMA and not of_soma[row[6]]]
    if stray:
        raise InputError(
            f"{name} has more than one soma",
            got=f"soma points {_list(stray)} grow out of a neurite",
            expected="one soma, all of whose points are connected",
        )
    radii = table[soma, 5]
    flat = (radii == 0).all() and len(radii) >= 3
    if (radii < 0).any() or not ((radii > 0).all() or flat):
        raise InputError(
            f"{name} has a soma without a size",
            got=f"soma points {_list(table[soma][radii <= 0, 0])} with radii from {radii.min():g} um",
            expected="positive radii, or a contour of at least three points whose radii are all 0",
        )


def _check_radii(table: np.ndarray, name: str) -> None:
    bad = (table[:, 1] != SOMA) & (table[:, 5] <= 0)
    if bad.any():
        raise InputError(
            f"{name}: points have no width",
            got=f"points {_list(table[bad, 0])} with radii {_list(table[bad, 5])} um",
            expected="a positive radius of every point of axon and dendrites",
        )


def _stems(table: np.ndarray) -> np.ndarray:
    """Rows with a point put in at the soma's surface before every branch of the soma that forks at its first point.

    Import3d draws the first such branch from the soma's centre and takes the others for branches of the soma itself.
    A point inside the soma's radius gets one halfway to the centre.
    """
    at = {int(row[0]): k for k, row in enumerate(table)}
    children: dict[int, int] = {}
    for row in table:
        children[int(row[6])] = children.get(int(row[6]), 0) + 1
    out, free = [], int(table[:, 0].max()) + 1
    for row in table:
        parent = table[at[int(row[6])]] if row[6] >= 0 else row
        if row[1] != SOMA and parent[1] == SOMA and children.get(int(row[0]), 0) > 1:
            step = row[2:5] - parent[2:5]
            share = min(parent[5] / max(float(np.linalg.norm(step)), 1e-9), 0.5)
            out.append([free, row[1], *(parent[2:5] + share * step), row[5], parent[0]])
            row = np.array([*row[:6], free])
            free += 1
        out.append(row)
    return np.array(out)


def _check_branches(table: np.ndarray, name: str) -> None:
    """InputError for an unbranched run of points that has no length, or that begins far from the soma."""
    at = {int(row[0]): k for k, row in enumerate(table)}
    parent = np.array([at.get(int(row[6]), -1) for row in table])
    children = np.bincount(parent[1:], minlength=len(table))
    kind, xyz = table[:, 1], table[:, 2:5]
    start = 1
    while start < len(table):
        stop = start + 1
        while stop < len(table) and parent[stop] == stop - 1 and children[stop - 1] == 1 and kind[stop] == kind[start]:
            stop += 1
        run = list(range(start, stop))
        on_soma = kind[parent[start]] == SOMA
        if kind[start] != SOMA:
            points = xyz[run] if on_soma and len(run) > 1 else xyz[[parent[start], *run]]
            if not np.ptp(points, axis=0).any():
                raise InputError(
                    f"{name}: a branch has no length",
                    got=f"points {_list(table[run, 0])} at {np.round(points[0], 3).tolist()} um",
                    expected="points of a branch at different places",
                    mend="delete it, or join its points to the branch before",
                )
            gap = np.linalg.norm(xyz[start] - xyz[parent[start]]) - table[parent[start], 5]
            if on_soma and len(run) > 1 and gap > DISCONNECTED_UM:
                raise InputError(
                    f"{name}: a branch is not connected to the soma",
                    got=f"point {_list(table[[start], 0])} lies {gap:.0f} um from the soma's",
                    expected=f"at most {DISCONNECTED_UM:g} um, since NEURON draws no membrane between them",
                    mend="join the pieces in the program that traced them",
                )
        start = stop


def _renumbered(table: np.ndarray) -> np.ndarray:
    out = table.copy()
    at = {int(row[0]): k + 1 for k, row in enumerate(table)}
    out[:, 0] = np.arange(1, len(table) + 1)
    out[:, 6] = [at.get(int(parent), -1) for parent in table[:, 6]]
    return out


def _list(values, most: int = 5) -> str:
    """The first few of many numbers."""
    words = [f"{value:g}" for value in np.atleast_1d(np.asarray(values, dtype=float))[:most]]
    return ", ".join(words) + (f" and {len(values) - most} more" if len(values) > most else "")
