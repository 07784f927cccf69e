"""What a threshold in A/us means on the dial of a stimulator: per cent of its maximum output.

dI/dt is taken to be proportional to the dial's per cent: stimulators set the voltage of their capacitor, and the pulse
begins with dI/dt = V/L.
"""

from __future__ import annotations

import dataclasses
import tomllib
from collections.abc import Sequence
from functools import lru_cache
from importlib import resources
from typing import Any

import numpy as np

from tmsjax.core.arrays import ArrayLike, numbers
from tmsjax.core.errors import InputError, check_number


@dataclasses.dataclass(frozen=True)
class Stimulator:
    """A stimulator with the coil that it drives: ``max_didt_a_per_us`` is the first peak's |dI/dt| at 100 %.

    ``source`` says where the number is from; make one of your own for a device that is not listed.
    """

    name: str
    max_didt_a_per_us: float
    source: str
    coil: str = ""

    def __post_init__(self) -> None:
        check_number(self.max_didt_a_per_us, f"largest dI/dt of {self.name}", above=0.0, unit="A/us")

    def percent(self, a_per_us: ArrayLike) -> np.ndarray:
        """% of maximum output for a coil's |dI/dt| in A/us; above 100 where the device does not reach it."""
        return np.asarray(100 * _amounts(a_per_us, "dI/dt", "A/us") / self.max_didt_a_per_us)

    def a_per_us(self, percent: ArrayLike) -> np.ndarray:
        """|dI/dt| in A/us at per cents of maximum output."""
        return np.asarray(_amounts(percent, "output", "% of the maximum") * self.max_didt_a_per_us / 100)

    @property
    def label(self) -> str:
        """Name, and coil where it is known."""
        return f"{self.name} with {self.coil}" if self.coil else self.name


@lru_cache
def _listed() -> tuple[tuple[Stimulator, tuple[str, ...]], ...]:
    table: dict[str, Any] = tomllib.loads(
        (resources.files("tmsjax.response") / "stimulators.toml").read_text(encoding="utf-8")
    )
    return tuple(
        (
            Stimulator(row["name"], float(row["max_didt_a_per_us"]), table["source"], row["coil"]),
            (row["coil"], *row.get("aliases", ())),
        )
        for row in table["stimulator"]
    )


def stimulators(coil: str | None = None) -> list[Stimulator]:
    """The documented devices, or those of one coil by its maker's name or the name that ``coil.load`` knows."""
    return [device for device, names in _listed() if coil is None or coil in names]


def stimulator(name: str, coil: str | None = None) -> Stimulator:
    """A documented device by its name, "MagPro X100"; ``coil`` where it is documented with several.

    Raises InputError for a device or a coil that is not listed: ``Stimulator(name, max_didt, source)`` makes one.
    """
    named = [device for device in stimulators(coil) if device.name.lower() == str(name).lower()]
    if len(named) != 1:
        listed = ", ".join(device.label for device in stimulators())
        raise InputError(
            "which coil does the stimulator drive?"
            if named
            else "this stimulator's largest dI/dt is not documented here",
            got=f"{name!r}" + (f" with the coil {coil!r}" if coil else ""),
            expected=f"one of {listed}",
            mend="give your own: Stimulator(name, max_didt_a_per_us, source), or --max-didt-a-per-us",
        )
    return named[0]


def equivalent_outputs(a_per_us: float, devices: Sequence[Stimulator] | None = None) -> list[dict[str, Any]]:
    """Rows of a table: what dI/dt (A/us) is on each device's dial, and whether the device reaches it.

    Another coil needs another dI/dt for the same threshold: of the listed devices only those with the coil of the
    simulated field tell the truth (``stimulators(coil.name)``).
    """
    rows = []
    for device in stimulators() if devices is None else devices:
        percent = float(device.percent(a_per_us))
        rows.append(
            {
                "stimulator": device.name,
                "coil": device.coil,
                "max_didt_a_per_us": device.max_didt_a_per_us,
                "percent": percent,
                "within_reach": bool(percent <= 100),
                "source": device.source,
            }
        )
    return rows


def _amounts(values: ArrayLike, what: str, unit: str) -> np.ndarray:
    """Numbers that are not negative (NaN stays: no threshold), or InputError."""
    found = numbers(values, what)
    if (found < 0).any():
        raise InputError(f"{what} is negative", got=float(np.nanmin(found)), expected=f"{unit}, 0 or more",
                         mend="the direction of the current is the field's sign, not the intensity's")  # fmt: skip
    return found
