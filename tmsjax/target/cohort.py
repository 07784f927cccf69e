"""Images with their points, ready for training: a user's own patients, or synthetic ones.

A synthetic cohort is made of a few real heads (bases), each warped at random and given a scanner's contrast, bias field
and noise. It stands in for patients' images, which cannot be shipped. Its points are where an atlas puts them, no
expert's; all warps of one base have the same gyri, so that only bases that were held out whole tell anything of new
anatomy.
"""

from __future__ import annotations

import dataclasses
import json
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, UInt8

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.io.reading import checked_path, reading
from tmsjax.target import contrast, pyramid, warps
from tmsjax.target.bases import Base
from tmsjax.target.contrast import USUAL_SCANNERS, ScannerSpec
from tmsjax.target.marks import Mark, as_arrays, check_marks
from tmsjax.target.points import POINTS
from tmsjax.target.volume import Volume, prepare
from tmsjax.target.warps import USUAL_WARPS, WarpSpec

LEVELS = 6


@dataclasses.dataclass(frozen=True, eq=False)
class Cohort:
    """Pyramids of images and their points.

    Attributes:
        flats: (b, t) uint8, ``pyramid.build`` of each.
        places: (b, p, 3) float32, mm of the cube; NaN where a point is absent.
        affines: (b, 4, 4) mm of the cube -> world mm of each.
        bases: the anatomy that each comes from: examples of one are never parted by a split.
        names: what each is called.
        points: names of the points.
        recipe: how it was made; "synthetic" says whether it was.
    """

    flats: UInt8[np.ndarray, "b t"]
    places: Float[np.ndarray, "b p 3"]
    affines: Float[np.ndarray, "b 4 4"]
    bases: tuple[str, ...]
    names: tuple[str, ...]
    points: tuple[str, ...]
    recipe: dict[str, Any]

    def __len__(self) -> int:
        return len(self.flats)

    @property
    def present(self) -> Bool[np.ndarray, "b p"]:
        """Which points have been marked."""
        return np.asarray(np.isfinite(self.places).all(-1))

    def rows(self, rows: Sequence[int] | np.ndarray) -> Cohort:
        """Some of its examples."""
        rows = np.asarray(rows, int)
        taken = {name: tuple(getattr(self, name)[i] for i in rows) for name in ("bases", "names")}
        arrays: dict[str, Any] = {name: getattr(self, name)[rows] for name in ("flats", "places", "affines")}
        return dataclasses.replace(self, **arrays, **taken)

    def only(self, points: Sequence[str]) -> Cohort:
        """Some of its points, in this order; InputError for one that it has not."""
        missing = [point for point in points if point not in self.points]
        if missing:
            raise InputError("points that the cohort does not have", got=missing, expected=", ".join(self.points))
        columns = [self.points.index(point) for point in points]
        return dataclasses.replace(self, places=self.places[:, columns], points=tuple(points))

    def volume(self, row: int) -> Volume:
        """The image of one example, as its finest level has it."""
        side = pyramid.shape_of(self.flats[row], self.recipe["levels"])
        values = self.flats[row][: side**3].reshape((side,) * 3).astype(np.float32) / np.float32(pyramid.ONE)
        return Volume(values, self.affines[row])


def of_patients(patients: Sequence[tuple[str, Volume, Sequence[Mark]]], levels: int = LEVELS) -> Cohort:
    """A cohort of (name, image, marks), one mark a point: each patient is a base of its own.

    Raises InputError for no patients, a name twice, or marks that ``check_marks`` refuses.
    """
    names = [name for name, _, _ in patients]
    if not names or len(set(names)) < len(names):
        raise InputError("patients", got=names, expected="one or more, of different names")
    rows = []
    for _, volume, marks in patients:
        check_marks(marks, volume)
        world, _ = as_arrays(marks)
        rows.append((pyramid.build(volume.values, levels), volume.from_world(world), volume.affine))
    return _stacked(rows, tuple(names), tuple(names), {"synthetic": False, "levels": levels})


def synthesise(
    bases: Sequence[Base],
    count: int,
    seed: int,
    *,
    levels: int = LEVELS,
    warp: WarpSpec = USUAL_WARPS,
    scanner: ScannerSpec = USUAL_SCANNERS,
    progress: Callable[[int, int], None] | None = None,
) -> Cohort:
    """``count`` synthetic images of each base; the same arguments give the same bits.

    Where a base has both, every other image is of its label map instead of its T1, so that contrast varies widely.
    """
    if not bases or count < 1 or len({base.name for base in bases}) < len(bases):
        raise InputError(
            "a cohort of bases", got=f"{count} of {[b.name for b in bases]}", expected="1 or more of different bases"
        )
    rows, names, whose = [], [], []
    for b, base in enumerate(bases):
        for i in range(count):
            rng = np.random.default_rng([seed, b, i])
            rows.append(_example(base, i, rng, levels, warp, scanner))
            names.append(f"{base.name}-{i}")
            whose.append(base.name)
            if progress is not None:
                progress(len(rows), count * len(bases))
    recipe = {
        "synthetic": True,
        "bases": {base.name: base.source for base in bases},
        "count": count,
        "seed": seed,
        "levels": levels,
        "warp": dataclasses.asdict(warp),
        "scanner": dataclasses.asdict(scanner),
    }
    return _stacked(rows, tuple(whose), tuple(names), recipe)


def _example(base: Base, i: int, rng: np.random.Generator, levels: int, warp: WarpSpec, scanner: ScannerSpec):
    side = len(base.volume.values)
    moved = warps.draw(side, rng, warp)
    if base.labels is not None and (base.only_labels or i % 2):
        image = contrast.from_labels(moved.image(base.labels, order=0), rng, scanner)
    else:
        image = moved.image(contrast.curved(base.volume.values, rng, scanner))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of fields of view, which were said of the base
        volume = prepare(contrast.scanned(image, rng, scanner), base.volume.affine, side, base.volume.affine[0, 0])
    places = volume.from_world(base.volume.to_world(moved.points(base.places)))
    return pyramid.build(volume.values, levels), places, volume.affine


def _stacked(rows, bases: tuple[str, ...], names: tuple[str, ...], recipe: dict[str, Any]) -> Cohort:
    flats, places, affines = zip(*rows, strict=True)
    return Cohort(np.stack(flats), np.stack(places).astype(np.float32), np.stack(affines), bases, names, POINTS, recipe)


def join(parts: Sequence[Cohort]) -> Cohort:
    """Cohorts of one kind after each other; InputError where levels or points differ, or one is synthetic and one not.

    The recipe keeps those of the parts.
    """
    kinds = {(part.points, part.recipe["levels"], part.recipe["synthetic"], part.flats.shape[1]) for part in parts}
    if len(kinds) != 1:
        raise InputError("cohorts to join", got=f"{len(kinds)} kinds of {len(parts)}", expected="one or more of a kind")
    arrays = {name: np.concatenate([getattr(part, name) for part in parts]) for name in ("flats", "places", "affines")}
    texts: dict[str, Any] = {
        name: tuple(x for part in parts for x in getattr(part, name)) for name in ("bases", "names")
    }
    kept = {name: parts[0].recipe[name] for name in ("levels", "synthetic")}
    return Cohort(**arrays, **texts, points=parts[0].points, recipe={**kept, "parts": [p.recipe for p in parts]})


def save(cohort: Cohort, path: str | Path) -> Path:
    """Write a cohort to a .npz file, 19 MB an image; it appears whole or not at all."""
    path = checked_path(path, "a cohort")
    about = {"bases": cohort.bases, "names": cohort.names, "points": cohort.points, "recipe": cohort.recipe}
    with staged_file(path) as stage, stage.open("wb") as handle:
        np.savez(handle, flats=cohort.flats, places=cohort.places, affines=cohort.affines, about=json.dumps(about))
    return path


def load(path: str | Path) -> Cohort:
    """Read what ``save`` wrote; InputError where it is none."""
    path = checked_path(path, "a cohort")
    with reading(path, "the cohort cannot be read", "a .npz that cohort.save wrote"), np.load(path) as kept:
        about = json.loads(str(kept["about"]))
        arrays = {name: kept[name] for name in ("flats", "places", "affines")}
        texts: dict[str, Any] = {name: tuple(about[name]) for name in ("bases", "names", "points")}
        return Cohort(**arrays, **texts, recipe=about["recipe"])


def by_base(cohort: Cohort) -> list[tuple[np.ndarray, np.ndarray]]:
    """(training rows, held-out rows) with each base held out in turn: leave-one-out over anatomies."""
    names = list(dict.fromkeys(cohort.bases))
    if len(names) < 2:
        raise InputError("one base cannot be held out", got=names, expected="two bases or more")
    whose = np.array(cohort.bases)
    return [(np.flatnonzero(whose != name), np.flatnonzero(whose == name)) for name in names]


def check_apart(cohort: Cohort, train: np.ndarray, held_out: np.ndarray) -> None:
    """Raise InputError where examples of one base are on both sides of a split."""
    both = {cohort.bases[i] for i in train} & {cohort.bases[i] for i in held_out}
    if both:
        raise InputError(
            "one anatomy both trains and judges",
            got=", ".join(sorted(both)),
            expected="bases that are wholly on one side",
            mend="split with cohort.by_base",
        )


def validation_rows(cohort: Cohort, train_rows: np.ndarray, repetition: int, share: float = 1 / 6) -> np.ndarray:
    """Images among the training ones that choose the epoch: of every base about this share, others in each repetition.

    Bases of a single image give none, unless all are such: then whole bases are taken.
    """
    rng = np.random.default_rng([repetition, len(train_rows)])
    whose = np.array(cohort.bases)[train_rows]
    taken = []
    for name in dict.fromkeys(whose):
        rows = train_rows[whose == name]
        if len(rows) > 1:
            taken += list(rng.permutation(rows)[: max(1, round(share * len(rows)))])
    if not taken:
        taken = list(rng.permutation(train_rows)[: max(1, round(share * len(train_rows)))])
    return np.sort(np.array(taken, int))
