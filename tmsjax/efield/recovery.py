"""Recovery of a tetrahedral mesh's field: from one value a tetrahedron to values at the nodes, tissue by tissue.

Superconvergent patch recovery (Zienkiewicz & Zhu 1992, Int. J. Numer. Meth. Eng. 33:1331): round each node a linear
function is fitted to the values at the centroids of its tetrahedra, and taken at the node. The field jumps between
tissues, so a node has a value for each tissue it touches, fitted to that tissue alone. At a tissue's border a patch is
one-sided and small; there it is grown by the tetrahedra that share a node with it.

What is recovered is -grad phi alone: the primary field is known everywhere and is added where the field is asked for.
In layered spheres of 466,000 tetrahedra (3 mm) E was 1.6 % off as it comes from the elements, 2.0 % with the whole
field recovered, 0.52 % with -grad phi recovered, and 0.85 % without the larger patches at borders.
"""

from __future__ import annotations

import itertools

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float

from tmsjax.head.mesh import HeadMesh

FEW = 10
"""Patches of fewer tetrahedra are grown too."""

SINGULAR = 1e-3
"""Least eigenvalue of a patch's scaled moments below which no linear function is fitted: the mean is taken."""


def recover(mesh: HeadMesh, values: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "r 3"]:
    """Values (r, 3) at the pairs of nodes and tissues (``mesh.tissue_nodes``) from those of the tetrahedra (t, 3)."""
    node, corners = mesh.tissue_nodes
    count = len(node)
    patch = sp.csr_matrix(
        (np.ones(corners.size, np.float32), (corners.ravel(), np.repeat(np.arange(len(corners)), 4))),
        (count, len(corners)),
    )
    members = np.bincount(corners.ravel(), minlength=count)
    border = np.bincount(node, minlength=len(mesh.nodes)) > 1
    border[mesh.outer] = True
    grown = np.flatnonzero(border[node] | (members < FEW))
    wide, spread = patch[grown], patch.T.tocsr()

    def total(column: np.ndarray) -> np.ndarray:
        """Sum over each patch; a grown one counts a tetrahedron as often as it shares nodes with it."""
        out = patch @ column
        out[grown] = wide @ (spread @ out)
        return out

    # Sums of 1, x, y, z and their products with each other and with the values, coordinates from the mesh's middle.
    place = mesh.centroids - mesh.centroids.mean(axis=0)
    terms = [np.ones(len(place)), *place.T]
    moments, sums = np.empty((count, 4, 4)), np.empty((count, 4, 3))
    for i, j in itertools.combinations_with_replacement(range(4), 2):
        moments[:, i, j] = moments[:, j, i] = total(terms[i] * terms[j])
    for i, a in itertools.product(range(4), range(3)):
        sums[:, i, a] = total(terms[i] * values[:, a])
    mean = sums[:, 0] / moments[:, 0, :1]
    return _fit(moments, sums, mesh.nodes[node] - mesh.centroids.mean(axis=0), mean)


def _fit(moments: np.ndarray, sums: np.ndarray, at: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Value at ``at`` (r, 3) of the linear functions of least squares; the mean where a patch allows none."""
    shift = np.tile(np.eye(4), (len(at), 1, 1))
    shift[:, 1:, 0] = -at  # coordinates from the node
    moments, sums = shift @ moments @ shift.transpose(0, 2, 1), shift @ sums
    number = moments[:, 0, 0].copy()
    size = np.sqrt(np.trace(moments[:, 1:, 1:], axis1=1, axis2=2) / number)
    scale = np.ones((len(at), 4))
    scale[:, 1:] = 1 / size[:, None]
    moments = moments * scale[:, :, None] * scale[:, None] / number[:, None, None]
    sums = sums * scale[:, :, None] / number[:, None, None]
    poor = np.linalg.eigvalsh(moments)[:, 0] < SINGULAR
    moments[poor] = np.eye(4)
    found = np.linalg.solve(moments, sums)[:, 0]
    found[poor] = mean[poor]
    return found
