"""The comparators: points of an annotated atlas carried to a patient by registration, affine or deformable.

As section 2.4 of Baxter et al. (2021): rigid, then affine, then SyN (Avants 2008), here dipy's
(extra ``registration``).
The patient is static and the atlas moves; points go against images, from the atlas to the patient.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from jaxtyping import Bool, Float
from scipy.ndimage import binary_dilation

from tmsjax.core.errors import InputError, MissingToolError
from tmsjax.core.transforms import apply_affine
from tmsjax.target.cohort import Cohort
from tmsjax.target.volume import Volume

FACTOR = 2
"""Voxels a side that are averaged before registration: 1 mm takes eight times as long for the same points to 0.3 mm."""

TOP_MM = 180.0
"""What lies farther below the top of the head is left out: necks differ."""

MARGIN = 3
"""Voxels of ``FACTOR`` mm that the atlas's brain is widened by."""

BINS, SHARE = 32, 0.2
"""Of the mutual information: bins of its histogram, and share of the voxels that it looks at."""

DETERMINANT = (0.4, 2.5)
MOST_TURN_DEG = 45.0
"""Affines beyond these have failed."""

SLACK = 0.02
"""What the correlation may lose on the way: images that agree at the start cannot gain much."""


@dataclasses.dataclass(frozen=True)
class Effort:
    """Iterations from coarse to fine: of rigid and affine steps (at 4 and 2 voxels' spacing) and of SyN."""

    affine: tuple[int, ...] = (100, 50)
    syn: tuple[int, ...] = (20, 20, 10)
    radius: int = 4


USUAL_EFFORT = Effort()


@dataclasses.dataclass(frozen=True, eq=False)
class Registered:
    """An atlas on a patient.

    Attributes:
        affine: (4, 4) patient's world mm -> atlas's world mm.
        warp: dipy's DiffeomorphicMap with the affine in it, or None.
        correlation: of the two images inside the head: before, after the affine, after SyN.
        status: "converged", or what has failed, in words.
        seconds: wall clock.
    """

    affine: Float[np.ndarray, "4 4"]
    warp: Any
    correlation: tuple[float, ...]
    status: str
    seconds: float

    def by_affine(self, places_mm: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
        """Atlas's world mm -> patient's, by the affine alone."""
        return apply_affine(np.linalg.inv(self.affine), np.asarray(places_mm, np.float64))

    def by_warp(self, places_mm: Float[np.ndarray, "p 3"]) -> Float[np.ndarray, "p 3"]:
        """Atlas's world mm -> patient's, by all of it; InputError where SyN was left out."""
        if self.warp is None:
            raise InputError("SyN was left out", got="deformable=False", expected="deformable=True")
        return np.asarray(self.warp.transform_points_inverse(np.asarray(places_mm, np.float64)))


def register(
    patient: Volume,
    atlas: Volume,
    effort: Effort = USUAL_EFFORT,
    *,
    brain: Bool[np.ndarray, "n n n"] | None = None,
    deformable: bool = True,
) -> Registered:
    """Register an atlas to a patient: translation, rigid, affine by mutual information, then SyN by cross-correlation.

    Args:
        patient, atlas: images from ``volume.prepare``.
        effort: iterations.
        brain: where the atlas has brain; once the heads lie on each other, nothing else is looked at.
        deformable: whether SyN follows.

    Raises:
        InputError: a brain of another shape than the atlas. MissingToolError: no dipy.
    """
    if brain is not None and brain.shape != atlas.values.shape:
        raise InputError("the atlas's brain", got=brain.shape, expected=atlas.values.shape)
    imaffine, imwarp, metrics, transforms = _dipy()
    started = time.perf_counter()
    (static, grid, _), (moving, its_grid, cut) = (_coarse(volume) for volume in (patient, atlas))
    worlds = {"static_grid2world": grid, "moving_grid2world": its_grid}
    start = imaffine.transform_centers_of_mass(static, grid, moving, its_grid).affine
    levels = len(effort.affine)

    engine = imaffine.AffineRegistration(
        metric=imaffine.MutualInformationMetric(nbins=BINS, sampling_proportion=SHARE),
        level_iters=list(effort.affine), sigmas=[3.0, 1.0][-levels:], factors=[4, 2][-levels:], verbosity=0,
    )  # fmt: skip
    affine = start
    for kind in (transforms.TranslationTransform3D, transforms.RigidTransform3D, transforms.AffineTransform3D):
        affine = engine.optimize(static, moving, kind(), None, starting_affine=affine, **worlds).affine
    shapes = {"domain_grid_shape": static.shape, "codomain_grid_shape": moving.shape}
    grids = {"domain_grid2world": grid, "codomain_grid2world": its_grid}
    if brain is not None:
        # The brains alone: the atlas's is known, and lies on the patient's by now but for what the margin allows.
        mask = binary_dilation(_halved(brain.astype(np.float64))[cut] > 0.5, iterations=MARGIN).astype(np.float64)
        moving = moving * mask
        static = static * (imaffine.AffineMap(affine, **shapes, **grids).transform(mask) > 0.5)
        for kind in (transforms.RigidTransform3D, transforms.AffineTransform3D):
            affine = engine.optimize(static, moving, kind(), None, starting_affine=affine, **worlds).affine
    images = [imaffine.AffineMap(a, **shapes, **grids).transform(moving) for a in (start, affine)]
    warp = None
    if deformable:
        syn = imwarp.SymmetricDiffeomorphicRegistration(
            metrics.CCMetric(3, radius=effort.radius), level_iters=list(effort.syn)
        )
        warp = syn.optimize(static, moving, prealign=affine, **worlds)
        images.append(warp.transform(moving))
    inside = static > np.percentile(static, 60)
    correlation = tuple(float(np.corrcoef(static[inside], image[inside])[0, 1]) for image in images)
    return Registered(affine, warp, correlation, _status(affine, correlation), time.perf_counter() - started)


def carry_atlas(
    cohort: Cohort, progress: Callable[[int, int], None] | None = None, effort: Effort = USUAL_EFFORT
) -> dict[str, Float[np.ndarray, "b p 3"]]:
    """Places in every image, mm of its cube, by "affine" and "SyN" of the first image of another anatomy.

    NaN where that one has no such point, or where registration has failed. InputError for one anatomy only.
    """
    if len(set(cohort.bases)) < 2:
        raise InputError("an atlas is another anatomy", got=sorted(set(cohort.bases)), expected="two or more")
    out = {name: np.full(cohort.places.shape, np.nan) for name in ("affine", "SyN")}
    for row, base in enumerate(cohort.bases):
        chosen = next(i for i, other in enumerate(cohort.bases) if other != base)
        patient, atlas = cohort.volume(row), cohort.volume(chosen)
        done = register(patient, atlas, effort)
        if done.status == "converged":
            present = cohort.present[chosen]
            world = atlas.to_world(cohort.places[chosen][present])
            out["affine"][row, present] = patient.from_world(done.by_affine(world))
            out["SyN"][row, present] = patient.from_world(done.by_warp(world))
        if progress is not None:
            progress(row + 1, len(cohort))
    return out


def _dipy() -> tuple[Any, Any, Any, Any]:
    try:
        from dipy.align import (
            imaffine,
            imwarp,
            metrics,
            transforms,  # pyright: ignore[reportAttributeAccessIssue]
        )
    except ImportError as error:
        raise MissingToolError(
            "registration needs dipy, which is not installed\n  mend:     pip install 'tmsjax[registration]'"
        ) from error
    return imaffine, imwarp, metrics, transforms


def _coarse(volume: Volume) -> tuple[Float[np.ndarray, "i j k"], Float[np.ndarray, "4 4"], tuple[slice, ...]]:
    """The head's upper part at ``FACTOR`` mm, float64 as dipy wants it, its affine, and where it was cut out."""
    values = _halved(np.minimum(volume.values, 1.5).astype(np.float64))
    affine = volume.affine.copy()
    affine[:3, :3] *= FACTOR
    affine[:3, 3] = apply_affine(volume.affine, np.full(3, (FACTOR - 1) / 2))
    head = np.argwhere(values > 0.3)
    size = float(np.linalg.norm(affine[:3, 2]))
    bottom = max(0, int(np.percentile(head[:, 2], 99.9) - TOP_MM / size)) if len(head) else 0
    low = head.min(0) if len(head) else np.zeros(3, int)
    high = head.max(0) + 1 if len(head) else np.array(values.shape)
    low, high = np.maximum(low - 4, 0), np.minimum(high + 4, values.shape)
    low[2] = max(low[2], bottom)
    moved = affine.copy()
    moved[:3, 3] = apply_affine(affine, low)
    cut = tuple(map(slice, low, high))
    return np.ascontiguousarray(values[cut]), moved, cut


def _halved(values: Float[np.ndarray, "n n n"]) -> Float[np.ndarray, "m m m"]:
    """Mean over ``FACTOR``^3 voxels."""
    m = len(values) // FACTOR
    return values[: m * FACTOR, : m * FACTOR, : m * FACTOR].reshape(m, FACTOR, m, FACTOR, m, FACTOR).mean((1, 3, 5))


def _status(affine: np.ndarray, correlation: tuple[float, ...]) -> str:
    """What has come of it: "converged", or what has failed."""
    u, _, vt = np.linalg.svd(affine[:3, :3])
    turn = np.rad2deg(np.arccos(np.clip((np.trace(u @ vt) - 1) / 2, -1, 1)))
    determinant = float(np.linalg.det(affine[:3, :3]))
    if not DETERMINANT[0] < determinant < DETERMINANT[1] or turn > MOST_TURN_DEG:
        return f"failed: an affine of determinant {determinant:.2g} that turns by {turn:.0f} degrees"
    if correlation[-1] < correlation[0] - SLACK:
        return f"failed: the correlation went from {correlation[0]:.2f} to {correlation[-1]:.2f}"
    return "converged"
