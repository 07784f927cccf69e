"""From the induced field at a cell's compartments to its quasipotentials and to the currents that replace them.

Aberra et al. 2018 (J Neural Eng 15:066023, eq. 1): the quasipotential is the line integral of the field along the
neuron.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
from jaxtyping import Float, Int
from numpy import ndarray

from tmsjax.cells.types import CableModel
from tmsjax.core.errors import InputError

MV_PER_V_UM_PER_M = 1e-3
CANCELLED = 1e-9
"""Entries this small beside their row's largest are what rounding leaves of two that cancel."""

RULES = ("tree", "aberra2019")


def segment_parents(cable: CableModel) -> Int[ndarray, " n"]:
    """The segment (row) that each segment hangs on, across section ends; the root's is itself."""
    parent = np.asarray(cable.parent).copy()
    n = cable.n
    parent[parent < 0] = np.flatnonzero(parent < 0)
    while (ends := parent[:n] >= n).any():
        parent[:n][ends] = parent[parent[:n][ends]]
    return parent[:n]


def quasipotential(
    cable: CableModel, efield_v_per_m: Float[ndarray, "*batch n 3"], rule: str = "tree"
) -> Float[ndarray, "*batch n"]:
    """Quasipotential (mV) of every segment, 0 at the root: the trapezoid rule along the tree.

    ``es_i = es_p - 0.5e-3 (E_i + E_p) . (r_i - r_p)`` with E in V/m at segment centres r in um; a uniform field
    gives -E . r.

    ``rule="aberra2019"`` repeats, for comparison with numbers published by the original code (Aberra et al. 2020,
    2023), its two deviations from this: every segment takes the field of its section's last segment; and behind a
    section with two or more children the integration goes on not from that section but straight from the end of an
    earlier one, the last on the way that had a single child (at the latest from the child of the soma). Thresholds in
    cortical fields differ by 0.2 to 0.4 %, at most about 1 %; in uniform fields by nothing.
    """
    field = np.asarray(efield_v_per_m, float)
    xyz = np.asarray(cable.xyz_um, float)
    before = _before(cable, rule)
    if rule == "aberra2019":
        field = field[..., _section_last(cable)[cable.section], :]
    steps = -0.5 * MV_PER_V_UM_PER_M * ((field + field[..., before, :]) * (xyz - xyz[before])).sum(-1)
    total, ancestor = steps, before
    while (
        ancestor != ancestor[ancestor]
    ).any():  # path sums by doubling: each round reaches twice as far; the root adds 0
        total = total + total[..., ancestor]
        ancestor = ancestor[ancestor]
    return total


def current_matrix(cable: CableModel, rule: str = "tree") -> scipy.sparse.csr_array:
    """The matrix (n, 3 n) from the field at the segments (V/m, x y z of each in turn) to the injected currents (nA).

    ``injection_matrix @ quasipotential`` in one sparse product: far potentials cancel, so that a row has a few entries.
    """
    n = cable.n
    xyz = np.asarray(cable.xyz_um, float)
    before = _before(cable, rule)
    seen = _section_last(cable)[cable.section] if rule == "aberra2019" else np.arange(n)
    half = -0.5 * MV_PER_V_UM_PER_M * (xyz - xyz[before])
    rows = np.repeat(np.arange(n), 3)
    columns = np.concatenate([(3 * at[:, None] + np.arange(3)).ravel() for at in (seen, seen[before])])
    steps = scipy.sparse.coo_array((np.tile(half.ravel(), 2), (np.tile(rows, 2), columns)), shape=(n, 3 * n))
    moved = np.flatnonzero(before != np.arange(n))
    shift = scipy.sparse.coo_array((np.ones(len(moved)), (moved, before[moved])), shape=(n, n)).tocsr()
    paths = scipy.sparse.eye_array(n, format="csr")
    while scipy.sparse.find(shift)[0].size:
        paths = paths + shift @ paths
        shift = shift @ shift
    local = scipy.sparse.coo_array(injection_matrix(cable) @ paths)
    largest = np.zeros(n)
    np.maximum.at(largest, local.row, np.abs(local.data))
    kept = np.abs(local.data) > CANCELLED * largest[local.row]
    local = scipy.sparse.coo_array((local.data[kept], (local.row[kept], local.col[kept])), shape=(n, n))
    return scipy.sparse.csr_array(local.tocsr() @ steps.tocsr())


def injection_matrix(cable: CableModel) -> scipy.sparse.csr_array:
    """The axial conductances (n, n) in uS that turn quasipotentials (mV) into injected currents (nA).

    ``I_i = sum_j (es_j - es_i) / R_ij`` act on the membrane exactly as the potentials -es outside it would, and add up
    to zero. Branch points and section ends have no membrane and so carry no current: their
    quasipotential is the conductance-weighted mean of their neighbours', which eliminates them.
    """
    n = cable.n
    child = np.flatnonzero(np.asarray(cable.parent) >= 0)
    parent = np.asarray(cable.parent)[child]
    siemens = 1.0 / np.asarray(cable.ri_mohm, float)[child]
    m = len(cable.parent)
    edges = scipy.sparse.coo_array((siemens, (child, parent)), shape=(m, m)).tocsr()
    edges = edges + edges.T
    laplacian = (edges - scipy.sparse.diags_array(edges.sum(axis=1))).tocsr()
    ends = scipy.sparse.diags_array(
        1.0 / laplacian.diagonal()[n:]
    )  # ends touch only segments, so their block is diagonal
    return scipy.sparse.csr_array(laplacian[:n, :n] - laplacian[:n, n:] @ ends @ laplacian[n:, :n])


def _section_last(cable: CableModel) -> Int[ndarray, " sections"]:
    """The last segment (row) of every section."""
    return np.asarray(cable.parent)[cable.n :]


def _before(cable: CableModel, rule: str) -> Int[ndarray, " n"]:
    """The segment from which each segment's quasipotential is integrated; the root's is itself."""
    if rule not in RULES:
        raise InputError("quasipotential rule", got=repr(rule), expected='"tree" or "aberra2019"')
    before = segment_parents(cable)
    if rule == "tree":
        return before
    section, last = np.asarray(cable.section), _section_last(cable)
    first = np.searchsorted(section, np.arange(len(last)))
    above = section[before[first]]  # the parent section; the root's is itself
    root = int(np.flatnonzero(above == np.arange(len(last)))[0])
    children = np.bincount(np.delete(above, root), minlength=len(last))
    start = np.full(len(last), -1)  # the section from whose end each section's integration starts
    inherited = np.full(len(last), -1)  # what it hands on if it has two or more children
    waiting = [root]
    for k in waiting:
        waiting += [int(child) for child in np.flatnonzero(above == k) if child != root]
        if k == root:
            continue
        if above[k] == root:
            start[k], inherited[k] = root, k
        else:
            start[k] = inherited[k] = above[k] if children[above[k]] == 1 else inherited[above[k]]
    before = before.copy()
    moved = start >= 0
    before[first[moved]] = last[start[moved]]
    return before
