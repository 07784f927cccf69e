"""The induced electric field in a tetrahedral mesh."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float, Int

from tmsjax.coil.primary import primary_field
from tmsjax.core.arrays import ArrayLike, numbers, whole_numbers
from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.core.transforms import check_voxel_affine
from tmsjax.efield.types import EField
from tmsjax.head.locate import locate, rasterise
from tmsjax.head.mesh import HeadMesh
from tmsjax.io import Msh


@pytree("tolerance", "mesh")
class MeshField:
    """The induced electric field of ``solve_mesh``; like an ``EField``, it is for ``didt`` and scales with it.

    Attributes:
        values: (t, 3) float32 V/m along the world's axes: the field of each tetrahedron as first-order elements have
            it, the primary field at its centroid less the gradient of the potential.
        potential: (n,) float64 at the nodes in mV (V/m x mm), its mean zero.
        recovered: (r, 3) float32 V/m: -grad phi at each pair of a node and a tissue that it touches
            (``HeadMesh.tissue_nodes``, ``recovery``).
        coil: the coil, whose primary field is added where the field is asked for.
        pose: the coil's place.
        residual: relative residual |b - A phi| / |b| of the linear system, computed from the potential itself.
        iterations: of the solver.
        tolerance: relative residual that was asked for (static).
        didt: rate of change of the coil current in A/us that the values belong to.
        mesh: the tetrahedra (static).
    """

    values: Any
    potential: Any
    recovered: Any
    coil: Any
    pose: Any
    residual: Any
    iterations: Any
    tolerance: float
    didt: Any
    mesh: HeadMesh

    @property
    def status(self) -> str:
        """The word "converged", or a sentence that says how far the solver got."""
        if float(self.residual) <= self.tolerance:
            return "converged"
        return f"not converged: residual {float(self.residual):.1e} above {self.tolerance:.1e}"

    def at(self, points_mm: ArrayLike, outside: str = "raise", *, recovered: bool = True) -> Float[Array, "*p 3"]:
        """E in V/m for ``didt`` at points (p, 3) or (3,) in RAS+ mm; differentiable in the points.

        The primary field at the point itself, and -grad phi between the recovered values of the corners of the
        tetrahedron that holds it; without ``recovered`` the tetrahedron's own constant field. On a face between two
        tissues, across which E jumps, the tissue of the lower tag is taken (``tmsjax.head.locate``).

        Points outside the mesh: "raise" an InputError, or "nan" there (always NaN under tracing).
        """
        if outside not in ("raise", "nan"):
            raise InputError("unknown treatment of points outside", got=outside, expected='"raise" or "nan"')
        points, single = _points(points_mm)
        index, places, rows = self._locate(points)
        if outside == "raise" and not isinstance(index, Tracer):
            _check_inside(index, points)
        found = self._values(index, places, rows, points, recovered)
        return found[0] if single else found

    def inside(self, points_mm: ArrayLike) -> Bool[Array, "*p"]:
        """True where a point of (p, 3) or (3,) mm lies in a tetrahedron."""
        points, single = _points(points_mm)
        found = self._locate(points)[0] >= 0
        return found[0] if single else found

    def on_grid(self, affine: ArrayLike, shape: tuple[int, int, int], *, recovered: bool = True) -> EField:
        """The field at the voxel centres of a grid, as the ``EField`` that all else in the library takes."""
        grid, _ = check_voxel_affine(affine, "affine of the grid")
        counts = whole_numbers(shape, "the shape of the grid")
        if counts.shape != (3,) or counts.min() < 1:
            raise InputError("the shape of the grid", got=shape, expected="three numbers of voxels, 1 or more")
        shape = (int(counts[0]), int(counts[1]), int(counts[2]))
        index = rasterise(self.mesh, grid, shape)
        inside = np.argwhere(index >= 0)
        centres = jnp.asarray(inside @ grid[:3, :3].T + grid[:3, 3], float)
        values = np.zeros((*shape, 3), np.float32)
        values[index >= 0] = self._values(*self._corners(index[index >= 0]), centres, recovered)
        return EField(
            values=jnp.asarray(values),
            mask=jnp.asarray(index >= 0),
            affine=jnp.asarray(grid, float),
            residual=self.residual,
            iterations=self.iterations,
            tolerance=self.tolerance,
            didt=self.didt,
        )

    def as_msh(self) -> Msh:
        """What SimNIBS writes: E and magnE of triangles and tetrahedra (V/m), v at the nodes (V), in one mesh.

        The values are the elements' own, not the recovered ones. A triangle has those of a tetrahedron at its face:
        of the tissue that it encloses (tag less 1000), else of any; NaN (left out of files) where there is none.
        """
        mesh = self.mesh
        values = np.asarray(self.values, np.float64)
        everything = np.full((len(mesh.triangles) + len(values), 3), np.nan)
        everything[len(mesh.triangles) :] = values
        beside = tetrahedra_at(mesh)
        everything[: len(mesh.triangles)][beside >= 0] = values[beside[beside >= 0]]
        return Msh(
            nodes=mesh.nodes,
            tetrahedra=mesh.tetrahedra,
            tetrahedron_tags=mesh.tags,
            triangles=mesh.triangles,
            triangle_tags=mesh.triangle_tags,
            node_data={"v": np.asarray(self.potential, np.float64) / 1e3},
            element_data={"E": everything, "magnE": np.linalg.norm(everything, axis=1)},
        )

    def _locate(self, points: Array) -> tuple[Array, Array, Array]:
        """``_corners`` of the tetrahedra that hold points (p, 3); NumPy finds them, also for compiled functions."""
        if not isinstance(points, Tracer):
            index, places, rows = self._corners(locate(self.mesh, np.asarray(points)))
            return jnp.asarray(index), jnp.asarray(places), jnp.asarray(rows)

        def search(place):
            found = self._corners(locate(self.mesh, np.asarray(place, np.float64).reshape(-1, 3)))
            return tuple(
                a.reshape(*place.shape[:-1], *a.shape[1:]).astype(b.dtype) for a, b in zip(found, kinds, strict=True)
            )

        lead = points.shape[:-1]
        kinds = tuple(
            jax.ShapeDtypeStruct(lead + rest, dtype)
            for rest, dtype in (((), jnp.int32), ((4, 3), points.dtype), ((4,), jnp.int32))
        )
        return jax.pure_callback(search, kinds, jax.lax.stop_gradient(points), vmap_method="expand_dims")

    def _corners(self, index: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of tetrahedra (p,): their index, where their corners are (p, 4, 3) mm, the corners' rows in ``recovered``."""
        safe = np.maximum(index, 0)
        return index, self.mesh.nodes[self.mesh.tetrahedra[safe]], self.mesh.tissue_nodes[1][safe]

    def _values(self, index, places, rows, points: Array, recovered: bool) -> Float[Array, "p 3"]:
        if recovered:
            near = jnp.asarray(self.recovered)[rows]
            found = (_weights(jnp.asarray(places, points.dtype), points)[..., None] * near).sum(axis=1)
            found = found + primary_field(self.coil, self.pose, points, self.didt)
        else:
            found = jnp.asarray(self.values)[jnp.maximum(index, 0)]
        return jnp.where((index >= 0)[:, None], found, jnp.nan)


def tetrahedra_at(mesh: HeadMesh) -> Int[np.ndarray, " m"]:
    """A tetrahedron (m,) at each triangle: of its tag less 1000 if one of the two is, -1 where there is none."""
    found = np.full(len(mesh.triangles), -1, np.int64)
    if not len(found):
        return found
    faces = np.concatenate([mesh.tetrahedra[:, f] for f in ([1, 2, 3], [0, 2, 3], [0, 1, 3], [0, 1, 2])])
    wanted, size = np.sort(mesh.triangles, axis=1), len(mesh.triangles)
    # Only faces whose corners are all corners of triangles can be one of them.
    corner = np.zeros(len(mesh.nodes), bool)
    corner[mesh.triangles] = True
    near = np.flatnonzero(corner[faces].all(axis=1))
    _, key = np.unique(np.concatenate([wanted, np.sort(faces[near], axis=1)]), axis=0, return_inverse=True)
    key = key.ravel()
    triangle, face, owner = key[:size], key[size:], near % len(mesh.tetrahedra)
    enclosed = mesh.triangle_tags - 1000
    for tag in (None, *np.unique(enclosed)):  # first any tetrahedron, then those of the tissue that is enclosed
        mine = np.ones(len(owner), bool) if tag is None else mesh.tags[owner] == tag
        at = np.full(key.max() + 1, -1)
        at[face[mine]] = owner[mine]
        rows = (at[triangle] >= 0) & ((tag is None) | (enclosed == tag))
        found[rows] = at[triangle[rows]]
    return found


def _points(points_mm: ArrayLike) -> tuple[Array, bool]:
    points = jnp.asarray(points_mm if isinstance(points_mm, jax.Array) else numbers(points_mm, "points"), float)
    if points.ndim not in (1, 2) or points.shape[-1] != 3:
        raise InputError("points have the wrong shape", got=points.shape, expected="(p, 3) or (3,) in RAS+ mm")
    return points.reshape(-1, 3), points.ndim == 1


def _check_inside(index: Array, points: Array) -> None:
    missing = np.asarray(index) < 0
    if missing.any():
        first = np.asarray(points)[np.argmax(missing)]
        raise InputError(
            "points lie outside the mesh, where there is no E-field",
            got=f"{int(missing.sum())} of {len(missing)} points, the first at {first.round(1).tolist()} mm",
            expected="finite points in tissue, in RAS+ mm of the head",
            mend='drop those where field.inside(points) is False, or ask for NaN: field.at(points, outside="nan")',
        )


def _weights(corners: Float[Array, "p 4 3"], points: Float[Array, "p 3"]) -> Float[Array, "p 4"]:
    """Barycentric coordinates of points (p, 3) in the tetrahedra of these corners."""
    a, b, c = (corners[:, k] - corners[:, 0] for k in (1, 2, 3))
    p = points - corners[:, 0]
    faces = [jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)]
    volume = (a * faces[0]).sum(axis=1)
    rest = jnp.stack([(p * face).sum(axis=1) / volume for face in faces], axis=1)
    return jnp.concatenate([1 - rest.sum(axis=1, keepdims=True), rest], axis=1)
