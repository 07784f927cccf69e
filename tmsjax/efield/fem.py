"""First-order finite elements on tetrahedra: the field in a SimNIBS mesh, and a check of the voxel solver.

Induced currents close: the integral of grad v . sigma (grad phi + dA/dt) is zero for every v that is linear in each
tetrahedron (Saturnino et al. 2019, J. Neural Eng. 16:066032). The primary field is taken at the tetrahedra's centroids:
in layered spheres that left 3.3 % where its mean over the corners left 3.7 %; four points a tetrahedron left 3.3 % too.
"""

from __future__ import annotations

import dataclasses
import importlib.util
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any

import numpy as np
import scipy.sparse as sp
from jaxtyping import Float, Int
from scipy.sparse.csgraph import connected_components
from scipy.sparse.linalg import LinearOperator, cg

from tmsjax.coil import Coil, CoilPose
from tmsjax.coil.clearance import coil_points, face_points
from tmsjax.coil.primary import primary_field
from tmsjax.core.arrays import ArrayLike, numbers
from tmsjax.core.errors import ConvergenceError, InputError, check_number
from tmsjax.core.transforms import apply_affine, check_rigid
from tmsjax.efield.mesh_field import MeshField
from tmsjax.efield.recovery import recover
from tmsjax.head.locate import element_conductivity, locate
from tmsjax.head.mesh import SIMNIBS_TAGS, HeadMesh
from tmsjax.head.model import check_conductivity

CHUNK = 400_000
"""Tetrahedra assembled at once."""

FACE_MM = 1.0
"""The casing's face may reach this far into the outermost facets, which are flat where the scalp is round."""

GROUND = 1e-8
"""Share of the diagonal that is added to the matrix for its preconditioner only."""

MAX_ITERATIONS = 3000


@dataclasses.dataclass(frozen=True, eq=False)
class MeshSystem:
    """A mesh with its conductivity, made ready for coils: stiffness matrix and preconditioner.

    Attributes:
        mesh: the tetrahedra.
        sigma: (t,) or (t, 6) S/m, tensors as xx, xy, xz, yy, yz, zz in world axes.
        slopes: (t, 3, 3): row k holds the gradient (1/mm) of the coordinate that is 1 at corner k + 1; that of corner 0
            is minus their sum.
        volume: (t,) mm3.
        used: (u,) nodes that belong to a tetrahedron.
        matrix: (u, u) S/m x mm, symmetric, of row sums 0.
    """

    mesh: HeadMesh
    sigma: Float[np.ndarray, " t *s"]
    slopes: Float[np.ndarray, "t 3 3"]
    volume: Float[np.ndarray, " t"]
    used: Int[np.ndarray, " u"]
    matrix: Any

    @cached_property
    def piece(self) -> np.ndarray:
        """(u,) which connected piece of the mesh each node belongs to: each has a constant of its own."""
        return connected_components(self.matrix, directed=False)[1]

    @cached_property
    def preconditioner(self) -> Any:
        """Smoothed aggregation multigrid where pyamg is installed (``tmsjax[mesh]``), else the diagonal's inverse."""
        diagonal = self.matrix.diagonal()
        if importlib.util.find_spec("pyamg") is None:
            return _operator(self.matrix.shape, lambda r: r / diagonal)
        import pyamg

        # A constant costs nothing in the matrix itself; the coarsest level could then add any constant, of any size.
        grounded = self.matrix + sp.diags_array(GROUND * diagonal, format="csr")
        cycle: Any = pyamg.smoothed_aggregation_solver(grounded).aspreconditioner()
        return _operator(self.matrix.shape, lambda r: self.centred(cycle @ self.centred(r)))

    def centred(self, values: Float[np.ndarray, " u"]) -> Float[np.ndarray, " u"]:
        """Less the mean over each piece of the mesh."""
        return values - (np.bincount(self.piece, values) / np.bincount(self.piece))[self.piece]

    def current(self, field: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, "t 3"]:
        """Sigma E of each tetrahedron, A/m2 for V/m."""
        return _current(self.sigma, field)

    def drive(self, primary: Float[np.ndarray, "t 3"]) -> Float[np.ndarray, " u"]:
        """Right-hand side (u,) of a primary field -dA/dt (t, 3) V/m at the tetrahedra's centroids."""
        flow = np.einsum("tka,ta->tk", self.slopes, self.current(primary)) * self.volume[:, None]
        corners = self.mesh.tetrahedra
        total = np.bincount(corners[:, 0], -flow.sum(axis=1), len(self.mesh.nodes))
        for corner in range(3):
            total += np.bincount(corners[:, corner + 1], flow[:, corner], len(self.mesh.nodes))
        return total[self.used]

    def gradient(self, potential: Float[np.ndarray, " n"]) -> Float[np.ndarray, "t 3"]:
        """Gradient (t, 3) of a potential at the nodes (n,), V/m for potentials in mV (V/m x mm)."""
        corners = potential[self.mesh.tetrahedra]
        return np.einsum("tk,tka->ta", corners[:, 1:] - corners[:, :1], self.slopes)


def mesh_system(mesh: HeadMesh, conductivity: Mapping[int, float] | ArrayLike | None = None) -> MeshSystem:
    """Assemble a mesh for ``solve_mesh``, once for any number of coils and poses.

    ``conductivity``: S/m by tag, in place of the mesh's own; or of each tetrahedron, (t,) or (t, 6) tensors xx, xy, xz,
    yy, yz, zz in world axes.

    Raises:
        InputError: conductivities of another shape, not finite, not positive (tensors: not positive definite), or of a
            tag that the mesh does not have.
    """
    _check_kind(mesh, HeadMesh, "mesh", "tmsjax.head.load_mesh(path)")
    sigma = _conductivity(mesh, conductivity)
    slopes, volume = np.empty((len(sigma), 3, 3)), np.empty(len(sigma))
    size = len(mesh.nodes)
    matrix: Any = sp.csr_matrix((size, size))
    for start in range(0, len(sigma), CHUNK):
        part = slice(start, start + CHUNK)
        corners = mesh.tetrahedra[part]
        edges = mesh.nodes[corners[:, 1:]] - mesh.nodes[corners[:, :1]]
        slopes[part] = np.linalg.inv(edges).transpose(0, 2, 1)
        volume[part] = np.linalg.det(edges) / 6
        all_four = np.concatenate([-slopes[part].sum(axis=1, keepdims=True), slopes[part]], axis=1)
        flow = np.stack([_current(sigma[part], all_four[:, k]) for k in range(4)], axis=1)
        local = np.einsum("tia,tja->tij", all_four, flow) * volume[part, None, None]
        rows, columns = np.repeat(corners, 4, axis=1).ravel(), np.tile(corners, (1, 4)).ravel()
        matrix = matrix + sp.coo_matrix((local.ravel(), (rows, columns)), (size, size)).tocsr()
    used = np.unique(mesh.tetrahedra)
    matrix = matrix if len(used) == size else matrix[used][:, used]
    return MeshSystem(mesh, sigma, slopes, volume, used, matrix)


def solve_mesh(
    mesh: HeadMesh | MeshSystem,
    coil: Coil,
    pose: CoilPose,
    didt: float = 1.0,
    *,
    conductivity: Mapping[int, float] | ArrayLike | None = None,
    tolerance: float = 1e-6,
    max_iterations: int = MAX_ITERATIONS,
    on_failure: str = "raise",
) -> MeshField:
    """Solve for the E-field that ``coil`` at ``pose`` induces in a mesh, in V/m for ``didt`` in A/us.

    First-order elements in float64, conjugate gradients (``MeshSystem.preconditioner``). The field in a tetrahedron is
    constant; ``MeshField.at`` gives the recovered one, which is two to four times nearer to the truth (``recovery``).
    NumPy all through: nothing here is differentiated with respect to the pose or the conductivities; the voxel solver
    (``solve``) does that.

    Args:
        mesh: the head, or ``mesh_system(mesh, conductivity)`` where several poses are solved.
        coil: dipoles of the coil.
        pose: the coil's place; no part of it may be in the mesh.
        didt: rate of change of the coil current in A/us.
        conductivity: as in ``mesh_system``.
        tolerance: relative residual to reach. The residual reported is computed anew from the potential.
        max_iterations: of the conjugate gradients.
        on_failure: "raise" an error if the residual does not come down to ``tolerance``, or "return" the field all the
            same; its ``status`` says so.

    Raises:
        InputError: a pose that is not rigid, a coil inside the head, conductivities as in ``mesh_system``, or a
            ``conductivity`` beside a system that has one.
        ConvergenceError: a solver that did not converge.
    """
    if on_failure not in ("raise", "return"):
        raise InputError("unknown on_failure", got=repr(on_failure), expected='"raise" or "return"')
    if isinstance(mesh, MeshSystem) and conductivity is not None:
        raise InputError(
            "the system has its conductivity",
            got="another one",
            expected="none",
            mend="mesh_system(mesh, conductivity)",
        )
    _check_kind(coil, Coil, "coil", 'tmsjax.coil.load("MagVenture_MC_B70")')
    _check_kind(pose, CoilPose, "coil pose", "CoilPose.from_matrix(matrix)")
    didt = check_number(didt, "didt", unit="A/us")
    tolerance = check_number(tolerance, "tolerance: relative residual to reach", above=0, high=0.5)
    max_iterations = int(check_number(max_iterations, "max_iterations", low=1))
    system = mesh if isinstance(mesh, MeshSystem) else mesh_system(mesh, conductivity)
    mesh = system.mesh
    check_rigid(pose.matrix, "coil pose matrix")
    _check_outside(mesh, coil, pose)
    primary = np.asarray(primary_field(coil, pose, mesh.centroids, didt), np.float64)
    solution, residual, iterations = potential(system, system.drive(primary), tolerance, max_iterations)
    everywhere = np.zeros(len(mesh.nodes))
    everywhere[system.used] = solution
    secondary = -system.gradient(everywhere)
    field = MeshField(
        values=(primary + secondary).astype(np.float32),
        potential=everywhere,
        recovered=recover(mesh, secondary).astype(np.float32),
        coil=coil,
        pose=pose,
        residual=residual,
        iterations=iterations,
        tolerance=tolerance,
        didt=didt,
        mesh=mesh,
    )
    if on_failure == "raise" and field.status != "converged":
        raise ConvergenceError(
            f"the field solver did not converge in {iterations} iterations: {field.status}\n"
            '  mend:     check the conductivities (S/m), or take the field as it is with on_failure="return"'
        )
    return field


def potential(
    system: MeshSystem, drive: Float[np.ndarray, " u"], tolerance: float, max_iterations: int = MAX_ITERATIONS
) -> tuple[Float[np.ndarray, " u"], float, int]:
    """Potential (u,) of a right-hand side, its mean over each piece of the mesh zero; true residual, iterations."""
    size = float(np.linalg.norm(drive))
    if size == 0:
        return np.zeros(len(drive)), 0.0, 0
    steps: list[None] = []
    solution, _ = cg(
        system.matrix, drive, rtol=tolerance, maxiter=max_iterations, M=system.preconditioner,
        callback=lambda _: steps.append(None),
    )  # fmt: skip
    residual = float(np.linalg.norm(drive - system.matrix @ solution)) / size
    return system.centred(solution), residual, len(steps)


def _operator(shape: tuple[int, int], matvec: Callable[[np.ndarray], np.ndarray]) -> LinearOperator:
    return LinearOperator(shape, matvec, dtype=np.float64)  # type: ignore[call-arg]


def _current(sigma: np.ndarray, field: np.ndarray) -> np.ndarray:
    if sigma.ndim == 1:
        return sigma[:, None] * field
    xx, xy, xz, yy, yz, zz = sigma.T
    x, y, z = field.T
    return np.stack([xx * x + xy * y + xz * z, xy * x + yy * y + yz * z, xz * x + yz * y + zz * z], axis=1)


def _check_kind(value, kind: type, what: str, mend: str) -> None:
    if not isinstance(value, kind):
        raise InputError(f"this is no {what}", got=repr(value)[:80], expected=f"a {kind.__name__}", mend=mend)


def _conductivity(mesh: HeadMesh, given) -> np.ndarray:
    if given is None or isinstance(given, Mapping):
        table = check_conductivity(given, mesh.conductivity, highest=np.iinfo(np.int32).max)
        missing = [tag for tag in table if tag not in mesh.conductivity]
        if missing:
            present = ", ".join(f"{tag} {SIMNIBS_TAGS.get(tag, 'your own')}" for tag in mesh.conductivity)
            raise InputError("the mesh has no such tissue", got=missing, expected=present)
        return element_conductivity(dataclasses.replace(mesh, conductivity=table))
    sigma = numbers(given, "conductivities")
    count = len(mesh.tetrahedra)
    if sigma.shape not in ((count,), (count, 6)):
        raise InputError(
            "conductivity has the wrong shape", got=sigma.shape, expected=f"({count},) or ({count}, 6) S/m"
        )
    least = sigma if sigma.ndim == 1 else np.linalg.eigvalsh(sigma[:, [[0, 1, 2], [1, 3, 4], [2, 4, 5]]])[:, 0]
    if not np.isfinite(sigma).all() or not (least > 0).all():
        raise InputError(
            "conductivities cannot be used",
            got=f"{int((~(least > 0)).sum())} of {count} tetrahedra with NaN, zero or negative ones",
            expected="positive finite S/m; tensors with three positive eigenvalues",
        )
    return sigma


def _check_outside(mesh: HeadMesh, coil: Coil, pose: CoilPose) -> None:
    face = face_points(coil) - np.array([0.0, 0.0, FACE_MM])
    points = np.concatenate([coil_points(coil, pose), apply_affine(pose.matrix, face)])
    hit = points[locate(mesh, points) >= 0]
    if len(hit):
        raise InputError(
            "coil inside the head",
            got=f"{len(hit)} points of {coil.name} in the mesh, the first at {hit[0].round(1).tolist()} mm",
            expected="every part of the coil in air, the casing's face (z = 0 of its frame) too",
            mend="move the coil out along its own -z axis, or take a pose from tmsjax.coil.pose_on_scalp",
        )
