"""Coils by name, generated from published geometry, and coils from files."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from tmsjax.coil.ccd import read_ccd
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


BUNDLED: dict[str, Callable[[], tuple[list[Wing], float]]] = {
    "MagVenture_MC_B70": _mc_b70,
    "Magstim_70mm_Fig8": _magstim_70mm,
}
"""Coils that ``load`` knows by name: wings and the side of a dipole's cell in mm."""


def load(source: str | Path) -> Coil:
    """Load a bundled coil by name (``BUNDLED``), or a SimNIBS ``.ccd`` file by path.

    Raises:
        InputError: the name is not bundled, or the file is missing or malformed.
    """
    if str(source) in BUNDLED:
        return _generate(str(source))
    if Path(source).suffix == ".ccd":
        return read_ccd(Path(source))
    raise InputError(
        "unknown coil",
        got=str(source),
        expected=f"one of {sorted(BUNDLED)}, or the path of a .ccd file",
        mend="spell the name as above, or export the coil from SimNIBS as .ccd",
    )


@lru_cache
def _generate(name: str) -> Coil:
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
