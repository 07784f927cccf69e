"""Electrodes of the 10-10 system, found on a head's own scalp by tape measure.

As the standard prescribes (Jurcak, Tsuzuki & Dan 2007, NeuroImage 34:1600, "unambiguously illustrated 10/10";
Oostenveld & Praamstra 2001, Clin. Neurophysiol. 112:713): a tape from nasion to inion and one from ear to ear cross at
Cz, in the middle of both; marks at every tenth of them give the midline and the central row; a tape round the head
through the marks at 10 % gives the lowest row; tapes between its marks and the midline, in quarters, give the rest.

A tape is the convex outline of the scalp's section by the plane through three points: it bridges hollows and ears.
The section is of the smoothed scalp, the mark is brought to the scalp at the end only.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from jaxtyping import Float
from scipy.spatial import ConvexHull, QhullError

from tmsjax.core.arrays import ArrayLike
from tmsjax.core.errors import InputError
from tmsjax.core.transforms import apply_affine, check_finite
from tmsjax.head.model import HeadModel, Surface
from tmsjax.head.scalp import nearest_on_surface, scalp_surface

FIDUCIALS: dict[str, tuple[float, float, float]] = {
    "nasion": (1.5, 86.6, -33.6),
    "inion": (0.0, -118.6, -23.1),
    "left_ear": (-80.6, -27.6, -40.1),
    "right_ear": (84.4, -27.0, -40.1),
}
"""MNI152 mm of the four marks that all others are measured from (ears: the preauricular points).

Nasion and ears: fsaverage's in MNE-Python, MNI305 moved to MNI152 by FreeSurfer's matrix (about +1.5 mm in y, +1.2 z).
Inion: Iz of the standard_1005 montage.
"""

MAX_SNAP_MM = 15.0
"""Fiducials further from the scalp than this are refused: the face was removed, or the registration is poor."""

Mark = tuple[str, str, str, tuple[tuple[str, float], ...]]


def _rows() -> tuple[Mark, ...]:
    """(from, to, through, marks by share of the half they lie in: 0 to 1 from ... through, 1 to 2 through ... to)."""
    ring = []
    for side, odd in (("left", (1, 7, 9)), ("right", (2, 8, 10))):
        low, high, out = odd
        near, far = f"T{high}", f"{side}_ear"
        front = ((f"Fp{low}", 0.2), (f"AF{high}", 0.4), (f"F{high}", 0.6), (f"FT{high}", 0.8))
        back = ((f"TP{high}", 1.2), (f"P{high}", 1.4), (f"PO{high}", 1.6), (f"O{low}", 1.8))
        ring.append(("Fpz", "Oz", near, front + back))
        outer = ((f"N{low}", 0.2), (f"AF{out}", 0.4), (f"F{out}", 0.6), (f"FT{out}", 0.8), (f"T{out}", 1.0))
        rear = ((f"TP{out}", 1.2), (f"P{out}", 1.4), (f"PO{out}", 1.6), (f"I{low}", 1.8))
        ring.append(("nasion", "inion", far, outer + rear))
    quarters = ((5, 0.25), (3, 0.5), (1, 0.75), (2, 1.25), (4, 1.5), (6, 1.75))
    halves = tuple((n, at) for n, at in quarters if n in (3, 4))
    rows = [
        (f"{ends}7", f"{ends}8", f"{row}z", tuple((f"{row}{n}", at) for n, at in shares))
        for row, ends, shares in (
            ("AF", "AF", halves),
            ("F", "F", quarters),
            ("FC", "FT", quarters),
            ("CP", "TP", quarters),
            ("P", "P", quarters),
            ("PO", "PO", halves),
        )
    ]
    return (*ring, *rows)


MIDLINE = ("Nz", "Fpz", "AFz", "Fz", "FCz", "Cz", "CPz", "Pz", "POz", "Oz", "Iz")
CENTRAL = ("T7", "C5", "C3", "C1", "Cz", "C2", "C4", "C6", "T8")
ROWS = _rows()
ELECTRODES: tuple[str, ...] = tuple(
    dict.fromkeys((*MIDLINE, *CENTRAL, *(name for *_, marks in ROWS for name, _ in marks)))
)
"""Names of the 10-10 system that ``electrode`` knows; T3, T4, T5, T6 are the old names of T7, T8, P7, P8."""

OLD_NAMES = {"T3": "T7", "T4": "T8", "T5": "P7", "T6": "P8"}


def electrode(
    head: HeadModel,
    name: str,
    *,
    scalp: Surface | None = None,
    fiducials: Mapping[str, ArrayLike] | None = None,
) -> Float[np.ndarray, 3]:
    """Place (3,) in head RAS+ mm, on the scalp, of an electrode of the 10-10 system. See ``electrodes``."""
    known = OLD_NAMES.get(name, name)
    if known not in ELECTRODES:
        raise InputError("unknown electrode", got=repr(name), expected="10-10 names: " + ", ".join(ELECTRODES))
    return electrodes(head, scalp=scalp, fiducials=fiducials)[known]


def electrodes(
    head: HeadModel, *, scalp: Surface | None = None, fiducials: Mapping[str, ArrayLike] | None = None
) -> dict[str, Float[np.ndarray, 3]]:
    """Places (3,) in head RAS+ mm, on the scalp, of all electrodes of the 10-10 system (``ELECTRODES``).

    Args:
        head: the head.
        scalp: ``scalp_surface(head)``, if you have it already.
        fiducials: "nasion", "inion", "left_ear", "right_ear" in head RAS+ mm, or some of them, as clicked on the
            image. Those left out are carried from ``FIDUCIALS`` by the head's registration to MNI152: its error moves
            C3 by about half as much.

    Raises:
        InputError: an unknown name; no registration and not all four fiducials; or a fiducial more than
            ``MAX_SNAP_MM`` from the scalp (a removed face has no nasion: click it, or give it where it was).
    """
    scalp = scalp_surface(head) if scalp is None else scalp
    places = _fiducials(head, scalp, fiducials or {})
    edges, points = _edges(scalp), np.asarray(scalp.vertices, np.float64)
    nasion, inion, left, right = (places[key] for key in ("nasion", "inion", "left_ear", "right_ear"))
    up = np.cross(right - left, nasion - inion)
    crown = (left + right) / 2 + 150 * up / np.linalg.norm(up)
    for _ in range(30):
        before = crown
        crown = _along(_tape(points, edges, nasion, inion, crown), 0.5)
        crown = _along(_tape(points, edges, left, right, crown), 0.5)
        if np.linalg.norm(crown - before) < 0.1:
            break
    middle, central = _tape(points, edges, nasion, inion, crown), _tape(points, edges, left, right, crown)
    places |= {name: _along(middle, share / 10) for share, name in enumerate(MIDLINE)}
    places |= {name: _along(central, (share + 1) / 10) for share, name in enumerate(CENTRAL) if name != "Cz"}
    for start, end, through, marks in ROWS:
        tape = _tape(points, edges, places[start], places[end], places[through])
        half = _share_of(tape, places[through])
        for name, at in marks:
            places[name] = _along(tape, at * half if at <= 1 else half + (at - 1) * (1 - half))
    on_scalp = nearest_on_surface(scalp, np.stack([places[name] for name in ELECTRODES]))[0]
    return dict(zip(ELECTRODES, on_scalp, strict=True))


def _fiducials(head: HeadModel, scalp: Surface, given: Mapping[str, ArrayLike]) -> dict[str, np.ndarray]:
    unknown = sorted(set(given) - set(FIDUCIALS))
    if unknown:
        raise InputError("unknown fiducials", got=unknown, expected=", ".join(FIDUCIALS))
    places: dict[str, np.ndarray] = {}
    for name, mni in FIDUCIALS.items():
        if name in given:
            point = check_finite(given[name], (3,), f"fiducial {name!r} (head mm)")
        elif head.mni_to_head is None:
            raise InputError(
                f"head {head.name!r} is not registered to MNI152, so its {name} is not known",
                got="mni_to_head=None",
                expected="a registration, or all of " + ", ".join(FIDUCIALS),
                mend="head.load(..., mni_to_head=MATRIX or FILE), or fiducials={'nasion': (x, y, z), ...} in head mm",
            )
        else:
            point = apply_affine(np.asarray(head.mni_to_head, np.float64), np.array(mni))
        nearest, away = nearest_on_surface(scalp, point[None])
        distance = abs(float(away[0]))
        if distance > MAX_SNAP_MM:
            raise InputError(
                f"the {name} of head {head.name!r} is not on its scalp",
                got=f"{distance:.0f} mm away, at {point.round(1).tolist()} mm",
                expected=f"at most {MAX_SNAP_MM:g} mm",
                mend=f"the face may have been removed or cut off: give fiducials={{{name!r}: (x, y, z)}} on the scalp",
            )
        places[name] = nearest[0]
    return places


def _edges(surface: Surface) -> np.ndarray:
    faces = np.asarray(surface.faces)
    pairs = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    return np.unique(pairs, axis=0)


def _tape(points: np.ndarray, edges: np.ndarray, start: np.ndarray, end: np.ndarray, through: np.ndarray) -> np.ndarray:
    """Points (n, 3) of the convex outline from start to end, on the side of ``through``, in the plane of all three."""
    along = end - start
    length = float(np.linalg.norm(along))
    along = along / length
    up = through - start - ((through - start) @ along) * along
    up = up / np.linalg.norm(up)
    height = (points - start) @ np.cross(along, up)
    a, b = height[edges[:, 0]], height[edges[:, 1]]
    cut = (a > 0) != (b > 0)
    share = (a[cut] / (a[cut] - b[cut]))[:, None]
    section = points[edges[cut, 0]] * (1 - share) + points[edges[cut, 1]] * share - start
    flat = np.stack([section @ along, section @ up], 1)
    flat = np.concatenate([[[0.0, 0.0], [length, 0.0]], flat[flat[:, 1] > 0]])
    try:
        around = ConvexHull(flat).vertices  # counter-clockwise: from the end over the top to the start
    except QhullError as error:
        raise InputError("the scalp has no section here", got=str(start.round(1)), expected="a whole scalp") from error
    gaps = np.linalg.norm(flat[around][None] - flat[:2, None], axis=2)  # of start and end, which may lie in a hollow
    if gaps.min(1).max() > MAX_SNAP_MM:
        raise InputError(
            "a mark lies deep inside the head's outline",
            got=f"{gaps.min(1).max():.0f} mm, between {start.round(1).tolist()} and {end.round(1).tolist()} mm",
            expected=f"at most {MAX_SNAP_MM:g} mm",
            mend="check the fiducials and the head's registration",
        )
    last, first = gaps.argmin(1)
    around = np.roll(around, -int(first))
    upper = around[: (last - first) % len(around) + 1][::-1]
    tape = np.concatenate([flat[:1], flat[upper[upper > 1]], flat[1:2]])
    return start + tape[:, :1] * along + tape[:, 1:] * up


def _along(tape: np.ndarray, share: float | np.ndarray) -> np.ndarray:
    """The points (..., 3) at shares (...) of a tape's length."""
    steps = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(tape, axis=0), axis=1))])
    return np.stack([np.interp(share * steps[-1], steps, tape[:, n]) for n in range(3)], axis=-1)


def _share_of(tape: np.ndarray, point: np.ndarray) -> float:
    """The share of a tape's length at which it passes nearest to a point."""
    shares = np.linspace(0, 1, 2001)
    return float(shares[np.argmin(np.linalg.norm(_along(tape, shares) - point, axis=1))])
