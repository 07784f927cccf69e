"""A smooth chart of the scalp: two coordinates, handle angle, gap and tilt to a coil's pose, and exactly back.

The scalp round a centre is a radius over directions from a point 80 mm below it, R(u, v): a bicubic B-spline over a
stereographic map of the directions, which keeps angles and, at the centre, lengths (2 % short at 45 mm). A spline of
second-difference penalties (P-spline; Eilers & Marx 1996, Stat. Sci. 11:89) is fitted to the scalp's vertices. So the
surface is C2, its normal C1, and a pose has a continuous derivative in all its coordinates.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.core import Tracer
from jaxtyping import Array, Bool, Float
from scipy.spatial import KDTree

from tmsjax.coil.placement import cut_vertices, nearest_scalp_point
from tmsjax.coil.types import CoilPose
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.head import HeadModel, Surface, scalp_surface, vertex_normals
from tmsjax.head import target as find_target

DEPTH_MM = 80.0
"""How far below the chart's centre its directions start: about the radius of a head."""

KNOT_MM = 6.0
"""Spacing of the spline's knots."""

SMOOTHING = 8.0
"""Weight of squared second differences against squared mm of misfit: a coil is held against a patch, not a point."""

LEAST_SLOPE = 0.3
"""The midline has a direction where its part in the scalp's plane is at least this."""

NEWTON_STEPS = 8


class ChartCoordinates(NamedTuple):
    """Where a coil is on a chart; leading axes as in the pose. Angles in degrees, lengths in mm.

    place_mm: (2,) chart coordinates: v forwards, u to the right of it seen from outside. handle_deg, gap_mm: as in
    ``pose_on_scalp``. tilt_deg: (2,) turns about the coil's own x, then y axis.
    inside: whether the place is on the chart.
    """

    place_mm: Any
    handle_deg: Any
    gap_mm: Any
    tilt_deg: Any
    inside: Any


@pytree("radius_mm", "side", "hair_mm", "fit_rms_mm", "fit_max_mm")
class ScalpChart:
    """Made by ``scalp_chart``.

    coefficients: (n, n) mm of the spline, knots ``KNOT_MM`` apart. origin: (3,) mm, where directions start. axes:
    (3, 3), columns u, v and outwards at the centre. reference: (3,), the world direction that handle angles count from.
    radius_mm: places further than this from the centre are off the chart. side: -1 left, +1 right: where "towards the
    midline" is. hair_mm: what lies between scalp and gap. fit_rms_mm, fit_max_mm: misfit of the scalp's vertices.
    """

    coefficients: Any
    origin: Any
    axes: Any
    reference: Any
    radius_mm: float
    side: float
    hair_mm: float
    fit_rms_mm: float
    fit_max_mm: float

    def inside(self, place_mm: ArrayLike) -> Bool[Array, "..."]:  # noqa: UP037
        """Whether places (..., 2) mm are on the chart."""
        place = jnp.asarray(place_mm)
        return jnp.sum(place * place, axis=-1) <= self.radius_mm**2

    def point(self, place_mm: ArrayLike) -> Float[Array, 3]:
        """Place (3,) mm of the smooth scalp at chart coordinates (2,) mm; the spline's border beyond the chart."""
        return _surface(self.coefficients, self.origin, self.axes, jnp.asarray(place_mm, self.coefficients.dtype))[0]

    def normal(self, place_mm: ArrayLike) -> Float[Array, 3]:
        """Outward unit normal (3,) of the smooth scalp at chart coordinates (2,) mm."""
        return _surface(self.coefficients, self.origin, self.axes, jnp.asarray(place_mm, self.coefficients.dtype))[1]

    def pose(
        self,
        place_mm: ArrayLike,
        handle_deg: ArrayLike = 45.0,
        gap_mm: ArrayLike = 2.0,
        tilt_deg: ArrayLike = (0.0, 0.0),
    ) -> CoilPose:
        """Pose of a coil over a place (2,) mm of the chart; differentiable, for ``jax.vmap`` and ``jax.jit``.

        The centre of the casing's face lies ``gap_mm + hair_mm`` out along the normal of the smooth scalp; the coil is
        tangential, its handle at ``handle_deg`` as in ``pose_on_scalp``, then turned by ``tilt_deg`` about its own x
        and y axes. Whether the casing clears the scalp is another matter: ``clearance``, ``check_outside``.

        Raises InputError for a place off the chart or an argument that is not finite; where these are traced, the pose
        is NaN instead (see ``inside``).
        """
        dtype = self.coefficients.dtype
        place, tilt = jnp.asarray(place_mm, dtype), jnp.asarray(tilt_deg, dtype)
        handle, gap = jnp.asarray(handle_deg, dtype), jnp.asarray(gap_mm, dtype)
        for what, value, shape in (
            ("place on the chart", place, (2,)),
            ("angle of the handle", handle, ()),
            ("gap between coil and scalp", gap, ()),
            ("tilt of the coil", tilt, (2,)),
        ):
            if value.shape != shape:
                raise InputError(what, got=f"shape {value.shape}", expected=f"shape {shape}; jax.vmap for more")
            if not isinstance(value, Tracer) and not bool(jnp.isfinite(value).all()):
                raise InputError(what, got=np.asarray(value).tolist(), expected="finite numbers")
        on = self.inside(place)
        if not isinstance(on, Tracer) and not bool(on):
            raise self._off(place)
        point, normal = _surface(self.coefficients, self.origin, self.axes, place)
        centre = point + (gap + self.hair_mm) * normal
        rotation = _frame(self.reference, normal) @ _turn(-self.side * jnp.deg2rad(handle), *jnp.deg2rad(tilt))
        return CoilPose(jnp.where(on, rotation, jnp.nan), jnp.where(on, centre, jnp.nan))

    def coordinates(self, pose: CoilPose) -> ChartCoordinates:
        """The coordinates that ``pose`` gives this pose for: its inverse, to rounding.

        The place is where the normal of the smooth scalp leads to the coil's centre (Newton's method from the
        direction of the centre, quadratic: 3 or 4 of ``NEWTON_STEPS`` are enough). Tilts are less than 90 degrees about
        the x axis. Raises InputError where the centre is off the chart and concrete; ``inside`` says it otherwise.
        """
        dtype = self.coefficients.dtype
        centre, rotation = jnp.asarray(pose.centre, dtype), jnp.asarray(pose.rotation, dtype)
        place = _foot(self.coefficients, self.origin, self.axes, centre)
        on = self.inside(place) & ((centre - self.origin) @ self.axes[:, 2] > 0)
        if not isinstance(on, Tracer) and not bool(on):
            raise self._off(place)
        point, normal = _surface(self.coefficients, self.origin, self.axes, place)
        m = _frame(self.reference, normal).T @ rotation
        turn, pitch, roll = (
            jnp.arctan2(-m[0, 1], m[1, 1]),
            jnp.arctan2(m[2, 1], jnp.hypot(m[2, 0], m[2, 2])),
            jnp.arctan2(-m[2, 0], m[2, 2]),
        )
        gap = (centre - point) @ normal - self.hair_mm
        return ChartCoordinates(place, jnp.rad2deg(-self.side * turn), gap, jnp.rad2deg(jnp.stack([pitch, roll])), on)

    def _off(self, place: Float[Array, 2]) -> InputError:
        where = np.asarray(place)
        return InputError(
            "the place is off the chart",
            got=f"{np.linalg.norm(where):.1f} mm from its centre, at {where.round(1).tolist()} mm",
            expected=f"at most {self.radius_mm:g} mm",
            mend="make a chart of a larger radius_mm, or one about another centre",
        )


def scalp_chart(
    head: HeadModel,
    centre: str | ArrayLike,
    *,
    radius_mm: float = 45.0,
    hair_mm: float = 0.0,
    scalp: Surface | None = None,
) -> ScalpChart:
    """Chart of the scalp round the point nearest to ``centre``.

    Args:
        head: the head.
        centre: whatever ``head.target`` takes: (3,) mm, a landmark, an electrode.
        radius_mm: how far from its centre the chart reaches, 5 to 80.
        hair_mm: thickness of hair, which every gap comes on top of.
        scalp: ``scalp_surface(head)``, if you have it already.

    Raises:
        InputError: whatever ``pose_on_scalp`` refuses of a target; a radius or hair out of range; or a scalp that does
            not cover the chart (its rim reaches the cut of the neck, or an ear stands out of it).
    """
    if not (np.isfinite(radius_mm) and 5.0 <= radius_mm <= 80.0):
        raise InputError("radius of a chart", got=radius_mm, expected="5 to 80 mm")
    if not (np.isfinite(hair_mm) and hair_mm >= 0):
        raise InputError("thickness of hair", got=hair_mm, expected="mm, 0 or more")
    scalp = scalp_surface(head) if scalp is None else scalp
    cut = cut_vertices(head, scalp)
    point, normal = nearest_scalp_point(scalp, find_target(head, centre, scalp=scalp), cut)
    reference = _reference(normal)
    forward = reference - (reference @ normal) * normal
    forward /= np.linalg.norm(forward)
    axes = np.stack([np.cross(forward, normal), forward, normal], axis=1)
    origin = point - DEPTH_MM * normal
    places, radii = _covered(scalp, cut, origin, axes, radius_mm)
    table, count = _design(places, radius_mm)
    difference = np.diff(np.eye(count), 2, axis=0)
    rough = np.kron(difference, np.eye(count)), np.kron(np.eye(count), difference)
    cross = np.kron(np.diff(np.eye(count), 1, axis=0), np.diff(np.eye(count), 1, axis=0))
    penalty = SMOOTHING * (rough[0].T @ rough[0] + rough[1].T @ rough[1] + 2 * cross.T @ cross)
    coefficients = np.linalg.solve(table.T @ table + penalty, table.T @ radii)
    off = (table @ coefficients - radii)[np.linalg.norm(places, axis=1) <= radius_mm]
    chart = ScalpChart(
        *(jnp.asarray(a) for a in (coefficients.reshape(count, count), origin, axes, reference)),
        radius_mm=float(radius_mm),
        side=-1.0 if point[0] < 0 else 1.0,
        hair_mm=float(hair_mm),
        fit_rms_mm=float(np.sqrt((off**2).mean())),
        fit_max_mm=float(np.abs(off).max()),
    )
    _check_directions(chart)
    return chart


def _reference(normal: Float[np.ndarray, 3]) -> Float[np.ndarray, 3]:
    """Forwards; upwards where the scalp faces forwards or backwards, so that forwards has no direction along it."""
    return np.array([0.0, 1.0, 0.0]) if abs(normal[1]) < 0.8 else np.array([0.0, 0.0, 1.0])


def _check_directions(chart: ScalpChart) -> None:
    angle = np.linspace(0, 2 * np.pi, 33)[:-1]
    rim = chart.radius_mm * jnp.asarray(np.stack([np.cos(angle), np.sin(angle)], 1), chart.coefficients.dtype)
    normals = np.asarray(jax.vmap(chart.normal)(rim))
    slope = np.sqrt(np.maximum(0, 1 - (normals @ np.asarray(chart.reference)) ** 2)).min()
    if slope < LEAST_SLOPE:
        raise InputError(
            "the handle has no direction relative to the midline on part of the chart",
            got=f"a rim that faces along {np.asarray(chart.reference).tolist()}",
            expected="a chart whose scalp nowhere faces straight forwards (or, at the front and back, up)",
            mend="a smaller radius_mm",
        )


def _covered(
    scalp: Surface, cut: np.ndarray, origin: np.ndarray, axes: np.ndarray, radius_mm: float
) -> tuple[np.ndarray, np.ndarray]:
    """Chart places (n, 2) mm and radii (n,) mm of the outermost vertices of the scalp on the chart and round it."""
    away = np.asarray(scalp.vertices, np.float64) - origin
    radii = np.linalg.norm(away, axis=1)
    way = (away / radii[:, None]) @ axes
    outwards = (vertex_normals(scalp).astype(np.float64) * away).sum(1) / radii
    with np.errstate(divide="ignore", invalid="ignore"):
        places = 2 * DEPTH_MM * way[:, :2] / (1 + way[:, 2:])
    good = ~cut & (way[:, 2] > 0) & (outwards > 0.2) & (np.linalg.norm(places, axis=1) < radius_mm + 3 * KNOT_MM)
    places, radii = places[good], radii[good]
    # Where the scalp is folded over itself (an ear), the outer sheet counts.
    tree = KDTree(places)
    near = tree.query(places, min(12, len(places)), distance_upper_bound=4.0)[1]
    highest = np.append(radii, -np.inf)[near].max(1)
    top = radii > highest - 8.0
    places, radii = places[top], radii[top]
    grid = np.stack(np.meshgrid(*2 * [np.arange(-radius_mm, radius_mm + 1, 3.0)], indexing="ij"), -1).reshape(-1, 2)
    grid = grid[np.linalg.norm(grid, axis=1) <= radius_mm]
    gap = KDTree(places).query(grid)[0]
    if gap.max() > 1.5 * KNOT_MM:
        hole = grid[gap.argmax()]
        raise InputError(
            "the scalp does not cover the chart",
            got=f"no scalp within {gap.max():.0f} mm of ({hole[0]:.0f}, {hole[1]:.0f}) mm on the chart",
            expected="scalp all over it: no neck's cut, nothing that overhangs",
            mend=f"a radius_mm below {np.linalg.norm(hole):.0f}, or another centre",
        )
    return places, radii


def _design(places: Float[np.ndarray, "p 2"], radius_mm: float) -> tuple[Float[np.ndarray, "p c"], int]:
    """Table (p, n n) of the spline's basis at places (p, 2) mm, and n."""
    count = 2 * int(np.ceil(radius_mm / KNOT_MM + 3)) + 3
    rows = np.zeros((2, len(places), count))
    for axis in range(2):
        t = places[:, axis] / KNOT_MM + (count - 1) / 2
        first = np.floor(t).astype(int) - 1
        weights = np.asarray(_cubic(t - np.floor(t)))
        for n in range(4):
            rows[axis, np.arange(len(places)), first + n] = weights[..., n]
    return (rows[0][:, :, None] * rows[1][:, None, :]).reshape(len(places), -1), count


def _cubic(t: Any) -> Any:
    """Weights (..., 4) of the uniform cubic B-spline at t from 0 to 1 between its second and third knot."""
    stack = np.stack if isinstance(t, np.ndarray) else jnp.stack
    return stack(
        [(1 - t) ** 3 / 6, (3 * t**3 - 6 * t**2 + 4) / 6, (-3 * t**3 + 3 * t**2 + 3 * t + 1) / 6, t**3 / 6], axis=-1
    )


def _spline(coefficients: Float[Array, "n n"], place: Float[Array, 2]) -> Float[Array, ""]:
    count = coefficients.shape[0]
    t = jnp.clip(place / KNOT_MM + (count - 1) / 2, 1.0, count - 3 + 0.999)
    whole = jax.lax.stop_gradient(jnp.floor(t))
    weights = _cubic(t - whole)
    first = whole.astype(jnp.int32) - 1
    around = jax.lax.dynamic_slice(coefficients, (first[0], first[1]), (4, 4))
    return weights[0] @ around @ weights[1]


def _point(
    coefficients: Float[Array, "n n"], origin: Float[Array, 3], axes: Float[Array, "3 3"], place: Float[Array, 2]
) -> Float[Array, 3]:
    w = place / DEPTH_MM
    s = jnp.sum(w * w) / 4
    way = (axes[:, :2] @ w + (1 - s) * axes[:, 2]) / (1 + s)
    return origin + _spline(coefficients, place) * way


@jax.jit
def _surface(
    coefficients: Float[Array, "n n"], origin: Float[Array, 3], axes: Float[Array, "3 3"], place: Float[Array, 2]
) -> tuple[Float[Array, 3], Float[Array, 3]]:
    """The point of the surface and its outward unit normal."""
    tangents = jax.jacfwd(_point, argnums=3)(coefficients, origin, axes, place)
    normal = jnp.cross(tangents[:, 0], tangents[:, 1])
    return _point(coefficients, origin, axes, place), normal / jnp.linalg.norm(normal)


@jax.jit
def _foot(
    coefficients: Float[Array, "n n"], origin: Float[Array, 3], axes: Float[Array, "3 3"], centre: Float[Array, 3]
) -> Float[Array, 2]:
    """The place whose normal leads to ``centre``: Newton's method from the centre's own direction."""
    way = (centre - origin) @ axes
    start = 2 * DEPTH_MM * way[:2] / (jnp.linalg.norm(way) + way[2])

    def miss(place):
        tangents = jax.jacfwd(_point, argnums=3)(coefficients, origin, axes, place)
        return tangents.T @ (centre - _point(coefficients, origin, axes, place))

    def step(place, _):
        return place - jnp.linalg.solve(jax.jacfwd(miss)(place), miss(place)), None

    return jax.lax.scan(step, start, None, length=NEWTON_STEPS)[0]


def _frame(reference: Float[Array, 3], normal: Float[Array, 3]) -> Float[Array, "3 3"]:
    """Columns x, y, z of an untilted coil at handle angle 0."""
    y = reference - (reference @ normal) * normal
    y = y / jnp.linalg.norm(y)
    return jnp.stack([jnp.cross(y, -normal), y, -normal], axis=1)


def _turn(turn: Float[Array, ""], pitch: Float[Array, ""], roll: Float[Array, ""]) -> Float[Array, "3 3"]:
    """Rz(turn) Rx(pitch) Ry(roll)."""
    (cz, cx, cy), (sz, sx, sy) = (jnp.stack([f(a) for a in (turn, pitch, roll)]) for f in (jnp.cos, jnp.sin))
    return jnp.array(
        [
            [cz * cy - sz * sx * sy, -sz * cx, cz * sy + sz * sx * cy],
            [sz * cy + cz * sx * sy, cz * cx, sz * sy - cz * sx * cy],
            [-cx * sy, sx, cx * cy],
        ]
    )
