"""Coils by name, generated from their geometry.

What is published of each, and what is assumed here ("inner/outer": of a wing's winding, mm):

| name | inner/outer | turns a wing | source | assumed |
|---|---|---|---|---|
| MagVenture_MC_B70 | 24/108 | 10 | Thielscher & Kammer 2004 | pitch, depths, fold lines |
| Magstim_70mm_Fig8 | 52/88 | 9 | Thielscher & Kammer 2004 | depths |
| MagVenture_MCF_B65 | 35/75 | 10 | diameters as quoted for this product | turns, layers, depths, direction |
| MagVenture_Cool_B35 | 23/46 | 15 | diameters as quoted for this product | turns, layers, depths, direction |
| Circular_50mm | 32/68 | 14 | none: a mean diameter of 50 mm, no product | everything else |
| Rashed_97_47 | 47/97 | 10 | Rashed et al. 2020: thin wire, diameters | turns, pitch, depth, direction |

The diameters of the MCF-B65 and the Cool-B35 are what users of these coils report; the maker's data sheet was not at
hand. Their turns, and those of the 50 mm coil, are assumed so that the windings are built like the MC-B70's (4 mm a
layer) or the Magstim's (7 mm tall) and have an inductance that stimulators drive: 12.2 uH of the MC-B70, 15.5 of the
Magstim 70 mm, 11.2, 13.1 and 10.6 of the three, by Maxwell's formula for coaxial loops, wings apart
(tests/coil/test_coil_library.py). The field per A/us is proportional to the turns, so absolute fields of these three
and of Rashed's coil are only as good as that; their shape depends little on it. For measured models of products, load
the .ccd files of Drakaki et al. 2022 (Brain Stimul., 10.1016/j.brs.2022.04.017), which come with SimNIBS.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

import jax.numpy as jnp
import numpy as np

from tmsjax.coil.geometry import Wing, coil_dipoles
from tmsjax.coil.types import Coil
from tmsjax.core.errors import InputError


def _mc_b70() -> tuple[list[Wing], float]:
    """MagVenture MC-B70: two overlapping, bent wings of 10 turns.

    Thielscher & Kammer 2004 (Clin. Neurophysiol. 115:1697): inner and outer diameter 24 and 108 mm, 10 turns a wing,
    centroids at x = +-29 mm, outer parts tilted by 16 and 18 deg. Read here as turns that close 1 to 10 pitches of
    4 mm outside the inner radius (the outermost, at 52 mm, has its outer edge at 54 mm), round +-30 mm in the sheet
    before the fold (centroids of the folded wings: -29.2 and +29.5 mm). Conductors are tall: two filaments 2 mm apart
    share the current; the wing at +x lies over the other. z = 0 is the casing's face.
    """
    radii = tuple(12.0 + 4.0 * np.arange(1, 11))
    return [
        Wing(-30.0, radii, (-9.5, -7.5), +1, fold_mm=-20.0, fold_deg=18.5),
        Wing(+30.0, radii, (-5.5, -3.5), -1, fold_mm=25.0, fold_deg=16.0),
    ], 6.0


def _magstim_70mm() -> tuple[list[Wing], float]:
    """Magstim 70 mm figure of eight (P/N 9925): two flat wings of 9 turns, centres +-45 mm.

    Thielscher & Kammer 2004: inner and outer diameter 52 and 88 mm; turns close 1 to 9 pitches of 2 mm outside
    the inner radius; conductors 7 mm tall, here three filaments. In SimNIBS's file and here, a positive dI/dt induces
    a field along +y under the centre of this coil, and along -y under that of the MC-B70.
    """
    radii = tuple(26.0 + 2.0 * np.arange(1, 10))
    layers = (-8.8333, -6.5, -4.1667)
    return [Wing(-45.0, radii, layers, -1), Wing(45.0, radii, layers, +1)], 6.0


def _mcf_b65() -> tuple[list[Wing], float]:
    """MagVenture MCF-B65: two flat wings side by side, 35 mm inner and 75 mm outer diameter.

    Assumed: 10 turns a wing in two layers of five, 4 mm apart as in the MC-B70 (20 mm of winding width), a filament for
    each half of a conductor; wings touch; a positive dI/dt induces along -y under the centre, as of the MC-B70.
    """
    radii = 2 * tuple(17.5 + 4.0 * (np.arange(1, 6) - 0.5))
    layers = (-9.5, -7.5, -5.5, -3.5)
    return [Wing(-37.5, radii, layers, +1), Wing(37.5, radii, layers, -1)], 5.0


def _cool_b35() -> tuple[list[Wing], float]:
    """MagVenture Cool-B35: two small flat wings side by side, 23 mm inner and 46 mm outer diameter.

    Assumed: 15 turns a wing in three layers of five, 4 mm apart, of a pitch of 2.3 mm; wings touch; the direction.
    """
    radii = 3 * tuple(11.5 + 2.3 * (np.arange(1, 6) - 0.5))
    layers = (-12.5, -8.5, -4.5)
    return [Wing(-23.0, radii, layers, +1), Wing(23.0, radii, layers, -1)], 3.5


def _circular_50mm() -> tuple[list[Wing], float]:
    """A circular coil of 50 mm mean diameter: no product's, but wound like the Magstim 70 mm coil's wings.

    Assumed: 14 turns in one layer between 32 and 68 mm, conductors 7 mm tall (three filaments); the moment of a
    positive current points to +z, into the head.
    """
    return [Wing(0.0, tuple(np.linspace(16.0, 34.0, 14)), (-8.8333, -6.5, -4.1667), +1)], 3.5


def _rashed() -> tuple[list[Wing], float]:
    """The thin-wire figure of eight of Rashed et al. 2020 (IEEE Trans. Med. Imaging 39:2351): 97 and 47 mm.

    They give the diameters alone. Assumed: 10 turns a wing, evenly from 23.5 to 48.5 mm radius in one plane 5 mm behind
    the face (half of a flat casing of 10 mm); wings touch; a positive dI/dt induces along -y under the centre.
    """
    radii = tuple(np.linspace(23.5, 48.5, 10))
    return [Wing(-48.5, radii, (-5.0,), +1), Wing(48.5, radii, (-5.0,), -1)], 4.0


BUNDLED: dict[str, Callable[[], tuple[list[Wing], float]]] = {
    "MagVenture_MC_B70": _mc_b70,
    "Magstim_70mm_Fig8": _magstim_70mm,
    "MagVenture_MCF_B65": _mcf_b65,
    "MagVenture_Cool_B35": _cool_b35,
    "Circular_50mm": _circular_50mm,
    "Rashed_97_47": _rashed,
}
"""Coils that ``load`` knows by name: wings and the side of a dipole's cell in mm."""


@lru_cache
def generate(name: str) -> Coil:
    """The bundled coil of this name (``BUNDLED``)."""
    positions, moments, windings = coil_dipoles(*BUNDLED[name]())
    return from_dipoles(positions, moments, windings=windings, name=name)


def from_dipoles(positions_mm, moments, *, windings=None, name: str = "dipoles") -> Coil:
    """A coil from dipoles of your own: positions (d, 3) mm and moments (d, 3) A.m2 per A, checked for shape and NaN."""
    positions, moments = np.asarray(positions_mm, float), np.asarray(moments, float)
    windings = positions if windings is None else np.asarray(windings, float)
    for what, value in (("dipole positions", positions), ("dipole moments", moments), ("winding points", windings)):
        if value.ndim != 2 or value.shape[1] != 3 or len(value) == 0:
            raise InputError(f"{what} have the wrong shape", got=value.shape, expected="(d, 3) with d >= 1")
        if not np.isfinite(value).all():
            raise InputError(f"{what} are not finite", got=int((~np.isfinite(value)).sum()), expected="no NaN or inf")
    if len(positions) != len(moments):
        raise InputError(
            "every dipole needs a position and a moment", got=(len(positions), len(moments)), expected="equal"
        )
    return Coil(*(jnp.asarray(a, jnp.float32) for a in (positions, moments, windings)), name=name)
