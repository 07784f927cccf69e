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

MV_PER_V_UM_PER_M = 1e-3


def segment_parents(cable: CableModel) -> Int[ndarray, " n"]:
    """The segment (row) that each segment hangs on, across section ends; the root's is itself."""
    parent = np.asarray(cable.parent).copy()
    n = cable.n
    parent[parent < 0] = np.flatnonzero(parent < 0)
    while (ends := parent[:n] >= n).any():
        parent[:n][ends] = parent[parent[:n][ends]]
    return parent[:n]


def quasipotential(cable: CableModel, efield_v_per_m: Float[ndarray, "*batch n 3"]) -> Float[ndarray, "*batch n"]:
    """Quasipotential (mV) of every segment, 0 at the root: the trapezoid rule along the true tree.

    ``es_i = es_p - 0.5e-3 (E_i + E_p) . (r_i - r_p)`` with E in V/m at segment centres r in um; a uniform field
    gives -E . r.
    """
    field = np.asarray(efield_v_per_m, float)
    xyz = np.asarray(cable.xyz_um, float)
    parent = segment_parents(cable)
    steps = -0.5 * MV_PER_V_UM_PER_M * ((field + field[..., parent, :]) * (xyz - xyz[parent])).sum(-1)
    total, ancestor = steps, parent
    while (
        ancestor != ancestor[ancestor]
    ).any():  # path sums by doubling: each round reaches twice as far; the root adds 0
        total = total + total[..., ancestor]
        ancestor = ancestor[ancestor]
    return total


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
