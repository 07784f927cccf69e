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

from tmsjax.coil.chart_surface import DEPTH_MM, KNOT_MM, find_place, frame, surface, turned
from tmsjax.coil.placement import cut_vertices, nearest_scalp_point
from tmsjax.coil.types import CoilPose
from tmsjax.core.arrays import ArrayLike
from tmsjax.core.bspline import cubic_weights
from tmsjax.core.errors import InputError, check_number
from tmsjax.core.pytree import pytree
from tmsjax.head import HeadModel, Surface, scalp_surface, vertex_normals
from tmsjax.head import target as find_target

SMOOTHING = 8.0
"""Weight of squared second differences against squared mm of misfit: a coil is held against a patch, not a point."""

LEAST_SLOPE = 0.3
"""The midline has a direction where its part in the scalp's plane is at least this."""


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
        return surface(self.coefficients, self.origin, self.axes, jnp.asarray(place_mm, self.coefficients.dtype))[0]

    def normal(self, place_mm: ArrayLike) -> Float[Array, 3]:
        """Outward unit normal (3,) of the smooth scalp at chart coordinates (2,) mm."""
        return surface(self.coefficients, self.origin, self.axes, jnp.asarray(place_mm, self.coefficients.dtype))[1]

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
        place, handle, gap, tilt = (
            _coordinate(value, what, shape, dtype)
            for value, what, shape in (
                (place_mm, "place on the chart", (2,)),
                (handle_deg, "angle of the handle", ()),
                (gap_mm, "gap between coil and scalp", ()),
                (tilt_deg, "tilt of the coil", (2,)),
            )
        )
        on = self.inside(place)
        if not isinstance(on, Tracer) and not bool(on):
            raise self._off(place)
        point, normal = surface(self.coefficients, self.origin, self.axes, place)
        centre = point + (gap + self.hair_mm) * normal
        rotation = frame(self.reference, normal) @ turned(-self.side * jnp.deg2rad(handle), *jnp.deg2rad(tilt))
        return CoilPose(jnp.where(on, rotation, jnp.nan), jnp.where(on, centre, jnp.nan))

    def coordinates(self, pose: CoilPose) -> ChartCoordinates:
        """The coordinates that ``pose`` gives this pose for: its inverse, to rounding.

        The place is where the normal of the smooth scalp leads to the coil's centre (Newton's method from the
        direction of the centre, ``chart_surface.find_place``). Tilts are less than 90 degrees about the x axis. Raises
        InputError where the centre is off the chart and concrete; ``inside`` says it otherwise.
        """
        dtype = self.coefficients.dtype
        centre, rotation = jnp.asarray(pose.centre, dtype), jnp.asarray(pose.rotation, dtype)
        place = find_place(self.coefficients, self.origin, self.axes, centre)
        on = self.inside(place) & ((centre - self.origin) @ self.axes[:, 2] > 0)
        if not isinstance(on, Tracer) and not bool(on):
            raise self._off(place)
        point, normal = surface(self.coefficients, self.origin, self.axes, place)
        m = frame(self.reference, normal).T @ rotation
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
    radius_mm = check_number(radius_mm, "radius of a chart", 5, 80, unit="mm")
    hair_mm = check_number(hair_mm, "thickness of hair", low=0, unit="mm")
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
        radius_mm=radius_mm,
        side=-1.0 if point[0] < 0 else 1.0,
        hair_mm=hair_mm,
        fit_rms_mm=float(np.sqrt((off**2).mean())),
        fit_max_mm=float(np.abs(off).max()),
    )
    _check_directions(chart)
    return chart


def _coordinate(value: ArrayLike, what: str, shape: tuple[int, ...], dtype: Any) -> Array:
    """One coordinate as an array of this shape; finite, unless it is traced."""
    try:
        array = jnp.asarray(value, dtype)
    except (TypeError, ValueError) as error:
        raise InputError(what, got=repr(value)[:80], expected="numbers") from error
    if array.shape != shape:
        raise InputError(what, got=f"shape {array.shape}", expected=f"shape {shape}; jax.vmap for more")
    if not isinstance(array, Tracer) and not bool(jnp.isfinite(array).all()):
        raise InputError(what, got=np.asarray(array).tolist(), expected="finite numbers")
    return array


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
        weights = np.asarray(cubic_weights(t - np.floor(t)))
        for n in range(4):
            rows[axis, np.arange(len(places)), first + n] = weights[..., n]
    return (rows[0][:, :, None] * rows[1][:, None, :]).reshape(len(places), -1), count
