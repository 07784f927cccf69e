"""What a search may vary: place on the scalp, handle angle, polarity, gap and tilt, and how far."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError, check_number

PLACE, HANDLE, GAP, TILT = slice(0, 2), 2, 3, slice(4, 6)
"""Where a variable stands in a vector of six: u, v mm; handle, degrees; gap, mm; two tilts, degrees."""

UNITS = np.array([1.0, 1.0, 4.0, 0.5, 2.0, 2.0])
"""What changes an objective about as much as 1 mm of place does: searches take their steps in these."""

BATCH = 4
"""Poses of one compiled call: a matrix product then serves several, and few shapes are ever compiled."""


def batches(x: np.ndarray, polarity: Any) -> list[tuple[Float[Array, "b 6"], Float[Array, " b"], int]]:
    """Batches of ``BATCH`` variables, their signs, and how many of them are no repetition of the last."""
    x = np.atleast_2d(np.asarray(x, np.float32))
    signs = np.broadcast_to(np.asarray(polarity, np.float32), len(x))
    out = []
    for start in range(0, len(x), BATCH):
        rows = np.minimum(np.arange(start, start + BATCH), len(x) - 1)
        out.append((jnp.asarray(x[rows]), jnp.asarray(signs[rows]), min(BATCH, len(x) - start)))
    return out


@dataclasses.dataclass(frozen=True)
class Variables:
    """Limits of a search.

    Attributes:
        radius_mm: how far on the scalp from the point over the target.
        gap_mm: least and largest distance between the scalp and the middle of the casing; the search chooses between.
            What keeps the casing clear of the scalp comes on top of it.
        tilt_deg: largest turn about the coil's own x and y axes; 0 holds it tangentially.
        polarities: signs of the current that may be used, +1 and -1.
        clear_mm: least distance between casing and scalp, anywhere on the head.
        hair_mm: thickness of hair, which comes on top of the gap.
    """

    radius_mm: float = 25.0
    gap_mm: tuple[float, float] = (2.0, 2.0)
    tilt_deg: float = 0.0
    polarities: tuple[int, ...] = (1, -1)
    clear_mm: float = 0.0
    hair_mm: float = 0.0

    def checked(self) -> Variables:
        """Itself with plain numbers; InputError for limits that no pose can meet."""
        radius = check_number(self.radius_mm, "radius of the search", 2, 60, unit="mm")
        try:
            low, high = self.gap_mm
        except (TypeError, ValueError) as error:
            raise InputError(
                "gap of the search", got=repr(self.gap_mm), expected="(least, largest) mm, the same twice to keep it"
            ) from error
        low, high = (check_number(value, "gap of the search", 0, 60, unit="mm") for value in (low, high))
        if low > high:
            raise InputError(
                "the limits of the gap contradict each other", got=f"at least {low:g} and at most {high:g} mm",
                expected="least <= largest",
            )  # fmt: skip
        clear = check_number(self.clear_mm, "least distance between casing and scalp", 0, 30, unit="mm")
        hair = check_number(self.hair_mm, "thickness of hair", 0, 30, unit="mm")
        if clear > high + hair:
            raise InputError(
                "gap and clearance contradict each other",
                got=f"a casing at least {clear:g} mm from the scalp, its middle at most {high + hair:g} mm",
                expected="a clearance no larger than the largest gap",
            )
        tilt = check_number(self.tilt_deg, "largest tilt", 0, 45, unit="degrees")
        signs = tuple(self.polarities) if isinstance(self.polarities, tuple | list | set) else ()
        if not signs or any(sign not in (1, -1) for sign in signs) or len(set(signs)) < len(signs):
            raise InputError("polarities of the current", got=repr(self.polarities), expected="(1, -1), (1,) or (-1,)")
        return Variables(radius, (low, high), tilt, tuple(int(sign) for sign in signs), clear, hair)

    @property
    def free(self) -> np.ndarray:
        """(6,) bool: which of u, v, handle, gap and the two tilts vary."""
        tilts = self.tilt_deg > 0
        return np.array([True, True, True, self.gap_mm[1] > self.gap_mm[0], tilts, tilts])

    def start(self, place_mm: np.ndarray, handle_deg: np.ndarray) -> np.ndarray:
        """Vectors (m, 6) at places (m, 2) and angles (m,), as near to the scalp as allowed and not tilted."""
        out = np.zeros((len(place_mm), 6))
        out[:, PLACE], out[:, HANDLE], out[:, GAP] = place_mm, handle_deg, self.gap_mm[0]
        return out

    def held(self, x: np.ndarray) -> np.ndarray:
        """Vectors (..., 6) brought back within the limits: the place radially, angles modulo 360, never as a whole."""
        x = np.array(x, float)
        length = np.linalg.norm(x[..., PLACE], axis=-1, keepdims=True)
        x[..., PLACE] *= np.minimum(1.0, self.radius_mm / np.maximum(length, 1e-9))
        x[..., HANDLE] = (x[..., HANDLE] + 180.0) % 360.0 - 180.0
        x[..., GAP] = np.clip(x[..., GAP], *self.gap_mm)
        x[..., TILT] = np.clip(x[..., TILT], -self.tilt_deg, self.tilt_deg)
        return x

    def borders(self, x: np.ndarray, margin: float = 0.02) -> list[str]:
        """Limits that one vector (6,) has run into, in words; a limit that is no choice is none."""
        found = []
        if np.linalg.norm(x[PLACE]) > (1 - margin) * self.radius_mm:
            found.append(f"{self.radius_mm:g} mm from the point over the target")
        low, high = self.gap_mm
        # The nearest is the best for most objectives, and no accident of the limits.
        if high > low and x[GAP] > high - margin * (high - low):
            found.append(f"gap of {high:g} mm")
        if self.tilt_deg > 0 and np.abs(x[TILT]).max() > (1 - margin) * self.tilt_deg:
            found.append(f"tilt of {self.tilt_deg:g} degrees")
        return found
