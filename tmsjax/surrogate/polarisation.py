"""How the ends of a cell's axon polarise, linearly, in a field: what its threshold is close to being a maximum of.

A coil's pulse moves the membrane as a passive cable until an end of the axon is depolarised enough to fire (Aberra et
al. 2018, J Neural Eng 15:066023). So each end and each moment of the pulse is a linear functional of the field at the
compartments, known from the cell without any threshold; read off a patch's samples they are where the support
function starts from.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse
import scipy.sparse.linalg
from jaxtyping import Float, Int
from numpy import ndarray

from tmsjax.cells import cable_model
from tmsjax.cells.types import REGIONS, CableModel, Cell
from tmsjax.core.errors import InputError
from tmsjax.simulate.pulses import Pulse, on_grid, pulse
from tmsjax.simulate.quasipotential import current_matrix, injection_matrix, segment_parents

STEP_MS = 0.005

LENGTH_MM = 2.0
"""Length of the covariance by which fields are read between samples; 1 mm does nearly as well."""

NUGGET = 1e-3
"""Variance of a sample by itself, as a share."""

MOMENTS_MS = (0.02, 0.03, 0.04, 0.05, 0.06, 0.07, 0.08, 0.09, 0.1, 0.12, 0.14, 0.17, 0.2, 0.23, 0.26)
"""Moments of the pulse, from its first sample on."""

AXON = tuple(REGIONS.index(name) for name in ("ais", "node", "myelin", "unmyelinated"))


def of_patches(
    cell: Cell, course: Pulse | str, n: int, side_mm: float, z_shift_mm: float = 0.0
) -> Float[ndarray, "s p m n n n 3"]:
    """Functionals of a patch's samples (mV per V/m): each end of a cell's axon, and the node above it, at m moments.

    What ``surrogate.train`` starts from. The node above tells how steep the polarisation is along the axon, which
    takes half of the error that the end alone leaves.
    """
    cable = cable_model(cell)
    ends = axon_ends(cable)
    rows = np.concatenate([ends, nodes_above(cable, ends)])
    functionals = polarisation(cable, course, rows, np.array(MOMENTS_MS))
    both = on_samples(functionals, cable.xyz_um, n, side_mm, z_shift_mm).astype(np.float32)
    return np.stack([both[: len(ends)], both[len(ends) :]], 1)


def axon_ends(cable: CableModel) -> Int[ndarray, " s"]:
    """Rows of the axon's last compartments, one for every branch: where nearly all action potentials begin."""
    parent = segment_parents(cable)
    inner = np.zeros(cable.n, bool)
    inner[parent[parent != np.arange(cable.n)]] = True
    ends = np.flatnonzero(np.isin(cable.region, AXON) & ~inner)
    if not len(ends):
        raise InputError(f"{cable.name} has no axon", got="no end of one", expected="a cell with an axon")
    return ends


def nodes_above(cable: CableModel, rows: Int[ndarray, " s"]) -> Int[ndarray, " s"]:
    """The first compartment without myelin above each row, on the way to the soma."""
    parent = segment_parents(cable)
    above, myelin = parent[rows], REGIONS.index("myelin")
    while (under := cable.region[above] == myelin).any():
        above = np.where(under, parent[above], above)
    return above


def polarisation(
    cable: CableModel, course: Pulse | str, rows: Int[ndarray, " s"], times_ms: Float[ndarray, " t"]
) -> Float[ndarray, "s t c 3"]:
    """Polarisation (mV) of ``rows`` at some times of a pulse, per V/m at each of the cell's c compartments.

    Backward Euler over 5 us with every channel's conductance as it rests, run backwards from the rows (the adjoint),
    so that the cost does not grow with the number of fields. Exact for the linear cable; action potentials are not.
    """
    from tmsjax.simulate.cable import membrane

    steps = np.rint(np.asarray(times_ms, float) / STEP_MS).astype(int)
    if not len(steps) or steps.min() < 1:
        raise InputError("times of the polarisation", got=times_ms, expected=f"ms, {STEP_MS} or later")
    rest = membrane.steady_state(cable)
    leak = membrane.still_us(cable, "full")
    for name, maximal in membrane.conductances_us(cable).items():
        leak = leak + maximal * membrane.open_share(name, rest.gates[name])
    storage = membrane.capacitance_nf(cable) / STEP_MS
    system = scipy.sparse.diags_array(storage + leak) - injection_matrix(cable)
    solve = scipy.sparse.linalg.splu(scipy.sparse.csc_matrix(system)).solve
    wave = on_grid(pulse(course), STEP_MS, STEP_MS * (steps.max() + 1))
    wave = (wave[1:] + wave[:-1]) / 2

    back = np.zeros((cable.n, len(rows)))
    back[rows, np.arange(len(rows))] = 1.0
    back = solve(back, "T")
    currents = np.zeros((len(steps), cable.n, len(rows)))
    for lag in range(steps.max()):
        for some, end in zip(currents, steps, strict=True):
            if lag < end:
                some += wave[end - 1 - lag] * back
        back = solve(storage[:, None] * back, "T")
    fields = [np.asarray(current_matrix(cable).T @ some) for some in currents]
    return np.stack(fields, -1).reshape(cable.n, 3, len(rows), len(steps)).transpose(2, 3, 0, 1)


def on_samples(
    functionals: Float[ndarray, "*k c 3"], xyz_um: Float[ndarray, "c 3"], n: int, side_mm: float, z_shift_mm: float
) -> Float[ndarray, "*k n n n 3"]:
    """Functionals of the field at points (um, cell frame) as functionals of a patch's samples."""
    weights = readout(np.asarray(xyz_um, float) / 1e3 - [0.0, 0.0, z_shift_mm], n, side_mm)
    return np.einsum("...ci,cg->...gi", functionals, weights, optimize=True).reshape(
        *functionals.shape[:-2], n, n, n, 3
    )


def readout(points_mm: Float[ndarray, "c 3"], n: int, side_mm: float) -> Float[ndarray, "c g"]:
    """How a patch's samples (g = n^3) are weighed to give the field at points (mm from the cube's centre).

    Kriging with a linear trend (Rasmussen & Williams 2006, section 2.7): fields that are linear in space are read
    exactly, outside the cube too; what is left has a Matern covariance of order 3/2, as rough as fields on voxels.
    With 5 samples a side of 2 mm it halves the error of trilinear interpolation (0.43 to 0.24 % of the polarisation).
    """
    ticks = np.linspace(-side_mm / 2, side_mm / 2, n)
    grid = np.stack(np.meshgrid(ticks, ticks, ticks, indexing="ij"), -1).reshape(-1, 3)
    trend = [np.concatenate([np.ones((len(x), 1)), x], 1) for x in (grid, points_mm)]
    system = np.block(
        [[_covariance(grid, grid) + NUGGET * np.eye(len(grid)), trend[0]], [trend[0].T, np.zeros((4, 4))]]
    )
    known = np.concatenate([_covariance(grid, points_mm), trend[1].T])
    return np.linalg.solve(system, known)[: len(grid)].T


def _covariance(a: Float[ndarray, "i 3"], b: Float[ndarray, "j 3"]) -> Float[ndarray, "i j"]:
    distance = np.sqrt(3) / LENGTH_MM * np.linalg.norm(a[:, None] - b[None], axis=-1)
    return (1 + distance) * np.exp(-distance)
