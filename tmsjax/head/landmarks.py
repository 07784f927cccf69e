"""Named places of the brain in MNI152, carried to a head through its registration."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float
from scipy import ndimage

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine, check_finite
from tmsjax.head.electrodes import ELECTRODES, OLD_NAMES, electrode
from tmsjax.head.model import GREY, HeadModel, Surface

Point = tuple[float, float, float]


def _both_sides(name: str, left: Point, right: Point | None = None) -> dict[str, Point]:
    return {f"{name}_left": left, f"{name}_right": right or (-left[0], left[1], left[2])}


LANDMARKS: dict[str, Point] = (
    _both_sides("hand_knob", (-42.0, -13.0, 66.0))
    | _both_sides("face", (-55.0, -4.0, 26.0))
    | _both_sides("foot", (-6.0, -26.0, 76.0))
    | _both_sides("dlpfc", (-38.0, 44.0, 26.0))
    | _both_sides("ofc", (-28.0, 34.0, -16.0))
    | _both_sides("heschl", (-44.0, -21.0, 6.0), (43.0, -20.0, 6.8))
)
"""MNI152 mm of named places; right ones are mirrored left ones but for Heschl's. All are group averages, not
a head's own: single heads scatter by about 5.6 mm an axis (Fox et al. 2001, NeuroImage 13:196).

- hand_knob: motor hand area, Rashed et al. 2020 (target of their coil placements); lies at the brain's surface.
- face: tongue seed, foot: foot seed of motor cortex, Buckner et al. 2011 (J. Neurophysiol. 106:2322).
- dlpfc: dorsolateral prefrontal cortex, Fox et al. 2012 (Biol. Psychiatry 72:595); other definitions are 20 mm away.
- ofc: orbitofrontal cortex; no consensus, an orbital place with grey-matter probability 0.84.
- heschl: primary auditory cortex, Talairach (-42.5, -21.5, 6.5) and (43, -20, 6.8) of an MRI guide for tinnitus rTMS.
"""


def landmark(head: HeadModel, name: str, *, max_move_mm: float = 15.0) -> Float[np.ndarray, 3]:
    """Place (3,) in head RAS+ mm of a named landmark, moved to the nearest grey matter.

    Raises:
        InputError: an unknown name, a head without registration to MNI152, or no grey matter within ``max_move_mm``
            of where the registration puts the landmark.
    """
    start = carry(head, name)
    place = nearest_grey(head, start)
    moved = float(np.linalg.norm(place - start))
    if moved > max_move_mm:
        raise InputError(
            f"landmark {name!r} is far from the grey matter of head {head.name!r}",
            got=f"{moved:.1f} mm to the nearest grey-matter voxel",
            expected=f"at most {max_move_mm:g} mm",
            mend="check the head's mni_to_head, or give the target in mm yourself",
        )
    return place


def carry(head: HeadModel, name: str) -> Float[np.ndarray, 3]:
    """Place (3,) in head RAS+ mm where the registration alone puts the landmark; it may lie outside the brain."""
    known = LANDMARKS | {key: tuple(np.asarray(value)) for key, value in head.landmarks.items()}
    if name not in known:
        raise InputError("unknown landmark", got=repr(name), expected=", ".join(sorted(known)))
    return _carried(head, np.asarray(known[name], np.float64), repr(name))


def _carried(head: HeadModel, mni_mm: np.ndarray, what: str) -> Float[np.ndarray, 3]:
    if head.mni_to_head is None:
        raise InputError(
            f"head {head.name!r} is not registered to MNI152, so {what} has no place in it",
            got="mni_to_head=None",
            expected="a 4x4 affine, MNI152 mm -> head RAS+ mm",
            mend="head.load(..., mni_to_head=MATRIX or FILE), from_labels(..., mni_to_head=MATRIX), or a target in mm",
        )
    return apply_affine(np.asarray(head.mni_to_head), mni_mm)


def nearest_grey(head: HeadModel, point_mm: Float[np.ndarray, 3]) -> Float[np.ndarray, 3]:
    """Centre (3,) mm of the grey-matter voxel nearest to a point, not counting voxels without grey neighbours."""
    grey = np.asarray(head.labels) == GREY
    solid = grey & (ndimage.convolve(grey.astype(np.uint8), np.ones((3, 3, 3), np.uint8), mode="constant") > 5)
    found = np.argwhere(solid if solid.any() else grey)
    if not len(found):
        raise InputError("the head has no grey matter", got=f"head {head.name!r}", expected="voxels of label 2")
    centres = apply_affine(np.asarray(head.affine), found)
    return centres[np.argmin(((centres - np.asarray(point_mm)) ** 2).sum(1))].astype(np.float64)


def from_mni(head: HeadModel, mni_mm: ArrayLike) -> Float[np.ndarray, 3]:
    """Place (3,) in head RAS+ mm of a point (3,) in MNI152 mm, by the head's registration alone.

    Raises InputError unless the point is three finite numbers and the head is registered.
    """
    return _carried(head, check_finite(mni_mm, (3,), "point in MNI152 mm"), "a point in MNI152 mm")


def target(head: HeadModel, what: str | ArrayLike, *, scalp: Surface | None = None) -> Float[np.ndarray, 3]:
    """Place (3,) in head RAS+ mm of a target, however it is given.

    Args:
        head: the head.
        what: (3,) head RAS+ mm, as it is (``from_mni`` for MNI152 mm); the name of a landmark (``LANDMARKS`` or the
            head's own), moved to grey matter; or of an electrode of the 10-10 system, on the scalp.
        scalp: ``scalp_surface(head)``, if you have it already; electrodes are found on it.

    Raises:
        InputError: an unknown name, not three finite numbers, or what ``landmark`` and ``electrode`` refuse.
    """
    if not isinstance(what, str):
        return check_finite(what, (3,), "target")
    if what in LANDMARKS or what in head.landmarks:
        return landmark(head, what)
    if what in ELECTRODES or what in OLD_NAMES:
        return electrode(head, what, scalp=scalp)
    raise InputError(
        "unknown target",
        got=repr(what),
        expected=f"head mm (x, y, z), a landmark ({', '.join(sorted(set(LANDMARKS) | set(head.landmarks)))}) "
        "or a 10-10 electrode such as C3",
    )
